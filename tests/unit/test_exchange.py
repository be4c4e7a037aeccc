"""Calls between hosts: found, chained, cut short, repeated, taken over with the inbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import Actor, ActorId, ActorSystem, ActorType
from actorflow.actors.address import partition_of
from actorflow.actors.cluster import Cluster
from actorflow.actors.door import PartitionState
from actorflow.actors.errors import (
    ActorCallError,
    CallCycleError,
    StoppingError,
    UnavailableError,
)
from actorflow.actors.letters import NoticeLetter, WatchRequest, decode_letter
from actorflow.actors.ports import Summary
from actorflow.actors.store.memory import MemoryStore
from tests.fakes.fake_cluster import FakeMembership, FakePost, FakeTransport, PostFaults
from tests.sim.loop import SimClock, SimIds, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorflow.actors.effects import Effects
    from actorflow.actors.message import Message

PARTITIONS = 4


class Node(Actor):
    """Counts, and calls others by key."""

    async def add(self, amount: int) -> int:
        self.state["sum"] = self.state.get("sum", 0) + amount
        return int(self.state["sum"])

    async def ask(self, keys: list[str]) -> list[str]:
        """Ask the first one to ask the rest."""
        if not keys:
            return [self.id.key]
        answer: list[str] = await self.call(ActorId("Node", keys[0]), "ask", keys[1:])
        return [self.id.key, *answer]

    async def fail(self) -> None:
        raise ValueError("bad luck")


class Lamp:
    """Has the phase that it was told last."""

    weight_bytes = 0

    def receive(self, effects: Effects, message: Message) -> bytes:
        """Store the phase."""
        effects.set_summary(Summary("lamp", message.method, 0, 0, b""))
        return b""

    def close(self) -> None:
        """Nothing to let go."""


LAMP = ActorType("Lamp", lambda actor_id, record, services: Lamp())


class Town:
    """Two hosts that share four partitions. `key_on` finds an actor of a host."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.store = MemoryStore(clock=SimClock(loop))
        self.post = FakePost(1, PostFaults(delay=1.0, delay_max_s=0.001))
        self.hosts: list[ActorSystem] = []
        self.transports: list[FakeTransport] = []

    async def start(self) -> None:
        for number in range(2):
            transport = FakeTransport(self.post)
            system = ActorSystem(
                self.store,
                [Node, LAMP],
                clock=SimClock(self.loop),
                ids=SimIds(number),
                partition_count=PARTITIONS,
                cluster=Cluster(transport, FakeMembership(self.post)),
            )
            await system.start()
            self.hosts.append(system)
            self.transports.append(transport)
        async with asyncio.timeout(60):
            while not all(self.owned(host) for host in self.hosts):  # noqa: ASYNC110 -- virtual time
                await asyncio.sleep(0.1)
        await asyncio.sleep(10)

    def owned(self, host: ActorSystem) -> set[int]:
        return {p.index for p in host._partitions if p.state is PartitionState.OPEN}

    def letters(self, kind: type) -> list[object]:
        """Return all letters of a kind that were ever delivered."""
        found = [decode_letter(data) for box in self.post._inboxes.values() for data in box]
        return [letter for letter in found if isinstance(letter, kind)]

    def key_on(self, number: int, prefix: str = "k") -> str:
        owned = self.owned(self.hosts[number])
        keys = (f"{prefix}{n}" for n in range(1_000))
        return next(k for k in keys if partition_of(ActorId("Node", k), PARTITIONS) in owned)


def in_town(main: Callable[[Town], Coroutine[object, object, None]], *, seed: int = 2) -> None:
    async def run(loop: SimLoop) -> None:
        town = Town(loop)
        await town.start()
        await main(town)
        for host in town.hosts:
            await host.stop()

    simulate(seed, run)


def test_any_host_takes_any_call() -> None:
    async def main(town: Town) -> None:
        for number in range(2):
            key = town.key_on(number)
            for expected, host in enumerate(town.hosts, 1):
                assert await host.actor(Node, key).call("add", 1) == expected
            await town.hosts[1 - number].actor(Node, key).send("add", 10)
            await asyncio.sleep(0.1)
            assert await town.hosts[number].actor(Node, key).call("add", 0) == 12

    in_town(main)


def test_errors_come_back_as_what_they_are() -> None:
    async def main(town: Town) -> None:
        with pytest.raises(ActorCallError, match="bad luck"):
            await town.hosts[1].actor(Node, town.key_on(0)).call("fail")

    in_town(main)


def test_actors_call_each_other_across_hosts() -> None:
    async def main(town: Town) -> None:
        a, b, c = town.key_on(0, "a"), town.key_on(1, "b"), town.key_on(0, "c")
        for host in town.hosts:
            assert await host.actor(Node, a).call("ask", [b, c]) == [a, b, c]

    in_town(main)


def test_a_cycle_across_hosts_is_refused_at_once() -> None:
    async def main(town: Town) -> None:
        a, b = town.key_on(0, "a"), town.key_on(1, "b")
        began_s = town.loop.time()
        with pytest.raises((CallCycleError, ActorCallError), match="call cycle"):
            await town.hosts[0].actor(Node, a).call("ask", [b, a])
        assert town.loop.time() - began_s < 0.1

    in_town(main)


def test_a_silent_transport_ends_in_unknown() -> None:
    async def main(town: Town) -> None:
        town.post.faults = PostFaults(lose=1.0)
        began_s = town.loop.time()
        with pytest.raises(UnavailableError, match="outcome is unknown"):
            await town.hosts[0].actor(Node, town.key_on(1)).call("add", 1, timeout_s=3)
        assert 3 <= town.loop.time() - began_s < 3.1
        town.post.faults = PostFaults()

    in_town(main)


