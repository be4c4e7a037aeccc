"""One connection to one server for all partitions: requests go out in order, as answers come back.

A request is never sent twice from here, and a connection whose answers no longer match its requests
cannot exist: an answer belongs to the oldest open request, whoever still waits for it, and after a
time-out the whole connection is dropped. docs/adr/0007 says why this is not redis-py's client.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from hiredis import ProtocolError, Reader

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.store.redis.errors import ErrorReply, refusal, unanswered, unreachable
from actorflow.actors.store.redis.script import pack

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT_S = 3.0
"""For name resolution, TCP, TLS and log-in together."""

ANSWER_TIMEOUT_S = 5.0
"""After this silence the connection is dropped; half the time that a silent owner keeps a lease."""

KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 5, 3, 3
"""A dead peer of an idle connection is noticed after 14 seconds."""

Reply: TypeAlias = Any
"""bytes, int, None, list of replies, or ErrorReply."""


class Address(NamedTuple):
    """Where a server listens: a host and a port, or a socket file with port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return f"Redis at {self.host}"
        return (
            f"Redis at [{self.host}]:{self.port}"
            if ":" in self.host
            else (f"Redis at {self.host}:{self.port}")
        )


@dataclass(frozen=True, slots=True)
class Account:
    """How to log in. Neither name nor password appears in a repr."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = None
    client_name: str = "actorflow"

    def log_in(self) -> list[bytes]:
        """Return the commands that begin a connection; an error in answer to one ends it."""
        commands: list[tuple[str | bytes | int, ...]] = []
        if self.password:
            names = (self.username,) if self.username else ()
            commands.append(("AUTH", *names, self.password))
        if self.database:
            commands.append(("SELECT", self.database))
        commands.append(("CLIENT", "SETNAME", self.client_name))
        return [pack(command) for command in commands]


class _Request:
    __slots__ = ("count", "done", "expiry", "replies")

    def __init__(self, count: int, done: asyncio.Future[list[Reply]]) -> None:
        self.count = count
        self.replies: list[Reply] = []
        self.done = done
        self.expiry: asyncio.TimerHandle | None = None


class _Connection(asyncio.Protocol):
    """The protocol of one open connection."""

    def __init__(self, place: object, loop: asyncio.AbstractEventLoop) -> None:
        self._place = place
        self._loop = loop
        self._reader = Reader(replyError=ErrorReply, notEnoughData=_MORE)
        self._transport: asyncio.Transport | None = None
        self._requests: deque[_Request] = deque()
        self._outgoing: list[bytes] = []
        self.closed = loop.create_future()
        self.why = "the connection was closed"

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    @property
    def is_idle(self) -> bool:
        return not self._requests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        _keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _MORE:
                self._answer(reply)
        except (ProtocolError, IndexError) as error:
            self.abort(f"it does not speak Redis' protocol ({error})")

    def _answer(self, reply: Reply) -> None:
        request = self._requests[0]
        request.replies.append(reply)
        if len(request.replies) == request.count:
            self._requests.popleft()
            if request.expiry is not None:
                request.expiry.cancel()
            if not request.done.done():
                request.done.set_result(request.replies)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if exc is not None:
            self.why = str(exc) or type(exc).__name__
        requests, self._requests = self._requests, deque()
        for request in requests:
            if request.expiry is not None:
                request.expiry.cancel()
            if not request.done.done():
                request.done.set_exception(unanswered(self._place, self.why))
        if not self.closed.done():
            self.closed.set_result(None)

    def send(self, data: bytes, count: int, timeout_s: float) -> asyncio.Future[list[Reply]]:
        """Send one request; it goes out with all others of this turn of the loop."""
        if self._transport is None:
            raise StoreUnavailableError(f"{self._place}: {self.why}", written=False)
        request = _Request(count, self._loop.create_future())
        request.expiry = self._loop.call_later(timeout_s, self._expire, timeout_s)
        self._requests.append(request)
        self._outgoing.append(data)
        if len(self._outgoing) == 1:
            self._loop.call_soon(self._flush)
        return request.done

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and outgoing:
            self._transport.write(b"".join(outgoing) if len(outgoing) > 1 else outgoing[0])

    def _expire(self, timeout_s: float) -> None:
        self.abort(f"silent for {timeout_s:g} s")

    def abort(self, why: str) -> None:
        """Drop the connection at once; what is open fails with `why`."""
        self.why = why
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()


_MORE = object()


class Wire:
    """A connection to one address that is made when it is needed, and made again after it broke.

    Concurrency: any number of tasks of one event loop. A caller that is cancelled leaves its
    request under way, and its answer is dropped when it comes.
    """

    def __init__(
        self, address: Address, account: Account, *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        self.address = address
        self._account = account
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None

    async def call(
        self, data: bytes, count: int = 1, *, timeout_s: float | None = None
    ) -> list[Reply]:
        """Send packed commands and return their `count` answers.

        Raises:
            StoreUnavailableError: `written` is False when nothing was sent, None when nobody knows.
        """
        connection = self._connection
        if connection is None or not connection.is_open:
            connection = await self._connect()
        return await connection.send(data, count, timeout_s or self._timeout_s)

    async def close(self, *, finish: bool = True) -> None:
        """Wait for open requests if they are to `finish`, then close. It may be used again."""
        connection, self._connection = self._connection, None
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if connection is None:
            return
        while finish and connection.is_open and not connection.is_idle:
            last = connection._requests[-1].done  # noqa: SLF001 -- two halves of one thing
            await asyncio.wait((last, connection.closed), return_when=asyncio.FIRST_COMPLETED)
        connection.abort("closed")
        await connection.closed

    async def _connect(self) -> _Connection:
        if self._connecting is None or self._connecting.done():
            loop = asyncio.get_running_loop()
            self._connecting = loop.create_task(self._open(loop), name=f"connect {self.address}")
            self._connecting.add_done_callback(_hear)
        connecting = self._connecting
        try:
            # One attempt for all who wait; nobody's cancellation takes it from the others.
            connection = await asyncio.shield(connecting)
        finally:
            if self._connecting is connecting and connecting.done():
                self._connecting = None
        self._connection = connection
        return connection

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        connection = _Connection(self.address, loop)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._reach(loop, connection)
                commands = self._account.log_in()
                replies = await connection.send(b"".join(commands), len(commands), self._timeout_s)
        except TimeoutError:
            connection.abort("log-in took too long")
            raise unreachable(
                self.address, TimeoutError(f"silent for {CONNECT_TIMEOUT_S:g} s")
            ) from None
        except OSError as error:
            raise unreachable(self.address, error) from error
        except BaseException:
            connection.abort("log-in failed")
            raise
        for reply in replies[:-1]:
            if isinstance(reply, ErrorReply):
                connection.abort("log-in failed")
                raise refusal(reply, self.address)
        return connection

    async def _reach(self, loop: asyncio.AbstractEventLoop, connection: _Connection) -> None:
        address, tls = self.address, self._account.tls
        if address.port:
            await loop.create_connection(
                lambda: connection,
                address.host,
                address.port,
                ssl=tls,
                server_hostname=address.host if tls else None,
            )
        else:
            await loop.create_unix_connection(lambda: connection, address.host)


def _hear(connecting: asyncio.Task[_Connection]) -> None:
    """Take note of a failure that nobody may wait for any more."""
    if not connecting.cancelled():
        connecting.exception()


def _keep_alive(sock: socket.socket | None) -> None:
    if sock is None or sock.family == getattr(socket, "AF_UNIX", None):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
