"""Founding a cluster once, and never taking one that lost its data for a new one.

The root says which cluster lives here; each partition's meta repeats it. Founding is: write the
root as "creating", write all metas, mark the root "ready". A founder that dies on the way is
continued by the next. From "ready" on, a meta that is missing was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actorflow.actors.errors import CorruptError, UsageError
from actorflow.actors.store.redis.errors import StoreLostError
from actorflow.actors.store.redis.keys import PARTITIONS_MAX, PartitionKeys, root_key, slot_of
from actorflow.actors.store.redis.script import CREATE, FOUND

if TYPE_CHECKING:
    from actorflow.actors.store.redis.client import Client

FORMAT_LEVEL = 1
"""Grows with each change of the layout that an older release cannot read."""

DEFAULT_PARTITIONS = 64


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster that lives in a namespace of a Redis."""

    id: str
    partitions: tuple[PartitionKeys, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller expects to find. `partition_count` None takes what is there.

    `cluster_id` is "" when it knows of none; then, and only then, an empty Redis may be `found`ed.
    """

    namespace: str
    new_id: str
    cluster_id: str = ""
    partition_count: int | None = None
    found: bool = True


async def enter(client: Client, wish: Wish) -> Cluster:
    """Find the cluster, or found it in an empty Redis.

    Raises:
        StoreLostError: the data of a known cluster is gone, or another one is in its place.
        UsageError: the number of partitions differs, or nothing is here and it may not be founded.
        CorruptError: the format of a newer release.
    """
    count = wish.partition_count
    if count is not None and not 1 <= count <= PARTITIONS_MAX:
        raise UsageError(f"a cluster has 1 to {PARTITIONS_MAX:,} partitions, asked for {count:,}")
    root = root_key(wish.namespace)
    slot = slot_of(root.encode())
    may_found = wish.found and not wish.cluster_id
    args = (wish.new_id, count or DEFAULT_PARTITIONS, FORMAT_LEVEL, "1" if may_found else "")
    reply = await client.run(slot, FOUND, FOUND.call((root,), args))
    if reply[0] == b"NONE":
        if wish.cluster_id:
            raise StoreLostError(
                f"the store lost its data: cluster {wish.cluster_id} was here and nothing is; "
                "restore a backup"
            )
        raise UsageError("no cluster was founded here yet, and founding one was not asked for")
    cluster_id, stored_count, level = (text.decode() for text in reply[1:4])
    _check(wish, cluster_id, int(stored_count), int(level))
    partitions = tuple(
        PartitionKeys(wish.namespace, number, int(stored_count))
        for number in range(int(stored_count))
    )
    if reply[4] == b"creating":
        await _create(client, cluster_id, partitions, root, slot)
    else:
        await _check_metas(client, cluster_id, partitions)
    return Cluster(cluster_id, partitions)


def lost(found: str) -> StoreLostError:
    """Return the error for a partition whose meta is not that of our cluster."""
    if found:
        return StoreLostError(f"another cluster, {found}, is now in the place of ours")
    return StoreLostError(
        "the store lost its data: the meta of a partition is gone; restore a backup, hosts stay "
        "down until then"
    )


def _check(wish: Wish, cluster_id: str, count: int, level: int) -> None:
    if wish.cluster_id and wish.cluster_id != cluster_id:
        raise lost(cluster_id)
    if level > FORMAT_LEVEL:
        raise CorruptError(
            f"the store has format level {level} of a newer actorflow, this one reads up to "
            f"{FORMAT_LEVEL}; upgrade"
        )
    if wish.partition_count not in (None, count):
        raise UsageError(
            f"the store was founded with {count} partitions, this host asks for "
            f"{wish.partition_count}; the number cannot change"
        )


async def _create(
    client: Client, cluster_id: str, partitions: tuple[PartitionKeys, ...], root: str, slot: int
) -> None:
    for number, keys in enumerate(partitions):
        args = (cluster_id, len(partitions), FORMAT_LEVEL, number)
        answer, found = await client.run(keys.slot, CREATE, CREATE.call((keys.meta,), args))
        if answer != b"OK":
            raise StoreLostError(
                f"the store lost the root of cluster {found.decode()}, whose partitions are still "
                "there; restore a backup, or delete its keys to begin anew"
            )
    await client.ask(slot, ("HSET", root, "state", "ready"))


async def _check_metas(
    client: Client, cluster_id: str, partitions: tuple[PartitionKeys, ...]
) -> None:
    for keys in partitions:
        (found,) = await client.ask(keys.slot, ("HGET", keys.meta, "cluster"))
        if found != cluster_id.encode():
            raise lost((found or b"").decode())
