"""What a cluster looks like from outside: its hosts, who owns what, what waits. It only reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.errors import CorruptError
from actorflow.actors.lease import DEAD
from actorflow.actors.ports import EntryId
from actorflow.actors.store.redis.cluster import lost
from actorflow.actors.store.redis.encoding import decode_mark, outbox_place
from actorflow.actors.store.redis.keys import slot_of
from actorflow.actors.store.redis.script import script
from actorflow.actors.transport import Member

if TYPE_CHECKING:
    from actorflow.actors.store.redis.client import RedisClient
    from actorflow.actors.store.redis.keys import PartitionKeys
    from actorflow.actors.store.redis.script import Command
    from actorflow.actors.store.redis.store import RedisStore

STATUS = script("status", "no-writes,allow-oom")

UNREAD_MAX = 1_000
"""Letters of one inbox that are counted; there may be more."""


class PartitionStatus(NamedTuple):
    """One partition as committed. `owner` is a lease's token, "" when nobody has it;
    `lease_left_ms` is 0 when the lease has ended. An epoch is never below the time in ms at which
    its owner took the partition."""

    partition: int
    owner: str
    epoch: int
    lease_left_ms: int
    seq: int
    messages: int
    """Messages that are durable and not consumed, parked ones included."""
    parked: int
    reminders: int
    outbox: int
    """Messages for other partitions that those have not stored yet."""
    unread: int
    """Letters in the inbox that no commit has noted as read, at most `UNREAD_MAX`."""


class ClusterStatus(NamedTuple):
    """The whole cluster. Each partition is one consistent state, all together are not."""

    cluster_id: str
    now_ms: int
    """The clock of the server that keeps the members."""
    members: tuple[Member, ...]
    partitions: tuple[PartitionStatus, ...]


async def cluster_status(store: RedisStore) -> ClusterStatus:
    """Look at everything in the cluster of an open store.

    Raises:
        StoreUnavailableError: no answer.
        StoreLostError: a partition is gone.
        CorruptError: something cannot be read.
    """
    client = store.another_client()
    keys = store.partitions
    try:
        now_ms, members = await _members(client, store.members_key)
        found = await asyncio.gather(
            *(_partition(client, i, keys[i], store.cluster_id) for i in range(len(keys)))
        )
        marks = [marks for _, marks in found]
        unsent = await asyncio.gather(
            *(_unsent(client, p.partition, keys[p.partition], marks) for p, _ in found if p.outbox)
        )
    finally:
        await client.close()
    waits = dict(unsent)
    partitions = (p._replace(outbox=waits.get(p.partition, 0)) for p, _ in found)
    return ClusterStatus(store.cluster_id, now_ms, members, tuple(partitions))


async def _members(client: RedisClient, key: str) -> tuple[int, tuple[Member, ...]]:
    time, rows = await client.ask(slot_of(key.encode()), ("TIME",), ("HGETALL", key))
    now_ms = int(time[0]) * 1_000 + int(time[1]) // 1_000
    members = [_member(rows[i], rows[i + 1], now_ms, key) for i in range(0, len(rows), 2)]
    return now_ms, tuple(sorted(members))


def _member(host: bytes, row: bytes, now_ms: int, key: str) -> Member:
    at_ms, _, info = row.partition(b" ")
    if not at_ms.isdigit():
        raise CorruptError(f"{key}: {host!r:.100} has no time of its last heartbeat")
    return Member(host.decode(errors="replace"), max(0, now_ms - int(at_ms)), info)


async def _partition(
    client: RedisClient, index: int, keys: PartitionKeys, cluster_id: str
) -> tuple[PartitionStatus, dict[int, EntryId]]:
    """Return the status, with all of the outbox, and how far the partition has stored others."""
    names = (keys.meta, keys.messages, keys.parked, keys.due, keys.outbox, keys.marks, keys.inbox)
    reply = await client.run(keys.slot, STATUS, STATUS.call(names, (UNREAD_MAX,)))
    found, owner = reply[1].decode(), reply[2].decode(errors="replace")
    if found != cluster_id:
        raise lost(found)
    now_ms, epoch, until_ms, seq = map(int, (reply[0], *reply[3:6]))
    owner = "" if owner == DEAD else owner
    left_ms = max(0, until_ms - now_ms) if owner else 0
    try:
        marks = {mark.source: mark.id for mark in map(decode_mark, reply[11])}
    except ValueError as error:  # also msgspec's
        raise CorruptError(f"{keys.marks}: a row cannot be read ({error})") from error
    return PartitionStatus(index, owner, epoch, left_ms, seq, *reply[6:11]), marks


async def _unsent(
    client: RedisClient, index: int, keys: PartitionKeys, marks: list[dict[int, EntryId]]
) -> tuple[int, int]:
    """Count what the outbox holds beyond the marks of its destinations; what they have is kept for
    a while."""
    places = enumerate(known.get(index, EntryId(0, 0)) for known in marks)
    requests = (_beyond(keys.outbox, destination, mark) for destination, mark in places)
    return index, sum(await client.ask(keys.slot, *requests))


def _beyond(outbox: str, destination: int, mark: EntryId) -> Command:
    low = b"[" + outbox_place(destination, EntryId(mark.epoch, mark.n + 1))
    return ("ZLEXCOUNT", outbox, low, b"(%04x" % (destination + 1))
