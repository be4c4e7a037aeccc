"""Networks for the Redis store without a network, and one with a clock that a test moves."""

import hashlib
from collections.abc import Callable
from typing import Any

import fakeredis
import redis
from hiredis import Reader

from actorflow.actors.clock import Clock
from actorflow.actors.store.redis.client import READS, Client
from actorflow.actors.store.redis.errors import ErrorReply, refusal
from actorflow.actors.store.redis.script import Script

_TIME = "redis.call('TIME')"


def _command(data: bytes) -> list[bytes]:
    """Read back a packed command."""
    reader = Reader()
    reader.feed(data)
    command: list[bytes] = reader.gets()
    return command


class ClockClient:
    """Passes everything on to a real client, but the scripts see the time of a test's clock.

    The time is written into their text, so a script has another name at each time.
    """

    def __init__(self, inner: Client, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock

    async def run(self, slot: int, script: Script, data: bytes, *, lane: int = READS) -> Any:
        script, data = self._timed(script, data)
        return await self._inner.run(slot, script, data, lane=lane)

    async def run_replicated(
        self, slot: int, script: Script, data: bytes, *, lane: int, replicas: int, wait_ms: int
    ) -> Any:
        script, data = self._timed(script, data)
        return await self._inner.run_replicated(
            slot, script, data, lane=lane, replicas=replicas, wait_ms=wait_ms
        )

    async def ask(self, slot: int, *commands: bytes) -> list[Any]:
        return await self._inner.ask(slot, *commands)

    async def close(self) -> None:
        await self._inner.close()

    def _timed(self, script: Script, data: bytes) -> tuple[Script, bytes]:
        if _TIME not in script.text:
            return script, data
        now_us = self._clock.now_ns() // 1_000
        text = script.text.replace(_TIME, f"{{{now_us // 1_000_000}, {now_us % 1_000_000}}}")
        sha = hashlib.sha1(text.encode()).hexdigest()
        return Script(script.name, text, sha), data.replace(script.sha.encode(), sha.encode(), 1)


class LocalClient:
    """A client whose server is a function in this process."""

    def __init__(self, execute: Callable[[Script | None, list[bytes]], Any]) -> None:
        self._execute = execute

    async def run(self, slot: int, script: Script, data: bytes, *, lane: int = READS) -> Any:
        return self._answer(script, _command(data))

    async def run_replicated(
        self, slot: int, script: Script, data: bytes, *, lane: int, replicas: int, wait_ms: int
    ) -> Any:
        raise NotImplementedError

    async def ask(self, slot: int, *commands: bytes) -> list[Any]:
        return [self._answer(None, _command(command)) for command in commands]

    async def close(self) -> None:
        pass

    def _answer(self, script: Script | None, command: list[bytes]) -> Any:
        reply = self._execute(script, command)
        if isinstance(reply, ErrorReply):
            raise refusal(reply, "the server in memory")
        return reply


def fakeredis_client() -> LocalClient:
    """Return a client on a fresh fakeredis, which runs scripts without their first line."""
    server = fakeredis.FakeRedis(protocol=2)

    def execute(script: Script | None, command: list[bytes]) -> Any:
        try:
            if script is None:
                return _raw(server, command)
            text = script.text.partition("\n")[2]
            return _raw(server, [b"EVAL", text.encode(), *command[2:]])
        except redis.ResponseError as error:
            return ErrorReply(str(error))

    return LocalClient(execute)


def _raw(server: "fakeredis.FakeRedis", command: list[bytes]) -> Any:
    """Run a command without redis-py's translation of its answer."""
    pool = server.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_command(*command)  # type: ignore[no-untyped-call]  # redis-py's own
        return connection.read_response()
    finally:
        pool.release(connection)
