"""fsck: silent about every state that the engine commits, and loud about each kind of damage."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import pytest

from actorflow.actors import ActorId, Reminder
from actorflow.actors.ports import (
    DueReminder,
    EntryId,
    LinkEntry,
    LinkMark,
    MessageRow,
    Recovery,
)
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import ActivityContext, Registry, RetryPolicy, WorkflowContext
from actorflow.workflow.events import Status
from actorflow.workflow.fsck import Fsck, Report
from actorflow.workflow.offline import OfflineStore, StoreRunsError
from actorflow.workflow.requests import ACTIVITY, INSTANCE, RUN
from tests.sim.ledger import Ledger
from tests.sim.loop import SimIds, SimLoop, simulate
from tests.sim.stand import Stand

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorflow.actors.store.memory import _Partition, _StoredActor

T = TypeVar("T")


def at_once(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine that never waits: all calls of a memory store."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")


def check(store: MemoryStore, registry: Registry | None = None, partitions: int = 1) -> Report:
    return at_once(Fsck(store, partitions, registry=registry, is_live=False).check())


def shop() -> Registry:
    """Workflows that do everything which leaves rows behind, or takes them away."""
    app = Registry()

    @app.activity
    async def work(ctx: ActivityContext, seconds: float) -> float:
        await asyncio.sleep(seconds)
        if seconds == 0.5 and (ctx.attempt or 1) < 3:
            raise RuntimeError("not yet")
        return seconds

    @app.workflow
    async def child(ctx: WorkflowContext, seconds: float) -> float:
        return float(await ctx.call_activity(work, input=seconds))

    @app.workflow
    async def everything(ctx: WorkflowContext, left: int) -> str:
        event = ctx.wait_for_external_event("go", timeout=timedelta(hours=1))
        timer = ctx.create_timer(timedelta(seconds=2))
        await ctx.when_any([event, timer])
        policy = RetryPolicy(max_number_of_attempts=5, first_retry_interval=timedelta(seconds=1))
        await ctx.gather(
            ctx.call_activity(work, input=0.5, retry_policy=policy),
            ctx.call_activity(work, input=3, timeout=timedelta(hours=2)),
            ctx.call_child_workflow(child, input=4),
        )
        ctx.set_custom_status({"left": left})
        if left:
            return ctx.continue_as_new(left - 1, save_events=True)
        return "end"

    return app


def test_every_committed_state_of_the_ledger_is_clean() -> None:
    looks = 0

    async def main(loop: SimLoop) -> None:
        nonlocal looks
        ledger = Ledger(loop)
        stand = Stand(loop, ledger.registry)

        def look() -> None:
            nonlocal looks
            looks += 1
            assert check(stand.memory).findings == []

        stand.store.on_applied = look
        await stand.world.start_host()
        await ledger.run_clients(stand.world, 8)
        await stand.close()
        report = check(stand.memory)
        assert (report.instances, report.open_instances, report.messages) == (16, 0, 0)

    simulate(3, main)
    assert looks > 50


@pytest.mark.parametrize("with_code", [False, True])
def test_every_committed_state_of_a_busy_shop_is_clean(with_code: bool) -> None:
    app = shop()

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, app)
        stand.store.on_applied = lambda: _assert_clean(stand.memory, app if with_code else None)
        world = stand.world
        await world.start_host()
        for number in range(4):
            await stand.start("everything", number, instance_id=f"shop-{number}")
        await world.ask(lambda engine: engine.suspend("shop-2"))
        await world.ask(
            lambda engine: engine.start(
                "everything",
                instance_id="later",
                input="0",
                scheduled_start_ns=engine.now_ns() + 60 * 10**9,
            )
        )
        await asyncio.sleep(1)
        await stand.raise_event("shop-1", "go", None, "e1")
        await stand.restart()
        await asyncio.sleep(30)
        await world.ask(lambda engine: engine.resume("shop-2"))
        await world.ask(lambda engine: engine.terminate("shop-3"))
        for name in ("shop-0", "shop-1", "shop-2", "later"):
            assert (await stand.end_of(name)).status is Status.COMPLETED
        await world.ask(lambda engine: engine.purge("shop-0"))
        await stand.close()

    simulate(5, main)


def _assert_clean(memory: MemoryStore, registry: Registry | None) -> None:
    assert check(memory, registry).findings == []


def test_an_instance_without_a_worker_is_clean() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, Registry())
        await stand.world.start_host()
        await stand.start("nobody knows", instance_id="pending")
        await stand.raise_event("pending", "early", 1, "e")
        await stand.world.stop_hosts()
        report = check(stand.memory)
        assert report.findings == []
        assert (report.open_instances, report.messages) == (1, 1)

    simulate(1, main)


# ---- damage --------------------------------------------------------------------------------------


Damage: TypeAlias = "Callable[[Shop], None]"


class Shop:
    """A stopped store with instances that wait for every kind of thing."""

    def __init__(self, memory: MemoryStore) -> None:
        self.memory = memory

    @property
    def part(self) -> _Partition:
        return self.memory._partitions[0]

    def actor(self, key: str) -> _StoredActor:
        return self.part.actors[ActorId(INSTANCE, key)]

    def drop_messages(self, wanted: Callable[[MessageRow], bool]) -> None:
        for row in list(self.part.messages.values()):
            if wanted(row):
                del self.part.messages[row.id]


def lose_activity(shop: Shop) -> None:
    shop.drop_messages(lambda row: row.target == ActorId(ACTIVITY, "naps"))


def lose_timer(shop: Shop) -> None:
    shop.actor("sleeps").reminders.clear()


def lose_child(shop: Shop) -> None:
    del shop.part.actors[ActorId(INSTANCE, "parent:0001")]
    shop.drop_messages(lambda row: row.target.key == "parent:0001")


def lose_end_of_child(shop: Shop) -> None:
    shop.drop_messages(lambda row: row.target == ActorId(INSTANCE, "parent"))


def lose_request_for_worker(shop: Shop) -> None:
    shop.drop_messages(lambda row: row.target.key == "unknown")


def lose_scheduled_start(shop: Shop) -> None:
    shop.actor("later").reminders.clear()


def wrong_head(shop: Shop) -> None:
    stored = shop.actor("naps")
    assert stored.summary is not None
    stored.summary = stored.summary._replace(phase="COMPLETED", updated_ms=5)


def unreadable_head(shop: Shop) -> None:
    stored = shop.actor("naps")
    assert stored.summary is not None
    stored.summary = stored.summary._replace(head=b"\xff")


def lose_event(shop: Shop) -> None:
    del shop.actor("naps").log[0]


def unreadable_event(shop: Shop) -> None:
    shop.actor("naps").log[1] = b"1{"


def stale_reminder(shop: Shop) -> None:
    shop.actor("naps").reminders["timer:1:77"] = Reminder("timer:1:77", 5, 0, b"")


def unreadable_message(shop: Shop) -> None:
    row = MessageRow(90, ActorId(INSTANCE, "naps"), "result", b"\xff")
    shop.part.messages[90] = row


def parked_message(shop: Shop) -> None:
    for id_, row in list(shop.part.messages.items()):
        if row.method == RUN and row.target.key == "naps":
            shop.part.messages[id_] = row._replace(parked="RuntimeError: no")


def half_made(shop: Shop) -> None:
    shop.actor("naps").summary = None


CURABLE: dict[Damage, str] = {
    lose_activity: "activity",
    lose_timer: "timer",
    lose_child: "child",
    lose_request_for_worker: "inbox",
    lose_scheduled_start: "inbox",
    wrong_head: "head",
    unreadable_head: "head",
    stale_reminder: "reminder",
    parked_message: "parked",
}
INCURABLE: dict[Damage, str] = {
    lose_event: "history",
    unreadable_event: "unreadable",
    unreadable_message: "message",
    half_made: "no-summary",
}


def waiting_app() -> Registry:
    app = Registry()

    @app.activity
    async def nap(_: ActivityContext, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @app.workflow
    async def naps(ctx: WorkflowContext, seconds: float) -> float:
        return float(await ctx.call_activity(nap, input=seconds))

    @app.workflow
    async def sleeps(ctx: WorkflowContext, seconds: float) -> str:
        await ctx.create_timer(timedelta(seconds=seconds))
        return "awake"

    @app.workflow
    async def parent(ctx: WorkflowContext, seconds: float) -> float:
        return float(await ctx.call_child_workflow(naps, input=seconds))

    return app


async def open_shop(loop: SimLoop) -> tuple[Stand, Shop]:
    """Let instances begin to wait, then stop the host in the middle."""
    stand = Stand(loop, waiting_app())
    stand.store.on_applied = None
    world = stand.world
    await world.start_host()
    for name in ("naps", "sleeps", "parent"):
        await stand.start(name, 50, instance_id=name)
    start_ns = stand.world.engine.now_ns() + 100 * 10**9
    await world.ask(
        lambda engine: engine.start(
            "naps", instance_id="later", input="1", scheduled_start_ns=start_ns
        )
    )
    await asyncio.sleep(1)
    await world.kill_host()
    code, world.registry = world.registry, Registry()
    await world.start_host()
    await stand.start("naps", 1, instance_id="unknown")
    await world.stop_hosts()
    world.registry = code
    return stand, Shop(stand.memory)


async def repair(store: MemoryStore, *, unpark: bool = True, partitions: int = 1) -> Report:
    fsck = Fsck(store, partitions, is_live=False)
    async with OfflineStore(store, partitions, SimIds(9)) as owned:
        report = await fsck.check()
        await fsck.repair(report, owned, unpark=unpark)
        return await fsck.check()


@pytest.mark.parametrize("damage", [*CURABLE, *INCURABLE], ids=lambda damage: damage.__name__)
def test_damage_is_found_and_repaired_where_it_can_be(damage: Damage) -> None:
    async def main(loop: SimLoop) -> None:
        stand, shop = await open_shop(loop)
        assert check(shop.memory).findings == []
        damage(shop)
        found = check(shop.memory)
        assert not found.is_clean
        assert {f.code for f in found.faults} == {(CURABLE | INCURABLE)[damage]}, found.faults
        assert all(f.cure for f in found.faults) == (damage in CURABLE)
        after = await repair(shop.memory)
        if damage in INCURABLE:
            assert after.faults == found.faults
            return
        assert after.findings == []
        await stand.world.start_host()
        for name in ("naps", "sleeps", "parent", "later", "unknown"):
            assert (await stand.end_of(name)).status is Status.COMPLETED
        await stand.world.stop_hosts()
        assert check(shop.memory).findings == []

    simulate(1, main)


def test_the_lost_end_of_a_child_is_told_again() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, waiting_app())
        stand.store.on_applied = None
        await stand.world.start_host()
        await stand.start("parent", 5, instance_id="parent")
        await stand.end_of("parent")
        await stand.world.stop_hosts()
        # The parent as it was before its last turn, as if that turn's message had been lost.
        stored = Shop(stand.memory).actor("parent")
        del stored.log[2:]
        stored.fields.pop("output")
        (finding,) = check(stand.memory).faults[:1]
        assert finding.code == "head"
        after = await repair(stand.memory)
        assert [f.code for f in after.faults] == []
        await stand.world.start_host()
        done = await stand.end_of("parent")
        assert (done.status, json.loads(done.output or "")) == (Status.COMPLETED, 5.0)
        await stand.world.stop_hosts()

    simulate(1, main)


class OrphanStore(MemoryStore):
    """Its reminders outlive their actors."""

    def __init__(self, inner: MemoryStore, reminders: list[Reminder]) -> None:
        super().__init__()
        self.restore(inner.snapshot())
        self._left = reminders
        self.reads_left = 1_000

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        found = await super().recover(partition, horizon_ms=horizon_ms)
        self.reads_left -= 1
        if self.reads_left < 0:
            return found
        left = [
            DueReminder(actor, 7, reminder)
            for reminder in self._left
            for actor in (ActorId(INSTANCE, "sleeps"), ActorId("Counter", "counter-1"))
        ]
        return found._replace(reminders=(*found.reminders, *left))


def test_reminders_of_what_is_gone_are_orphans() -> None:
    async def main(loop: SimLoop) -> None:
        _, shop = await open_shop(loop)
        reminders = shop.actor("sleeps").reminders
        shop.actor("sleeps").number = 999
        assert {f.code for f in check(shop.memory).faults} == set()
        del shop.part.actors[ActorId(INSTANCE, "sleeps")]
        assert check(shop.memory).findings == []
        memory = OrphanStore(shop.memory, list(reminders.values()))
        assert {f.code for f in check(memory).faults} == {"orphan"}
        assert {f.subject for f in check(memory).faults} == {"sleeps", "counter-1"}
        assert {f.code for f in (await Fsck(memory, 1).check()).faults} == {"orphan"}
        memory.reads_left = 1  # then they are gone as well: a purge while fsck was reading
        assert (await Fsck(memory, 1).check()).findings == []

    simulate(1, main)


def entry(n: int, prev: int, *, destination: int = 1, key: str = "b") -> LinkEntry:
    # "b" lives in partition 1 of 2, "d" in 0.
    target = ActorId("other", key)
    return LinkEntry(destination, EntryId(5, n), 7, EntryId(5, prev), target, "m", b"")


@pytest.mark.parametrize(
    ("outbox", "mark", "text"),
    [
        ([entry(1, 0), entry(2, 1)], 1, ""),
        ([entry(1, 0), entry(3, 2)], 1, "gap between"),
        ([entry(4, 3)], 1, "nothing is kept before"),
        ([entry(1, 0)], 9, "store lost data"),
        ([entry(1, 0, destination=0)], 0, "goes to partition 0"),
        ([entry(1, 0, key="d")], 0, "wrong partition"),
    ],
)
def test_links(outbox: list[LinkEntry], mark: int, text: str) -> None:
    memory = MemoryStore()
    sender, receiver = memory._partition(0), memory._partition(1)
    sender.outbox = {(e.destination, e.id): e for e in outbox}
    receiver.marks = {0: LinkMark(0, EntryId(5, mark), 7)}
    report = check(memory, partitions=2)
    assert [f.code for f in report.faults] == (["link"] if text else [])
    assert all(text in f.detail and f.subject == "partition 0" for f in report.faults)
    assert report.on_links == sum(e.id.n > mark for e in outbox)


# ---- a store in use ------------------------------------------------------------------------------


def test_a_store_with_an_owner_is_not_repaired() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, waiting_app())
        await stand.world.start_host()
        with pytest.raises(StoreRunsError, match="stop all hosts"):
            await repair(stand.memory)
        await stand.close()

    simulate(1, main)


class HastyStore(MemoryStore):
    """Rows are missing in the first reads, as when a record was read a moment before them."""

    def __init__(self, inner: MemoryStore, missing: int) -> None:
        super().__init__()
        self.restore(inner.snapshot())
        self.reads = 0
        self._missing = missing

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        self.reads += 1
        found = await super().recover(partition, horizon_ms=horizon_ms)
        return found._replace(messages=()) if self.reads <= self._missing else found


@pytest.mark.parametrize(("missing", "is_found"), [(0, False), (1, False), (3, False), (9, True)])
def test_in_a_store_in_use_only_what_stays_is_found(missing: int, is_found: bool) -> None:
    async def main(loop: SimLoop) -> None:
        _, shop = await open_shop(loop)
        store = HastyStore(shop.memory, missing)
        report = await Fsck(store, 1).check()
        assert bool(report.faults) == is_found
        assert store.reads == (1 if not missing else min(missing + 1, 4))

    simulate(1, main)


def test_changed_code_is_noted() -> None:
    async def main(loop: SimLoop) -> None:
        _, shop = await open_shop(loop)
        changed = Registry()

        @changed.workflow
        async def naps(ctx: WorkflowContext, seconds: float) -> None:
            await ctx.create_timer(timedelta(seconds=seconds))

        report = check(shop.memory, changed)
        assert report.is_clean
        assert {(f.code, f.subject) for f in report.findings} >= {("code", "naps")}

    simulate(1, main)
