"""Who hears of the new owner of a partition: each living host once, and again until it answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from actorflow.actors import Actor, ActorSystem
from actorflow.actors.announcer import AGAIN_S, TOLD_AT_ONCE
from actorflow.actors.cluster import Cluster
from actorflow.actors.door import PartitionState
from actorflow.actors.letters import Heard, NewOwners, decode_letter, encode_letter
from actorflow.actors.ports import Acquired, Commit
from actorflow.actors.store.memory import MemoryStore
from actorflow.actors.transport import Member
from tests.fakes.fake_cluster import FakeMembership, FakePost, FakeTransport
from tests.sim.loop import SimClock, SimIds, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorflow.actors.letters import Letter

PARTITIONS = 40


class Nobody(Actor):
    """An actor type; none is ever called."""


class Desk:
    """One real host beside hosts that the test makes up, on a store that holds something."""

    def __init__(self, loop: SimLoop) -> None:
        self.store = MemoryStore(clock=SimClock(loop))
        self.post = FakePost()
        membership = FakeMembership(self.post)
        membership.cut = True  # only what the test says
        self.system = ActorSystem(
            self.store,
            [Nobody],
            clock=SimClock(loop),
            ids=SimIds(1),
            partition_count=PARTITIONS,
            cluster=Cluster(FakeTransport(self.post), membership),
        )

    async def fill(self, partitions: range) -> None:
        """Let each of these partitions hold one commit."""
        await self.store.open()
        for index in partitions:
            owned = await self.store.acquire(index, "earlier", ttl_ms=1_000)
            assert isinstance(owned, Acquired)
            await self.store.commit(Commit(owned.lease, 0, 1, f"c-{index}"))
            await self.store.release(owned.lease)

    def see(self, *others: str) -> None:
        cluster = self.system._cluster
        assert cluster is not None
        cluster.heard([Member(name, 0) for name in (self.system.host_id, *others)])

    def letters(self, host: str) -> list[Letter]:
        return [decode_letter(data) for data in self.post.after(host, 0)]

    def told(self, host: str) -> Counter[int]:
        """How often a host was told of each partition."""
        told = [letter for letter in self.letters(host) if isinstance(letter, NewOwners)]
        assert all(len(letter.partitions) <= TOLD_AT_ONCE for letter in told)
        assert all(letter.host == self.system.host_id for letter in told)
        return Counter(news.partition for letter in told for news in letter.partitions)

    def answer(self, host: str, *, epoch: int = 0) -> None:
        """Say that a host has heard everything; with an epoch, something else."""
        for letter in self.letters(host):
            if isinstance(letter, NewOwners):
                heard = tuple((news.partition, epoch or news.epoch) for news in letter.partitions)
                self.post.put(self.system.host_id, encode_letter(Heard(host, heard)))

    def owned(self) -> set[int]:
        return {p.index for p in self.system._partitions if p.state is not PartitionState.CLOSED}


def at_desk(full: range, main: Callable[[Desk], Coroutine[object, object, None]]) -> None:
    async def run(loop: SimLoop) -> None:
        desk = Desk(loop)
        await desk.fill(full)
        async with desk.system:
            await main(desk)

    simulate(2, run)


def test_each_living_host_is_told_of_all_until_it_answers() -> None:
    async def main(desk: Desk) -> None:
        desk.see("b", "c")
        await asyncio.sleep(1)
        mine = desk.owned()
        assert desk.told("b") == desk.told("c") == Counter(dict.fromkeys(mine, 1))
        assert len(desk.letters("b")) < len(mine) / 2, "many in a letter"
        desk.answer("b")
        desk.answer("c", epoch=7)
        await asyncio.sleep(2 * AGAIN_S)
        assert desk.told("b") == Counter(dict.fromkeys(mine, 1))
        assert min(desk.told("c").values()) > 1, "that was an answer to something else"
        desk.answer("c")
        await asyncio.sleep(1)
        count = desk.told("c")
        await asyncio.sleep(5 * AGAIN_S)
        assert desk.told("c") == count

    at_desk(range(PARTITIONS), main)


def test_a_host_that_comes_later_is_told_as_well() -> None:
    """It may have been silent for a while, and at work all the time."""

    async def main(desk: Desk) -> None:
        desk.see()
        await asyncio.sleep(1)
        desk.see("b")
        await asyncio.sleep(AGAIN_S)
        assert desk.told("b").keys() == desk.owned()

    at_desk(range(PARTITIONS), main)


def test_nobody_is_told_of_what_never_held_anything_or_has_left() -> None:
    full = range(4)

    async def main(desk: Desk) -> None:
        desk.see()
        await asyncio.sleep(1)
        gone = desk.system._partitions[2]
        cluster = desk.system._cluster
        assert cluster is not None
        cluster.left(gone.index)
        desk.see("b")
        await asyncio.sleep(AGAIN_S)
        assert desk.told("b").keys() == {0, 1, 3}

    at_desk(full, main)


def test_who_is_told_answers() -> None:
    async def main(desk: Desk) -> None:
        desk.see()
        letter = NewOwners("b", ())
        desk.post.put(desk.system.host_id, encode_letter(letter))
        await asyncio.sleep(0.1)
        assert desk.letters("b") == [Heard(desk.system.host_id, ())]

    at_desk(range(0), main)
