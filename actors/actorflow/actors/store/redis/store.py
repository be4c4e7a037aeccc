"""Joins the parts of the Redis store: leases, commits, reads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actorflow.actors.clock import Clock, IdSource, SystemClock, SystemIds
from actorflow.actors.errors import InvariantError, StoreUnavailableError, UsageError
from actorflow.actors.lease import DEAD
from actorflow.actors.ports import Acquired, CommitResult, Held, Lease
from actorflow.actors.query import check_query
from actorflow.actors.store.redis import cluster, reads, search
from actorflow.actors.store.redis.acknowledged import Acknowledged
from actorflow.actors.store.redis.checks import check_server
from actorflow.actors.store.redis.client import ClusterClient, RedisClient, open_client
from actorflow.actors.store.redis.encoding import pack_commit
from actorflow.actors.store.redis.inspection import inspect
from actorflow.actors.store.redis.keys import host_inbox_name, members_name
from actorflow.actors.store.redis.script import ACQUIRE, RELEASE, RENEW
from actorflow.actors.store.redis.url import parse_url, redacted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import ActorRecord, Commit, DueReminder, Query, Recovery
    from actorflow.actors.store.redis.checks import Durability
    from actorflow.actors.store.redis.client import Client, Reply
    from actorflow.actors.store.redis.keys import PartitionKeys
    from actorflow.actors.store.redis.script import Command, Script

_log = logging.getLogger(__name__)

CLOCK_LIMIT_MS = 2_000.0
"""Largest difference between a server's clock and ours: a fifth of a lease."""

ANSWER_TIMEOUT_S = 5.0
"""After this silence a connection is dropped; half the time that a silent owner keeps a lease."""

WAIT_MS = 1_000
"""How long one commit waits for replicas before it is sent again."""


