"""Networks for the Redis store without a network, and one with a clock that a test moves."""

import hashlib
from collections.abc import Callable
from typing import Any

from fakeredis import FakeAsyncRedis
from redis.exceptions import ResponseError

from actorflow.actors.clock import Clock
from actorflow.actors.store.redis.client import Client, Lane, ServerClient
from actorflow.actors.store.redis.errors import refusal
from actorflow.actors.store.redis.script import Argument, Command, Script

_TIME = "redis.call('TIME')"


class ClockClient:
    """Passes everything on to a real client, but the scripts see the time of a test's clock.

    The time is written into their text, so a script has another name at each time.

    Args:
        shebang: whether the server understands the first line of a script; fakeredis does not.
    """

    def __init__(self, inner: Client, clock: Clock, *, shebang: bool = True) -> None:
        self._inner = inner
        self._clock = clock
        self._shebang = shebang

    async def run(
        self, slot: int, script: Script, command: Command, *, lane: Lane = "reads"
    ) -> Any:
        script, command = self._timed(script, command)
        return await self._inner.run(slot, script, command, lane=lane)

    async def run_replicated(
        self, slot: int, script: Script, command: Command, *, replicas: int, wait_ms: int
    ) -> Any:
        script, command = self._timed(script, command)
        return await self._inner.run_replicated(
            slot, script, command, replicas=replicas, wait_ms=wait_ms
        )

    async def ask(self, slot: int, *commands: Command) -> list[Any]:
        return await self._inner.ask(slot, *commands)

    async def close(self) -> None:
        await self._inner.close()

    def _timed(self, script: Script, command: Command) -> tuple[Script, Command]:
        now_us = self._clock.now_ns() // 1_000
        text = script.text.replace(_TIME, f"{{{now_us // 1_000_000}, {now_us % 1_000_000}}}")
        if not self._shebang:
            text = text.partition("\n")[2]
        if text == script.text:
            return script, command
        sha = hashlib.sha1(text.encode()).hexdigest()
        return Script(script.name, text, sha), (command[0], sha, *command[2:])


class LocalClient:
    """A client whose server is a function in this process."""

    def __init__(self, execute: Callable[[Script | None, list[bytes]], Any]) -> None:
        self._execute = execute

    async def run(
        self, slot: int, script: Script, command: Command, *, lane: Lane = "reads"
    ) -> Any:
        return self._answer(script, command)

    async def run_replicated(
        self, slot: int, script: Script, command: Command, *, replicas: int, wait_ms: int
    ) -> Any:
        raise NotImplementedError

    async def ask(self, slot: int, *commands: Command) -> list[Any]:
        return [self._answer(None, command) for command in commands]

    async def close(self) -> None:
        pass

    def _answer(self, script: Script | None, command: Command) -> Any:
        reply = self._execute(script, [bytes_of(argument) for argument in command])
        if isinstance(reply, ResponseError):
            raise refusal(reply, "the server in memory")
        return reply


def bytes_of(argument: Argument) -> bytes:
    """Return an argument as it goes over a wire."""
    return argument if isinstance(argument, bytes) else str(argument).encode()


def fakeredis_client(clock: Clock) -> ClockClient:
    """Return a client on a fresh fakeredis."""
    redis = FakeAsyncRedis(protocol=2)
    return ClockClient(ServerClient(redis, "fakeredis", timeout_s=5), clock, shebang=False)
