"""Heartbeat and leases beside the host's event loop: what a blocked loop costs, and what not."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import Actor, ActorSystem
from actorflow.actors.cluster import Cluster
from actorflow.actors.door import PartitionState
from actorflow.actors.keeper import InThread, Keeper, OnLoop
from actorflow.actors.ports import Lease
from actorflow.actors.pulse import Pulse
from actorflow.actors.rendezvous import wanted_owner
from actorflow.actors.store.memory import MemoryStore
from actorflow.actors.transport import Member
from tests.fakes.fake_cluster import FakeMembership, FakePost, FakeTransport
from tests.fakes.fake_lifeline import FakeLifeline
from tests.sim.loop import SimClock, SimIds, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from actorflow.actors.errors import ActorflowError

TTL_MS = 2_000
PARTITIONS = 8


class Nobody(Actor):
    """An actor type; none is ever called."""


class KeptHost:
    """A host whose lifeline works while its loop seems to be blocked."""

    def __init__(self, scene: Scene, number: int) -> None:
        membership = FakeMembership(scene.post)
        self.line = FakeLifeline(scene.store, membership)
        self.system = ActorSystem(
            scene.store,
            [Nobody],
            clock=SimClock(scene.loop),
            ids=SimIds(number),
            partition_count=PARTITIONS,
            cluster=Cluster(FakeTransport(scene.post), membership, home=OnLoop(self.line)),
            lease_ttl_ms=TTL_MS,
        )

    def block(self) -> None:
        """Stop the beats of its loop."""
        (pulse,) = [task for task in self.system._tasks if task.get_name() == "pulse"]
        pulse.cancel()

    def go_on(self) -> None:
        """Beat again."""
        assert self.system._cluster is not None
        self.system.spawn(self.system._cluster._beat(), "pulse")

    @property
    def owned(self) -> set[int]:
        return {p.index for p in self.system._partitions if p.state is not PartitionState.CLOSED}


class Scene:
    """Two hosts that share the partitions."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.store = MemoryStore(clock=SimClock(loop))
        self.post = FakePost()
        self.hosts = [KeptHost(self, number) for number in range(2)]

    def is_balanced(self) -> bool:
        names = [host.system.host_id for host in self.hosts]
        wanted = {p: wanted_owner(p, names) for p in range(PARTITIONS)}
        return all(
            host.owned == {p for p, name in wanted.items() if name == host.system.host_id}
            for host in self.hosts
        )

    async def until(self, reached: Callable[[], bool]) -> float:
        began_s = self.loop.time()
        async with asyncio.timeout(60):
            while not reached():  # noqa: ASYNC110 -- virtual time
                await asyncio.sleep(0.01)
        return self.loop.time() - began_s


def with_two_hosts(main: Callable[[Scene], Coroutine[object, object, None]]) -> None:
    async def run(loop: SimLoop) -> None:
        scene = Scene(loop)
        for host in scene.hosts:
            await host.system.start()
        await scene.until(scene.is_balanced)
        await asyncio.sleep(TTL_MS / 1e3)
        await main(scene)
        for host in scene.hosts:
            await host.system.stop()

    simulate(3, run)


def test_a_loop_that_is_blocked_for_less_than_three_leases_keeps_its_partitions() -> None:
    async def main(scene: Scene) -> None:
        blocked, other = scene.hosts
        mine = blocked.owned
        for _ in range(3):
            blocked.block()
            await asyncio.sleep(2.5 * TTL_MS / 1e3)
            blocked.go_on()
            await asyncio.sleep(1)
        assert blocked.owned == mine
        assert other.owned == set(range(PARTITIONS)) - mine

    with_two_hosts(main)


def test_a_loop_that_is_silent_for_longer_loses_them_at_once_and_gets_them_back() -> None:
    async def main(scene: Scene) -> None:
        blocked, other = scene.hosts
        mine = blocked.owned
        blocked.block()
        took_s = await scene.until(lambda: len(other.owned) == PARTITIONS)
        assert 3 * TTL_MS / 1e3 - 0.5 < took_s < 3 * TTL_MS / 1e3 + 1.5
        assert blocked.owned == set()
        renewals = blocked.line.renewals
        await asyncio.sleep(10)
        assert blocked.line.renewals == renewals, "what was given up is not renewed"
        assert len(other.owned) == PARTITIONS, "and others need not fear for it"
        blocked.go_on()
        await scene.until(lambda: blocked.owned == mine)

    with_two_hosts(main)


def test_a_line_that_is_cut_is_tried_again_before_the_leases_end() -> None:
    async def main(scene: Scene) -> None:
        host, other = scene.hosts
        mine = host.owned
        host.line.cut = True
        await asyncio.sleep(TTL_MS / 2e3)
        host.line.cut = False
        await asyncio.sleep(5)
        assert host.owned == mine
        assert len(other.owned) == PARTITIONS - len(mine)

    with_two_hosts(main)


