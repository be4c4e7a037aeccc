"""Connections: how many, how long they may be silent, and what bytes that are not HTTP get.

aiohttp limits the size of a header but not the time it takes, nor the number of connections, and
answers a header that is too large with 400. The two small classes here add that, and nothing else.
"""

import asyncio
import logging
from typing import Any, NamedTuple, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from actorflow.server.config import Settings
from actorflow.server.http import respond

_log = logging.getLogger(__name__)

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: actorflow\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
LINGER_S = 2.0
"""How long unread body bytes are read and thrown away, so that the client sees the answer."""

REFUSED_S = 0.5
"""How long a refused connection stays open, so that the client sees the answer."""

HEADERS_MAX = 128


class EdgeLimits(NamedTuple):
    """Limits of connections.

    `header_s`: a header must be complete this long after its first byte, or after the connection.
    `idle_s`: a kept-alive connection is closed after this silence.
    `write_s`: the buffered part of an answer must be read in this time.
    """

    connections: int = 1_000
    header_s: float = 10.0
    idle_s: float = 75.0
    write_s: float = 60.0


DEFAULT_LIMITS = EdgeLimits()


class EdgeServer(web.Server):
    """Makes one `EdgeProtocol` a connection. At the limit an idle connection gives way."""

    def __init__(self, handler: Any, settings: Settings, limits: EdgeLimits) -> None:
        super().__init__(handler, handler_cancellation=True)
        self.limits = limits
        self._header_max_bytes = settings.read_buffer_bytes
        self._access_log = logging.getLogger("aiohttp.access") if settings.access_log else None

    def __call__(self) -> "EdgeProtocol":
        """Return the protocol of a new connection."""
        return EdgeProtocol(
            self,
            loop=asyncio.get_running_loop(),
            access_log=self._access_log,
            auto_decompress=False,
            keepalive_timeout=self.limits.idle_s,
            lingering_time=LINGER_S,
            max_line_size=self._header_max_bytes,
            max_field_size=self._header_max_bytes,
            max_headers=HEADERS_MAX,
        )

    def make_room(self) -> bool:
        """Close the idle connection that was opened first. False when none is idle."""
        for connection in self.connections:
            if isinstance(connection, EdgeProtocol) and connection.is_idle:
                connection.force_close()
                return True
        return False


class EdgeProtocol(web.RequestHandler):
    """One connection."""

    __slots__ = ("_gone", "_header_timer", "_limits", "_server", "_write_timer")

    def __init__(self, server: EdgeServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._limits = server.limits
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None

    @property
    def is_idle(self) -> bool:
        """True while the loop of this connection waits for a complete header."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and not self._force_close

    def gone(self) -> "asyncio.Future[None]":
        """Return a future that is done as soon as the client has closed the connection."""
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
            if self.transport is None:
                self._gone.set_result(None)
        return self._gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it when there are too many that work."""
        count = len(self._server.connections)
        has_room = count < self._limits.connections or self._server.make_room()
        super().connection_made(transport)
        self._start_header_timer()
        if not has_room:
            # A cast, as uvloop's transports are no subclasses of asyncio's.
            at_once = count >= 2 * self._limits.connections
            self._refuse(cast("asyncio.Transport", transport), at_once=at_once)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wake whoever holds back an answer to this client."""
        self._stop_header_timer()
        self._stop_write_timer()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse. While the bytes so far are only a part of a header, its time runs."""
        super().data_received(data)
        if not self.is_idle:
            if self._header_timer is not None:
                self._stop_header_timer()
        elif data and self._header_timer is None:
            self._start_header_timer()

    def pause_writing(self) -> None:
        """Note that the client does not read; an answer must not wait for it for ever."""
        super().pause_writing()
        loop = asyncio.get_running_loop()
        self._write_timer = loop.call_later(self._limits.write_s, self._write_late)

    def resume_writing(self) -> None:
        """Go on, the client reads."""
        self._stop_write_timer()
        super().resume_writing()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that are not a request, without repeating them and without a stack."""
        if isinstance(exc, LineTooLong) or "Too many headers" in (message or ""):
            response = respond.text("431 Request Header Fields Too Large", 431)
        elif status == 400:
            response = respond.text("400 Bad Request", 400)
        else:  # Edge answers its own errors; this is a bug of ours or of aiohttp
            _log.error("connection failed unexpectedly", exc_info=exc)
            response = respond.text("500 Internal Server Error", 500)
        response.force_close()
        return response

    def _refuse(self, transport: asyncio.Transport, *, at_once: bool) -> None:
        """Answer 503. Closing at once would take the answer back, once the request arrives."""
        if at_once:
            self.force_close()
            return
        transport.write(_BUSY)
        self.close()  # from here on, received bytes are thrown away
        asyncio.get_running_loop().call_later(REFUSED_S, self.force_close)

    def _start_header_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._header_timer = loop.call_later(self._limits.header_s, self._header_late)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _write_late(self) -> None:
        self._write_timer = None
        if self.transport is not None:
            self.transport.abort()  # `close` would wait for the client

    def _header_late(self) -> None:
        self._header_timer = None
        if self.is_idle:
            self.force_close()
