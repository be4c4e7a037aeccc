"""Who should own what: rendezvous hashing, and what one host decides from the members it sees."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING

from actorflow.actors import Actor, ActorSystem
from actorflow.actors.cluster import Cluster
from actorflow.actors.door import PartitionState
from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.ports import Acquired, Held, Lease
from actorflow.actors.rendezvous import wanted_owner
from actorflow.actors.store.memory import MemoryStore
from actorflow.actors.transport import Member
from tests.fakes.fake_cluster import FakeMembership, FakePost, FakeTransport
from tests.sim.loop import SimClock, SimIds, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    import pytest

    from actorflow.actors.placement import Placement


def test_shares_are_even_and_little_moves() -> None:
    hosts = [f"host-{n}" for n in range(5)]
    before = {p: wanted_owner(p, hosts) for p in range(1_000)}
    shares = Counter(before.values())
    assert all(140 < share < 260 for share in shares.values()), shares
    after = {p: wanted_owner(p, hosts[:4]) for p in range(1_000)}
    moved = [p for p in before if before[p] != after[p]]
    assert all(before[p] == "host-4" for p in moved)
    assert wanted_owner(3, hosts) == wanted_owner(3, reversed(hosts))
    assert wanted_owner(3, []) is None


class Nobody(Actor):
    """An actor type; none is ever called."""


class Desk:
    """One real host whose members the test makes up."""

    def __init__(self, loop: SimLoop, *, partitions: int = 8) -> None:
        self.store = MemoryStore(clock=SimClock(loop))
        self.membership = FakeMembership(FakePost())
        self.membership.cut = True  # only what the test says
        self.system = ActorSystem(
            self.store,
            [Nobody],
            clock=SimClock(loop),
            ids=SimIds(1),
            partition_count=partitions,
            cluster=Cluster(FakeTransport(FakePost()), self.membership),
        )

    @property
    def placement(self) -> Placement:
        cluster = self.system._cluster
        assert cluster is not None
        return cluster.placement

    def see(self, **ages_ms: int) -> None:
        """Let the host see these members besides itself."""
        others = [Member(name, age) for name, age in ages_ms.items()]
        self.placement.look([Member(self.system.host_id, 0), *others])

    def owned(self) -> set[int]:
        return {p.index for p in self.system._partitions if p.state is not PartitionState.CLOSED}

    def wanted(self, *others: str) -> set[int]:
        hosts = [self.system.host_id, *others]
        partitions = range(len(self.system._partitions))
        return {p for p in partitions if wanted_owner(p, hosts) == self.system.host_id}

    async def hold(self, host: str, *partitions: int) -> None:
        """Let another host own partitions."""
        for partition in partitions:
            answer = await self.store.acquire(partition, f"{host}/token", ttl_ms=60_000)
            assert isinstance(answer, Acquired)


@contextlib.contextmanager
def store_away(desk: Desk) -> Iterator[None]:
    """Let acquisitions get no answer."""
    honest = desk.store.acquire

    async def acquire(partition: int, token: str, *, ttl_ms: int) -> Acquired | Held:
        raise StoreUnavailableError("down", written=None)

    desk.store.acquire = acquire  # type: ignore[method-assign]  # a store that fails on demand
    try:
        yield
    finally:
        desk.store.acquire = honest  # type: ignore[method-assign]  # and works again


def at_desk(main: Callable[[Desk], Coroutine[object, object, None]]) -> None:
    async def run(loop: SimLoop) -> None:
        desk = Desk(loop)
        async with desk.system:
            await main(desk)

    simulate(2, run)


def test_alone_it_takes_everything_at_once() -> None:
    async def main(desk: Desk) -> None:
        desk.see()
        await asyncio.sleep(0.1)
        assert desk.owned() == set(range(8))

    at_desk(main)


def test_free_partitions_are_taken_without_waiting_for_quiet() -> None:
    """Members may come and go all the time: what nobody holds must not wait for that."""

    async def main(desk: Desk) -> None:
        desk.see(b=0)
        await asyncio.sleep(0.01)
        assert desk.owned() == desk.wanted("b")

    at_desk(main)


def test_what_the_living_hold_does_not_keep_it_from_the_rest() -> None:
    """It may ask for four at once; those that are held must not be asked for again and again."""

    async def main(desk: Desk) -> None:
        held = sorted(desk.wanted("b"))[:-1]
        await desk.hold("b", *held)
        for _ in range(4):
            desk.see(b=0)
            await asyncio.sleep(0.5)
        assert desk.owned() == desk.wanted("b") - set(held)

    at_desk(main)


def test_the_dead_are_followed_at_once_the_unknown_later() -> None:
    async def main(desk: Desk) -> None:
        await desk.hold("dead", 0)
        await desk.hold("new", 1)
        desk.see(dead=3_500)
        await asyncio.sleep(0.01)
        assert desk.owned() == set(range(8)) - {1}, "somebody unknown may have come just now"
        await asyncio.sleep(3)
        desk.see(dead=6_500)
        await asyncio.sleep(0.01)
        assert desk.owned() == set(range(8))

    at_desk(main)


def test_an_unseen_host_takes_nothing() -> None:
    async def main(desk: Desk) -> None:
        desk.placement.look([Member("b", 0)])
        desk.placement.look([Member(desk.system.host_id, 4_000), Member("b", 0)])
        await asyncio.sleep(0.1)
        assert desk.owned() == set()

    at_desk(main)


def test_a_partition_stays_ten_seconds_and_leaves_when_members_are_stable() -> None:
    async def main(desk: Desk) -> None:
        await asyncio.sleep(5)
        desk.see()
        await asyncio.sleep(5)
        desk.see(b=0)
        await asyncio.sleep(3)
        desk.see(b=0)
        await asyncio.sleep(0.1)
        assert desk.owned() == set(range(8)), "taken eight seconds ago"
        await asyncio.sleep(3)
        desk.see(b=0, c=0)
        await asyncio.sleep(0.1)
        assert desk.owned() == set(range(8)), "members changed just now"
        await asyncio.sleep(2.1)
        desk.see(b=0, c=0)
        await asyncio.sleep(0.1)
        assert desk.owned() == desk.wanted("b", "c")
        answer = await desk.store.acquire(min(set(range(8)) - desk.owned()), "b/t", ttl_ms=1)
        assert not isinstance(answer, Held), "released"

    at_desk(main)


def test_hosts_that_start_together_find_their_shares_together() -> None:
    async def main(desk: Desk) -> None:
        desk.see()
        await asyncio.sleep(0.1)
        desk.see(b=0)
        await asyncio.sleep(2.1)
        desk.see(b=0)
        await asyncio.sleep(0.1)
        assert desk.owned() == desk.wanted("b")

    at_desk(main)


def test_its_own_old_lease_does_not_stop_it() -> None:
    """An acquisition whose answer was lost leaves a lease with a token that nobody knows."""

    async def main(desk: Desk) -> None:
        await desk.hold(desk.system.host_id, 2)
        desk.see()
        await asyncio.sleep(0.01)
        assert 2 in desk.owned()

    at_desk(main)


def test_a_store_that_fails_is_asked_again() -> None:
    async def main(desk: Desk) -> None:
        with store_away(desk):
            desk.see()
            await asyncio.sleep(1)
            assert desk.owned() == set()
        await asyncio.sleep(1)
        desk.see()
        await asyncio.sleep(0.1)
        assert desk.owned() == set(range(8))
        lease = desk.system._partitions[0].lease
        assert await desk.store.renew(lease, ttl_ms=1)
        assert not await desk.store.renew(Lease(0, lease.epoch, "x"), ttl_ms=1)

    at_desk(main)


def test_trouble_ends_when_there_is_nothing_left_to_take() -> None:
    async def main(desk: Desk) -> None:
        with store_away(desk):
            desk.see()
            await asyncio.sleep(1)
            assert desk.placement.trouble == "down"
        await desk.hold("b", *range(8))
        desk.see(b=0)
        await asyncio.sleep(1)
        desk.see(b=0)
        assert desk.placement.trouble == "", "others have them, which is an answer"

    at_desk(main)


def test_after_an_outage_the_others_get_time_to_be_heard_again() -> None:
    """The store was away for all: who is heard of first must not take what the others have."""

    async def main(desk: Desk) -> None:
        mine = desk.wanted("b")
        await desk.hold("b", *(set(range(8)) - mine))
        desk.see(b=0)
        await asyncio.sleep(1)
        assert desk.owned() == mine
        await asyncio.sleep(60)
        desk.see(b=60_000)
        await asyncio.sleep(1)
        desk.see(b=500)
        await asyncio.sleep(3)
        desk.see(b=0)
        await asyncio.sleep(0.1)
        assert desk.owned() == mine

    at_desk(main)


def test_after_an_outage_who_stays_silent_is_followed_all_the_same() -> None:
    async def main(desk: Desk) -> None:
        mine = desk.wanted("b")
        await desk.hold("b", *(set(range(8)) - mine))
        desk.see(b=0)
        await asyncio.sleep(60)
        for silent_ms in range(60_000, 64_000, 500):
            desk.see(b=silent_ms)
            assert desk.owned() <= mine or silent_ms > 63_000
            await asyncio.sleep(0.5)
        assert desk.owned() == set(range(8))

    at_desk(main)


def test_after_an_outage_who_has_said_goodbye_is_followed_at_once() -> None:
    async def main(desk: Desk) -> None:
        desk.see(b=0)
        await asyncio.sleep(60)
        desk.see()
        await asyncio.sleep(0.1)
        assert desk.owned() == set(range(8))

    at_desk(main)


def test_many_moves_are_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "actorflow.actors.placement")

    def moved() -> list[tuple[int, int]]:
        lines = [record for record in caplog.records if record.message == "partitions moved"]
        return [(vars(line)["moves"], vars(line)["owned"]) for line in lines]

    async def main(desk: Desk) -> None:
        desk.see()
        await asyncio.sleep(0.1)
        desk.see()
        desk.see()
        assert moved() == [(8, 8)]

    at_desk(main)
    assert moved() == [(8, 8), (8, 0)], "and one when it leaves"
