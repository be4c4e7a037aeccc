"""Calls of one turn of the loop leave together, over a connection of redis-py's pool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from hiredis import pack_command
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from actorflow.actors.store.redis.errors import failure
from actorflow.actors.store.redis.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from redis.asyncio.connection import AbstractConnection, ConnectionPool

    from actorflow.actors.store.redis.script import Command

CALLS_MAX = 256
"""Calls in one pipeline."""

_Call: TypeAlias = "tuple[list[bytes], asyncio.Future[list[Any]]]"
"""Packed commands, and who waits for their answers."""


class PipelineLane:
    """Sends what is asked for in one turn of the loop as one pipeline, and hands out each answer as
    it comes.

    Args:
        timeout_s: silence after which a connection is dropped.
        pipelines_max: how many are under way at once; what comes meanwhile leaves together.
        doubt: called when a server did not answer, or is no primary any more.

    Concurrency: one event loop. A caller that is cancelled leaves its call under way, and the
    answer is dropped when it comes.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        place: str,
        *,
        timeout_s: float,
        pipelines_max: int,
        doubt: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._place = place
        self._timeout_s = timeout_s
        self._pipelines_max = pipelines_max
        self._doubt = doubt
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[_Call] = []
        self._senders: set[asyncio.Task[None]] = set()
        self._alone: set[asyncio.Task[None]] = set()
        self._resting: list[asyncio.Future[None]] = []
        self._is_finishing = False
        self._connections: list[AbstractConnection] = []
        self._idle: list[AbstractConnection] = []

    def reconnect(self) -> None:
        """Use no connection again that was made until now: its server may be the wrong one."""
        for connection in self._connections:
            connection.mark_for_reconnect()  # type: ignore[no-untyped-call]  # redis-py's own

    def send(
        self, commands: Sequence[Command], *, alone: bool = False
    ) -> asyncio.Future[list[Any]]:
        """Send commands, one behind the other; await their answers, errors among them.

        Args:
            alone: over a connection that nobody else uses meanwhile.

        Raises:
            StoreUnavailableError: `written` is False when nothing was sent, None when nobody knows.
            UnicodeError: at once, for a text that has no bytes; nobody else is concerned.
        """
        if (loop := self._loop) is None:  # asking for it costs a system call
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        call = [pack_command(command) for command in commands], future  # type: ignore[arg-type]  # its stub: one element
        if alone:
            self._spawn(self._send_alone(call), self._alone)
        else:
            self._waiting.append(call)
            if len(self._waiting) == 1:
                self._wake_sender()
        return future

    async def block(self, command: Command) -> Any:
        """Send a command that may wait long, in the caller's task and over a connection that nobody
        else uses meanwhile; return its answer, also an error. A caller that is cancelled costs that
        connection.

        Raises:
            RedisError, OSError: no answer, silence among them.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._take()
                try:
                    await connection.send_packed_command([pack_command(command)])  # type: ignore[arg-type]  # its stub: one element
                    (reply,) = await self._answers(connection, 1)
                finally:
                    self._idle.append(connection)
        except (RedisError, OSError):
            self._doubt()
            raise
        if isinstance(reply, ResponseError):
            self._doubt()  # a primary that is demoted frees who waits there
        return reply

    async def finish(self) -> None:
        """Wait until all answers are there."""
        self._is_finishing = True
        while self._resting:
            self._wake_sender()
        while tasks := self._senders | self._alone:
            await asyncio.wait(tasks)
        self._is_finishing = False

    def _wake_sender(self) -> None:
        """See to it that what waits is taken in the next turn of the loop, unless as many pipelines
        are under way as may be: then it is taken when one of them ends."""
        while self._resting:
            rest = self._resting.pop()
            if not rest.done():
                rest.set_result(None)
                return
        if len(self._senders) < self._pipelines_max:
            self._spawn(self._send_what_waits(), self._senders)

    def _spawn(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work, name="redis-pipeline")  # noqa: TID251 -- see `finish`
        among.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._senders.discard(task)
        self._alone.discard(task)
        if self._waiting:
            self._wake_sender()

    async def _send_what_waits(self) -> None:
        """Send one pipeline after the other. A task for each would cost more than a small call."""
        loop, silence = asyncio.get_running_loop(), Silence(self._timeout_s)
        try:
            while self._waiting or not self._is_finishing:
                if self._waiting:
                    await asyncio.sleep(0)  # noqa: TID251 -- who comes in this turn shares the pipeline
                    calls, self._waiting = self._waiting[:CALLS_MAX], self._waiting[CALLS_MAX:]
                    if calls:  # the other sender has not taken them
                        await self._exchange(calls, silence)
                else:
                    rest = loop.create_future()
                    self._resting.append(rest)
                    await rest
        finally:
            silence.stop()

    async def _send_alone(self, call: _Call) -> None:
        silence = Silence(self._timeout_s)
        try:
            await self._exchange([call], silence)
        finally:
            silence.stop()

    async def _exchange(self, calls: list[_Call], silence: Silence) -> None:
        sent = False
        try:
            with silence:
                connection = await self._take()
                try:
                    sent = True
                    packed = [command for commands, _ in calls for command in commands]
                    await connection.send_packed_command(packed)
                    for commands, future in calls:
                        replies = await self._answers(connection, len(commands))
                        silence.heard()
                        if not future.done():
                            future.set_result(replies)
                finally:
                    self._idle.append(connection)
        except (RedisError, OSError, asyncio.CancelledError) as error:
            self._doubt()
            single = len(calls) == 1 and len(calls[0][0]) == 1
            problem = failure(error, self._place, sent=sent, single=single)
            problem.__cause__ = error
            for _, future in calls:
                if not future.done():
                    future.set_exception(problem)
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _take(self) -> AbstractConnection:
        """Return a connection that is open and has no unread answers. It stays the lane's: the
        pool's own taking and giving back costs a third of a small call."""
        if not self._idle:
            made: AbstractConnection = await self._pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's own
            self._connections.append(made)
            return made
        connection = self._idle.pop()
        try:
            if connection.should_reconnect():  # type: ignore[no-untyped-call]  # redis-py's own
                await connection.disconnect()
            if not connection.is_connected or await connection.can_read():
                await self._pool.ensure_connection(connection)
        except BaseException:
            self._idle.append(connection)
            raise
        return connection

    async def _answers(self, connection: AbstractConnection, count: int) -> list[Any]:
        """Read so many answers, errors among them."""
        answers: list[Any] = []
        while len(answers) < count:
            try:
                answers.append(await connection.read_response())
            except ResponseError as error:
                if isinstance(error, ReadOnlyError):
                    self._doubt()
                answers.append(error)
        return answers
