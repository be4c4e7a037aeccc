"""Many hosts on one store, in virtual time: each with its own clock, inbox and heartbeat."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from actorflow.actors.clock import StoreClock
from actorflow.actors.cluster import Cluster
from actorflow.actors.door import PartitionState
from actorflow.actors.keeper import OnLoop
from actorflow.actors.rendezvous import wanted_owner
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import WorkflowEngine
from actorflow.workflow.permits import UNLIMITED
from tests.fakes.fake_cluster import FakeMembership, FakePost, FakeTransport, PostFaults
from tests.fakes.fake_lifeline import FakeLifeline
from tests.sim.faulty_store import NO_FAULTS, Faults, FaultyStore
from tests.sim.host import Host, World
from tests.sim.invariants import (
    check_committed,
    check_ledger,
    check_ownership,
    check_quiet,
)
from tests.sim.ledger import Ledger
from tests.sim.loop import SimClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorflow.workflow import Registry
    from tests.sim.loop import SimLoop

    Trouble = Callable[["ClusterWorld", random.Random], Coroutine[object, object, None]]

LEASE_TTL_MS = 10_000

GENTLE_POST = PostFaults(delay=1.0, delay_max_s=0.002)
"""A post that loses nothing and takes about a millisecond."""

ROUGH_POST = PostFaults(lose=0.03, repeat=0.05, delay=1.0, delay_max_s=0.05)
"""A post that loses, repeats and reorders."""

SETTLE_S = 30.0
"""Virtual time after the last fault until nothing may be left on links."""


class ClusterHost(Host):
    """One host among others: `freeze` pauses it, as far as anybody outside can tell."""

    def __init__(self, world: ClusterWorld, *, skew_s: float = 0.0) -> None:
        super().__init__(world)
        self.transport = FakeTransport(world.post)
        self.membership = FakeMembership(world.post)
        self.clock = SimClock(world.loop, skew_s=skew_s)
        line = FakeLifeline(self.gate, self.membership, world.store_clock, world.seq_of)
        self.engine = WorkflowEngine(
            self.gate,
            world.registry,
            clock=StoreClock(self.clock, lambda: round(world.loop.time() * 1e6) * 1_000),
            ids=world.ids,
            limits=world.limits,
            actor_limits=world.actor_limits,
            partition_count=world.partition_count,
            cluster=Cluster(self.transport, self.membership, home=OnLoop(line)),
            lease_ttl_ms=LEASE_TTL_MS,
            concurrency=world.concurrency,
        )

    @property
    def owned(self) -> list[int]:
        """The partitions that this host believes to own."""
        partitions = self.engine.actors._partitions
        return [p.index for p in partitions if p.state is not PartitionState.CLOSED]

    @property
    def moves(self) -> int:
        """Partitions that this host took or gave up."""
        cluster = self.engine.actors._cluster
        return cluster.placement.moves if cluster is not None else 0

    def freeze(self) -> None:
        """Nothing gets out of the host, and nothing in."""
        self.gate.freeze()
        self.transport.freeze()
        self.membership.freeze()

    def thaw(self) -> None:
        """The host goes on where it stood."""
        self.gate.thaw()
        self.transport.thaw()
        self.membership.thaw()

    async def kill(self) -> None:
        await super().kill()
        await self.transport.close()


class ClusterWorld(World):
    """A `World` whose hosts share its partitions."""

    hosts: list[ClusterHost]  # type: ignore[assignment]  # of this kind only

    def __init__(
        self,
        loop: SimLoop,
        store: FaultyStore,
        registry: Registry,
        *,
        seed: int,
        partition_count: int = 8,
        post: PostFaults = GENTLE_POST,
    ) -> None:
        super().__init__(loop, store, registry, seed=seed)
        self.partition_count = partition_count
        self.post = FakePost(seed, post)
        self.seq_of = store.seq_of
        self.store_clock = SimClock(loop)
        self.concurrency = UNLIMITED
        self.skew_s: Callable[[], float] = lambda: 0.0

    async def start_host(self, *, stop_at: int = 0, apply_last: bool = False) -> ClusterHost:
        """Start one more host."""
        host = ClusterHost(self, skew_s=self.skew_s())
        try:
            await host.start()
        except BaseException:
            await host.kill()
            raise
        self.hosts.append(host)
        return host

    async def stop_host(self, host: ClusterHost) -> None:
        """Stop one host gracefully."""
        self.hosts.remove(host)
        await host.stop()
        self._count(host)

    async def until(
        self, reached: Callable[[], bool], *, timeout_s: float = 60.0, poll_s: float = 0.001
    ) -> float:
        """Wait for something; return how many virtual seconds it took."""
        began_s = self.loop.time()
        async with asyncio.timeout(timeout_s):
            while not reached():  # noqa: ASYNC110 -- virtual time
                await asyncio.sleep(poll_s)
        return self.loop.time() - began_s

    def is_covered(self) -> bool:
        """Whether each partition is open on just one living host."""
        owned = Counter(index for host in self.hosts for index in host.owned)
        return all(owned[index] == 1 for index in range(self.partition_count))

    def is_balanced(self) -> bool:
        """Whether each partition is open where it should be, and nowhere else."""
        names = [host.engine.actors.host_id for host in self.hosts]
        wanted = {p: wanted_owner(p, names) for p in range(self.partition_count)}
        return all(
            host.owned == [p for p, name in wanted.items() if name == host.engine.actors.host_id]
            for host in self.hosts
        )

    def is_settled(self) -> bool:
        """Whether each partition is where it should be, and nothing is under way on links."""
        return self.is_covered() and not any(
            host.engine.actors.gauges()["pending_outbox"] for host in self.hosts
        )


class ClusterScene:
    """A cluster with the ledger in it, checked after every `check_each` commits."""

    def __init__(
        self,
        loop: SimLoop,
        seed: int,
        *,
        faults: Faults = NO_FAULTS,
        post: PostFaults = GENTLE_POST,
        partition_count: int = 8,
        check_each: int = 1,
    ) -> None:
        self.store_clock = SimClock(loop)
        self.inner = MemoryStore(clock=self.store_clock)
        self.store = FaultyStore(self.inner, seed, faults)
        self.ledger = Ledger(loop)
        self.world = ClusterWorld(
            loop,
            self.store,
            self.ledger.registry,
            seed=seed,
            partition_count=partition_count,
            post=post,
        )
        self.world.store_clock = self.store_clock
        self.random = random.Random(f"scene {seed}")
        self._check_each = check_each
        self._applied = 0
        self.store.on_applied = self._on_applied

    def _on_applied(self) -> None:
        self._applied += 1
        if self._applied % self._check_each == 0:
            check_committed(self.inner)

    async def start(self, hosts: int) -> None:
        """Start hosts, until each has its share of the partitions."""
        for _ in range(hosts):
            await self.world.start_host()
        await self.world.until(self.world.is_balanced, poll_s=0.1)

    async def play(self, clients: int, trouble: Trouble | None = None) -> None:
        """Run the clients while `trouble` does its worst; then heal, and settle."""
        world = self.world
        meddler = None
        if trouble is not None:
            meddler = asyncio.get_running_loop().create_task(trouble(world, self.random))
        await self.ledger.run_clients(world, clients)
        if meddler is not None:
            meddler.cancel()
            with suppress(asyncio.CancelledError):
                await meddler
        await self.heal()

    async def heal(self) -> None:
        """End all faults, wait until the cluster is well, and stop it."""
        world = self.world
        await self.end_faults(hosts=1)
        await world.until(world.is_settled, poll_s=0.05)
        await world.stop_hosts()
        await self.store.settle()

    async def end_faults(self, *, hosts: int) -> None:
        """Let everything work again, with so many hosts at least."""
        world = self.world
        for host in world.hosts:
            host.thaw()
            host.membership.silent = host.membership.cut = host.transport.cut = False
        self.store.faults = NO_FAULTS
        world.post.faults = GENTLE_POST
        while len(world.hosts) < hosts:
            await world.start_host()

    def check(self) -> None:
        """Check all that must hold in the end."""
        check_committed(self.inner)
        check_ownership(self.store.audit)
        check_quiet(self.inner)
        check_ledger(self.ledger, self.inner, faults=sum(map(len, self.epochs().values())))

    def epochs(self) -> dict[int, set[int]]:
        """Return the epochs in which each partition was committed to."""
        epochs: dict[int, set[int]] = {}
        for commit in self.store.audit.applied:
            epochs.setdefault(commit.partition, set()).add(commit.epoch)
        return epochs

    def seen(self) -> Counter[str]:
        """Return what happened, for the counters of what must be seen."""
        seen: Counter[str] = Counter()
        seen.update(self.store.audit.results)
        seen.update(self.store.audit.faults)
        seen.update(self.world.counters)
        seen["crash"] = self.world.crashes
        seen["epochs"] = sum(map(len, self.epochs().values()))
        seen["letters lost"] = self.world.post.lost
        return seen
