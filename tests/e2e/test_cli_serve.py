"""The command `actorflow` from outside: real processes, real signals, and the README itself."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "order_processing.py"
ACTORFLOW = (sys.executable, "-m", "actorflow.server")
PAPERCLIPS = '{"Name": "Paperclips", "TotalCost": 99.95, "Quantity": 4}'
CARS = '{"Name": "Cars", "TotalCost": 15000, "Quantity": 1}'
DEADLINE_S = 120.0
"""Longer than anything takes on a machine with much else to do: only what hangs is cut."""


class Lines:
    """The output of a process, line by line, read in the background so that no pipe fills up."""

    def __init__(self, stream: IO[str]) -> None:
        self.all: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self.all.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, text: str) -> str:
        """Return the first line with this text in it."""

        def found() -> str | None:
            return next((line for line in self.all if text in line), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._ended, DEADLINE_S)
            line = found()
        assert line is not None, f"no {text!r} in {self.all}"
        return line

    def close(self) -> None:
        self._thread.join()


class Server:
    """One `actorflow serve` process."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        command = [*ACTORFLOW, "serve", "--http-port", "0", "--ready-file", "ready", *arguments]
        self.folder = folder
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)
        self.url = ""

    def wait_until_ready(self) -> "Server":
        line = self.err.wait_for("listen")
        match = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert match, line
        self.url = match[0]
        return self

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(DEADLINE_S)
        self.out.close()
        self.err.close()
        return code

    def cli(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return actorflow("workflow", *arguments, cwd=self.folder, ACTORFLOW_URL=self.url, **environ)

    def json(self, *arguments: str) -> Any:
        done = self.cli(*arguments, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def wait_until_history_has(self, instance_id: str, event_type: str) -> None:
        end_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < end_s:
            events = self.json("history", instance_id)["events"]
            if any(event["type"] == event_type for event in events):
                return
        raise AssertionError(f"no {event_type} in {events}")


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    started: list[Server] = []

    def start(*arguments: str, **environ: str) -> Server:
        server = Server(tmp_path, *arguments, **environ)
        started.append(server)
        return server.wait_until_ready()

    yield start
    for server in started:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


def environment(**environ: str) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ACTORFLOW_", "DAPR_", "APP_"))
    }
    return inherited | {"NO_COLOR": "1", "COLUMNS": "200"} | environ


def actorflow(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ACTORFLOW, *arguments],
        cwd=cwd,
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def payments(folder: Path) -> list[str]:
    database = sqlite3.connect(folder / "shop.db")
    try:
        return [row[0] for row in database.execute("SELECT order_id FROM payments ORDER BY 1")]
    finally:
        database.close()


# --- start and stop ------------------------------------------------------------------------------


def test_it_says_what_it_serves_and_drains_on_a_signal(serve: Serve, tmp_path: Path) -> None:
    server = serve("--app", str(EXAMPLE))
    ready = json.loads((tmp_path / "ready").read_text())
    assert (ready["pid"], ready["urls"]) == (server.process.pid, [server.url])
    assert f"and for gRPC on {ready['grpc'][0]}." in server.err.wait_for("listens")
    server.err.wait_for("Workflows: OrderProcessingWorkflow. Activities: NotifyActivity")
    # The README kills it by this file.
    assert (tmp_path / "actorflow.db-lock").read_text().strip() == str(server.process.pid)
    assert server.end() == 0
    assert [line for line in server.err.all if "Stopp" in line] == [
        "Stopping (SIGTERM): at most 5 s for what runs; Ctrl-C again leaves at once.",
        "Stopped.",
    ]
    assert not (tmp_path / "ready").exists()
    assert (tmp_path / "actorflow.db").stat().st_mode & 0o777 == 0o600


def test_json_logs_are_one_object_a_line(serve: Serve) -> None:
    server = serve("--store", "memory:", "--log-format", "json")
    assert server.end(signal.SIGINT) == 0
    records = [json.loads(line) for line in server.err.all]
    assert [record["event"] for record in records] == ["listening", "stopping", "stopped"]
    assert records[0]["urls"] == [server.url]
    assert records[0]["durability"] == "memory"


def test_a_second_signal_leaves_at_once_and_nothing_is_lost(serve: Serve) -> None:
    server = serve("--app", str(EXAMPLE), "--graceful-shutdown-seconds", "3600", STEP_SECONDS="60")
    server.json("start", "OrderProcessingWorkflow", "--id", "o", "--input", PAPERCLIPS)
    server.wait_until_history_has("o", "TaskScheduled")
    server.process.send_signal(signal.SIGINT)
    server.err.wait_for("Stopping (SIGINT)")
    assert server.end(signal.SIGINT) == 128 + signal.SIGINT
    again = serve("--app", str(EXAMPLE))
    assert again.json("wait", "o")["status"] == "COMPLETED"


def test_the_drain_ends_in_time_although_an_activity_does_not(serve: Serve) -> None:
    server = serve("--app", str(EXAMPLE), "--graceful-shutdown-seconds", "0.1", STEP_SECONDS="3600")
    server.json("start", "OrderProcessingWorkflow", "--id", "o", "--input", PAPERCLIPS)
    server.wait_until_history_has("o", "TaskScheduled")
    assert server.end() == 0
    assert server.err.all[-1] == "Stopped."
    again = serve("--app", str(EXAMPLE))
    assert again.json("wait", "o")["status"] == "COMPLETED"


@pytest.mark.parametrize("limit_mib", [4, 8])
def test_every_body_within_the_limit_is_taken(serve: Serve, limit_mib: int) -> None:
    """Also one that grows when it is written into a message: each quote becomes two bytes."""
    server = serve("--app", str(EXAMPLE), "--max-body-size", f"{limit_mib}Mi")
    body = b'"' + b'\\"' * (limit_mib * 512 * 1024 - 1) + b'"'
    assert len(body) == limit_mib * 1024 * 1024
    for size, status in ((len(body), 202), (len(body) + 1, 400)):
        request = urllib.request.Request(
            f"{server.url}/v1.0/workflows/dapr/OrderProcessingWorkflow/start?instanceID=i{size}",
            body.ljust(size),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            found = error.code
        assert found == status


def test_shutdown_by_call(serve: Serve) -> None:
    server = serve("--store", "memory:")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST /v1.0/shutdown HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 204")
    assert server.wait() == 0


# --- what cannot start ---------------------------------------------------------------------------


def refused(folder: Path, *arguments: str, **environ: str) -> str:
    done = actorflow("serve", *arguments, cwd=folder, **environ)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    return done.stderr


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        text = refused(tmp_path, "--http-port", port)
        assert f"port {port}: Address already in use" in text
        assert "--http-port" in text.splitlines()[1]
        done = actorflow("serve", "--http-port", port, "--log-level", "debug", cwd=tmp_path)
        assert "Traceback" in done.stderr


def test_a_store_in_use(serve: Serve, tmp_path: Path) -> None:
    server = serve("--app", str(EXAMPLE))
    text = refused(tmp_path, "--http-port", "0")
    assert "actorflow.db is in use by process" in text
    assert str(server.process.pid) in text


def test_a_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_text("hello")
    assert "not a SQLite database" in refused(tmp_path, "--store", "sqlite:///junk.db")
    assert (tmp_path / "junk.db").read_text() == "hello"
    assert "mkdir -p none" in refused(tmp_path, "--store", "sqlite:///none/x.db")


def test_an_app_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import absent_library")
    (tmp_path / "empty.py").write_text("")
    assert "broken.py:1: ModuleNotFoundError" in refused(tmp_path, "--app", "broken.py")
    assert "no Registry in empty.py" in refused(tmp_path, "--app", "empty.py")
    assert "no file 'none.py'" in refused(tmp_path, "--app", "none.py")


def test_an_open_door(tmp_path: Path) -> None:
    done = actorflow("serve", "--listen-addresses", "0.0.0.0", cwd=tmp_path)
    assert done.returncode == 2
    assert "--insecure" in done.stderr


# --- a token -------------------------------------------------------------------------------------


def test_a_token_is_asked_for_and_never_shown(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("canary-1,canary-2\n")
    server = serve(
        "--app", str(EXAMPLE), "--api-token-file", "token", "--access-log", "--log-level", "debug"
    )
    assert server.cli("list").returncode == 5
    assert server.cli("list", ACTORFLOW_API_TOKEN="canary-3").returncode == 5
    assert server.cli("list", ACTORFLOW_API_TOKEN="canary-1").returncode == 0
    assert server.cli("list", DAPR_API_TOKEN="canary-2").returncode == 0
    assert server.end() == 0
    assert "canary" not in "\n".join(server.err.all + server.out.all)


# --- the order of the README, by command line ----------------------------------------------------


def test_an_order_from_start_to_purge(serve: Serve, tmp_path: Path) -> None:
    server = serve("--app", str(EXAMPLE))
    order = ("OrderProcessingWorkflow", "--input", PAPERCLIPS)
    done = server.cli("start", *order, "--id", "order-1", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(json.loads(done.stdout)["output"])
    assert result == {"Processed": True, "Message": "Delivered 4 Paperclips for $99.95"}
    assert payments(tmp_path) == ["order-1"]
    again = server.cli("start", *order, "--id", "order-1")
    assert again.returncode == 0, "an ended instance may be replaced"
    assert server.json("wait", "order-1")["status"] == "COMPLETED"
    assert payments(tmp_path) == ["order-1"]
    assert "TaskCompleted" in server.cli("history", "order-1").stdout
    assert server.cli("purge", "order-1").stdout == "Deleted 1 instance.\n"
    assert server.cli("get", "order-1").returncode == 3
    assert server.cli("raise", "order-1", "approval").returncode == 3


def test_an_approval_a_pause_and_an_end(serve: Serve, tmp_path: Path) -> None:
    server = serve("--app", str(EXAMPLE))
    for name in ("a", "b", "c"):
        server.json("start", "OrderProcessingWorkflow", "--id", name, "--input", CARS)
        server.out.wait_for(f"[{name}] $15,000.00 needs the event 'approval'")
    assert server.cli("wait", "a", "--timeout", "0.1").returncode == 7
    (reason,) = server.json("why", "a")["waiting"]
    assert reason["kind"] == "event"
    assert "approval" in reason["detail"]
    assert server.cli("start", "OrderProcessingWorkflow", "--id", "a").returncode == 6
    assert server.cli("purge", "a").returncode == 6
    assert server.cli("pause", "a", "--reason", "audit").returncode == 0
    assert server.cli("raise", "a", "APPROVAL", "--input", "true").returncode == 0
    assert server.json("get", "a")["status"] == "SUSPENDED"
    assert server.cli("resume", "a").returncode == 0
    assert server.json("wait", "a")["status"] == "COMPLETED"
    server.cli("raise", "b", "approval", "--input", "false")
    assert "not approved" in server.json("wait", "b")["output"]
    assert server.cli("terminate", "c", "--output", '"no more"').returncode == 0
    assert server.cli("wait", "c").returncode == 1
    assert server.json("get", "c")["output"] == '"no more"'
    shown = server.cli("list").stdout
    assert [line.split()[2] for line in shown.splitlines()[1:]] == [
        "COMPLETED",
        "COMPLETED",
        "TERMINATED",
    ]
    assert payments(tmp_path) == ["a"]


def test_the_stock_runs_out_and_the_payment_goes_back(serve: Serve, tmp_path: Path) -> None:
    server = serve("--app", str(EXAMPLE))
    cars = '{"Name": "Cars", "TotalCost": 90000, "Quantity": 6}'
    for name in ("a", "b"):
        server.json("start", "OrderProcessingWorkflow", "--id", name, "--input", cars)
        server.out.wait_for(f"[{name}] $90,000.00 needs the event 'approval'")
    for name, expected in (("a", "Delivered"), ("b", "Payment returned")):
        server.cli("raise", name, "approval", "--input", "true")
        assert expected in server.json("wait", name)["output"]
    assert payments(tmp_path) == ["a"]


def test_kill_in_the_middle_and_start_again(serve: Serve, tmp_path: Path) -> None:
    server = serve("--app", str(EXAMPLE), STEP_SECONDS="0.5")
    server.json("start", "OrderProcessingWorkflow", "--id", "order-1", "--input", PAPERCLIPS)
    server.wait_until_history_has("order-1", "TaskCompleted")
    server.end(signal.SIGKILL)
    again = serve("--app", str(EXAMPLE))
    assert again.json("wait", "order-1", "--timeout", str(DEADLINE_S))["status"] == "COMPLETED"
    assert payments(tmp_path) == ["order-1"]
    assert not any("Received" in line for line in again.out.all), "that step was done before"


@pytest.mark.parametrize(
    ("example", "workflow", "given", "expected"),
    [
        ("saga.py", "book_trip", '{"city": "Oslo"}', '"opera in Oslo"'),
        ("saga.py", "book_trip", '{"city": "Atlantis"}', '"undone":["train in Atlantis","hotel'),
        ("dapr_style_generators.py", "greet_all", '["Ada"]', '"Hello Ada!"'),
    ],
)
def test_the_other_examples(
    serve: Serve, example: str, workflow: str, given: str, expected: str
) -> None:
    server = serve("--app", str(ROOT / "examples" / example), "--store", "memory:")
    done = server.cli("start", workflow, "--input", given, "--wait", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert expected in json.loads(done.stdout)["output"]


# --- the README itself ---------------------------------------------------------------------------


def readme_blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not shutil.which("curl"), reason="the README's commands use curl")
def test_the_commands_of_the_readme(serve: Serve, tmp_path: Path) -> None:
    server = serve("--app", str(EXAMPLE))
    outputs = []
    # A person reads between two commands; the test waits for what they would find.
    pauses: dict[int, Callable[[], object]] = {
        0: lambda: server.json("wait", "order-1"),
        2: lambda: server.wait_until_history_has("order-2", "TimerCreated"),
        4: lambda: server.json("wait", "order-2"),
    }
    for index, block in enumerate(readme_blocks("bash")):
        script = block.replace("http://localhost:3500", server.url)
        done = subprocess.run(
            ["bash", "-euc", script], capture_output=True, text=True, timeout=DEADLINE_S, check=True
        )
        outputs.append(done.stdout)
        if index in pauses:
            pauses[index]()
    start, get, _, waiting, _, pause, resume, purge = outputs
    assert json.loads(start) == {"instanceID": "order-1"}
    assert json.loads(get)["runtimeStatus"] == "COMPLETED"
    output = json.loads(get)["properties"]["dapr.workflow.output"]
    assert json.loads(output) == json.loads(readme_blocks("json")[0])
    (reason,) = json.loads(waiting)["waiting"]
    assert reason["kind"] == "event"
    assert '"runtimeStatus":"SUSPENDED"' in pause
    assert '"status":"COMPLETED"' in resume
    assert purge.endswith('workflow with the provided instance ID: order-4"}')
    assert payments(tmp_path) == ["order-1", "order-2", "order-3"]


def test_the_program_of_the_readme(serve: Serve, tmp_path: Path) -> None:
    (program,) = readme_blocks("python")
    (tmp_path / "hello.py").write_text(program.replace("ctx.sleep(5)", "ctx.sleep(0.1)"))
    server = serve("--app", "hello.py")
    done = server.cli("start", "greet_everybody", "--input", '["Ada", "Grace"]', "--wait", "--json")
    assert json.loads(json.loads(done.stdout)["output"]) == ["Hello Ada!", "Hello Grace!"]
