"""A program that uses an SDK, as a process of its own: it is told what to call, and reports.

The protocol: one JSON object a line. To the program `{"n": 1, "do": "start", ...}`; from it lines
that begin with `@`: `{"ready": true, "version": ...}` once, `{"n": 1, "ok": ...}` or
`{"n": 1, "error": kind, "text": ...}` for each call, and `{"event": "begin", ...}` whenever an
activity has something to tell. What it prints beside that is kept for the report of a failure.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

READY_S = 180.0
CALL_S = 180.0
_KEPT_LINES = 400


class CallFailed(Exception):  # noqa: N818 -- what happened, not what went wrong with the test
    """The SDK raised an error: `kind` is its gRPC status or class, `text` its message."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class Program:
    """One running program of an SDK. Calls may come from several threads."""

    def __init__(
        self, command: Sequence[str], folder: Path, environ: dict[str, str], *, ready: bool = True
    ) -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ACTORFLOW_", "DAPR_", "APP_", "OTEL_"))
        }
        self.version = ""
        self.events: list[dict[str, Any]] = []
        self.printed: deque[str] = deque(maxlen=_KEPT_LINES)
        self._answers: dict[int, dict[str, Any]] = {}
        self._count = 0
        self._changed = threading.Condition()
        self._is_ready = False
        self._is_over = False
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=inherited | environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # launchers have children; they end together
        )
        assert self.process.stdout is not None
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()
        if ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until its worker is connected."""
        self._wait(lambda: self._is_ready, READY_S, "the program did not get ready")

    def call(self, verb: str, **given: Any) -> Any:
        """Make one call by the SDK's client and return its result.

        Raises:
            CallFailed: the SDK raised.
        """
        return self.answer(self.ask(verb, **given))

    def ask(self, verb: str, **given: Any) -> int:
        """Begin a call, and return what `answer` wants to know."""
        with self._changed:
            self._count += 1
            number = self._count
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps({"n": number, "do": verb, **given}) + "\n")
            self.process.stdin.flush()
        return number

    def answer(self, number: int) -> Any:
        """Wait for the result of a call. Raises CallFailed."""
        self._wait(lambda: number in self._answers, CALL_S, f"no answer to call {number}")
        answer = self._answers.pop(number)
        if "error" in answer:
            raise CallFailed(answer["error"], answer["text"])
        return answer.get("ok")

    def told(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return what its activities have told so far: events of one kind, with these fields."""
        wanted = {"event": event, **fields}
        with self._changed:
            return [one for one in self.events if wanted.items() <= one.items()]

    def told_in_order(self, *events: str) -> list[dict[str, Any]]:
        """Return what its activities have told so far: events of these kinds, oldest first."""
        with self._changed:
            return [one for one in self.events if one["event"] in events]

    def wait_told(self, event: str, **fields: Any) -> None:
        """Wait until an activity has told this."""
        self._wait(lambda: bool(self.told(event, **fields)), CALL_S, f"no {event} {fields}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program and its children: SIGSTOP freezes it."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it as `kill -9` does; may be called again."""
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _wait(self, condition: Callable[[], bool], timeout_s: float, text: str) -> None:
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                left_s = end_s - time.monotonic()
                if self._is_over or left_s <= 0:
                    shown = "\n".join(self.printed)
                    raise AssertionError(f"{text} (ended: {self._is_over}); it printed:\n{shown}")
                self._changed.wait(left_s)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self._take(line)
                    self._changed.notify_all()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _take(self, line: str) -> None:
        if not line.startswith("@"):
            self.printed.append(line.rstrip("\n"))
            return
        record = json.loads(line[1:])
        if "ready" in record:
            self.version = record["version"]
            self._is_ready = True
        elif "event" in record:
            self.events.append(record)
        else:
            self._answers[record["n"]] = record
