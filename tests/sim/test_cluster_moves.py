"""How partitions move between hosts: how fast, how often, and what callers notice."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import pytest

from actorflow.actors.address import ActorId, partition_of
from actorflow.actors.errors import UnavailableError
from actorflow.actors.placement import KEEP_S
from actorflow.actors.rendezvous import wanted_owner
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import ActivityContext, WorkflowContext  # noqa: TC001 -- read at run time
from actorflow.workflow.registry import Registry
from tests.sim.cluster import ClusterHost, ClusterWorld
from tests.sim.faulty_store import Faults, FaultyStore
from tests.sim.invariants import check_ownership
from tests.sim.loop import SimClock, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

STORE = Faults(delay=1.0, delay_max_s=0.002)
"""A store that takes about a millisecond."""

PARTITIONS = 16
SLOW_S = 1.0


def registry() -> Registry:
    """Return a workflow that waits for an event, and one with many activities."""
    app = Registry()

    @app.activity
    async def nap(ctx: ActivityContext, pause_s: float) -> str:
        await asyncio.sleep(pause_s)
        return ctx.task_execution_id

    @app.workflow
    async def gate(ctx: WorkflowContext, _: None) -> str:
        return await ctx.wait_for_external_event("open", type=str)

    @app.workflow
    async def fan(ctx: WorkflowContext, count: int) -> int:
        tasks = [ctx.call_activity(nap, input=0.01) for _ in range(count)]
        return len(set(await ctx.when_all(tasks)))

    return app


def in_cluster(
    hosts: int,
    main: Callable[[ClusterWorld], Coroutine[object, object, T]],
    *,
    seed: int = 2,
    app: Registry | None = None,
) -> T:
    """Run `main` in a cluster that has settled; check that two owners never both committed."""

    async def run(loop: SimLoop) -> T:
        store = FaultyStore(MemoryStore(clock=SimClock(loop)), seed, STORE)
        world = ClusterWorld(loop, store, app or registry(), seed=seed, partition_count=PARTITIONS)
        for _ in range(hosts):
            await world.start_host()
        await world.until(world.is_balanced, poll_s=0.1)
        result = await main(world)
        await world.stop_hosts()
        check_ownership(store.audit)
        return result

    return simulate(seed, run)


def report(what: str, duration_s: float) -> None:
    """Tell whoever runs with `-rP` what was measured, in virtual time."""
    sys.stdout.write(f"{what}: {duration_s:.4f} s\n")


def name_of(host: ClusterHost) -> str:
    return host.engine.actors.host_id


def owner_of(world: ClusterWorld, instance_id: str) -> ClusterHost:
    index = partition_of(ActorId("workflow", instance_id), PARTITIONS)
    (owner,) = [host for host in world.hosts if index in host.owned]
    return owner


def another(world: ClusterWorld, host: ClusterHost) -> ClusterHost:
    return next(other for other in world.hosts if other is not host)


def test_a_dead_host_is_followed_in_four_seconds() -> None:
    async def main(world: ClusterWorld) -> float:
        await world.kill_host(world.hosts[1])
        return await world.until(world.is_covered)

    slowest_s = max(in_cluster(3, main, seed=seed) for seed in range(10))
    report("fail-over", slowest_s)
    assert 2.5 < slowest_s < 4.0


def test_a_host_that_stops_hands_over_in_a_moment() -> None:
    async def main(world: ClusterWorld) -> float:
        began_s = world.loop.time()
        await world.stop_host(world.hosts[1])
        await world.until(world.is_covered)
        return world.loop.time() - began_s

    slowest_s = max(in_cluster(3, main, seed=seed) for seed in range(10))
    report("graceful stop", slowest_s)
    assert slowest_s < 0.2


def test_a_host_that_comes_gets_its_share_without_a_storm() -> None:
    async def main(world: ClusterWorld) -> None:
        await asyncio.sleep(KEEP_S)
        before = {p: name_of(host) for host in world.hosts for p in host.owned}
        began_s = world.loop.time()
        await world.start_host()
        most_at_once = 0
        owners: dict[int, set[str]] = {p: {name} for p, name in before.items()}

        def is_done() -> bool:
            nonlocal most_at_once
            uncovered = set(range(PARTITIONS))
            for host in world.hosts:
                for index in host.owned:
                    owners[index].add(name_of(host))
                    uncovered.discard(index)
            most_at_once = max(most_at_once, len(uncovered))
            return world.is_balanced()

        await world.until(is_done)
        took_s = world.loop.time() - began_s
        names = [name_of(host) for host in world.hosts]
        assert 2.0 < took_s < 4.0, took_s
        assert most_at_once <= 4 * (len(world.hosts) - 1)
        for index, name in before.items():
            assert owners[index] == {name, wanted_owner(index, names)}, "moved more than once"

    in_cluster(3, main)


def test_a_host_without_a_voice_loses_its_partitions_and_does_not_fight() -> None:
    async def main(world: ClusterWorld) -> None:
        mute = world.hosts[0]
        mute.membership.silent = True
        await asyncio.sleep(8)  # it learns from its next renewal
        assert mute.owned == []
        assert world.is_covered()
        moves = sum(host.moves for host in world.hosts)
        await asyncio.sleep(30)
        assert sum(host.moves for host in world.hosts) == moves
        assert mute.engine.problems() != []
        mute.membership.silent = False
        await world.until(world.is_balanced, poll_s=0.1)
        assert mute.engine.problems() == []

    in_cluster(3, main)


def test_calls_from_any_host_survive_every_stop() -> None:
    """A rolling restart under load: each call is answered, none fails."""

    async def main(world: ClusterWorld) -> float:
        slowest_s = 0.0
        running = True
        leaving: ClusterHost | None = None

        async def client(number: int) -> None:
            nonlocal slowest_s
            count = 0
            while running:
                count += 1
                hosts = [host for host in world.hosts if host is not leaving]
                engine = hosts[number % len(hosts)].engine
                began_s = world.loop.time()
                instance_id = await engine.start("gate", instance_id=f"g-{number}-{count}")
                slowest_s = max(slowest_s, world.loop.time() - began_s)
                await engine.raise_event(instance_id, "open", '"x"')
                await engine.wait_for_completion(instance_id, timeout_s=60)
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(client(number))
            for _ in range(3):
                await asyncio.sleep(2)
                await world.start_host()
                await asyncio.sleep(3)
                leaving = world.hosts[0]
                await asyncio.sleep(0.5)  # calls that came in before
                await world.stop_host(leaving)
            running = False
        return slowest_s

    slowest_s = max(in_cluster(3, main, seed=seed) for seed in range(2))
    report("slowest start during a rolling restart", slowest_s)
    assert slowest_s < 1.0


def test_calls_survive_a_crash_of_the_owner() -> None:
    """A start at a living host, while the owner is dead and not yet followed, waits and succeeds;
    it happens once."""

    async def main(world: ClusterWorld) -> float:
        victim, asked = world.hosts[1], world.hosts[2]
        ids = [f"i-{n}" for n in range(60)]
        ids = [i for i in ids if owner_of(world, i) is victim]
        began_s = world.loop.time()
        starts = [asyncio.ensure_future(asked.engine.start("gate", instance_id=i)) for i in ids]
        await asyncio.sleep(0.002)
        await world.kill_host(victim)
        assert await asyncio.gather(*starts) == ids
        return world.loop.time() - began_s

    slowest_s = max(in_cluster(3, main, seed=seed) for seed in range(10))
    report("slowest start across a crash", slowest_s)
    assert slowest_s < 10


def test_an_event_that_may_have_been_heard_is_raised_once() -> None:
    async def main(world: ClusterWorld) -> int:
        await world.hosts[0].engine.start("gate", instance_id="once")
        owner = owner_of(world, "once")
        asked = another(world, owner)
        raising = asyncio.ensure_future(asked.engine.raise_event("once", "other", '"1"'))
        await asyncio.sleep(0.0005 * world.ids.jitter() * 10)
        await world.kill_host(owner)
        await raising
        await world.until(world.is_covered)
        history = await asked.engine.history("once")
        return sum(getattr(event, "name", "") == "other" for event in history.events)

    assert Counter(in_cluster(3, main, seed=seed) for seed in range(12)) == {1: 12}


def test_a_wait_on_another_host_ends_at_once_and_outlives_a_move() -> None:
    async def main(world: ClusterWorld) -> tuple[float, float]:
        lags: list[float] = []
        for move in (False, True):
            instance_id = f"wait-{move}"
            await world.hosts[0].engine.start("gate", instance_id=instance_id)
            owner = owner_of(world, instance_id)
            asked = another(world, owner)
            waiting = asyncio.ensure_future(
                asked.engine.wait_for_completion(instance_id, timeout_s=60)
            )
            await asyncio.sleep(0.7)
            if move:
                world.hosts.remove(owner)
                await owner.stop()
                await world.until(world.is_covered)
                await asyncio.sleep(0.1)
            await asked.engine.raise_event(instance_id, "open", '"x"')
            raised_s = world.loop.time()
            assert (await waiting).output == '"x"'
            lags.append(world.loop.time() - raised_s)
        return lags[0], lags[1]

    results = [in_cluster(3, main, seed=seed) for seed in range(6)]
    report("lag of a wait", max(lag for pair in results for lag in pair))
    assert max(lag for pair in results for lag in pair) < 0.02


def test_a_fan_out_is_shared_by_all_hosts() -> None:
    async def main(world: ClusterWorld) -> Counter[str]:
        ran: Counter[str] = Counter()
        for host in world.hosts:
            worker = host.engine.actors._worker_types["activity"]
            name = name_of(host)

            def counted(delivery, deliver=worker.deliver, name=name):  # type: ignore[no-untyped-def]  # a spy
                ran[name] += 1
                deliver(delivery)

            host.engine.actors._worker_types["activity"] = type(worker)(worker.name, counted)
        engine = world.hosts[0].engine
        await engine.start("fan", instance_id="fan", input="200")
        ended = await engine.wait_for_completion("fan", timeout_s=60)
        assert ended.output == "200"
        return ran

    ran = in_cluster(3, main)
    assert ran.total() == 200
    assert min(ran.values()) > 20, ran
    assert len(ran) == 3


def test_a_call_whose_answer_is_late_ends_with_its_host() -> None:
    """A host stops while a call that came to it waits for the owner, which is frozen: the caller
    is told, and not when its own time is over."""

    async def main(world: ClusterWorld) -> float:
        ids = [f"late-{n}" for n in range(40)]
        owner = owner_of(world, ids[0])
        asked = another(world, owner)
        ids = [i for i in ids if owner_of(world, i) is owner]
        owner.freeze()
        starts = [asyncio.ensure_future(asked.engine.start("gate", instance_id=i)) for i in ids]
        await asyncio.sleep(0.5)
        began_s = world.loop.time()
        await world.stop_host(asked)
        errors = await asyncio.gather(*starts, return_exceptions=True)
        assert all(isinstance(error, UnavailableError) for error in errors), errors
        with pytest.raises(UnavailableError):
            await asked.engine.start("gate", instance_id=ids[0])
        took_s = world.loop.time() - began_s
        owner.thaw()
        return took_s

    assert in_cluster(3, main) < 1.0


def test_a_slow_host_holds_up_nobody_while_the_members_change() -> None:
    """Each call of one host to the store takes a second, as does each letter and heartbeat, while
    a host comes and another leaves. Whoever asks for what the slow host neither has nor had waits
    no longer than ever."""

    async def main(world: ClusterWorld) -> tuple[float, float]:
        slow = world.hosts[0]
        slow.gate.delay_s = slow.transport.delay_s = slow.membership.delay_s = SLOW_S
        by_others: list[tuple[int, float]] = []
        touched: set[int] = set()
        running = True

        async def client(number: int) -> None:
            count = 0
            while running:
                count += 1
                instance_id = f"s-{number}-{count}"
                asked = world.hosts[1 + number % (len(world.hosts) - 1)]
                index = partition_of(ActorId("workflow", instance_id), PARTITIONS)
                began_s = world.loop.time()
                touched.update(slow.owned)
                await asked.engine.start("gate", instance_id=instance_id)
                touched.update(slow.owned)
                by_others.append((index, world.loop.time() - began_s))
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(client(number))
            await asyncio.sleep(2)
            began_s = world.loop.time()
            await world.start_host()
            await world.until(world.is_balanced, poll_s=0.05)
            took_s = world.loop.time() - began_s
            leaving = world.hosts.pop(1)
            await asyncio.sleep(8 * SLOW_S)  # calls that came in before
            await leaving.stop()
            await world.until(world.is_balanced, poll_s=0.05)
            running = False
        slow.gate.delay_s = slow.transport.delay_s = slow.membership.delay_s = 0.0
        return max(took_s for index, took_s in by_others if index not in touched), took_s

    results = [in_cluster(3, main, seed=seed) for seed in range(3)]
    slowest_s, took_s = (max(values) for values in zip(*results, strict=True))
    report("slowest start at the others beside a slow host", slowest_s)
    report("a host joins beside a slow one", took_s)
    assert slowest_s < 0.2
    assert took_s < 4.0 + 12 * SLOW_S


def test_an_idle_cluster_is_silent() -> None:
    async def main(world: ClusterWorld) -> int:
        await asyncio.sleep(20)
        before = sum(map(len, world.post._inboxes.values()))
        await asyncio.sleep(60)
        return sum(map(len, world.post._inboxes.values())) - before

    assert in_cluster(3, main) == 0
