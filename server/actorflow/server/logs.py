"""Logging of the process: one line an event, on stderr, safe to read and to keep.

structlog and the standard library end in the same renderer. Control characters are escaped, so a
name or id cannot forge a line or drive a terminal; tokens and URL passwords are replaced; payloads
never appear, even if somebody passes one.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from actorflow.server.config import Settings, redact_url

VALUE_MAX_CHARS = 1_000
"""Longest value in a line; stacks may be STACK_MAX_CHARS. What is cut says so."""

STACK_MAX_CHARS = 8_000
PAYLOAD_KEYS = frozenset({"input", "output", "result", "payload", "body", "custom_status", "data"})
HIDDEN: Final = "***"
_ACCESS_KEYS = ("time", "level", "logger", "exc_info", "_record", "_from_structlog")
_ACCESS_FIELDS = {
    "first_request_line": "request",
    "response_status": "status",
    "response_size": "size_bytes",
    "remote_address": "remote",
}
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def configure_logs(
    settings: Settings, stream: TextIO | None = None, *, process: int | None = None
) -> None:
    """Send structlog and stdlib logging to `stream` (default: stderr). Call once.

    Args:
        process: the number of this process among several behind one port, shown with every line.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    render = _render_json if settings.log_format == "json" else _render_console
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _access_to_fields],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _stack_to_text,
                Scrubber(settings.api_tokens),
                *([_numbered(process)] if process is not None else []),
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = settings.log_level.upper()
    root.setLevel(level)
    # asyncio at debug would log every poll; the access log is a choice of its own.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, root.level))
    for name in ("aiohttp.access", "actorflow.server.grpc.access"):
        logging.getLogger(name).setLevel("INFO" if settings.access_log else "CRITICAL")
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def escaped(text: str) -> str:
    r"""Return the text on one line: control, direction and line characters as `\n`, `\x1b`, ..."""
    return _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], text)


class Scrubber:
    """A structlog processor that takes payloads and secrets out of an event."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted(filter(None, secrets), key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """Return a clean copy of the event."""
        return {
            key: self._payload(value) if key in PAYLOAD_KEYS else self._clean(key, value)
            for key, value in event.items()
        }

    def _payload(self, value: object) -> str:
        return f"<{len(value)} long>" if isinstance(value, (str, bytes)) else "<not shown>"

    def _clean(self, key: str, value: object) -> object:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, (list, tuple)):
            return [self._clean(key, item) for item in value]
        text = value if isinstance(value, str) else str(value)
        text = redact_url(text)
        if self._secrets:
            text = self._secrets.sub(HIDDEN, text)
        most = STACK_MAX_CHARS if key == "stack" else VALUE_MAX_CHARS
        if len(text) > most:
            text = f"{text[:most]}... ({len(text):,} characters)"
        return escaped(text)


def _access_to_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # The access log says everything twice: as one text, and as fields of the record.
    if event.get("logger") != "aiohttp.access":
        return event
    kept = {key: event[key] for key in _ACCESS_KEYS if key in event}
    return (
        kept
        | {new: event[old] for old, new in _ACCESS_FIELDS.items() if old in event}
        | {"event": "request"}
    )


def _stack_to_text(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[1] is not None:
        event["stack"] = "".join(traceback.format_exception(*info)).rstrip()
    return event


def _numbered(process: int) -> Processor:
    def add(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return add


def _render_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in ("time", "level", "event", "logger") if key in event}
    return json.dumps({**first, **event}, ensure_ascii=False, default=str)


def _render_console(_: WrappedLogger, __: str, event: EventDict) -> str:
    time, level = event.pop("time", ""), str(event.pop("level", ""))
    text = event.pop("event", "")
    event.pop("logger", None)
    process = event.pop("process", None)
    if process is not None:
        time = f"[{process}] {time}"
    pairs = "".join(f" {key}={_quoted(value)}" for key, value in event.items())
    return f"{time} {level:<7} {text}{pairs}"


def _quoted(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return json.dumps(text, ensure_ascii=False) if not text or re.search(r'[\s"=]', text) else text
