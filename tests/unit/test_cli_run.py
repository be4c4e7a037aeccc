"""`actorflow run` without any process: options, variables, and what may not start."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from actorflow.server.cli import cli
from actorflow.server.cli_client import CliError, Exit
from actorflow.server.config import load_settings
from actorflow.server.options import OPTIONS
from actorflow.server.together import Doors, find_server
from tests.servers import free_port


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for option in OPTIONS:
        for name in option.env_names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ACTORFLOW_CONFIG", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["run", *arguments])


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every GET with the status and body of its server."""

    def do_GET(self) -> None:
        status, body = self.server.answer  # type: ignore[attr-defined]  # set by the fixture
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other() -> Iterator[http.server.HTTPServer]:
    """A server that is not ours; `answer` is what it says."""
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def flags(**given: str) -> dict[str, str]:
    return {"listen-addresses": "127.0.0.1", **{k.replace("_", "-"): v for k, v in given.items()}}


def test_help_has_examples_and_hides_what_has_no_meaning() -> None:
    text = run("--help").output
    assert "actorflow run --app-id orders -- python app.py" in text
    assert "--app-port" in text
    assert "--placement-host-address" not in text


def test_the_words_after_the_dashes_are_the_program() -> None:
    assert run("--app-id", "orders").exit_code == Exit.USAGE
    done = run("--app-id", "orders", "--", "no-such-program", "--app-id", "x")
    assert done.exit_code == Exit.USAGE
    assert "no program 'no-such-program' to run" in done.output


def test_what_users_of_dapr_type_is_accepted() -> None:
    typed = [
        *("-a", "orders", "-p", "8080", "-P", "http", "-H", "3601", "-G", "50002", "-d", "comps"),
        *("--enable-app-health-check", "--app-health-check-path", "/x", "--metrics-port", "9091"),
        *("--resources-path", "a", "--resources-path", "b", "--placement-host-address", "h:1"),
    ]
    done = run(*typed, "--", "no-such-program")
    assert "no program" in done.output, "every option was understood"
    assert "given twice" not in done.output
    assert run("--nonsense", "1", "--", "true").exit_code == Exit.USAGE


def test_a_wrong_setting_is_told_before_anything_starts() -> None:
    done = run("--http-port", "many", "--", "true")
    assert done.exit_code == Exit.USAGE
    assert "--http-port" in done.output


def test_variables_of_the_application() -> None:
    environ = {"ACTORFLOW_API_TOKEN": "first,second"}
    settings = load_settings(flags(app_id="orders"), environ).settings
    assert Doors("127.0.0.1:3500", "127.0.0.1:50001").environ(settings, 8080) == {
        "APP_ID": "orders",
        "APP_PORT": "8080",
        "DAPR_HTTP_PORT": "3500",
        "DAPR_GRPC_PORT": "50001",
        "DAPR_HTTP_ENDPOINT": "http://127.0.0.1:3500",
        "DAPR_GRPC_ENDPOINT": "127.0.0.1:50001",
        "DAPR_API_TOKEN": "first",
    }


def test_no_token_no_app_port_and_no_grpc_are_left_out() -> None:
    settings = load_settings(flags(), {}).settings
    found = Doors("127.0.0.1:3500", "").environ(settings, None)
    assert sorted(found) == ["APP_ID", "DAPR_HTTP_ENDPOINT", "DAPR_HTTP_PORT"]


@pytest.mark.parametrize(
    ("urls", "grpc", "expected"),
    [
        (["http://127.0.0.1:1"], ["127.0.0.1:2"], Doors("127.0.0.1:1", "127.0.0.1:2")),
        (["http://0.0.0.0:1"], ["0.0.0.0:2"], Doors("127.0.0.1:1", "127.0.0.1:2")),
        (["http://[::]:1"], ["[::]:2"], Doors("[::1]:1", "[::1]:2")),
        (["http://[::1]:1"], [], Doors("[::1]:1", "")),
        (["http://host:1"], ["host:2"], Doors("host:1", "host:2")),
    ],
)
def test_doors_are_those_that_this_machine_can_reach(
    urls: list[str], grpc: list[str], expected: Doors
) -> None:
    assert Doors.told({"urls": urls, "grpc": grpc}) == expected


# --- is there a server already? ------------------------------------------------------------------


def test_nobody_listens() -> None:
    port = str(free_port())
    assert find_server(load_settings(flags(http_port=port), {}).settings) is None
    assert find_server(load_settings(flags(http_port="0"), {}).settings) is None


def test_a_server_of_this_app_is_used(other: http.server.HTTPServer) -> None:
    other.answer = (204, b"")  # type: ignore[attr-defined]  # see Answer
    port = str(other.server_port)
    settings = load_settings(flags(http_port=port, grpc_port=port), {}).settings
    assert find_server(settings) == Doors(f"127.0.0.1:{port}", f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((500, b'{"errorCode":"ERR_HEALTH_APPID_NOT_MATCH"}'), "a server of another app than"),
        ((500, b'{"errorCode":"ERR_HEALTH_NOT_READY"}'), "no server that is ready (500)"),
        ((200, b"<html>"), "no server that is ready (200)"),
    ],
)
def test_something_else_on_the_port(
    other: http.server.HTTPServer, answer: tuple[int, bytes], text: str
) -> None:
    other.answer = answer  # type: ignore[attr-defined]  # see Answer
    settings = load_settings(flags(http_port=str(other.server_port)), {}).settings
    with pytest.raises(CliError, match=text.replace("(", r"\(").replace(")", r"\)")):
        find_server(settings)


def test_a_server_without_grpc_is_not_enough(other: http.server.HTTPServer) -> None:
    other.answer = (204, b"")  # type: ignore[attr-defined]  # see Answer
    ports = {"http_port": str(other.server_port), "grpc_port": str(free_port())}
    settings = load_settings(flags(**ports), {}).settings
    with pytest.raises(CliError, match="does not listen for gRPC"):
        find_server(settings)
    off = load_settings(flags(**ports, grpc="false"), {}).settings
    assert find_server(off) is not None