class RedisStore:
    """`PartitionStore` in Redis or Valkey: one server, Sentinel, or Redis Cluster.

    Args:
        url: see `actorflow.actors.store.redis.url`.
        partition_count: when the cluster is founded, 64 if None; later it must be the same or None.
        durability: what an acknowledged commit survives; `open` refuses a server that cannot do it.
        cluster_id: the cluster that must be found; "" for whichever is there, or a new one.
        found: whether an empty Redis may become a new cluster.
        replicas: how many replicas a commit waits for when `durability` asks for replication.
        timeout_s: silence after which a connection is dropped.
        client: a network other than TCP, for tests and simulation; nothing is checked then.

    Concurrency: one event loop. Any number of processes and partitions; one commit at a time of a
    partition. A cancelled commit goes on; send it again to hear how it ended.
    """

    batch_turns = 64
    """Turns in one commit: more gain no throughput and make all other partitions wait."""

    batch_bytes = 256 * 1024
    """Payload in one commit."""

    def __init__(  # noqa: PLR0913 -- the settings of a deployment, each with a default
        self,
        url: str,
        *,
        partition_count: int | None = None,
        durability: Durability = "local",
        cluster_id: str = "",
        found: bool = True,
        replicas: int = 1,
        timeout_s: float = ANSWER_TIMEOUT_S,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        client: Client | None = None,
    ) -> None:
        self._location = parse_url(url)
        self._place = redacted(url)
        self._wanted_count = partition_count
        self.durability: Durability = durability
        self.cluster_id = cluster_id
        """The cluster in this Redis, once `open` has found it."""
        self._found = found
        self._replicas = replicas if durability in ("replicated", "both") else 0
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._ids = ids or SystemIds()
        self._given_client = client
        self._client: Client | None = None
        self._partitions: tuple[PartitionKeys, ...] = ()
        self._doubtful: dict[int, Commit] = {}
        """Of which nobody knows whether a server has carried them out; one a partition."""
        self._acknowledged = Acknowledged()
        self.warnings: list[str] = []
        """What `open` found that should be mended, in words for a person."""

    def __repr__(self) -> str:
        return f"RedisStore({self._place})"

    @property
    def partition_count(self) -> int:
        """The number of partitions, once open."""
        return len(self._partitions)

    @property
    def partitions(self) -> tuple[PartitionKeys, ...]:
        """The names of all keys, once open."""
        return self._partitions

    @property
    def in_cluster(self) -> bool:
        """Whether keys are spread over the nodes of a Redis Cluster."""
        return isinstance(self._network(), ClusterClient)

    @property
    def members_key(self) -> str:
        """The hash of hosts that were heard of lately."""
        return members_name(self._location.namespace)

    def host_inbox_key(self, host: str) -> str:
        """The stream of letters to a host."""
        return host_inbox_name(self._location.namespace, host)

    def another_client(self, *, extra_s: float = 0.0) -> RedisClient:
        """Return a client of the same servers with connections of its own, for any event loop.

        Args:
            extra_s: how much longer than the store's its calls may be silent.
        """
        return open_client(
            self._location, timeout_s=self._timeout_s + extra_s, in_cluster=self.in_cluster
        )

    def _network(self) -> RedisClient:
        if not isinstance(self._client, RedisClient):
            raise UsageError(f"{self._place} is not open, or not a Redis on the network")
        return self._client

    # ---- life ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, check the servers, find or found the cluster; see `Store.open`.

        Raises:
            StoreRefusedError: a setting or version that cannot hold what was promised.
            StoreLostError: the data of a known cluster is gone.
            UsageError: another number of partitions, or the store is open already.
        """
        if self._client is not None:
            raise UsageError(f"{self._place} is open already")
        client = self._given_client or await self._connect()
        try:
            wish = cluster.Wish(
                namespace=self._location.namespace,
                new_id=self._ids.uuid(),
                cluster_id=self.cluster_id,
                partition_count=self._wanted_count,
                found=self._found,
            )
            found = await cluster.enter(client, wish)
        except BaseException:
            await client.close()
            raise
        self._client = client
        self.cluster_id = found.id
        self._partitions = found.partitions

    async def _connect(self) -> RedisClient:
        client = open_client(self._location, timeout_s=self._timeout_s)
        try:
            servers = await inspect(client, self._clock)
            if servers[0].in_cluster and not isinstance(client, ClusterClient):
                await client.close()
                client = open_client(self._location, timeout_s=self._timeout_s, in_cluster=True)
                servers = await inspect(client, self._clock)
            self.warnings = [
                warning
                for server in servers
                for warning in check_server(
                    server,
                    self.durability,
                    replicas=self._replicas,
                    clock_limit_ms=CLOCK_LIMIT_MS,
                )
            ]
        except BaseException:
            await client.close()
            raise
        for warning in self.warnings:
            _log.warning(warning)
        return client

    async def close(self) -> None:
        """Finish what is under way and close all connections; see `Store.close`."""
        client, self._client = self._client, None
        self._doubtful.clear()
        if client is not None:
            await client.close()

    # ---- ownership -----------------------------------------------------------------------------

    async def acquire(self, partition: int, token: str, *, ttl_ms: int) -> Acquired | Held:
        """Take the partition; see `Ownership.acquire`.

        Raises:
            StoreLostError: the partition's meta is gone or of another cluster.
            UsageError: an empty token, or a partition that this store does not have.
        """
        if not token:
            raise UsageError("an owner's token must not be empty")
        client, keys = self._at(partition)
        data = ACQUIRE.call((keys.meta,), (token, ttl_ms, self.cluster_id))
        before = self._acknowledged.before(partition)
        # Replicas are waited for: else an owner would act on commits that a fail-over may lose.
        reply = await self._send(client, keys.slot, ACQUIRE, data)
        match reply[0]:
            case b"OWN":
                epoch, seq, number, message_id, abandoned = map(int, reply[1:6])
                self._doubtful.pop(partition, None)
                self._acknowledged.found(partition, seq, before)
                self._acknowledged.note(partition, seq)
                lease = Lease(partition, epoch, token)
                return Acquired(lease, seq, number, message_id, abandoned)
            case b"HELD":
                return Held(reply[1].decode(), int(reply[2]), int(reply[3]))
            case b"LOST":
                raise cluster.lost(reply[1].decode())
        raise _strange(keys, reply)

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        """Extend the lease; see `Ownership.renew`."""
        client, _ = self._at(lease.partition)
        return await self.renew_over(client, lease, ttl_ms=ttl_ms)

    async def renew_over(self, client: Client, lease: Lease, *, ttl_ms: int) -> bool:
        """As `renew`, over another client of the same servers and on its event loop."""
        keys = self._partitions[lease.partition]
        data = RENEW.call((keys.meta,), (lease.epoch, lease.token, ttl_ms))
        before = self._acknowledged.before(lease.partition)
        reply = await client.run(keys.slot, RENEW, data, lane="commits")
        if reply[0] != b"OK":
            return False
        return self._acknowledged.found(lease.partition, int(reply[1]), before)

    async def release(self, lease: Lease, *, dead: bool = False) -> None:
        """Give the partition up; see `Ownership.release`."""
        client, keys = self._at(lease.partition)
        data = RELEASE.call((keys.meta,), (lease.epoch, lease.token, DEAD if dead else ""))
        await client.run(keys.slot, RELEASE, data, lane="commits")

    # ---- commits -------------------------------------------------------------------------------

    async def commit(self, commit: Commit) -> CommitResult:
        """Apply the commit as a whole, or nothing of it; see `Store.commit`.

        Raises:
            CorruptError: the script failed after its checks; the partition must be looked at.
        """
        partition = commit.lease.partition
        client, keys = self._at(partition)
        is_repeated = self._doubtful.get(partition) is commit
        script, command, fault = pack_commit(commit, keys, is_repeated=is_repeated)
        before = self._acknowledged.before(partition)
        try:
            reply = await self._send(client, keys.slot, script, command)
        except StoreUnavailableError as error:
            if is_repeated:
                error.written = None  # an earlier try may have been carried out
            elif error.written is None:
                self._doubtful[partition] = commit
            raise
        if is_repeated:
            self._doubtful.pop(partition, None)
        match reply[0]:
            case b"OK" | b"ALREADY":
                self._acknowledged.note(partition, commit.seq)
                return CommitResult.OK if reply[0] == b"OK" else CommitResult.ALREADY
            case b"FENCED":
                return CommitResult.FENCED
            case b"SEQ":
                self._acknowledged.found(partition, int(reply[1]), before)
                return CommitResult.SEQ
            case b"BAD":
                fault = fault or reply[1].decode(errors="replace")
                _log.error("commit %s is malformed: %s", commit.commit_id, fault)
                return CommitResult.BAD
        raise _strange(keys, reply)

    def _send(
        self, client: Client, slot: int, script: Script, command: Command
    ) -> Awaitable[Reply]:
        """Run a script, to the durability that was promised."""
        if not self._replicas:
            return client.run(slot, script, command, lane="commits")
        return client.run_replicated(
            slot, script, command, replicas=self._replicas, wait_ms=WAIT_MS
        )

    # ---- reads ---------------------------------------------------------------------------------

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        """Read what waits; see `Store.recover`."""
        client, keys = self._at(partition)
        return await reads.recover(client, keys, horizon_ms=horizon_ms)

    async def due(
        self, partition: int, *, from_ms: int, until_ms: int, limit: int
    ) -> Sequence[DueReminder]:
        """Read reminders of a window; see `Store.due`."""
        client, keys = self._at(partition)
        return await reads.due(
            client, keys, from_ms=from_ms, until_ms=until_ms, limit=max(0, limit)
        )

    async def load(
        self, partition: int, actors: Sequence[ActorId], *, with_log: bool
    ) -> list[ActorRecord | None]:
        """Read many actors; see `Store.load`."""
        client, keys = self._at(partition)
        if not actors:
            return []
        return await reads.load(client, keys, actors, with_log=with_log)

    async def find(self, query: Query) -> list[ActorRecord]:
        """Search all partitions; see `Store.find`."""
        check_query(query)
        client, _ = self._at(0)
        return await search.find(client, self._partitions, query)

    def _at(self, partition: int) -> tuple[Client, PartitionKeys]:
        if self._client is None:
            raise StoreUnavailableError(f"{self._place} is not open", written=False)
        if not 0 <= partition < len(self._partitions):
            raise UsageError(
                f"this store has {len(self._partitions)} partitions from 0; there is no partition "
                f"{partition}"
            )
        return self._client, self._partitions[partition]


def _strange(keys: PartitionKeys, reply: Reply) -> InvariantError:
    return InvariantError(f"{keys.meta}: a script answered {reply!r:.200}")
