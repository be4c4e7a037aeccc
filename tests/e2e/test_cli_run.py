"""`actorflow run` from outside: two real processes that start and end in the right order."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_cli_serve import DEADLINE_S, Lines, environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

APP = """
import json, os, signal, sys, time, urllib.request

def get(path):
    with urllib.request.urlopen(os.environ["DAPR_HTTP_ENDPOINT"] + path) as answer:
        return answer.status

def ended(number, frame):
    print("ending by", signal.Signals(number).name)
    print("the server answers", get("/v1.0/healthz"))
    sys.exit(5)

print(json.dumps({k: v for k, v in os.environ.items() if k.startswith(("DAPR_", "APP_"))}))
print("pid", os.getpid())
print("the server answers", get("/v1.0/healthz"))
print("a word to stderr", file=sys.stderr)
if "stubborn" in sys.argv:
    signal.signal(signal.SIGINT, lambda *_: print("not yet"))
elif "wait" in sys.argv:
    signal.signal(signal.SIGINT, ended)
    signal.signal(signal.SIGTERM, ended)
if len(sys.argv) > 1 and sys.argv[1].isdigit():
    sys.exit(int(sys.argv[1]))
print("waiting")
time.sleep(600)
"""


class Run:
    """One `actorflow run` process."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        (folder / "app.py").write_text(APP)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "actorflow.server", "run", *arguments],
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

    def wait(self) -> int:
        code = self.process.wait(DEADLINE_S)
        self.out.close()
        self.err.close()
        return code

    def variables(self) -> dict[str, str]:
        line = self.out.wait_for('"APP_ID"')
        found: dict[str, str] = json.loads(line.removeprefix("== APP == "))
        return found


Start = Callable[..., Run]
FREE = ("--http-port", "0", "--grpc-port", "0", "--store", "memory:")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Run] = []

    def one(*arguments: str, **environ: str) -> Run:
        started.append(Run(tmp_path, *arguments, **environ))
        return started[-1]

    yield one
    for run in started:
        if run.process.poll() is None:
            run.process.terminate()
            run.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v1.0/healthz", timeout=DEADLINE_S) as answer:
            return bool(answer.status == 204)
    except OSError:
        return False


def test_the_app_starts_when_the_server_listens_and_its_exit_code_is_ours(start: Start) -> None:
    run = start("--app-id", "orders", "-p", "8080", *FREE, "--", sys.executable, "app.py", "7")
    variables = run.variables()
    assert run.wait() == 7
    assert variables["APP_ID"] == "orders"
    assert variables["APP_PORT"] == "8080"
    assert variables["DAPR_HTTP_ENDPOINT"].endswith(":" + variables["DAPR_HTTP_PORT"])
    assert variables["DAPR_GRPC_ENDPOINT"].endswith(":" + variables["DAPR_GRPC_PORT"])
    assert "DAPR_API_TOKEN" not in variables
    assert "== APP == the server answers 204" in run.out.all
    assert "== APP == a word to stderr" in run.err.all
    assert run.err.all[-1] == "== ACTORFLOW == Stopped."
    assert not answers(variables["DAPR_HTTP_ENDPOINT"]), "the server was left running"


def test_ctrl_c_ends_the_app_first(start: Start) -> None:
    run = start(*FREE, "--", sys.executable, "app.py", "wait")
    run.out.wait_for("waiting")
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 5
    assert run.out.all[-2:] == ["== APP == ending by SIGINT", "== APP == the server answers 204"]
    assert run.err.all[-1] == "== ACTORFLOW == Stopped."


def test_a_second_ctrl_c_kills_an_app_that_stays(start: Start) -> None:
    run = start(*FREE, "--", sys.executable, "app.py", "stubborn")
    run.out.wait_for("waiting")
    run.process.send_signal(signal.SIGINT)
    run.out.wait_for("not yet")
    assert "Ctrl-C again kills it" in run.err.wait_for("Waiting for the application to end")
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 128 + signal.SIGKILL
    assert run.err.all[-1] == "== ACTORFLOW == Stopped."


def test_the_token_is_handed_on_and_the_server_asks_for_it(start: Start) -> None:
    run = start(
        *FREE, "--", sys.executable, "app.py", "wait", ACTORFLOW_API_TOKEN="canary-1,canary-2"
    )
    variables = run.variables()
    assert variables["DAPR_API_TOKEN"] == "canary-1"
    run.out.wait_for("waiting")
    url = variables["DAPR_HTTP_ENDPOINT"] + "/v1.0/metadata"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=DEADLINE_S)
    request = urllib.request.Request(url, headers={"dapr-api-token": "canary-1"})
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        assert json.loads(answer.read())["id"] == "default"


def test_a_server_that_is_there_is_used_and_left_alone(start: Start) -> None:
    first = start("--app-id", "orders", *FREE, "--", sys.executable, "app.py", "wait")
    variables = first.variables()
    ports = ("--http-port", variables["DAPR_HTTP_PORT"], "--grpc-port", variables["DAPR_GRPC_PORT"])
    second = start("--app-id", "orders", *ports, "--", sys.executable, "app.py", "3")
    assert second.variables()["DAPR_HTTP_ENDPOINT"] == variables["DAPR_HTTP_ENDPOINT"]
    assert second.wait() == 3
    assert second.err.all[0].startswith("Using the server that answers on 127.0.0.1:")
    assert answers(variables["DAPR_HTTP_ENDPOINT"])
    third = start("--app-id", "billing", *ports, "--", sys.executable, "app.py", "3")
    assert third.wait() == 6
    assert "a server of another app" in third.err.all[0]


def test_a_server_that_cannot_start_ends_the_run(start: Start, tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_text("hello")
    run = start(*FREE[:4], "--store", "sqlite:///junk.db", "--", sys.executable, "app.py", "0")
    assert run.wait() == 1
    assert any("not a SQLite database" in line for line in run.err.all)
    assert run.out.all == []


def test_a_server_that_dies_takes_the_app_along(start: Start, tmp_path: Path) -> None:
    run = start(*FREE, "--store", "sqlite:///run.db", "--", sys.executable, "app.py")
    run.out.wait_for("waiting")
    os.kill(int((tmp_path / "run.db-lock").read_text()), signal.SIGKILL)
    assert run.wait() == 128 + signal.SIGTERM
    assert any("The server has ended" in line for line in run.err.all)


def test_a_run_that_is_killed_does_not_leave_its_server_behind(
    start: Start, tmp_path: Path
) -> None:
    run = start(*FREE, "--ready-file", "ready", "--", sys.executable, "app.py", "wait")
    url = run.variables()["DAPR_HTTP_ENDPOINT"]
    app_pid = int(run.out.wait_for("pid ").rpartition(" ")[2])
    run.out.wait_for("waiting")
    try:
        assert answers(url)
        run.process.kill()
        end_s = time.monotonic() + DEADLINE_S
        while (tmp_path / "ready").exists() and time.monotonic() < end_s:
            time.sleep(0.05)
        assert not (tmp_path / "ready").exists(), "the server is to stop in good order"
        while answers(url) and time.monotonic() < end_s:
            time.sleep(0.05)
        assert not answers(url)
    finally:
        os.kill(app_pid, signal.SIGKILL)
        run.wait()
