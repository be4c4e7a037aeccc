"""The way of every call: token, message, handler, and any error as a status.

A call that is not decodable, not allowed or not known ends here. The handlers see messages and
raise errors of the engine; what they do not expect ends as INTERNAL, with a line in the log and
without a stack in the answer.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from actorflow.actors.errors import (
    ActorflowError,
    ContentionError,
    UnavailableError,
    UsageError,
)
from actorflow.server.config import Settings
from actorflow.server.errors import WireError
from actorflow.server.grpc import messages as pb
from actorflow.server.grpc.status import (
    Code,
    RpcError,
    closed,
    invalid,
    of_engine_error,
    of_wire_error,
    unauthenticated,
)
from actorflow.server.http.call import Bodies
from actorflow.server.http.guards import TokenGuard, bearer_token
from actorflow.server.http.waits import InterruptedWaitError
from actorflow.server.metrics import Metrics
from actorflow.server.options import parse_app_id
from actorflow.server.trace import Trace, checked_trace

TOKEN_KEY = "dapr-api-token"  # noqa: S105 -- the name, not the token
APP_ID_KEY = "dapr-app-id"
"""Metadata that names the app of a caller, where it is not the server's own."""

MARGIN_BYTES = 64 * 1_024
"""Room in a message for what surrounds a payload of the largest size."""

READ_FACTOR = 4
"""So many times the size that is taken is read, to be refused here. What is larger yet, grpc
refuses, and nobody learns what it was: many SDKs forget such a result, and its activity hangs."""

WRITE_S = 30.0
"""A stream is given up when its reader takes nothing for so long."""

_log = logging.getLogger(__name__)
access_log = logging.getLogger("actorflow.server.grpc.access")
"""A line for every call, if the settings want it."""


def message_max_bytes(settings: Settings) -> int:
    """Return the size of the largest message that is taken or sent."""
    return settings.max_body_bytes + MARGIN_BYTES


class Rpc(NamedTuple):
    """One method of a service.

    handle: takes the request and the call; returns the answer. That of a stream takes an
        `RpcStream` as the call, writes its answers there, and returns at their end.
    errors: words what the engine refuses.
    is_public: needs no token.
    takes_oversized: says itself what becomes of a request that is too large.
    """

    path: str
    request: Any
    handle: Callable[[Any, Any], Any]
    errors: Callable[[Any, ActorflowError], RpcError] = lambda _, err: of_engine_error(err)
    is_public: bool = False
    is_stream: bool = False
    takes_oversized: bool = False


class RpcCall:
    """What a handler may want to know of its call besides the request."""

    __slots__ = ("_context", "_metadata", "size_bytes")

    def __init__(self, context: Any, size_bytes: int) -> None:
        self._context = context
        self._metadata = context.invocation_metadata() or ()  # grpc makes it anew each time
        self.size_bytes = size_bytes

    def metadata(self, name: str) -> list[str]:
        """Return all values of a metadata key that is not binary. `name` is lower case."""
        return [value for key, value in self._metadata if key == name]

    def first(self, name: str) -> str:
        """Return the first value of a metadata key, "" when absent."""
        for key, value in self._metadata:
            if key == name:
                text: str = value
                return text
        return ""

    def peer(self) -> str:
        """Return the other end of the connection, such as `ipv4:127.0.0.1:40000`."""
        peer: str = self._context.peer()
        return peer

    def app_id(self) -> str:
        """Return the app that the caller says it is of, "" for the server's own.

        Raises:
            RpcError: it cannot be one.
        """
        text = self.first(APP_ID_KEY)
        if not text:
            return ""
        try:
            return parse_app_id(text)
        except ValueError as err:
            raise invalid(f"the metadata {APP_ID_KEY} may be {err}") from None


