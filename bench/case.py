"""What a scenario is given and what it gives back, and the means that all of them share."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from actorflow.actors.store.memory import MemoryStore
from actorflow.actors.store.sqlite import Durability, SqliteStore
from actorflow.workflow.engine import WorkflowEngine
from bench.floor import Floor, RecordingStore, floor_of
from bench.workflows import app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from actorflow.actors import Limits
    from actorflow.actors.ports import PartitionStore

Op: TypeAlias = Callable[[WorkflowEngine], Awaitable[object]]
"""One operation of one client."""

WARM_UP_OPS = 50
"""Operations of each run that are not measured, at least one a client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run. `scale` shrinks the sizes that scenarios name (10,000 timers), for tests.

    `default_gc` keeps Python's settings of the garbage collector instead of the server's.
    """

    directory: Path
    store: str = "sqlite"
    durability: Durability = "local"
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
        return SqliteStore(self.directory / f"{name}.db", durability=self.durability)

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


@asynccontextmanager
async def engine_on(
    store: PartitionStore, *, actor_limits: Limits | None = None
) -> AsyncIterator[WorkflowEngine]:
    """Run an engine with the workflows of `bench.workflows`."""
    async with WorkflowEngine(store, app, actor_limits=actor_limits) as engine:
        yield engine


class Span:
    """What happens between its start and `stop`: wall time, processor time, turns, commits."""

    def __init__(self, engine: WorkflowEngine, store: RecordingStore) -> None:
        gc.collect()
        self._engine = engine
        self._store = store
        self.first_commit = len(store.records)
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
        self.end_commit = len(self._store.records)

    def _now(self) -> tuple[float, ...]:
        counters = self._engine.actors.counters
        return (
            time.perf_counter(),
            time.process_time(),
            self._store.spent_s,
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


async def throughput(scenario: str, op: Op, case: Case, targets: tuple[Target, ...]) -> Row:
    """Measure an operation in a closed loop, then give its batches to the bare store.

    Finished instances pile up. Processor time is that of the whole process, clients included.
    """
    store = RecordingStore(case.new_store("run"))
    async with engine_on(store) as engine:
        await warm_up(engine, op, case)
        span = Span(engine, store)
        spent_s = await closed_loop(engine, op, case)
        span.stop()
    floor = await floor_of(
        store.commits()[: span.end_commit],
        case.new_store("floor"),
        turns=span.turns,
        skip=span.first_commit,
    )
    row = Row(scenario=scenario, clients=case.clients, targets=targets)
    row.figures = throughput_figures(spent_s, span, floor)
    row.floor = floor_figures(floor, row.figures)
    return row


def throughput_figures(spent_s: list[float], span: Span, floor: Floor) -> dict[str, float]:
    """Return what a closed loop showed."""
    ops = len(spent_s)
    cpu_us_per_turn = span.cpu_s / span.turns * 1e6
    return {
        "ops": ops,
        "per_s": round(ops / span.wall_s, 1),
        "p50_ms": round(quantile(spent_s, 0.5) * 1e3, 3),
        "p99_ms": round(quantile(spent_s, 0.99) * 1e3, 3),
        "cpu_us_per_op": round(span.cpu_s / ops * 1e6, 1),
        "turns_per_op": round(span.turns / ops, 2),
        "commits_per_op": round(span.commits / ops, 3),
        "turns_per_commit": round(span.turns / span.commits, 2),
        "turns_per_s": round(span.turns / span.wall_s, 1),
        "cpu_us_per_turn": round(cpu_us_per_turn, 1),
        "engine_us_per_turn": round(cpu_us_per_turn - floor.cpu_us_per_turn, 1),
        "share_of_floor": round(span.turns / span.wall_s / floor.turns_per_s, 3),
    }


def floor_figures(floor: Floor, figures: dict[str, float]) -> dict[str, float]:
    """Return what the bare store did with the same batches."""
    return {
        "turns_per_s": floor.turns_per_s,
        "cpu_us_per_turn": floor.cpu_us_per_turn,
        "commit_p50_ms": floor.commit_p50_ms,
        "op_ms": round(floor.commit_p50_ms * max(1.0, figures["commits_per_op"]), 3),
    }
