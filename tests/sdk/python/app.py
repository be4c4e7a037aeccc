"""A worker and a client of Dapr's Python SDK: does what it reads on stdin, reports on stdout.

Each line that begins with `@` is one JSON object of `tests/sdk/program.py`'s protocol; everything
else is for people. The connection is taken from the DAPR_ variables, as in any Dapr application.
"""

import importlib
import json
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any

workflows: Any = importlib.import_module("workflows")  # beside this file, when it is run
sdk = workflows.sdk
UNSET = object()
_lock = threading.Lock()


def say(**record: Any) -> None:
    with _lock:
        sys.stdout.write("@" + json.dumps(record) + "\n")
        sys.stdout.flush()


def report(event: str, **more: Any) -> None:
    say(event=event, pid=os.getpid(), **more)


def decoded(text: str | None) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def shown(state: Any) -> dict[str, Any] | None:
    """Return a state as every language's program tells it."""
    if state is None:
        return None
    failure = state.failure_details
    return {
        "id": state.instance_id,
        "name": state.name,
        "status": state.runtime_status.name,
        "input": decoded(state.serialized_input),
        "output": decoded(state.serialized_output),
        "custom": decoded(state.serialized_custom_status),
        "error": failure.message if failure else None,
        "error_type": failure.error_type if failure else None,
    }


class Calls:
    """One method for each verb of the protocol."""

    def __init__(self, variant: str) -> None:
        self._variant = variant
        self._client = sdk.DaprWorkflowClient()
        self._runtimes: list[Any] = []

    def worker(self, count: int = 1) -> None:
        for _ in range(count):
            runtime = sdk.WorkflowRuntime()
            workflows.register(runtime, self._variant)
            runtime.start()
            self._runtimes.append(runtime)

    def start(
        self,
        workflow: str,
        id: str | None = None,
        input: Any = None,
        delay_s: float | None = None,
        app: str | None = None,
        trace: str | None = None,
    ) -> Any:
        if trace is not None:
            workflows.begin_trace(trace)
        more: dict[str, Any] = {} if app is None else {"app_id": app}
        if delay_s is not None:
            more["start_at"] = datetime.now(UTC) + timedelta(seconds=delay_s)
        return self._client.schedule_new_workflow(
            _Named(workflow), input=input, instance_id=id, **more
        )

    def get(self, id: str, app: str | None = None) -> Any:
        more = {} if app is None else {"app_id": app}
        return shown(self._client.get_workflow_state(id, **more))

    def wait(self, id: str, timeout_s: int = 15) -> Any:
        return shown(self._client.wait_for_workflow_completion(id, timeout_in_seconds=timeout_s))

    def wait_start(self, id: str, timeout_s: int = 15) -> Any:
        return shown(self._client.wait_for_workflow_start(id, timeout_in_seconds=timeout_s))

    def raise_event(self, id: str, event: str, data: Any = None) -> None:
        self._client.raise_workflow_event(id, event, data=data)

    def suspend(self, id: str) -> None:
        self._client.pause_workflow(id)

    def resume(self, id: str) -> None:
        self._client.resume_workflow(id)

    def terminate(
        self,
        id: str,
        output: Any = None,
        recursive: bool | None = None,
    ) -> None:
        more = {} if recursive is None else {"recursive": recursive}
        self._client.terminate_workflow(id, output=output, **more)

    def purge(self, id: str, recursive: bool | None = None) -> None:
        more = {} if recursive is None else {"recursive": recursive}
        self._client.purge_workflow(id, **more)

    def list(self, page_size: int) -> list[str]:
        return list(self._client.iter_workflow_instance_ids(page_size=page_size))

    def history(self, id: str) -> Any:
        return [
            {"type": event.event_type.value, "id": event.event_id, "name": event.name}
            for event in self._client.get_workflow_history(id)
        ]

    def rerun(self, id: str, event_id: int, new_id: str, input: Any = UNSET) -> Any:
        more = {} if input is UNSET else {"input": input}
        return self._client.rerun_workflow_from_event(id, event_id, new_instance_id=new_id, **more)


class _Named:
    """Stands for a workflow of which only the name is known: old lines take no plain names."""

    def __init__(self, name: str) -> None:
        self._dapr_alternate_name = name


class GeneralCalls:
    """The workflow calls of the general client, which lines up to 1.17 have."""

    def __init__(self) -> None:
        self._client = importlib.import_module("dapr.clients").DaprClient()

    def start(self, workflow: str, id: str, input: Any) -> Any:
        given = {"instance_id": id, "input": input}
        return self._client.start_workflow("dapr", workflow, **given).instance_id

    def get(self, id: str) -> Any:
        state = self._client.get_workflow(id, "dapr")
        output = state.properties.get("dapr.workflow.output")
        return {"status": state.runtime_status.upper(), "output": decoded(output)}

    def raise_event(self, id: str, event: str, data: Any) -> None:
        self._client.raise_workflow_event(id, "dapr", event, event_data=data)

    def suspend(self, id: str) -> None:
        self._client.pause_workflow(id, "dapr")

    def resume(self, id: str) -> None:
        self._client.resume_workflow(id, "dapr")

    def terminate(self, id: str) -> None:
        self._client.terminate_workflow(id, "dapr")

    def purge(self, id: str) -> None:
        self._client.purge_workflow(id, "dapr")

    def metadata(self) -> Any:
        return self._client.get_metadata().application_id


def answer(calls: Calls, line: str) -> None:
    request = json.loads(line)
    number, verb = request.pop("n"), request.pop("do")
    try:
        target: Any = calls
        if verb.startswith("general_"):
            target, verb = GeneralCalls(), verb.removeprefix("general_")
        say(n=number, ok=getattr(target, verb)(**request))
    except Exception as error:  # noqa: BLE001 -- whatever it is, the test shall see it
        code = getattr(error, "code", None)
        kind = code().name if callable(code) else type(error).__name__
        say(n=number, error=kind, text=str(error))


def main() -> None:
    workflows.report = report
    calls = Calls(os.environ.get("VARIANT", ""))
    if os.environ.get("WORKER", "yes") == "yes":
        calls.worker()
    say(ready=True, pid=os.getpid(), version=metadata.version("dapr"))
    for line in sys.stdin:
        threading.Thread(target=answer, args=(calls, line), daemon=True).start()
    os._exit(0)  # the SDK's threads are of no more use


if __name__ == "__main__":
    main()
