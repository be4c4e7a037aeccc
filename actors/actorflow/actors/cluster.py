"""One host of a cluster: its exchange of letters, its placement, its leases."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.address import ActorId
from actorflow.actors.door import PartitionState
from actorflow.actors.errors import FencedOutError, StoreUnavailableError
from actorflow.actors.exchange import Exchange
from actorflow.actors.letters import NoticeLetter, Offer
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
        """Say goodbye; the partitions have been given up."""
        try:
            await self.exchange.flush()
            await self._cluster.membership.leave(self._host_id)
            await self._cluster.transport.close()
        except StoreUnavailableError as error:
            _log.warning("left without a word", extra={"cause": str(error)})

    def stop_moving(self) -> None:
        """Take and hand over no more: the host stops."""
        for task in self._tasks[2:3]:
            task.cancel()

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_ms / 3_000)  # noqa: TID251 -- the rhythm of renewals
            for partition in self._partitions:
                if partition.state is not PartitionState.CLOSED:
                    await self._renew(partition)

    async def _renew(self, partition: Partition) -> None:
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
                self._env.host.notice(ActorId(*actor), known)
            case _:
                _log.error("letter for a partition in a host's inbox")
