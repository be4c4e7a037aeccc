"""A store whose every answer the test decides: it holds calls, fails them, or answers itself."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import (
        Acquired,
        ActorRecord,
        Commit,
        CommitResult,
        DueReminder,
        Held,
        Lease,
        Query,
        Recovery,
    )
    from actorflow.actors.store.memory import MemoryStore

T = TypeVar("T")


class ScriptedStore:
    """A `PartitionStore` over a `MemoryStore`.

    `answers[method]` is a queue of scripted answers: an exception is raised instead of the call,
    `after(error)` makes the call and then raises, anything else is returned instead of the call.
    When the queue is empty the call goes through. Methods named in `held` wait until `let_go`.
    """

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.answers: dict[str, deque[object]] = {}
        self.calls: Counter[str] = Counter()
        self.commits: list[Commit] = []
        self.held: set[str] = set()
        self.waiting: Counter[str] = Counter()
        self._let_go: dict[str, asyncio.Event] = {}

    def script(self, method: str, *answers: object) -> None:
        """Queue answers for a method."""
        self.answers.setdefault(method, deque()).extend(answers)

    def hold(self, method: str) -> None:
        """Make calls of a method wait."""
        self.held.add(method)
        self._let_go[method] = asyncio.Event()

    def let_go(self, method: str) -> None:
        """Let the held calls of a method, and all later ones, go on."""
        self.held.discard(method)
        self._let_go.pop(method).set()

    async def _call(self, method: str, call: Callable[[], Awaitable[T]]) -> T:
        self.calls[method] += 1
        if method in self.held:
            self.waiting[method] += 1
            try:
                await self._let_go[method].wait()
            finally:
                self.waiting[method] -= 1
        queue = self.answers.get(method)
        if not queue:
            return await call()
        answer = queue.popleft()
        if isinstance(answer, after):
            await call()
            raise answer.error
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[return-value]  # the test says what the call returns

    async def open(self) -> None:
        await self._call("open", self.inner.open)

    async def close(self) -> None:
        await self._call("close", self.inner.close)

    async def acquire(self, partition: int, token: str, *, ttl_ms: int) -> Acquired | Held:
        return await self._call(
            "acquire", lambda: self.inner.acquire(partition, token, ttl_ms=ttl_ms)
        )

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        return await self._call("renew", lambda: self.inner.renew(lease, ttl_ms=ttl_ms))

    async def release(self, lease: Lease, *, dead: bool = False) -> None:
        await self._call("release", lambda: self.inner.release(lease, dead=dead))

    async def commit(self, commit: Commit) -> CommitResult:
        self.commits.append(commit)
        return await self._call("commit", lambda: self.inner.commit(commit))

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        return await self._call(
            "recover", lambda: self.inner.recover(partition, horizon_ms=horizon_ms)
        )

    async def due(
        self, partition: int, *, from_ms: int, until_ms: int, limit: int
    ) -> Sequence[DueReminder]:
        return await self._call(
            "due",
            lambda: self.inner.due(partition, from_ms=from_ms, until_ms=until_ms, limit=limit),
        )

    async def load(
        self, partition: int, actors: Sequence[ActorId], *, with_log: bool
    ) -> list[ActorRecord | None]:
        return await self._call(
            "load", lambda: self.inner.load(partition, actors, with_log=with_log)
        )

    async def find(self, query: Query) -> list[ActorRecord]:
        return await self._call("find", lambda: self.inner.find(query))


class after:  # noqa: N801 -- reads as a word in a script
    """Make the call, then raise: done, but nobody is told."""

    def __init__(self, error: Exception) -> None:
        self.error = error
