"""Logging: one line an event, whatever is in it; no secret, no payload. Security rows F18, F24."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from actorflow.server.config import Settings
from actorflow.server.logs import STACK_MAX_CHARS, VALUE_MAX_CHARS, configure_logs, escaped

FORGERY = "x\n2026-01-01T00:00:00Z error   all is lost\r\x1b[2J\u2028y\u202e\x9bz"


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before[0], before[1]
    for name in ("asyncio", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


def logged(log_format: str, *, level: str = "info", tokens: tuple[str, ...] = ()) -> io.StringIO:
    stream = io.StringIO()
    settings = Settings(log_format=log_format, log_level=level, api_tokens=tokens)
    configure_logs(settings, stream)
    return stream


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_one_line_an_event_from_both_libraries(log_format: str) -> None:
    stream = logged(log_format)
    structlog.get_logger("a").info("instance_started", instance_id=FORGERY)
    logging.getLogger("b").warning("instance %s stalled", FORGERY)
    logging.getLogger("c").info(FORGERY, extra={"instance_id": FORGERY})
    lines = stream.getvalue().split("\n")
    assert lines[-1] == ""
    assert len(lines) == 4
    for line in lines:
        assert escaped(line) == line
    assert "instance_id" in lines[2]


def test_json_lines_are_json_with_the_usual_keys() -> None:
    stream = logged("json")
    structlog.get_logger("shop").warning("slow", took_s=1.5, name='say "hi"')
    record = json.loads(stream.getvalue())
    assert list(record)[:4] == ["time", "level", "event", "logger"]
    assert record["level"] == "warning"
    assert record["took_s"] == 1.5
    assert record["name"] == 'say "hi"'


def test_console_lines_can_be_split_again() -> None:
    stream = logged("console")
    structlog.get_logger().info("started", id="a b", other="c", empty="")
    assert stream.getvalue().endswith('info    started id="a b" other=c empty=""\n')


def test_lists_stay_lists_and_are_cleaned() -> None:
    stream = logged("json", tokens=("canary-1",))
    structlog.get_logger().info("listening", urls=["a", FORGERY, "canary-1", 5])
    assert json.loads(stream.getvalue())["urls"] == ["a", escaped(FORGERY), "***", 5]
    stream = logged("console")
    structlog.get_logger().info("listening", urls=["a", "b"])
    assert stream.getvalue().endswith("listening urls=a,b\n")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_an_exception_is_one_line_with_its_stack(log_format: str) -> None:
    stream = logged(log_format)
    try:
        {"": 0}[FORGERY]
    except KeyError:
        structlog.get_logger().exception("turn_failed")
        logging.getLogger("b").exception("turn_failed")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "test_config_logs.py" in line
        assert "KeyError" in line


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_tokens_passwords_and_payloads_never_appear(log_format: str) -> None:
    stream = logged(log_format, tokens=("canary-1", "canary-2"))
    log = structlog.get_logger()
    log.info("canary-1 refused", header="Bearer canary-2", url="redis://bob:canary3@host/0")
    log.info("start", input='{"card": "canary-4"}', output=b"canary-5", result={"a": "canary-6"})
    logging.getLogger("b").error("bad token %s", "canary-1")
    try:
        int("canary-2")
    except ValueError:
        log.exception("failed")
    assert "canary" not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_long_values_are_cut_and_say_so() -> None:
    stream = logged("json")
    structlog.get_logger().info("long", name="x" * 10_000_000, stack="y" * 10_000)
    record = json.loads(stream.getvalue())
    assert record["name"] == "x" * VALUE_MAX_CHARS + "... (10,000,000 characters)"
    assert len(record["stack"]) < STACK_MAX_CHARS + 100


def test_level_and_access_log() -> None:
    stream = logged("console", level="warning")
    structlog.get_logger().info("no")
    logging.getLogger("x").info("no")
    logging.getLogger("aiohttp.access").info("no")
    assert stream.getvalue() == ""
    stream = logged("console")
    logging.getLogger("aiohttp.access").info("no")
    assert stream.getvalue() == ""
    configure_logs(Settings(access_log=True), stream)
    logging.getLogger("aiohttp.access").info(
        '127.0.0.1 "GET / HTTP/1.1" 200 3 "agent"',
        extra={
            "first_request_line": "GET / HTTP/1.1",
            "response_status": 200,
            "response_size": 3,
            "remote_address": "127.0.0.1",
            "request_header": {"User-Agent": "agent"},
        },
    )
    line = 'info    request request="GET / HTTP/1.1" status=200 size_bytes=3 remote=127.0.0.1\n'
    assert stream.getvalue().endswith(line)
    assert stream.getvalue().count("\n") == 1


def test_lone_surrogates_can_be_written() -> None:
    stream = logged("console")
    structlog.get_logger().info("odd", name="\udcff")
    assert "\\udcff" in stream.getvalue()