class RpcStream(RpcCall):
    """The call of a stream, with a way to write to it.

    Args:
        limit: running out, it ends the call; without a deadline so far.

    Concurrency: one writer.
    """

    __slots__ = ("_begun_s", "_limit", "_loop", "_timer")

    def __init__(self, context: Any, size_bytes: int, limit: asyncio.Timeout) -> None:
        super().__init__(context, size_bytes)
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._begun_s: float | None = None

    async def write(self, data: bytes) -> None:
        """Send an answer. The call ends when its reader takes nothing for `WRITE_S`."""
        # One timer sees many writes: one for each would cost as much as a tenth of the write.
        self._begun_s = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._begun_s + WRITE_S, self._look)
        await self._context.write(data)
        self._begun_s = None

    def _look(self) -> None:
        self._timer = None
        if self._begun_s is None:
            return
        due_s = self._begun_s + WRITE_S
        if self._loop.time() < due_s:
            self._timer = self._loop.call_at(due_s, self._look)
        else:
            self._limit.reschedule(due_s)

    def end(self) -> None:
        """Nothing is written any more."""
        if self._timer is not None:
            self._timer.cancel()


def trace_of(call: RpcCall) -> Trace:
    """Return the W3C trace context of a call: that of an instrumented channel."""
    return checked_trace(call.first("traceparent"), call.metadata("tracestate"))


