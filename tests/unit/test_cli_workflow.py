"""The `workflow` commands against a scripted server: what they send, print and exit with."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actorflow.server.cli import cli
from actorflow.server.cli_client import Exit
from actorflow.server.cli_show import CELL_MAX_CHARS, duration

ITEM = {
    "instanceID": "order-1",
    "name": "OrderProcessingWorkflow",
    "status": "RUNNING",
    "executionID": "e",
    "generation": 1,
    "createdAt": "2026-01-01T00:00:00.123456789Z",
    "lastUpdatedAt": "2026-01-01T00:00:01Z",
    "historyLength": 3,
    "input": '{"Name": "Paperclips"}',
}
DONE = ITEM | {"status": "COMPLETED", "output": "42", "completedAt": "2026-01-01T00:01:00Z"}
FAILED = ITEM | {"status": "FAILED", "failure": {"errorType": "KeyError", "message": "'x'\x1b[2J"}}
WAITING = {
    "instanceID": "order-1",
    "status": "RUNNING",
    "waiting": [{"kind": "event", "detail": "approval", "since": "2026-01-01T00:00:01Z"}],
}
ONE = "/actorflow/v1/instances/order-1"


class ScriptedServer(ThreadingHTTPServer):
    """Answers `METHOD path` from a script, the last answer again and again; records requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: dict[str, list[tuple[int, object]]] = {}
        self.seen: list[tuple[str, str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def on(self, request: str, *answers: tuple[int, object] | object) -> None:
        self.script[request] = [a if isinstance(a, tuple) else (200, a) for a in answers]


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.seen.append((self.command, self.path, body, dict(self.headers)))
        answers = self.server.script.get(f"{self.command} {self.path.partition('?')[0]}")
        status, value = (
            answers[0] if answers else (404, {"errorCode": "X", "message": "unscripted"})
        )
        if answers and len(answers) > 1:
            answers.pop(0)
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer  # noqa: N815 -- names of the base class

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    for name in ("ACTORFLOW_API_TOKEN", "DAPR_API_TOKEN", "ACTORFLOW_API_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("ACTORFLOW_URL", server.url)
        yield server
        server.shutdown()
        thread.join()


def run(*arguments: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(cli, ["workflow", *arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


# --- what is sent --------------------------------------------------------------------------------

ACTIONS = [
    (["pause", "order-1"], f"POST {ONE}/suspend", "{}"),
    (["pause", "order-1", "--reason", "audit"], f"POST {ONE}/suspend", '{"reason": "audit"}'),
    (["resume", "order-1"], f"POST {ONE}/resume", "{}"),
    (["terminate", "order-1"], f"POST {ONE}/terminate", "{}"),
    (
        ["terminate", "order-1", "--output", '"bye"', "--keep-children"],
        f"POST {ONE}/terminate",
        '{"output": "bye", "recursive": false}',
    ),
    (["purge", "order-1"], f"POST {ONE}/purge", "{}"),
    (["purge", "order-1", "--force"], f"POST {ONE}/purge", '{"force": true}'),
    (
        ["raise", "order-1", "approval", "--input", "true"],
        "POST /v1.0/workflows/dapr/order-1/raiseEvent/approval",
        "true",
    ),
    (["raise", "a/b ü", "x+y"], "POST /v1.0/workflows/dapr/a%2Fb%20%C3%BC/raiseEvent/x%2By", ""),
    (
        ["rerun", "order-1", "--from-event", "3", "--new-id", "b", "--input", "[1]"],
        f"POST {ONE}/rerun",
        '{"eventID": 3, "newInstanceID": "b", "input": [1]}',
    ),
    (["start", "Order", "--input", "-"], "POST /actorflow/v1/workflows/Order/start", '{"n": 1}'),
    (["start", "Order"], "POST /actorflow/v1/workflows/Order/start", ""),
]


@pytest.mark.parametrize(("arguments", "request_line", "body"), ACTIONS)
def test_actions(
    server: ScriptedServer, arguments: list[str], request_line: str, body: str
) -> None:
    server.on(request_line, {"instanceID": "new-1", "deletedCount": 1})
    result = run(*arguments, stdin='{"n": 1}')
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    method, path, sent, headers = server.seen[0]
    assert f"{method} {path}" == request_line
    assert sent == body
    assert headers["Content-Type"] == "application/json"
    assert "dapr-api-token" not in headers
    result = run(*arguments, "--json", stdin='{"n": 1}')
    assert json.loads(result.stdout) == {"instanceID": "new-1", "deletedCount": 1}


def test_start_prints_only_the_id_so_that_a_shell_can_keep_it(server: ScriptedServer) -> None:
    server.on("POST /actorflow/v1/workflows/Order/start", (202, {"instanceID": "o-1"}))
    result = run("start", "Order", "--id", "o 1", "--at", "2026-01-31T09:30:00Z")
    assert result.stdout == "o-1\n"
    query = "instanceID=o+1&scheduledStart=2026-01-31T09%3A30%3A00Z"
    assert server.seen[0][1].endswith(f"start?{query}")


def test_list_sends_filters_and_follows_pages(server: ScriptedServer) -> None:
    page = {"instances": [ITEM], "nextPageToken": "t"}
    server.on("GET /actorflow/v1/instances", page, {"instances": [DONE]})
    result = run(
        "list", "--status", "RUNNING", "--status", "FAILED", "--name", "N", "--prefix", "o"
    )
    assert result.exit_code == 0, result.output
    first, second = (path for _, path, _, _ in server.seen)
    assert first.endswith("?limit=100&status=RUNNING&status=FAILED&name=N&idPrefix=o")
    assert second.endswith("?limit=99&pageToken=t&status=RUNNING&status=FAILED&name=N&idPrefix=o")
    assert "RUNNING" in result.stdout
    assert "COMPLETED" in result.stdout
    server.on("GET /actorflow/v1/instances", page)
    assert "more than 1" in run("list", "--limit", "1").stderr
    shown = json.loads(run("list", "--limit", "1", "--json").stdout)
    assert shown == {"instances": [ITEM], "more": True}


def test_the_token_comes_from_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on(f"GET {ONE}", DONE)
    monkeypatch.setenv("DAPR_API_TOKEN", "second")
    monkeypatch.setenv("ACTORFLOW_API_TOKEN", "first,old")
    run("get", "order-1")
    assert server.seen[0][3]["dapr-api-token"] == "first"


# --- what is shown -------------------------------------------------------------------------------


def test_get_shows_what_an_open_instance_waits_for(server: ScriptedServer) -> None:
    server.on(f"GET {ONE}", ITEM)
    server.on(f"GET {ONE}/waiting", WAITING)
    text = run("get", "order-1").stdout
    for expected in (
        "order-1",
        "OrderProcessingWorkflow",
        "RUNNING",
        "Paperclips",
        "event approval",
    ):
        assert expected in text
    assert json.loads(run("get", "order-1", "--json").stdout) == ITEM


def test_user_text_cannot_drive_the_terminal(server: ScriptedServer) -> None:
    server.on(f"GET {ONE}", FAILED)
    evil = "[bold]a\x1b[2J\nb[/bold]" + "c" * 200
    event = {
        "type": "EventRaised",
        "eventID": -1,
        "timestamp": "2026-01-01T00:00:00Z",
        "name": evil,
    }
    server.on(f"GET {ONE}/history", {"events": [event], "length": 1})
    server.on(f"GET {ONE}/waiting", WAITING | {"waiting": [{"kind": "event", "detail": evil}]})
    for arguments in (["get"], ["history"], ["history", "--full"], ["why"]):
        text = run(*arguments, "order-1").stdout
        assert "\x1b" not in text
        assert "\\x1b[2J" in text
    assert "[bold]a" in run("why", "order-1").stdout
    assert len(run("history", "order-1").stdout) < len(run("history", "order-1", "--full").stdout)


def test_history_follows_pages_and_counts_from_the_first_event(server: ScriptedServer) -> None:
    def event(second: int) -> dict[str, object]:
        return {
            "type": "TaskScheduled",
            "eventID": second,
            "timestamp": f"2026-01-01T00:00:0{second}.5Z",
            "name": "pay",
        }

    server.on(
        f"GET {ONE}/history",
        {"events": [event(1), event(2)], "nextIndex": 2},
        {"events": [event(4)]},
    )
    lines = run("history", "order-1").stdout.splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:4] == ["0", "+0.000", "s", "TaskScheduled"]
    assert lines[3].split()[:5] == ["2", "+3.000", "s", "TaskScheduled", "4"]
    assert server.seen[1][1].endswith("start=2")


def test_why_of_an_instance_that_waits_for_nothing(server: ScriptedServer) -> None:
    server.on(f"GET {ONE}/waiting", WAITING | {"waiting": []})
    assert "waits for nothing: it is RUNNING" in run("why", "order-1").stdout


def test_an_empty_list_says_so(server: ScriptedServer) -> None:
    server.on("GET /actorflow/v1/instances", {"instances": []})
    assert run("list").stdout == "No instances.\n"


def test_a_table_in_a_pipe_is_not_cut(server: ScriptedServer) -> None:
    long = "x" * (CELL_MAX_CHARS * 5)
    server.on("GET /actorflow/v1/instances", {"instances": [ITEM | {"instanceID": long}]})
    assert long in run("list").stdout


# --- wait ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "code"),
    [(DONE, Exit.OK), (FAILED, Exit.FAILED), (ITEM | {"status": "TERMINATED"}, Exit.FAILED)],
)
def test_wait_polls_until_the_end_and_tells_by_its_exit_code(
    server: ScriptedServer, end: dict[str, object], code: int
) -> None:
    server.on(f"GET {ONE}/wait", ITEM, ITEM, end)
    server.on(f"GET {ONE}/waiting", WAITING)
    result = run("wait", "order-1")
    assert result.exit_code == code
    assert str(end["status"]) in result.stdout
    assert [path for _, path, _, _ in server.seen if "/wait?" in path] == [
        f"{ONE}/wait?timeout=2.000s"
    ] * 3


def test_wait_outlives_a_restart_of_the_server(server: ScriptedServer) -> None:
    away = (503, {"errorCode": "ERR_ACTOR_RUNTIME_CLOSED", "message": "closed"})
    server.on(f"GET {ONE}/wait", ITEM, away, away, DONE)
    server.on(f"GET {ONE}/waiting", WAITING)
    assert run("wait", "order-1").exit_code == 0


def test_wait_does_not_wait_for_ever_for_a_server(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actorflow.server.cli_workflow.AWAY_MAX_S", 0.0)
    server.on(f"GET {ONE}/wait", ITEM, (503, {"errorCode": "X", "message": "closed"}))
    server.on(f"GET {ONE}/waiting", WAITING)
    result = run("wait", "order-1")
    assert result.exit_code == Exit.UNREACHABLE
    assert "closed" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--timeout", "60"]])
def test_wait_does_not_wait_for_a_server_that_never_was(
    server: ScriptedServer, arguments: list[str]
) -> None:
    server.on(f"GET {ONE}/wait", (503, {"errorCode": "X", "message": "closed"}), DONE)
    assert run("wait", "order-1", *arguments).exit_code == Exit.UNREACHABLE


def test_wait_gives_up_after_its_timeout(server: ScriptedServer) -> None:
    server.on(f"GET {ONE}/wait", ITEM)
    server.on(f"GET {ONE}/waiting", WAITING)
    result = run("wait", "order-1", "--timeout", "0")
    assert result.exit_code == Exit.TIMEOUT
    assert "still RUNNING" in result.stderr
    assert "workflow why order-1" in result.stderr


def test_start_and_wait(server: ScriptedServer) -> None:
    server.on("POST /actorflow/v1/workflows/Order/start", (202, {"instanceID": "order-1"}))
    server.on(f"GET {ONE}/wait", DONE)
    result = run("start", "Order", "--wait", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "COMPLETED"


# --- errors --------------------------------------------------------------------------------------

REFUSALS = [
    (404, {"errorCode": "ERR_INSTANCE_ID_NOT_FOUND", "message": "unable to find"}, Exit.NOT_FOUND),
    (
        500,
        {"errorCode": "ERR_RAISE_EVENT_WORKFLOW", "message": "...: no such instance exists"},
        Exit.NOT_FOUND,
    ),
    (409, {"errorCode": "ERR_INSTANCE_EXISTS", "message": "taken"}, Exit.CONFLICT),
    (400, {"errorCode": "ERR_INVALID_REQUEST", "message": "limit"}, Exit.USAGE),
    (401, "invalid api token\n", Exit.REFUSED),
    (403, {"errorCode": "ERR_ORIGIN", "message": "no"}, Exit.REFUSED),
    (429, {"errorCode": "ERR_OVERLOADED", "message": "full"}, Exit.UNREACHABLE),
    (503, {"errorCode": "ERR_ACTOR_RUNTIME_CLOSED", "message": "closed"}, Exit.UNREACHABLE),
    (500, {"errorCode": "ERROR", "message": "boom"}, Exit.FAILED),
    (404, {"errorCode": "ERR_DIRECT_INVOKE", "message": "failed getting app id"}, Exit.FAILED),
    (502, "<html>\x1b[2J</html>", Exit.FAILED),
    (200, "<html></html>", Exit.FAILED),
]


@pytest.mark.parametrize(("status", "body", "code"), REFUSALS)
def test_refusals(server: ScriptedServer, status: int, body: object, code: int) -> None:
    server.on(f"GET {ONE}", (status, body))
    result = run("get", "order-1", "--json")
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert result.stdout == ""
    assert "\x1b" not in result.output


def test_a_missing_token_says_where_it_comes_from(server: ScriptedServer) -> None:
    server.on(f"GET {ONE}", (401, "invalid api token\n"))
    assert "ACTORFLOW_API_TOKEN" in run("get", "order-1").stderr


def test_no_server(server: ScriptedServer) -> None:
    result = run("get", "order-1", "--url", "http://127.0.0.1:1")
    assert result.exit_code == Exit.UNREACHABLE
    assert "actorflow serve --app FILE.py" in result.stderr


@pytest.mark.parametrize("instance_id", ["", ".", ".."])
def test_an_id_that_would_change_the_path_is_not_sent(
    server: ScriptedServer, instance_id: str
) -> None:
    assert run("purge", instance_id).exit_code == Exit.USAGE
    assert server.seen == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0 ms"),
        (0.0, "0 ms"),
        (0.000_051, "0.05 ms"),
        (0.006_61, "6.61 ms"),
        (0.999_999, "999.99 ms"),
        (1.0, "1 s"),
        (59.99, "59.9 s"),
        (60.0, "1 min"),
        (3_661.0, "1 h 1 min"),
        (3 * 86_400.0 + 7_300, "3 d 2 h"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
