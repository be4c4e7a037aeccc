"""One host of a cluster: its exchange of letters, its placement, its leases."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.address import ActorId
from actorflow.actors.asking import ask
from actorflow.actors.door import PartitionState
from actorflow.actors.errors import (
    ContentionError,
    FencedOutError,
    NotOwnerError,
    OverloadedError,
    StoppingError,
    StoreUnavailableError,
    UnavailableError,
)
from actorflow.actors.exchange import Exchange
from actorflow.actors.letters import HostLetter, NoticeLetter, Offer, WatchRequest
from actorflow.actors.message import Message
from actorflow.actors.placement import Placement
from actorflow.actors.ports import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors.environment import Environment
    from actorflow.actors.letters import Letter
    from actorflow.actors.owner import Owner
    from actorflow.actors.partition import Partition
    from actorflow.actors.transport import Membership, Transport

_log = logging.getLogger(__name__)


class Cluster(NamedTuple):
    """What makes a host one of many: pass it to `ActorSystem`. `info` is shown to the other
    hosts."""

    transport: Transport
    membership: Membership
    info: bytes = b""


PLACEMENT = 2
"""Index of the placement among the tasks of a host."""

CUT_OFF_S = 5.0
"""A host whose heartbeats fail for this long is no longer healthy."""

MOVED_PAUSE_S = 0.02
"""Pause before a call is tried again that met a partition on its way; doubles up to
`MOVED_PAUSE_MAX_S`."""

MOVED_PAUSE_MAX_S = 0.5

REPEAT_S = 2.0
"""A repeatable call is sent again after this silence, and then after twice as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCall:
    """A call to an actor that may live on another host. See `letters.Call`."""

    actor: ActorId = field(kw_only=False)
    method: str = field(kw_only=False)
    payload: bytes = field(kw_only=False)
    sender: ActorId | None = None
    chain: tuple[ActorId, ...] = ()
    durable: bool = False
    repeatable: bool = False


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
            cluster.membership,
            env.host,
            info=lambda: cluster.info,
            ttl_ms=ttl_ms,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the inbox and begin to take a share of the partitions."""
        await self._cluster.transport.open(self._host_id)
        spawn = self._env.host.spawn
        self._tasks = [
            spawn(self.exchange.send_loop(), "letters-out"),
            spawn(self.exchange.receive_loop(), "letters-in"),
            spawn(self.placement.run(), "placement"),
            spawn(self._keep_leases(), "leases"),
            spawn(self._tend_links(), "links"),
        ]

    async def leave(self) -> None:
        """Give up all partitions and say goodbye."""
        self._tasks[PLACEMENT].cancel()
        await self.placement.stop(NotOwnerError("the host stops, its partitions move; retry"))
        try:
            await self._cluster.membership.leave(self._host_id)
            await self.exchange.flush()
            await self._cluster.transport.close()
        except StoreUnavailableError as error:
            _log.warning("left without a word", extra={"cause": str(error)})

    def left(self, index: int) -> None:
        """A partition is no longer ours: its watchers have to hear from its new owner."""
        self._cluster.transport.unsubscribe(index)
        for actor, watches in list(self._env.watched.items()):
            if self._env.partition_of(actor) == index:
                for watch in list(watches):
                    watch.ask()

    def ask_for_notices(self, actor: ActorId) -> None:
        """Let the owner of an actor elsewhere tell this host of changes, for some seconds."""
        partition = self._partitions[self._env.partition_of(actor)]
        if partition.state is not PartitionState.OPEN:
            self.exchange.post(partition.index, WatchRequest(actor, self._host_id))

    def problems(self) -> list[str]:
        """Return why this host is cut off; empty when it is not."""
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
                if (unsure and not call.repeatable) or left_s < 2 * pause_s:
                    raise
            await asyncio.sleep(pause_s * (0.5 + self._env.ids.jitter()))  # noqa: TID251 -- back-off
            pause_s = min(2 * pause_s, MOVED_PAUSE_MAX_S)

    async def _call_once(self, partition: Partition, call: RemoteCall, wait_s: float) -> bytes:
        message = Message(
            call.actor, call.method, call.payload, sender=call.sender, chain=call.chain
        )
        if partition.state is PartitionState.OPEN:
            return await ask(partition.accept if call.durable else partition.admit, message, wait_s)
        return await self.exchange.call(
            partition.index,
            message,
            durable=call.durable,
            timeout_s=wait_s,
            repeat_s=REPEAT_S if call.repeatable else wait_s,
        )

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_ms / 3_000)  # noqa: TID251 -- the rhythm of renewals
            mine = [p for p in self._partitions if p.state is not PartitionState.CLOSED]
            await asyncio.gather(*map(self._renew, mine))

    async def _renew(self, partition: Partition) -> None:
        if partition.verify():
            return
        life = partition.life
        try:
            renewed = await self._env.store.renew(partition.lease, ttl_ms=self._ttl_ms)
        except StoreUnavailableError as error:
            _log.warning("lease not renewed", extra={"cause": str(error)})
            return
        if not renewed and life == partition.life:
            partition.lose(FencedOutError(f"partition {partition.index} has another owner; retry"))

    async def _tend_links(self) -> None:
        while True:
            await asyncio.sleep(1.0)  # noqa: TID251 -- see Links.tick
            for partition in self._partitions:
                partition.tick()

    def _for_host(self, letter: Letter) -> None:
        match letter:
            case Offer(index):
                self.placement.offered(self._partitions[index])
            case NoticeLetter(actor, summary):
                known = Summary(*summary) if summary is not None else None
                self.exchange.notice_here(ActorId(*actor), known)
            case HostLetter(topic, sender, payload):
                self._env.host.heard(topic, sender, payload)
            case _:
                _log.error("letter for a partition in a host's inbox")