def test_a_repeatable_call_outlives_lost_letters() -> None:
    async def main(town: Town) -> None:
        actor = ActorId("Node", town.key_on(1))
        town.post.faults = PostFaults(lose=1.0)
        calling = asyncio.ensure_future(
            town.hosts[0].call(actor, "add", b"1", repeatable=True, timeout_s=20)
        )
        await asyncio.sleep(1)
        town.post.faults = PostFaults()
        assert await calling == b"1"

    in_town(main)


def test_a_letter_that_comes_twice_is_one_call() -> None:
    async def main(town: Town) -> None:
        town.post.faults = PostFaults(repeat=1.0)
        assert await town.hosts[0].actor(Node, town.key_on(1)).call("add", 1) == 1
        assert await town.hosts[0].actor(Node, town.key_on(1)).call("add", 0) == 1

    in_town(main)


def test_unread_letters_are_taken_over_and_read_ones_are_not() -> None:
    """The owner dies with one call done and one unread: the next owner does just the second."""

    async def main(town: Town) -> None:
        key = town.key_on(1)
        asking, owner = town.hosts
        assert await asking.actor(Node, key).call("add", 1) == 1
        town.transports[1].freeze()
        late = asyncio.ensure_future(asking.actor(Node, key).call("add", 10))
        await asyncio.sleep(0.1)
        town.hosts.remove(owner)
        tasks = list(owner._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await late == 11
        assert await asking.actor(Node, key).call("add", 0) == 11

    in_town(main)


def test_a_watch_on_another_host_hears_of_its_phase_once() -> None:
    async def main(town: Town) -> None:
        lamp = ActorId("Lamp", town.key_on(0))
        owner, other = town.hosts
        await owner.call(lamp, "off")
        with other.watch(lamp, frozenset({"on", "broken"})) as watch:
            waiting = asyncio.ensure_future(watch.wait(60.0))
            await asyncio.sleep(0.1)
            for phase in ("dim", "off", "dim"):
                await owner.call(lamp, phase)
            await asyncio.sleep(0.1)
            assert not waiting.done()
            assert not town.letters(NoticeLetter), "it is live and not on: nothing to look at"
            began_s = town.loop.time()
            await owner.call(lamp, "on")
            await waiting
            assert town.loop.time() - began_s < 0.1
        await owner.call(lamp, "broken")
        await asyncio.sleep(0.1)
        assert len(town.letters(NoticeLetter)) == 1
        assert len(town.letters(WatchRequest)) == 1
        assert not owner._watched, "who was told is forgotten"

    in_town(main)


def test_a_watch_that_comes_too_late_is_told_to_look() -> None:
    async def main(town: Town) -> None:
        lamp = ActorId("Lamp", town.key_on(0))
        owner, other = town.hosts
        await owner.call(lamp, "on")
        with other.watch(lamp, frozenset({"on"})) as watch:
            async with asyncio.timeout(1):
                await watch.wait(60.0)
        lurking = ActorId("Lamp", town.key_on(0, "asleep"))
        with other.watch(lurking, frozenset({"on"})) as watch:
            async with asyncio.timeout(1):
                await watch.wait(60.0)  # it is not in memory: nobody knows

    in_town(main)


def test_waiting_for_two_phases_on_one_host_is_told_twice() -> None:
    async def main(town: Town) -> None:
        lamp = ActorId("Lamp", town.key_on(0))
        owner, other = town.hosts
        await owner.call(lamp, "off")
        with (
            other.watch(lamp, frozenset({"dim", "on"})) as soon,
            other.watch(lamp, frozenset({"on"})) as late,
        ):
            soon_over = asyncio.ensure_future(soon.wait(60.0))
            late_over = asyncio.ensure_future(late.wait(60.0))
            await asyncio.sleep(0.1)
            await owner.call(lamp, "dim")
            await asyncio.sleep(0.1)
            assert soon_over.done()
            assert not late_over.done()
            await owner.call(lamp, "on")
            async with asyncio.timeout(1):
                await late_over

    in_town(main)


def test_who_need_not_wait_sends_no_letter() -> None:
    async def main(town: Town) -> None:
        lamp = ActorId("Lamp", town.key_on(0))
        await town.hosts[0].call(lamp, "on")
        with town.hosts[1].watch(lamp, frozenset({"on"})):
            assert (await town.hosts[1].read([lamp]))[0] is not None
        await asyncio.sleep(0.1)
        assert not town.letters(WatchRequest)

    in_town(main)


def test_a_stopping_host_refuses_its_own_callers_only() -> None:
    async def main(town: Town) -> None:
        leaving = town.hosts[1]
        key = town.key_on(1)
        leaving.refuse_new()
        with pytest.raises(StoppingError):
            await leaving.actor(Node, key).call("add", 1)
        assert await town.hosts[0].actor(Node, key).call("add", 1) == 1

    in_town(main)


def test_nonsense_in_an_inbox_hurts_nobody() -> None:
    async def main(town: Town) -> None:
        for address in (*range(PARTITIONS), *(host.host_id for host in town.hosts)):
            for data in (b"", b"\xc1\xff", b"nonsense"):
                town.post.put(address, data)
        await asyncio.sleep(0.1)
        assert await town.hosts[0].actor(Node, town.key_on(1)).call("add", 1) == 1

    in_town(main)
