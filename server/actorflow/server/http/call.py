"""One request on its way to a handler: parameters, query and body, read on demand."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from actorflow.actors.errors import OverloadedError
from actorflow.server.errors import WireError, invalid_request, malformed
from actorflow.server.http.paths import parse_query

BODY_GRACE_S = 10.0
"""A body may take this long, and longer only while it comes at BODY_BYTES_PER_S or more."""

BODY_BYTES_PER_S = 65_536
NAME_MAX_BYTES = 256
"""Longest workflow or event name; Dapr knows no limit, a store needs one."""

BODIES_MAX_BYTES = 64 * 1_024 * 1_024
"""All bodies that are just being received. Beyond it the next piece of any is refused with 429."""

T = TypeVar("T")


class Bodies:
    """The limit of one body, and what all unfinished bodies of a server hold in memory."""

    __slots__ = ("each_max_bytes", "held_bytes")

    def __init__(self, each_max_bytes: int) -> None:
        self.each_max_bytes = each_max_bytes
        self.held_bytes = 0

    def hold(self, size_bytes: int) -> None:
        """Account for a piece. Raises OverloadedError; the piece then counts all the same."""
        self.held_bytes += size_bytes
        if self.held_bytes > BODIES_MAX_BYTES:
            raise OverloadedError("the memory for request bodies", BODIES_MAX_BYTES)


class Call:
    """A matched request. `values` are the decoded path parameters in the order of the path."""

    __slots__ = ("_bodies", "_query", "_query_text", "request", "values")

    def __init__(
        self,
        request: web.BaseRequest,
        values: tuple[str, ...],
        query_text: str,
        bodies: Bodies,
    ) -> None:
        self.request = request
        self.values = values
        self._query_text = query_text
        self._query: Mapping[str, Sequence[str]] | None = None
        self._bodies = bodies

    @property
    def query(self) -> Mapping[str, Sequence[str]]:
        """All query values by name."""
        if self._query is None:
            self._query = parse_query(self._query_text) if self._query_text else {}
        return self._query

    def first(self, name: str) -> str:
        """Return the first value of a query parameter, "" when absent."""
        if not self._query_text:
            return ""
        values = self.query.get(name)
        return values[0] if values else ""

    def only(self, *names: str) -> None:
        """Refuse every other query parameter, so that a misspelt filter is not ignored."""
        for name in self.query:
            if name not in names:
                known = ", ".join(names) or "none"
                raise invalid_request(f"unknown query parameter '{name}'; known: {known}")

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a query parameter that is `true` or `false`."""
        text = self.first(name)
        if text not in ("", "true", "false"):
            raise invalid_request(f"query parameter '{name}' must be true or false")
        return text == "true" if text else default

    async def text(self) -> str:
        """Return the whole body, which must be UTF-8, as it is. It can be read once.

        Raises:
            WireError: 400, too large, broken off, too slow, compressed, or not UTF-8.
        """
        body = await self.body()
        try:
            return body.decode()
        except UnicodeDecodeError as err:
            raise malformed(f"invalid UTF-8 at byte {err.start}") from None

    async def json(self, shape: type[T]) -> T | None:
        """Return the body decoded into `shape`, None when it is empty. Raises as `text`."""
        text = await self.text()
        return decode_json(text, shape) if text else None

    async def body(self) -> bytes:
        """Return the whole body as bytes. Raises as `text`, except for its encoding."""
        request = self.request
        content = request.content
        if not request.body_exists:
            return b""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise WireError(
                415, "ERR_CONTENT_ENCODING", "Content-Encoding is not supported; send plain bytes"
            )
        if content.is_eof() and content.exception() is None:
            body = content.read_nowait()  # it came together with the header
            if len(body) > self._bodies.each_max_bytes:
                raise _too_large()
            return body
        return await self._slow_body()

    async def _slow_body(self) -> bytes:
        request = self.request
        if (request.content_length or 0) > self._bodies.each_max_bytes:
            raise _too_large()
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # an interim answer does not count as a begun response
        body = bytearray()
        start_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(start_s + BODY_GRACE_S) as deadline:
                while chunk := await request.content.readany():
                    body += chunk
                    self._bodies.hold(len(chunk))
                    if len(body) > self._bodies.each_max_bytes:
                        raise _too_large()
                    deadline.reschedule(start_s + BODY_GRACE_S + len(body) / BODY_BYTES_PER_S)
        except TimeoutError:
            raise _body_error("it came too slowly") from None
        except (RequestPayloadError, ConnectionError):
            raise _body_error("unexpected EOF") from None
        finally:
            self._bodies.held_bytes -= len(body)
        return bytes(body)


def decode_json(text: str, shape: type[T]) -> T:
    """Decode JSON into `shape`.

    Raises:
        WireError: 400, not JSON, not of that shape, or nested too deeply.
    """
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.DecodeError as err:
        raise malformed(str(err)) from None
    except RecursionError:
        raise malformed("nested too deeply") from None


def check_name(kind: str, code: str, name: str) -> None:
    """Refuse a workflow or event name that could not be stored or shown.

    Raises:
        WireError: 400 with `code`.
    """
    if len(name.encode()) > NAME_MAX_BYTES:
        raise WireError(400, code, f"{kind} name exceeds the max length of {NAME_MAX_BYTES} bytes")
    if not name.isprintable() and any(
        ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in name
    ):
        raise WireError(400, code, f"{kind} name contains a control character")


def _too_large() -> WireError:
    return _body_error("stream too large")


def _body_error(problem: str) -> WireError:
    return WireError(400, "ERR_BODY_READ", f"failed to read request body: {problem}")
