"""The workflows and activities of the scenarios, for Dapr's Python SDK of any line.

The same names with the same meaning stand in each language's folder; `tests/sdk/scenarios.py` says
what they show. Nothing here knows of actorflow.
"""

import importlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

sdk: Any = importlib.import_module(
    "dapr.ext.workflow"
)  # one name in every line; they have no types

try:  # only the environments of the scenarios have it
    telemetry: Any = importlib.import_module("opentelemetry.context")
    tracing: Any = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
except ModuleNotFoundError:
    telemetry = tracing = None

Steps = Generator[Any, Any, Any]

RETRY = sdk.RetryPolicy(first_retry_interval=timedelta(milliseconds=50), max_number_of_attempts=3)

report: Callable[..., None] = print
"""Tells the test what an activity does; set by the program."""

_tries: Counter[str] = Counter()
_lock = threading.Lock()


# --- activities ----------------------------------------------------------------------------------


def add_one(_ctx: Any, number: int) -> int:
    return number + 1


def square(_ctx: Any, number: int) -> int:
    return number * number


def flaky(ctx: Any, given: dict[str, Any]) -> int:
    """Fail as often as asked, then say how many tries it took."""
    with _lock:
        _tries[given["key"]] += 1
        count = _tries[given["key"]]
    inner = ctx.get_inner_context()
    report("flaky", key=given["key"], task=getattr(inner, "task_execution_id", ""))
    if count <= given["fails"]:
        raise ValueError(f"failure {count}")
    return count


def boom(_ctx: Any, text: str) -> None:
    raise ValueError(text)


def big(_ctx: Any, size_bytes: int) -> str:
    return "x" * size_bytes


def slow(ctx: Any, given: dict[str, Any]) -> int:
    number: int = given["number"]
    begun = {"id": ctx.workflow_id, "number": number, "trace": trace_parent()}
    report("begin", at=time.monotonic(), **begun)
    time.sleep(given["seconds"])
    report("end", at=time.monotonic(), id=ctx.workflow_id, number=number)
    return os.getpid()


def whose_history(ctx: Any, _given: Any = None) -> list[str]:
    return _names(ctx)


# --- workflows -----------------------------------------------------------------------------------


def echo(_ctx: Any, given: Any) -> Any:
    return given


def chain(ctx: Any, number: int) -> Steps:
    for _ in range(3):
        number = yield ctx.call_activity(add_one, input=number)
    return number


def fan_out(ctx: Any, count: int) -> Steps:
    results = yield sdk.when_all([ctx.call_activity(square, input=i) for i in range(count)])
    return sum(results)


def call_child(ctx: Any, given: dict[str, Any]) -> Steps:
    """Call the child that the input describes, and tell how it ended."""
    options = {"instance_id": given["id"]} if given.get("id") else {}
    try:
        result = yield ctx.call_child_workflow(
            WORKFLOWS[given["workflow"]], input=given.get("input"), **options
        )
    except sdk_task_failed() as error:
        return {"failed": str(error)}
    return {"result": result}


def nap(ctx: Any, seconds: float) -> Steps:
    yield ctx.create_timer(timedelta(seconds=seconds))
    return "rested"


def approval(ctx: Any, _given: Any = None) -> Steps:
    return (yield ctx.wait_for_external_event("approval"))


def two_events(ctx: Any, _given: Any = None) -> Steps:
    first = yield ctx.wait_for_external_event("item")
    second = yield ctx.wait_for_external_event("item")
    return [first, second]


def deadline(ctx: Any, seconds: float) -> Steps:
    event = ctx.wait_for_external_event("approval")
    timer = ctx.create_timer(timedelta(seconds=seconds))
    winner = yield sdk.when_any([event, timer])
    return {"got": event.get_result()} if winner is event else {"timed_out": True}


def event_timeout(ctx: Any, seconds: float) -> Steps:
    try:
        got = yield ctx.wait_for_external_event("approval", timeout=timedelta(seconds=seconds))
    except TimeoutError:
        return {"timed_out": True}
    return {"got": got}


def retry(ctx: Any, given: dict[str, Any]) -> Steps:
    return (yield ctx.call_activity(flaky, input=given, retry_policy=RETRY))


def flaky_child(ctx: Any, given: dict[str, Any]) -> Steps:
    return (yield ctx.call_activity(flaky, input=given))


def retry_child(ctx: Any, given: dict[str, Any]) -> Steps:
    return (yield ctx.call_child_workflow(flaky_child, input=given, retry_policy=RETRY))


def fail(_ctx: Any, text: str) -> None:
    raise ValueError(text)


def catch(ctx: Any, text: str) -> Steps:
    try:
        yield ctx.call_activity(boom, input=text)
    except sdk_task_failed() as error:
        return f"caught: {error}"
    return "nothing"


def missing_activity(ctx: Any, _given: Any = None) -> Steps:
    return (yield ctx.call_activity("nowhere", input=1))


def eternal(ctx: Any, given: dict[str, int]) -> Steps:
    total = yield ctx.call_activity(add_one, input=given["total"])
    if given["left"] == 0:
        return total
    ctx.continue_as_new({"left": given["left"] - 1, "total": total})
    return None


