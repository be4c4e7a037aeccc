"""What a scenario is given and what it gives back, and the means that all of them share."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actorflow.actors.cluster import Cluster
from actorflow.actors.store.memory import MemoryStore
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.post import RedisPost
from actorflow.actors.store.sqlite import Durability, SqliteStore
from actorflow.workflow.engine import WorkflowEngine
from bench.floor import RecordingStore
from bench.ownership import settled
from bench.workflows import app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from actorflow.actors import Limits
    from actorflow.actors.ports import PartitionStore
    from bench.ops import Op
    from bench.redis_server import RedisServer

PARTITIONS = 64
"""Partitions of a cluster unless it is founded with others; the server's default."""

WARM_UP_OPS = 50
"""Operations of each run that are not measured, at least one a client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run. `scale` shrinks the sizes that scenarios name (10,000 timers), for tests.

    `default_gc` keeps Python's settings of the garbage collector instead of the server's. On Redis
    an engine is a host of a cluster, as under `actorflow serve`, also when it is the only one.
    """

    directory: Path
    store: str = "sqlite"
    durability: Durability = "local"
    redis: RedisServer | None = None
    partitions: int = PARTITIONS
    processes: int = 1
    clients: int = 1
    seconds: float = 3.0
    count: int | None = None
    scale: float = 1.0
    uvloop: bool = False
    default_gc: bool = False

    def new_store(self, name: str) -> PartitionStore:
        """Return a fresh store that is not open."""
        if self.store == "memory":
            return MemoryStore()
        if self.store == "redis":
            return RedisStore(
                self.server.url(name), partition_count=self.partitions, durability=self.durability
            )
        return SqliteStore(self.directory / f"{name}.db", durability=self.durability)

    @property
    def partition_count(self) -> int:
        """Partitions of the case's stores."""
        return self.partitions if self.store == "redis" else 1

    @property
    def server(self) -> RedisServer:
        """The Redis of this case."""
        assert self.redis is not None, "only cases on Redis have a server"
        return self.redis

    def server_cpu_s(self) -> float:
        """Return the processor time of the store's own process; 0 where it has none."""
        return self.redis.cpu_s() if self.redis is not None else 0.0

    def sized(self, full: int) -> int:
        """Return a size of the scenario, scaled."""
        return max(2, round(full * self.scale))


@dataclass(frozen=True, slots=True)
class Target:
    """A limit that a figure must keep. `at_least` says on which side."""

    figure: str
    limit: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Whether the figure keeps the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(slots=True, kw_only=True)
class Row:
    """The result of a case: figures, the floor of the same run, and what was to be reached."""

    scenario: str
    clients: int
    figures: dict[str, float] = field(default_factory=dict)
    floor: dict[str, float] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()

    def misses(self) -> list[str]:
        """Return the targets that were missed, readable."""
        return [
            f"{target.figure} {self.figures[target.figure]:,g}, wanted "
            f"{'>=' if target.at_least else '<='} {target.limit:,g}"
            for target in self.targets
            if target.figure in self.figures and not target.is_met(self.figures[target.figure])
        ]


def quantile(values: list[float], share: float) -> float:
    """Return a quantile of unsorted values; nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def cluster_of(store: PartitionStore) -> Cluster | None:
    """Return what makes an engine on this store one host of many; None for stores of one host."""
    inner = store.inner if isinstance(store, RecordingStore) else store
    if not isinstance(inner, RedisStore):
        return None
    post = RedisPost(inner)
    return Cluster(post, post)


@asynccontextmanager
async def engine_on(
    case: Case, store: PartitionStore, *, actor_limits: Limits | None = None
) -> AsyncIterator[WorkflowEngine]:
    """Run an engine with the workflows of `bench.workflows`, as owner of all partitions."""
    engine = WorkflowEngine(
        store,
        app,
        actor_limits=actor_limits,
        partition_count=case.partition_count,
        cluster=cluster_of(store),
    )
    async with engine:
        inner = store.inner if isinstance(store, RecordingStore) else store
        if isinstance(inner, RedisStore):
            await settled(case.server.port, inner.partitions, {engine.actors.host_id})
        yield engine


class Span:
    """What happens between its start and `stop`: wall time, processor time, turns, commits. `store`
    is that of the engine, if it records."""

    def __init__(self, engine: WorkflowEngine, store: RecordingStore | None = None) -> None:
        gc.collect()
        self._engine = engine
        self._store = store
        self.first_commit = len(store.records) if store is not None else 0
        self._begun = self._now()

    def stop(self) -> None:
        """End the span and fill in its figures."""
        wall_s, cpu_s, kept_s, turns, commits = (
            now - then for now, then in zip(self._now(), self._begun, strict=True)
        )
        self.wall_s = wall_s - kept_s
        self.cpu_s = cpu_s - kept_s
        self.turns = int(turns)
        self.commits = int(commits)
        self.end_commit = len(self._store.records) if self._store is not None else 0

    def _now(self) -> tuple[float, ...]:
        counters = self._engine.actors.counters
        return (
            time.perf_counter(),
            time.process_time(),
            self._store.spent_s if self._store is not None else 0.0,
            counters.turns,
            counters.commits,
        )


async def closed_loop(engine: WorkflowEngine, op: Op, case: Case) -> list[float]:
    """Let `case.clients` clients do `op` one after another; return the time of each, in seconds."""
    spent_s: list[float] = []
    until_s = time.perf_counter() + case.seconds
    left = case.count

    async def client() -> None:
        nonlocal left
        while time.perf_counter() < until_s or left is not None:
            if left is not None:
                if left <= 0:
                    return
                left -= 1
            begun_s = time.perf_counter()
            await op(engine)
            spent_s.append(time.perf_counter() - begun_s)

    await asyncio.gather(*(client() for _ in range(case.clients)))
    return spent_s


async def warm_up(engine: WorkflowEngine, op: Op, case: Case) -> None:
    """Do what needs to be done once: import, allocate, compile."""
    rounds = max(1, min(WARM_UP_OPS, case.count or WARM_UP_OPS) // case.clients)
    for _ in range(rounds):
        await asyncio.gather(*(op(engine) for _ in range(case.clients)))