# ---- the thread --------------------------------------------------------------------------------


class SlateLine:
    """A lifeline that writes down what it is asked, from any thread."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.opened = 0
        self.closed = 0
        self.thread = 0
        self.fail = False

    async def open(self) -> None:
        self.opened += 1
        self.thread = threading.get_ident()

    async def close(self) -> None:
        self.closed += 1

    async def time_ns(self) -> int | None:
        return None

    async def beat(self, host: str, info: bytes) -> Sequence[Member]:
        self.asked.append("beat")
        if self.fail:
            self.fail = False
            raise ValueError("a bug")
        return [Member(host, 0, info)]

    async def leave(self, host: str) -> None:
        self.asked.append("leave")

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        self.asked.append("renew")
        return True

    async def release(self, lease: Lease) -> None:
        self.asked.append("release")


class Threaded:
    """A keeper in its thread, and the host that hears it."""

    def __init__(self, *, ttl_ms: int) -> None:
        self.line = SlateLine()
        self.pulse = Pulse()
        self.home = InThread(lambda: self.line)
        self.members: list[Member] = []
        self.lost: list[Lease] = []
        self.heard_in: set[int] = set()
        self.keeper = Keeper("host", self.pulse, self, ttl_ms=ttl_ms, info=b"i", clock=None)
        self.beating: asyncio.Task[None] | None = None

    def heard(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        self.heard_in.add(threading.get_ident())

    def unheard(self, error: Exception) -> None:
        raise error

    def lease_lost(self, lease: Lease, error: ActorflowError) -> None:
        assert "blocked" in str(error)
        self.lost.append(lease)

    async def __aenter__(self) -> Threaded:
        self.beating = asyncio.get_running_loop().create_task(self._beat(), name="beats")
        self.home.start(self.keeper, self._spawn)
        async with asyncio.timeout(120):
            while not self.members:  # noqa: ASYNC110 -- the thread tells no event
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.home.stop()
        assert self.beating is not None
        self.beating.cancel()

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        work.close()
        raise AssertionError(f"{name} on the loop of the host")

    async def _beat(self) -> None:
        while True:
            self.pulse.beats += 1
            await asyncio.sleep(0.05)


@pytest.mark.asyncio
async def test_leases_are_renewed_while_the_loop_is_blocked_and_the_culprit_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Threaded(ttl_ms=3_000) as kept:
        kept.pulse.leases = (Lease(0, 1, "t"),)
        await asyncio.sleep(0.3)
        before = len(kept.line.asked)
        kept.pulse.doing = "Counter/one"
        with caplog.at_level(logging.WARNING):
            meanwhile: list[str] = []
            while min(meanwhile.count("renew"), meanwhile.count("beat")) < 2:
                time.sleep(0.05)  # noqa: ASYNC251 -- this is the fault
                meanwhile = kept.line.asked[before:]
        kept.pulse.doing = None
        assert "release" not in meanwhile
        await asyncio.sleep(0.05)
        assert kept.lost == []
    (record,) = [r for r in caplog.records if vars(r).get("held_by") == "Counter/one"]
    assert "blocked" in record.getMessage()
    assert "test_leases_are_renewed_while_the_loop_is_blocked" in vars(record)["stack"]
    assert kept.heard_in == {threading.get_ident()} != {kept.line.thread}
    assert kept.line.closed == kept.line.opened == 1


@pytest.mark.asyncio
async def test_a_silent_loop_hears_what_it_lost_when_it_comes_back() -> None:
    leases = (Lease(0, 1, "t"), Lease(3, 1, "u"))
    async with Threaded(ttl_ms=1_000) as kept:
        kept.pulse.leases = leases
        await asyncio.sleep(0.3)
        while kept.line.asked.count("release") < len(leases):
            time.sleep(0.05)  # noqa: ASYNC251 -- this is the fault
        asked = list(kept.line.asked)
        assert asked[-3:] == ["leave", "release", "release"]
        kept.pulse.leases = ()
        while "beat" not in kept.line.asked[len(asked) :]:  # noqa: ASYNC110 -- until it is back
            await asyncio.sleep(0.05)
        assert kept.lost == list(leases)


@pytest.mark.asyncio
async def test_a_keeper_that_fails_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    async with Threaded(ttl_ms=10_000) as kept:
        kept.line.fail = True
        async with asyncio.timeout(120):
            while kept.line.opened < 2:  # noqa: ASYNC110 -- the thread tells no event
                await asyncio.sleep(0.05)
    assert any("begins again" in record.getMessage() for record in caplog.records)
    assert kept.line.closed == 2