class Gate(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Finds the handler of a call, and answers for those that have none.

    `rpcs` are all methods that are served, by path.

    Concurrency: one event loop.
    """

    def __init__(self, rpcs: Iterable[Rpc], settings: Settings, metrics: Metrics) -> None:
        self.rpcs = {rpc.path: rpc for rpc in rpcs}
        self._tokens = TokenGuard(settings.api_tokens)
        self._has_tokens = bool(settings.api_tokens)
        self._metrics = metrics
        self._logs_access = settings.access_log
        self._bodies = Bodies(settings.max_body_bytes)
        self.message_max_bytes = message_max_bytes(settings)
        self.read_max_bytes = READ_FACTOR * self.message_max_bytes
        self._handlers = {rpc.path: self._handler(rpc) for rpc in self.rpcs.values()}
        self._unknown = self._unknown_handler()

    def service(self, handler_call_details: Any) -> Any:
        """See `grpc.GenericRpcHandler`."""
        return self._handlers.get(handler_call_details.method, self._unknown)

    def _handler(self, rpc: Rpc) -> Any:
        serve = self._behavior(rpc)
        if rpc.is_stream:
            return grpc.unary_stream_rpc_method_handler(serve)
        return grpc.unary_unary_rpc_method_handler(serve)

    def _behavior(self, rpc: Rpc) -> Callable[[Any, Any], Awaitable[bytes | None]]:
        """Return what grpc calls for a method: it does the work and ends the call with a status."""
        run = self._run_stream if rpc.is_stream else self._run
        counts = self._metrics.rpc_counts(rpc.path)

        # Bytes in and bytes out: what cannot be decoded is then answered here, and not by grpc,
        # which would log a stack and say nothing useful.
        async def serve(data: bytes, context: Any) -> bytes | None:
            outcome = "CANCELLED"  # unless it gets further
            start_s = time.perf_counter()
            try:
                try:
                    answer = await run(rpc, data, context)
                except RpcError as err:
                    outcome, failure = err.code.name, err
                except Exception:  # noqa: BLE001 -- the edge of the process: nobody above could answer
                    outcome = "INTERNAL"
                    failure = RpcError(Code.INTERNAL, "internal error; see the server's log")
                    _log.exception("call failed unexpectedly", extra={"method": rpc.path})
                else:
                    outcome = "OK"  # asking an enumeration for a name costs more than all else here
                    return answer
                await context.abort(failure.code, failure.text, failure.trailing)
            finally:
                counts[outcome] += 1
                if self._logs_access:
                    self._log_access(rpc.path, outcome, context, start_s)
            return None  # abort has raised

        return serve

    async def _run(self, rpc: Rpc, data: bytes, context: Any) -> bytes:
        size_bytes = len(data)
        call = RpcCall(context, size_bytes)
        request = self._admitted(rpc, data, call)
        try:
            try:
                self._bodies.hold(size_bytes)
                answer: bytes = (await rpc.handle(request, call)).SerializeToString()
            finally:
                self._bodies.held_bytes -= size_bytes
        except (ActorflowError, WireError, InterruptedWaitError) as err:
            raise _worded(rpc, request, err) from err
        if len(answer) > self.message_max_bytes:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                f"the answer has {len(answer):,} bytes and a message at most "
                f"{self.message_max_bytes:,}; raise --max-body-size, or ask for less",
            )
        return answer

    async def _run_stream(self, rpc: Rpc, data: bytes, context: Any) -> None:
        try:
            async with asyncio.timeout(None) as limit:
                call = RpcStream(context, len(data), limit)
                request = self._admitted(rpc, data, call)
                try:
                    await rpc.handle(request, call)
                except (ActorflowError, WireError, InterruptedWaitError) as err:
                    raise _worded(rpc, request, err) from err
                finally:
                    call.end()
        except TimeoutError:
            text = f"the stream was not read for {WRITE_S:g} s"
            raise RpcError(Code.DEADLINE_EXCEEDED, text) from None

    def _admitted(self, rpc: Rpc, data: bytes, call: RpcCall) -> Any:
        """Return the request of a call that may go on."""
        if self._has_tokens and not rpc.is_public:
            self._check_token(call)
        if len(data) > self.message_max_bytes and not rpc.takes_oversized:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                f"the request has {len(data):,} bytes, which is larger than the "
                f"{self.message_max_bytes:,} of a message; raise --max-body-size, or send less",
            )
        try:
            return rpc.request.FromString(data)
        except DecodeError as err:
            raise invalid(f"the request is no {rpc.request.DESCRIPTOR.name}: {err}") from None

    def _check_token(self, call: RpcCall) -> None:
        given = call.metadata(TOKEN_KEY) or [
            bearer_token(value) for value in call.metadata("authorization")
        ]
        if not self._tokens.accepts(given):
            raise unauthenticated(
                "authentication error: api token mismatch"
                if given
                else "missing api token in request metadata"
            )

    def _unknown_handler(self) -> Any:
        """Return what answers a method that is not served. Its name goes to no label: anybody may
        invent one."""
        serve = self._behavior(Rpc("unknown", pb.Empty, _refuse_unknown, is_stream=True))

        async def refuse(_: Any, context: Any) -> None:  # nobody knows what a request of it is
            await serve(b"", context)

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _log_access(self, path: str, outcome: str, context: Any, start_s: float) -> None:
        elapsed_ms = round((time.perf_counter() - start_s) * 1_000, 3)
        access_log.info(
            "call",
            extra={
                "method": path,
                "code": outcome,
                "remote": context.peer(),
                "elapsed_ms": elapsed_ms,
            },
        )


async def _refuse_unknown(_: Any, __: RpcCall) -> None:
    raise RpcError(
        Code.UNIMPLEMENTED,
        f"this server does not have the method; of {pb.DAPR} it has the workflow methods, "
        f"metadata and shutdown, and besides all of {pb.TASK_HUB}",
    )


def _worded(
    rpc: Rpc, request: Any, err: ActorflowError | WireError | InterruptedWaitError
) -> RpcError:
    """Return the status for what a handler refuses."""
    if isinstance(err, ActorflowError):
        _report(rpc, err)
        return rpc.errors(request, err)
    return of_wire_error(err) if isinstance(err, WireError) else closed()


def _report(rpc: Rpc, err: ActorflowError) -> None:
    """Log what an operator must see. Who reports an outage is the engine, once, not each call."""
    if not isinstance(err, (UsageError, UnavailableError, ContentionError)):
        _log.error("engine error", exc_info=err, extra={"method": rpc.path, "code": err.code})
