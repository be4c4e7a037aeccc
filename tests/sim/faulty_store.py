"""A store that does what it is told to do wrong, by seed, and keeps an audit of what it applied."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.ports import CommitResult
from actorflow.actors.store.memory import MemorySnapshot, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import (
        Acquired,
        ActorRecord,
        Commit,
        DueReminder,
        Held,
        Lease,
        PartitionStore,
        Query,
        Recovery,
    )

T = TypeVar("T")

SNAPSHOTS_KEPT = 4
"""Commits that can be rolled back, plus one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Chances, from 0 to 1 for each call, and what else can go wrong.

    refuse: not done, and said so (`written=False`).
    lose_request: not done, and nobody knows (`written=None`).
    lose_reply: done, and nobody knows.
    late: nobody knows; done after a while, when the same commit has been sent again.
    delay: takes up to `delay_max_s`.
    reads, acquires: any of these chances, for reads and for taking ownership.
    away: nothing is done, whatever is asked; callers learn so or are left in doubt.
    """

    refuse: float = 0.0
    lose_request: float = 0.0
    lose_reply: float = 0.0
    late: float = 0.0
    delay: float = 0.0
    delay_max_s: float = 0.05
    reads: float = 0.0
    acquires: float = 0.0
    away: bool = False


NO_FAULTS = Faults()


class Applied(NamedTuple):
    """One commit that was applied."""

    partition: int
    seq: int
    epoch: int
    token: str
    commit_id: str


@dataclass(slots=True)
class Audit:
    """What the store saw, over all hosts and restarts. `rolled_back` counts commits undone."""

    applied: list[Applied] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    rolled_back: int = 0


class FaultyStore:
    """Wraps any `PartitionStore`. Faults can be changed while it runs: set `faults`.

    `on_applied` is called after each commit that was applied, before the caller knows. What it
    raises is no business of the engine: it is raised by `settle`.
    """

    def __init__(self, inner: PartitionStore, seed: int, faults: Faults = NO_FAULTS) -> None:
        self._inner = inner
        self._random = random.Random(f"faults {seed}")
        self._snapshots: list[MemorySnapshot] = []
        self._late: set[asyncio.Task[None]] = set()
        self.faults = faults
        self.audit = Audit()
        self.on_applied: Callable[[], None] | None = None
        self.keep_snapshots = False
        self._violation: AssertionError | None = None

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        """Keep the inner store open: it outlives its hosts."""

    async def settle(self) -> None:
        """Wait for requests that are still on their way; raise the first violation there was."""
        while self._late:
            await asyncio.wait(set(self._late))
        if self._violation is not None:
            raise self._violation

    def seq_of(self, partition: int) -> int:
        """Where the commits of a partition stand. Needs a `MemoryStore` inside."""
        assert isinstance(self._inner, MemoryStore)
        return self._inner._partition(partition).standing.seq

    def roll_back(self, commits: int) -> None:
        """Lose the newest commits, as a store does after a fail-over that lost its tail.

        Ownership goes back too. Needs `keep_snapshots`, and a `MemoryStore` inside.
        """
        assert isinstance(self._inner, MemoryStore)
        keep = max(1, len(self._snapshots) - commits)
        self.audit.rolled_back += len(self._snapshots) - keep
        self.audit.faults["rollback"] += 1
        del self._snapshots[keep:]
        self._inner.restore(self._snapshots[-1])

    # ---- ownership -----------------------------------------------------------------------------

    async def acquire(self, partition: int, token: str, *, ttl_ms: int) -> Acquired | Held:
        async def call() -> Acquired | Held:
            answer = await self._inner.acquire(partition, token, ttl_ms=ttl_ms)
            self._remember()
            return answer

        return await self._call(call, self.faults.acquires, "acquire")

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        self._be_there()
        return await self._inner.renew(lease, ttl_ms=ttl_ms)

    async def release(self, lease: Lease, *, dead: bool = False) -> None:
        self._be_there()
        await self._inner.release(lease, dead=dead)

    # ---- writes --------------------------------------------------------------------------------

    async def commit(self, commit: Commit) -> CommitResult:
        self._be_there()
        faults, chance = self.faults, self._random.random()
        if self._random.random() < faults.delay:
            await asyncio.sleep(self._random.random() * faults.delay_max_s)
        if chance < faults.refuse:
            self._fail("refuse", written=False)
        chance -= faults.refuse
        if 0 <= chance < faults.lose_request:
            self._fail("lose_request", written=None)
        chance -= faults.lose_request
        if 0 <= chance < faults.lose_reply:
            await self._apply(commit)
            self._fail("lose_reply", written=None)
        chance -= faults.lose_reply
        if 0 <= chance < faults.late:
            task = asyncio.get_running_loop().create_task(self._apply_late(commit))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            self._fail("late", written=None)
        return await self._apply(commit)

    async def _apply(self, commit: Commit) -> CommitResult:
        result = await self._inner.commit(commit)
        self.audit.results[result.value] += 1
        if result is CommitResult.OK:
            lease = commit.lease
            self.audit.applied.append(
                Applied(lease.partition, commit.seq, lease.epoch, lease.token, commit.commit_id)
            )
            self._remember()
            if self.on_applied is not None and self._violation is None:
                try:
                    self.on_applied()
                except AssertionError as error:
                    self._violation = error
        return result

    async def _apply_late(self, commit: Commit) -> None:
        await asyncio.sleep(self._random.random())
        result = await self._apply(commit)
        self.audit.results[f"late {result.value}"] += 1

    def _remember(self) -> None:
        if self.keep_snapshots:
            assert isinstance(self._inner, MemoryStore)
            self._snapshots.append(self._inner.snapshot())
            del self._snapshots[:-SNAPSHOTS_KEPT]

    # ---- reads ---------------------------------------------------------------------------------

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        return await self._read(lambda: self._inner.recover(partition, horizon_ms=horizon_ms))

    async def due(
        self, partition: int, *, from_ms: int, until_ms: int, limit: int
    ) -> Sequence[DueReminder]:
        return await self._read(
            lambda: self._inner.due(partition, from_ms=from_ms, until_ms=until_ms, limit=limit)
        )

    async def load(
        self, partition: int, actors: Sequence[ActorId], *, with_log: bool
    ) -> list[ActorRecord | None]:
        return await self._read(lambda: self._inner.load(partition, actors, with_log=with_log))

    async def find(self, query: Query) -> list[ActorRecord]:
        return await self._read(lambda: self._inner.find(query))

    async def _read(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._random.random() < self.faults.delay:
            await asyncio.sleep(self._random.random() * self.faults.delay_max_s)
        return await self._call(call, self.faults.reads, "read")

    async def _call(self, call: Callable[[], Awaitable[T]], chance: float, what: str) -> T:
        self._be_there()
        if self._random.random() < chance:
            if self._random.random() < 0.5:
                self._fail(f"{what} refused", written=False)
            await call()
            self._fail(f"{what} unanswered", written=None)
        return await call()

    def _be_there(self) -> None:
        if self.faults.away:
            self._fail("away", written=None if self._random.random() < 0.5 else False)

    def _fail(self, fault: str, *, written: bool | None) -> NoReturn:
        self.audit.faults[fault] += 1
        raise StoreUnavailableError(f"injected fault: {fault}", written=written)


class Gate:
    """What one host sees of the store. When the host dies, its calls go nowhere and never return.

    Args:
        store: shared by all hosts.
        stop_at: the number of the call, from 1, at which the host dies.
        apply_last: whether that call still has its effect.

    `died` is called once when that call comes. Each call takes `delay_s` longer.
    """

    def __init__(
        self,
        store: PartitionStore,
        *,
        stop_at: int = 0,
        apply_last: bool = False,
        died: Callable[[], None] | None = None,
    ) -> None:
        self._store = store
        self._stop_at = stop_at
        self._apply_last = apply_last
        self._died = died
        self._clear = asyncio.Event()
        self._clear.set()
        self.calls = 0
        self.is_shut = False
        self.delay_s = 0.0

    def freeze(self) -> None:
        """Hold all calls from now on, as a host that is paused, until `thaw`."""
        self._clear.clear()

    def thaw(self) -> None:
        """Let the calls go that were held."""
        self._clear.set()

    def shut(self) -> None:
        """From now on nothing gets through."""
        self.is_shut = True

    async def _pass(self, call: Callable[[], Awaitable[T]]) -> T:
        self.calls += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if not self._clear.is_set():
            await self._clear.wait()
        if not self.is_shut and self.calls == self._stop_at:
            self.is_shut = True
            if self._died is not None:
                self._died()
            if self._apply_last:
                await call()
        if self.is_shut:
            await asyncio.get_running_loop().create_future()
        answer = await call()
        if self.is_shut:
            await asyncio.get_running_loop().create_future()
        return answer

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def acquire(self, partition: int, token: str, *, ttl_ms: int) -> Acquired | Held:
        return await self._pass(lambda: self._store.acquire(partition, token, ttl_ms=ttl_ms))

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        return await self._pass(lambda: self._store.renew(lease, ttl_ms=ttl_ms))

    async def release(self, lease: Lease, *, dead: bool = False) -> None:
        await self._pass(lambda: self._store.release(lease, dead=dead))

    async def commit(self, commit: Commit) -> CommitResult:
        return await self._pass(lambda: self._store.commit(commit))

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        return await self._pass(lambda: self._store.recover(partition, horizon_ms=horizon_ms))

    async def due(
        self, partition: int, *, from_ms: int, until_ms: int, limit: int
    ) -> Sequence[DueReminder]:
        return await self._pass(
            lambda: self._store.due(partition, from_ms=from_ms, until_ms=until_ms, limit=limit)
        )

    async def load(
        self, partition: int, actors: Sequence[ActorId], *, with_log: bool
    ) -> list[ActorRecord | None]:
        return await self._pass(lambda: self._store.load(partition, actors, with_log=with_log))

    async def find(self, query: Query) -> list[ActorRecord]:
        return await self._pass(lambda: self._store.find(query))
