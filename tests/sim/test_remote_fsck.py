"""fsck on stores whose instances remote workers run, of one app and of several."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import ActorId
from actorflow.workflow.fsck import Fsck, Report
from actorflow.workflow.offline import OfflineStore
from actorflow.workflow.requests import ACTIVITY, WORKER, instance_type
from tests.fakes.remote_code import All
from tests.sim.cluster import ClusterWorld
from tests.sim.faulty_store import Faults
from tests.sim.loop import SimIds, SimLoop, simulate
from tests.sim.remote import WORKFLOWS, RemoteStand

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors.store.memory import MemoryStore
    from tests.fakes.remote_code import Ctx
    from tests.sim.conftest import OverSeeds
    from tests.sim.remote import Code


def at_once(store: MemoryStore, partitions: int = 1) -> Report:
    """Check at this very moment."""
    work = Fsck(store, partitions, is_live=False).check()
    try:
        work.send(None)
    except StopIteration as end:
        report: Report = end.value
        return report
    raise AssertionError("it waits")


@pytest.mark.parametrize("partitions", [1, 8])
def test_silent_about_all_that_is_committed(partitions: int, over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            stand = RemoteStand(
                loop,
                seed,
                faults=Faults(delay=0.3),
                partition_count=partitions if partitions > 1 else 0,
            )
            seen: Counter[str] = Counter()

            def check() -> None:
                seen["commits"] += 1
                if seen["commits"] % 7 == 0:
                    report = at_once(stand.memory, partitions)
                    assert report.faults == [], report.faults
                    seen["checked"] += report.open_instances

            stand.store.on_applied = check
            await stand.world.start_host()
            if isinstance(stand.world, ClusterWorld):
                await stand.world.until(stand.world.is_balanced, poll_s=0.1)
            stand.worker(answer=stand.moody())
            stand.worker(answer=stand.moody())

            async def trouble() -> None:
                while True:
                    await asyncio.sleep(stand.random.random())
                    stand.random.choice(stand.workers).disconnect()

            await stand.play(12, trouble())
            await stand.close()
            return seen

        return simulate(seed, main)

    over_seeds(run, 3, must_see=["checked"])


def everything(ctx: Ctx, app_id: str) -> Code:
    """Wait for all kinds of things at once."""
    calls = [ctx.call("nap", 60) for _ in range(12)]
    child = ctx.child("sleeps", 60)
    abroad = ctx.child("sleeps", 60, app_id="other", instance_id=f"of-{app_id}")
    return (yield All([*calls, child, abroad, ctx.timer(50)]))


def sleeps(ctx: Ctx, seconds: float) -> Code:
    yield ctx.timer(seconds)
    return "slept"


CODE = {**WORKFLOWS, "everything": everything, "sleeps": sleeps}


async def with_all(stand: RemoteStand) -> None:
    """Bring an instance of each of two apps, of the same id, to wait for all kinds of things."""
    await stand.world.start_host()
    for app_id in ("default", "other"):
        stand.worker(app_id=app_id, workflows=CODE)
        await stand.start("everything", app_id, "x", app_id=app_id)
    await asyncio.sleep(5)


async def cured(stand: RemoteStand) -> Report:
    """Repair, and check again."""
    report = at_once(stand.memory)
    async with OfflineStore(stand.store, 1, SimIds("offline")) as owned:
        await Fsck(stand.store, 1, is_live=False).repair(report, owned)
    return report


def cases() -> dict[str, Callable[[MemoryStore], None]]:
    def rows_of(kind: str) -> Callable[[MemoryStore], None]:
        def lose(store: MemoryStore) -> None:
            rows = store._partition(0).messages
            for id_ in [id_ for id_, row in rows.items() if row.target.type == kind]:
                del rows[id_]

        return lose

    def timers(store: MemoryStore) -> None:
        for actor in store._partition(0).actors.values():
            if actor.actor.key == "x":
                actor.reminders.clear()

    def child(store: MemoryStore) -> None:
        actors = store._partition(0).actors
        for number in [n for n, a in actors.items() if a.actor.key.startswith("x:")]:
            del actors[number]

    return {"activities": rows_of(ACTIVITY), "timers": timers, "children": child}


@pytest.mark.parametrize("what", cases())
def test_cures_what_is_lost_in_both_apps(what: str) -> None:
    async def main(loop: SimLoop) -> None:
        stand = RemoteStand(loop)
        stand.store.on_applied = None
        await with_all(stand)
        await stand.world.stop_hosts()
        cases()[what](stand.memory)
        report = await cured(stand)
        if what == "activities":
            assert {f.subject for f in report.faults} == {"x", "x (app other)"}
            assert len(report.faults) == 24
        if what == "timers":
            assert {f.subject for f in report.faults} == {"x", "x (app other)"}
        assert report.faults
        assert at_once(stand.memory).faults == []
        await stand.world.start_host()
        for app_id in ("default", "other"):
            assert (await stand.end_of("x", app_id=app_id)).output is not None
        await stand.close()

    simulate(2, main)


def test_a_lost_request_for_a_worker_is_made_again() -> None:
    async def main(loop: SimLoop) -> None:
        stand = RemoteStand(loop)
        stand.store.on_applied = None
        await stand.world.start_host()
        for app_id in ("default", "other"):
            await stand.start("chain", 1, "c", app_id=app_id)
        await stand.world.stop_hosts()
        rows = stand.memory._partition(0).messages
        for id_ in [id_ for id_, row in rows.items() if row.target.type == WORKER]:
            del rows[id_]
        report = await cured(stand)
        assert {f.subject for f in report.faults} == {"c", "c (app other)"}
        assert at_once(stand.memory).faults == []
        await stand.world.start_host()
        for app_id in ("default", "other"):
            stand.worker(app_id=app_id)
            assert (await stand.end_of("c", app_id=app_id)).output == "8"
        await stand.close()

    simulate(2, main)


def test_loud_about_histories_that_cannot_be() -> None:
    async def main(loop: SimLoop) -> None:
        stand = RemoteStand(loop)
        await stand.world.start_host()
        stand.worker()
        await stand.start("chain", 1, "c", app_id="default")
        await stand.end_of("c")
        await stand.close()
        actor = next(
            stored
            for stored in stand.memory._partition(0).actors.values()
            if stored.actor == ActorId(instance_type("default"), "c")
        )
        log = list(actor.log)
        texts = []
        for damage in (
            [log[0], *log[2:]],  # the start is missing
            [*log[:3], log[2], *log[3:]],  # an action is there twice
        ):
            actor.log = damage
            texts += [f.detail for f in at_once(stand.memory).faults if f.code == "history"]
        assert any("action ids come twice" in text for text in texts), texts
        assert any("not with its start" in text for text in texts), texts

    simulate(2, main)
