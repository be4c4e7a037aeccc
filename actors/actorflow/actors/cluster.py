"""One host of a cluster: its exchange of letters, its placement, its leases."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from actorflow.actors.address import ActorId
from actorflow.actors.announcer import Announcer
from actorflow.actors.asking import ask
from actorflow.actors.clock import StoreClock
from actorflow.actors.completion import Completion, pack_completion
from actorflow.actors.door import PartitionState
from actorflow.actors.errors import (
    ContentionError,
    NotOwnerError,
    OverloadedError,
    StoppingError,
    StoreUnavailableError,
    UnavailableError,
)
from actorflow.actors.exchange import Exchange
from actorflow.actors.keeper import LOOK_S, Keeper, OnLoop, StoreLine
from actorflow.actors.letters import Heard, HostLetter, NewOwners, NoticeLetter, Offer, WatchRequest
from actorflow.actors.message import Message
from actorflow.actors.placement import Placement
from actorflow.actors.ports import Summary

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from actorflow.actors.environment import Environment
    from actorflow.actors.errors import ActorflowError
    from actorflow.actors.keeper import KeeperHome
    from actorflow.actors.letters import Letter
    from actorflow.actors.owner import Owner
    from actorflow.actors.partition import Partition
    from actorflow.actors.ports import Lease
    from actorflow.actors.transport import Member, Membership, Transport

_log = logging.getLogger(__name__)


class Cluster(NamedTuple):
    """What makes a host one of many: pass it to `ActorSystem`. `info` is shown to the other hosts.
    Without a `home`, heartbeat and leases are kept on the host's event loop, and stop with it."""

    transport: Transport
    membership: Membership
    info: bytes = b""
    home: KeeperHome | None = None


CUT_OFF_S = 5.0
"""A host whose heartbeats fail for this long is no longer healthy."""

HEARTBEAT = "heartbeat"
"""What is in trouble while no heartbeat reaches the store."""

MOVED_PAUSE_S = 0.02
"""Pause before a call is tried again that met a partition on its way; doubles up to
`MOVED_PAUSE_MAX_S`."""

MOVED_PAUSE_MAX_S = 0.5

REPEAT_S = 2.0
"""A repeatable call is sent again after this silence, and then after twice as long."""


class RemoteCall(NamedTuple):
    """A call to an actor that may live on another host. See `letters.Call` and `Message`."""

    actor: ActorId
    method: str
    payload: bytes = b""
    sender: ActorId | None = None
    chain: tuple[ActorId, ...] = ()
    durable: bool = False
    repeatable: bool = False
    is_new: bool = False
    ends: Completion | None = None