def collector(ctx: Any, got: list[Any]) -> Steps:
    got.append((yield ctx.wait_for_external_event("item")))
    if len(got) == 3:
        return got
    ctx.continue_as_new(got, save_events=True)
    return None


def status(ctx: Any, _given: Any = None) -> Steps:
    ctx.set_custom_status("working")
    yield ctx.wait_for_external_event("go")
    ctx.set_custom_status("done")
    return None


def patched_one(ctx: Any, _given: Any = None) -> Steps:
    """Variant one: the code before the patch."""
    yield ctx.wait_for_external_event("go")
    return "old"


def patched_two(ctx: Any, _given: Any = None) -> Steps:
    """Variant two: new code for new instances, old code for those that began before it."""
    branch = "new" if ctx.is_patched("faster") else "old"
    yield ctx.wait_for_external_event("go")
    return branch


def versioned_one(ctx: Any, _given: Any = None) -> Steps:
    yield ctx.wait_for_external_event("go")
    return "version one"


def versioned_two(ctx: Any, _given: Any = None) -> Steps:
    yield ctx.wait_for_external_event("go")
    return "version two"


def sizes(ctx: Any, size_bytes: int) -> Steps:
    return len((yield ctx.call_activity(big, input=size_bytes)))


def steps(ctx: Any, given: dict[str, Any]) -> Steps:
    """Slow activities one after the other; tells in which processes they ran."""
    seen: list[int] = []
    for number in range(given["count"]):
        pid = yield ctx.call_activity(slow, input={"number": number, "seconds": given["seconds"]})
        seen.append(pid)
    return seen


def spread(ctx: Any, given: dict[str, Any]) -> Steps:
    """Slow activities at once; tells in which processes they ran."""
    seconds = given["seconds"]
    tasks = [
        ctx.call_activity(slow, input={"number": i, "seconds": seconds})
        for i in range(given["count"])
    ]
    return (yield sdk.when_all(tasks))


def lineage(ctx: Any, scope: str) -> Steps:
    """A parent of a parent of an activity; each hands its history on."""
    yield ctx.call_activity(add_one, input=1)
    handed = sdk.PropagationScope[scope]
    return (yield ctx.call_child_workflow(lineage_child, input=scope, propagation=handed))


def lineage_child(ctx: Any, scope: str) -> Steps:
    handed = sdk.PropagationScope[scope]
    deep = yield ctx.call_activity(whose_history, input=None, propagation=handed)
    return {"child": _names(ctx), "activity": deep}


def other_app(ctx: Any, given: dict[str, Any]) -> Steps:
    """Call an activity or a child workflow of another app."""
    if given["kind"] == "activity":
        return (yield ctx.call_activity("add_one", input=given["input"], app_id=given["app"]))
    return (yield ctx.call_child_workflow("chain", input=given["input"], app_id=given["app"]))


def begin_trace(parent: str) -> None:
    """Let this thread go on with a trace, for its SDK to hand on."""
    carrier = {"traceparent": parent}
    telemetry.attach(tracing.TraceContextTextMapPropagator().extract(carrier))


def trace_parent() -> str | None:
    """Return the trace that this thread goes on with."""
    carrier: dict[str, str] = {}
    tracing.TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def _names(ctx: Any) -> list[str]:
    history = ctx.get_propagated_history()
    return sorted(one.name for one in history.get_workflows()) if history else []


def sdk_task_failed() -> type[BaseException]:
    """Return the error of a failed task, wherever this line of the SDK keeps it."""
    if hasattr(sdk, "TaskFailedError"):
        found: type[BaseException] = sdk.TaskFailedError
        return found
    for name in ("dapr.ext.workflow._durabletask.task", "durabletask.task"):
        try:
            found = importlib.import_module(name).TaskFailedError
        except ModuleNotFoundError:
            continue
        return found
    raise LookupError("this SDK has no TaskFailedError")


ACTIVITIES: list[Callable[..., Any]] = [add_one, square, flaky, boom, big, slow, whose_history]
WORKFLOWS: dict[str, Callable[..., Any]] = {
    fn.__name__: fn
    for fn in (
        *(echo, chain, fan_out, call_child, nap, approval, two_events, deadline, event_timeout),
        *(retry, flaky_child, retry_child, fail, catch, missing_activity, eternal, collector),
        *(status, sizes, steps, spread, lineage, lineage_child, other_app),
    )
}


_VARIANTS = (patched_one, patched_two, versioned_one, versioned_two)


def register(runtime: Any, variant: str) -> None:
    """Register everything; `variant` one or two is the older or newer state of the code."""
    for fn in (*ACTIVITIES, *WORKFLOWS.values(), *_VARIANTS):
        fn.__dict__.clear()  # where the SDK notes that it is registered, for one runtime only
    for activity in ACTIVITIES:
        runtime.register_activity(activity)
    for name, workflow in WORKFLOWS.items():
        runtime.register_workflow(workflow, name=name)
    runtime.register_workflow(patched_two if variant == "two" else patched_one, name="patched")
    versions = {"one": versioned_one} if variant != "two" else {}
    if variant != "one":
        versions |= {"two": versioned_two}
    for number, (version, workflow) in enumerate(versions.items(), start=1):
        runtime.register_versioned_workflow(
            workflow,
            name="versioned",
            version_name=version,
            is_latest=number == len(versions),
        )
