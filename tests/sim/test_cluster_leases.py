"""S06: three hosts fight for one partition over a store that answers late, twice or not at all.

The real `Owner`, `Partition` and `Committer` run a counter. Requests are delayed by up to four
leases, replies get lost, hosts pause and die. Two owners never both commit, the sequence has no
gap, and what was acknowledged is never lost.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import Actor, ActorSystem
from actorflow.actors.address import ActorId
from actorflow.actors.cluster import Cluster
from actorflow.actors.door import PartitionState
from actorflow.actors.errors import ActorflowError
from actorflow.actors.store.memory import MemoryStore
from tests.fakes.fake_cluster import FakeMembership, FakePost, FakeTransport
from tests.sim.faulty_store import Faults, FaultyStore, Gate
from tests.sim.invariants import check_ownership
from tests.sim.loop import SimClock, SimIds, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from actorflow.actors.ports import Commit, CommitResult
    from tests.sim.conftest import OverSeeds

TTL_MS = 1_000

SLOW = Faults(refuse=0.03, lose_request=0.05, lose_reply=0.12, late=0.1, delay=0.1, delay_max_s=4.0)
"""Some requests take up to four leases."""


class Tally(Actor):
    """Counts, and remembers who asked."""

    async def add(self, name: str) -> int:
        names: list[str] = [*self.state.get("names", []), name]
        self.state["names"] = names
        return len(names)


class LeaseHost:
    """One host of the model."""

    def __init__(self, scene: LeaseScene, number: int) -> None:
        self.gate = Gate(scene.store)
        self.transport = FakeTransport(scene.post)
        self.membership = FakeMembership(scene.post)
        self.system = ActorSystem(
            self.gate,
            [Tally],
            clock=SimClock(scene.loop),
            ids=SimIds(f"{scene.seed} {number}"),
            cluster=Cluster(self.transport, self.membership),
            lease_ttl_ms=TTL_MS,
        )

    def freeze(self) -> None:
        for part in (self.gate, self.transport, self.membership):
            part.freeze()

    def thaw(self) -> None:
        for part in (self.gate, self.transport, self.membership):
            part.thaw()

    async def kill(self) -> None:
        self.gate.shut()
        self.system._stopping = self.system._stopped = True
        for partition in self.system._partitions:
            partition.close(ActorflowError("killed"))
        tasks = list(self.system._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.transport.close()


class LeaseScene:
    """Three hosts, clients that add names, and a meddler."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        self.loop = loop
        self.seed = seed
        self.random = random.Random(f"leases {seed}")
        self.inner = MemoryStore(clock=SimClock(loop))
        self.store = FaultyStore(self.inner, seed)
        self.post = FakePost(seed)
        self.hosts: list[LeaseHost] = []
        self.started = 0
        self.acknowledged: list[str] = []
        self.both_open = 0

    async def start(self) -> None:
        self.started += 1
        host = LeaseHost(self, self.started)
        await host.system.start()
        self.hosts.append(host)

    async def client(self, number: int) -> None:
        """Add names, each once: what fails is not tried again."""
        for count in range(12):
            name = f"{number}-{count}"
            host = self.random.choice(self.hosts)
            with suppress(ActorflowError):
                call = host.system.actor("Tally", "one").call("add", name, timeout_s=5)
                await call
                self.acknowledged.append(name)
            owners = [
                host
                for host in self.hosts
                if host.system._partitions[0].state is PartitionState.OPEN
            ]
            self.both_open += len(owners) > 1
            await asyncio.sleep(self.random.random() * 0.5)

    async def meddle(self) -> None:
        """Pause and kill."""
        while True:
            await asyncio.sleep(self.random.random())
            host = self.random.choice(self.hosts)
            if self.random.random() < 0.3:
                self.hosts.remove(host)
                await host.kill()
                await self.start()
            else:
                host.freeze()
                await asyncio.sleep(self.random.choice((0.4, 1.5, 4.0)))
                host.thaw()

    async def play(self) -> Counter[str]:
        """Run it all, heal, and check."""
        for _ in range(3):
            await self.start()
        self.store.faults = SLOW
        meddler = asyncio.ensure_future(self.meddle())
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(self.client(number))
        meddler.cancel()
        with suppress(asyncio.CancelledError):
            await meddler
        for host in self.hosts:
            host.thaw()
        self.store.faults = Faults()
        counters: Counter[str] = Counter()
        for host in self.hosts:
            counts = host.system.counters
            counters.update({name: getattr(counts, name) for name in counts.__slots__})
            await host.system.stop()
        await self.store.settle()
        self.check()
        counters.update(self.store.audit.results)
        counters.update(self.store.audit.faults)
        counters["two at once believed to own"] = self.both_open
        return counters

    def check(self) -> None:
        """I2, and nothing acknowledged is lost or repeated."""
        check_ownership(self.store.audit)
        stored = self.inner._partitions[0].actors[ActorId("Tally", "one")]
        names = stored.fields["names"].decode()
        for name in self.acknowledged:
            assert names.count(f'"{name}"') == 1, name


def _play(seed: int) -> Counter[str]:
    def main(loop: SimLoop) -> Coroutine[object, object, Counter[str]]:
        return LeaseScene(loop, seed).play()

    return simulate(seed, main)


def test_s06_two_owners_never_both_commit(over_seeds: OverSeeds) -> None:
    over_seeds(
        _play,
        40,
        must_see=[
            "fenced",
            "late fenced",
            "commits_fenced",
            "commits_abandoned",
            "commits_already",
            "two at once believed to own",
        ],
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_s06_without_the_fence_histories_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: a store that looks at neither epoch, token nor sequence lets old owners write."""
    honest = MemoryStore.commit

    async def careless(store: MemoryStore, commit: Commit) -> CommitResult:
        standing = store._partition(commit.lease.partition).standing
        lease = commit.lease._replace(epoch=standing.epoch, token=standing.token or "")
        seq = standing.seq
        return await honest(store, commit._replace(lease=lease, prev_seq=seq, seq=seq + 1))

    monkeypatch.setattr(MemoryStore, "commit", careless)
    broken = 0
    for seed in range(20):
        try:
            _play(seed)
        except (AssertionError, KeyError):
            broken += 1
    assert broken > 0