class ClusterHost:
    """Runs everything that a host among others needs besides its partitions."""

    def __init__(
        self,
        host_id: str,
        cluster: Cluster,
        env: Environment,
        partitions: Sequence[Partition],
        owner: Owner,
        *,
        ttl_ms: int,
    ) -> None:
        self._host_id = host_id
        self._cluster = cluster
        self._env = env
        self._partitions = partitions
        self._ttl_ms = ttl_ms
        self.exchange = Exchange(
            host_id, cluster.transport, partitions, env, deliver=self._for_host
        )
        self.placement = Placement(
            host_id,
            partitions,
            owner,
            env.host,
            env.outage,
            ttl_ms=ttl_ms,
        )
        self._announcer = Announcer(
            host_id,
            partitions,
            env,
            others=self.placement.others,
            post=self.exchange.post,
        )
        self._home = cluster.home or OnLoop(StoreLine(env.store, cluster.membership))

    async def start(self) -> None:
        """Open the inbox and begin to take a share of the partitions."""
        await self._cluster.transport.open(self._host_id, self._env.outage.failed)
        spawn = self._env.host.spawn
        spawn(self.exchange.send_loop(), "letters-out")
        spawn(self.exchange.receive_loop(), "letters-in")
        spawn(self._beat(), "pulse")
        spawn(self._prove(), "proofs")
        spawn(self._tend_links(), "links")
        self.placement.begin()
        clock = self._env.clock
        keeper = Keeper(
            self._host_id,
            self._env.pulse,
            self,
            ttl_ms=self._ttl_ms,
            info=self._cluster.info,
            clock=clock if isinstance(clock, StoreClock) else None,
        )
        self._home.start(keeper, spawn)

    async def leave(self) -> None:
        """Give up all partitions and say goodbye."""
        await self.placement.stop(NotOwnerError("the host stops, its partitions move; retry"))
        await self._home.stop()
        try:
            await self._cluster.membership.leave(self._host_id)
            await self.exchange.flush()
            await self._cluster.transport.close()
        except StoreUnavailableError as error:
            _log.warning("left without a word", extra={"cause": str(error)})
        finally:
            self.exchange.close()

    def owned(self, index: int, cursor: str) -> None:
        """A partition has come: its letters after `cursor` are read and its lease is kept from now
        on, and its senders hear of it."""
        self._cluster.transport.subscribe(index, cursor)
        self._note_leases()
        self._announcer.opened(index)

    def _note_leases(self) -> None:
        self._env.pulse.leases = tuple(
            p.lease for p in self._partitions if p.state is not PartitionState.CLOSED
        )

    def left(self, index: int) -> None:
        """A partition is no longer ours: its watchers have to hear from its new owner."""
        self._note_leases()
        self._announcer.left(index)
        self._cluster.transport.unsubscribe(index)
        for actor, watches in list(self._env.watched.items()):
            if self._env.partition_of(actor) == index:
                for watch in list(watches):
                    watch.ask()

    def ask_for_notices(self, actor: ActorId, phases: frozenset[str]) -> None:
        """Let the owner of an actor elsewhere tell this host when it has one of these phases."""
        partition = self._partitions[self._env.partition_of(actor)]
        if partition.state is not PartitionState.OPEN:
            self.exchange.post(
                partition.index, WatchRequest(actor, self._host_id, tuple(sorted(phases)))
            )

    def problems(self) -> list[str]:
        """Return why this host is cut off, or cannot take its share; empty when all is well."""
        if self.placement.trouble:
            return [f"partitions cannot be taken: {self.placement.trouble}"]
        silent_s = self._env.loop.time() - self.placement.heard_at_s
        if silent_s < CUT_OFF_S:
            return []
        return [f"no heartbeat has reached the store for {silent_s:.0f} s"]

    async def call(self, partition: Partition, call: RemoteCall, wait_s: float) -> bytes:
        """Call an actor on whichever host owns it. What was certainly not done, since the partition
        was on its way, is tried again; what may have been done, only if it is repeatable.

        Raises: as `ActorSystem.call`.
        """
        deadline_s = self._env.loop.time() + wait_s
        pause_s = MOVED_PAUSE_S
        while True:
            left_s = deadline_s - self._env.loop.time()
            try:
                return await self._call_once(partition, call, left_s)
            except (StoreUnavailableError, OverloadedError):
                raise
            except (ContentionError, UnavailableError) as error:
                unsure = isinstance(error, UnavailableError) and not isinstance(
                    error, StoppingError
                )
                if self.exchange.is_closed or left_s < 2 * pause_s:
                    raise
                if unsure and not call.repeatable:
                    raise
            call = call._replace(is_new=False)  # it may have been done
            await asyncio.sleep(pause_s * (0.5 + self._env.ids.jitter()))  # noqa: TID251 -- back-off
            pause_s = min(2 * pause_s, MOVED_PAUSE_MAX_S)

    def _call_once(
        self, partition: Partition, call: RemoteCall, wait_s: float
    ) -> Coroutine[Any, Any, bytes]:
        message = Message(
            call.actor,
            call.method,
            call.payload,
            sender=call.sender,
            chain=call.chain,
            is_new=call.is_new,
            ends=call.ends,
        )
        if partition.state is PartitionState.OPEN:
            return ask(partition.accept if call.durable else partition.admit, message, wait_s)
        if call.ends is not None:
            message.payload = pack_completion(*call.ends)
        return self.exchange.call(
            partition.index,
            message,
            durable=call.durable,
            timeout_s=wait_s,
            repeat_s=REPEAT_S if call.repeatable else wait_s,
        )

    # ---- Ears ----------------------------------------------------------------------------------

    def heard(self, members: Sequence[Member]) -> None:
        """See `keeper.Ears`."""
        self._env.outage.answered(HEARTBEAT)
        self.placement.look(members)

    def unheard(self, error: StoreUnavailableError) -> None:
        """See `keeper.Ears`."""
        self._env.outage.failed(error, HEARTBEAT)

    def lease_lost(self, lease: Lease, error: ActorflowError) -> None:
        """See `keeper.Ears`."""
        partition = self._partitions[lease.partition]
        if partition.state is not PartitionState.CLOSED and partition.lease == lease:
            partition.lose(error)

    # ---- what is done again and again ----------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            self._env.pulse.beat(self._env.loop.time())
            await asyncio.sleep(LOOK_S)  # noqa: TID251 -- the rhythm of beats

    async def _prove(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_ms / 3_000)  # noqa: TID251 -- the rhythm of proofs
            for partition in self._partitions:
                if partition.state is not PartitionState.CLOSED:
                    partition.verify()

    async def _tend_links(self) -> None:
        while True:
            await asyncio.sleep(1.0)  # noqa: TID251 -- see Links.tick
            for partition in self._partitions:
                partition.tick()
            self._announcer.tick()

    def _for_host(self, letter: Letter) -> None:
        match letter:
            case Offer(index):
                self.placement.offered(self._partitions[index])
            case NoticeLetter(actor, summary):
                known = Summary(*summary) if summary is not None else None
                self.exchange.notice_here(ActorId(*actor), known)
            case NewOwners():
                self._announcer.told(letter)
            case Heard():
                self._announcer.heard(letter)
            case HostLetter(topic, sender, payload):
                self._env.host.heard(topic, sender, payload)
            case _:
                _log.error("letter for a partition in a host's inbox")
