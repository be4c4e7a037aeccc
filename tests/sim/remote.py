"""Remote workers in virtual time: an app whose code is elsewhere, processes that come and go, and
clients that know what must come out in the end."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import Registry
from actorflow.workflow.events import Status
from tests.fakes.remote_code import All, CallFailedError, retrying
from tests.fakes.remote_worker import RemoteWorker, WorkLog, late, once, twice
from tests.sim.cluster import GENTLE_POST, ClusterWorld
from tests.sim.faulty_store import NO_FAULTS, Faults, FaultyStore
from tests.sim.host import World
from tests.sim.invariants import check_committed, check_ownership, check_quiet, stored_instances
from tests.sim.loop import SimClock
from tests.sim.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from actorflow.workflow import WorkflowEngine
    from actorflow.workflow.model import Instance
    from tests.fakes.fake_cluster import PostFaults
    from tests.fakes.remote_code import Ctx, Wait
    from tests.fakes.remote_worker import Answer
    from tests.sim.loop import SimLoop

    Code = Generator[Wait, Any, Any]

DEADLINE_S = 900.0


def chain(ctx: Ctx, value: int) -> Code:
    """Three activities in a row."""
    for _ in range(3):
        value = yield ctx.call("double", value)
        ctx.custom_status = f'"{value}"'
    return value


def fan(ctx: Ctx, width: int) -> Code:
    """Many activities at once: more than stay in their partition."""
    return sum((yield All(ctx.call("double", number) for number in range(width))))


def parent(ctx: Ctx, value: int) -> Code:
    """Two children, one after a timer."""
    first = yield ctx.child("chain", value)
    yield ctx.timer(0.7)
    second = yield ctx.child("fan", value + 2)
    return [first, second]


def approval(ctx: Ctx, value: int) -> Code:
    """Wait for two events."""
    first = yield ctx.event("Approve")
    doubled = yield ctx.call("double", value)
    second = yield ctx.event("approve")
    return [first, doubled, second]


def collect(ctx: Ctx, state: dict[str, Any]) -> Code:
    """Take events, two to an execution, until all have come."""
    for _ in range(2):
        state["got"].append((yield ctx.event("n")))
        if len(state["got"]) == state["want"]:
            return state["got"]
    yield ctx.call("double", 1)
    ctx.go_on(state)
    return None


def stubborn(ctx: Ctx, value: int) -> Code:
    """An activity that fails twice, retried."""
    return (yield from retrying(ctx, "flaky", value, times=4, delay_s=0.3))


WORKFLOWS: dict[str, Callable[[Ctx, Any], Code]] = {
    "chain": chain,
    "fan": fan,
    "parent": parent,
    "approval": approval,
    "collect": collect,
    "stubborn": stubborn,
}

KINDS: tuple[tuple[str, Any, Any], ...] = (
    ("chain", 3, 24),
    ("fan", 14, 182),
    ("parent", 2, [16, 12]),
    ("approval", 5, [0, 10, 1]),
    ("collect", {"got": [], "want": 5}, [0, 1, 2, 3, 4]),
    ("stubborn", 7, 7),
)
"""Name, input, and output as modelled."""

EVENTS = {"approval": ("APPROVE", 2), "collect": ("N", 5)}
"""Name and number of the events that a kind waits for: 0, 1, ..."""


class RemoteStand:
    """A world without code of its own, and remote workers for it."""

    def __init__(
        self,
        loop: SimLoop,
        seed: int = 1,
        *,
        faults: Faults = NO_FAULTS,
        post: PostFaults = GENTLE_POST,
        partition_count: int = 0,
    ) -> None:
        self.loop = loop
        self.clock = SimClock(loop)
        self.memory = MemoryStore(clock=self.clock)
        self.store = FaultyStore(self.memory, seed, faults)
        self.store.on_applied = lambda: check_committed(self.memory)
        self.world: World
        if partition_count:
            self.world = ClusterWorld(
                loop,
                self.store,
                Registry(),
                seed=seed,
                partition_count=partition_count,
                post=post,
            )
        else:
            self.world = World(loop, self.store, Registry(), seed=seed, remote_workers=True)
        self.random = random.Random(f"remote {seed}")
        self.log = WorkLog()
        self.failures: dict[int, int] = {}
        self.workers: list[RemoteWorker] = []
        self.shown = Shown(self.memory)
        self.errors: list[BaseException] = []
        self.finished: dict[str, Instance] = {}

    # ---- workers -------------------------------------------------------------------------------

    def activities(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """Return what a worker of the app can do."""

        async def double(value: int) -> int:
            await asyncio.sleep(0.02 + 0.2 * (value % 3))
            return value * 2

        async def flaky(value: int) -> int:
            await asyncio.sleep(0.05)
            self.failures[value] = self.failures.get(value, 0) + 1
            if self.failures[value] < 3:
                raise CallFailedError("not yet")
            return value

        async def nap(seconds: float) -> float:
            await asyncio.sleep(seconds)
            return seconds

        return {"double": double, "flaky": flaky, "nap": nap}

    def worker(self, *, host: int | None = None, **settings: Any) -> RemoteWorker:
        """Start a worker process; `host` is the place in the list of the one that it talks to, by
        default any."""
        settings = {"workflows": WORKFLOWS, "log": self.log, **settings}
        settings.setdefault("activities", self.activities())
        settings.setdefault("look", self.shown.check)
        worker = RemoteWorker(lambda: self.reach(host), **settings)
        worker.start()
        self.workers.append(worker)
        return worker

    def reach(self, host: int | None = None) -> WorkflowEngine | None:
        """Return an engine that lives."""
        living = [h for h in self.world.hosts if not h.died.is_set()]
        if not living:
            return None
        if host is not None:
            return living[host].engine if host < len(living) else None
        return self.random.choice(living).engine

    async def kill_worker(self, worker: RemoteWorker) -> None:
        """End a worker process at once."""
        self.workers.remove(worker)
        await worker.kill()
        self.errors += worker.errors

    def moody(self) -> Callable[[Answer], Awaitable[None]]:
        """Return a way to answer that is not always the best."""

        async def answer(send: Answer) -> None:
            mood = self.random.random()
            if mood < 0.1:
                await twice(send)
            elif mood < 0.2:
                await late(self.random.choice((0.3, 1.9, 2.1, 5.0)))(send)
            else:
                await once(send)

        return answer

    # ---- clients -------------------------------------------------------------------------------

    async def start(self, name: str, value: object, instance_id: str, **options: Any) -> None:
        """Start an instance."""
        await self.world.ask(
            lambda engine: engine.start(
                name,
                input=json.dumps(value),
                instance_id=instance_id,
                idempotency_key=f"start-{instance_id}",
                **options,
            )
        )

    async def raise_event(self, instance_id: str, name: str, value: object, event_id: str) -> None:
        """Raise an event."""
        await self.world.ask(
            lambda engine: engine.raise_event(
                instance_id, name, json.dumps(value), event_id=event_id
            )
        )

    async def end_of(self, instance_id: str, **options: Any) -> Instance:
        """Wait for the end of an instance."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.world.ask(
                lambda engine: engine.wait_for_completion(
                    instance_id, timeout_s=DEADLINE_S, **options
                )
            )

    async def client(self, number: int) -> None:
        """Start an instance of some kind, do what it needs, and hold its end against the model."""
        name, value, expected = KINDS[number % len(KINDS)]
        if name == "stubborn":
            value = expected = number
        instance_id = f"{name}-{number}"
        await self.start(name, value, instance_id)
        event, count = EVENTS.get(name, ("", 0))
        for index in range(count):
            await asyncio.sleep(self.random.random())
            await self.raise_event(instance_id, event, index, f"{instance_id}-{index}")
        if number % 4 == 3:
            await self.world.ask(lambda engine: engine.suspend(instance_id))
            await asyncio.sleep(1)
            await self.world.ask(lambda engine: engine.resume(instance_id))
        instance = await self.end_of(instance_id)
        assert instance.status is Status.COMPLETED, instance
        # What a waiting client is told may come from the memory of a host: the store says the same.
        assert instance == await self.world.ask(lambda engine: engine.get(instance_id))
        assert json.loads(instance.output or "null") == expected, instance
        self.finished[instance_id] = instance

    async def play(self, count: int, trouble: Awaitable[None] | None = None) -> None:
        """Run clients while `trouble` does its worst."""
        meddler = asyncio.ensure_future(trouble) if trouble is not None else None
        async with asyncio.TaskGroup() as clients:
            for number in range(count):
                clients.create_task(self.client(number), name=f"client-{number}")
        if meddler is not None:
            meddler.cancel()
            with suppress(asyncio.CancelledError):
                await meddler

    # ---- ends ----------------------------------------------------------------------------------

    async def close(self, *, quiet: bool = True) -> None:
        """End all faults, stop everything and check what must hold."""
        self.store.faults = NO_FAULTS
        if isinstance(self.world, ClusterWorld):
            self.world.post.faults = GENTLE_POST
        if quiet:
            async with asyncio.timeout(60):
                while not self._is_quiet():  # noqa: ASYNC110 -- virtual time
                    await asyncio.sleep(0.1)
        for worker in list(self.workers):
            await self.kill_worker(worker)
        await self.world.stop_hosts()
        await self.store.settle()
        assert self.errors == []
        check_committed(self.memory)
        check_ownership(self.store.audit)
        if quiet:
            check_quiet(self.memory)

    def _is_quiet(self) -> bool:
        try:
            check_quiet(self.memory)
        except AssertionError:
            return False
        return True

    def check_runs(self, *, faults: int) -> None:
        """I5. `faults` may each have made any activity run again."""
        assert all(count <= 1 + faults for count in self.log.runs.values()), self.log.runs
        if not faults:
            assert self.log.twice_at_once == set()
        assert any(stored.state.is_remote for stored in stored_instances(self.memory))
        assert self.shown.checked
