"""What `cluster status` says about a cluster: states and problems, derived from plain data."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from actorflow.actors.owner import host_of
from actorflow.actors.placement import DEAD_AFTER_MS
from actorflow.actors.rendezvous import wanted_owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actorflow.actors.store.redis.status import ClusterStatus, PartitionStatus
    from actorflow.actors.transport import Member
    from actorflow.server.host_info import HostInfo

LAST_MOVES = 5
"""Latest moves that are told."""

QUIET = "owned"
"""The state of a partition that is with the host where it should be."""


def view(
    status: ClusterStatus, infos: Mapping[str, HostInfo], *, unread_max: int
) -> dict[str, Any]:
    """Return everything about the cluster as JSON-like data.

    Args:
        infos: what the members say of themselves.
        unread_max: so many unread letters stand for "so many or more".
    """
    live = [m.host for m in status.members if m.age_ms < DEAD_AFTER_MS]
    partitions = [_partition(p, live) for p in status.partitions]
    hosts = [_host(m, infos[m.host], partitions) for m in status.members]
    backlog = {
        name: sum(p[name] for p in partitions) for name in ("waiting", "parked", "inbox", "outbox")
    }
    latest = sorted((p for p in status.partitions if p.owner), key=lambda p: -p.epoch)[:LAST_MOVES]
    return {
        "cluster_id": status.cluster_id,
        "problems": _problems(hosts, partitions, backlog, unread_max),
        "durability": sorted({host["durability"] for host in hosts if host["durability"]}),
        "hosts": hosts,
        "partitions": partitions,
        "moves_in_flight": sum(p["state"] == "moving" for p in partitions),
        "last_moves": [
            {"partition": p.partition, "to": host_of(p.owner), "at": _time(p.epoch)} for p in latest
        ],
        "backlog": backlog,
    }


def _partition(partition: PartitionStatus, live: Sequence[str]) -> dict[str, Any]:
    owner = host_of(partition.owner)
    target = wanted_owner(partition.partition, live)
    if not owner:
        state = "free"
    elif owner not in live:
        state = "orphaned"
    elif not partition.lease_left_ms:
        state = "expired"
    else:
        state = QUIET if owner == target else "moving"
    return {
        "partition": partition.partition,
        "state": state,
        "owner": owner,
        "target": target or "",
        "epoch": partition.epoch,
        "since": _time(partition.epoch) if owner else "",
        "lease_left_ms": partition.lease_left_ms,
        "commits": partition.seq,
        "waiting": partition.messages - partition.parked,
        "parked": partition.parked,
        "reminders": partition.reminders,
        "inbox": partition.unread,
        "outbox": partition.outbox,
    }


def _host(
    member: Member, info: HostInfo, partitions: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    owned = sum(p["owner"] == member.host for p in partitions)
    silent = "silent" if owned else "gone"
    return {
        "host": member.host,
        "state": "up" if member.age_ms < DEAD_AFTER_MS else silent,
        "heartbeat_age_ms": member.age_ms,
        "since": _time(info.started_ms) if info.started_ms else "",
        "machine": info.machine,
        "pid": info.pid,
        "process": info.process,
        "addresses": list(info.addresses),
        "app_id": info.app_id,
        "durability": info.durability,
        "version": info.version,
        "partitions": owned,
        "partitions_wanted": sum(p["target"] == member.host for p in partitions),
    }


def _problems(
    hosts: Sequence[Mapping[str, Any]],
    partitions: Sequence[Mapping[str, Any]],
    backlog: Mapping[str, int],
    unread_max: int,
) -> list[str]:
    found = [
        f"host {host['host']} has been silent for {host['heartbeat_age_ms'] / 1e3:.1f} s and has "
        f"{host['partitions']} partitions"
        for host in hosts
        if host["state"] == "silent"
    ]
    if not any(host["state"] == "up" for host in hosts):
        found.append("no host is up: what is stored waits until one starts")
    else:
        states = Counter(p["state"] for p in partitions)
        unserved = states["free"] + states["orphaned"] + states["expired"]
        if unserved:
            found.append(
                f"{unserved} of {len(partitions)} partitions have no living owner: calls for them "
                "wait, or get 503"
            )
    for what in ("durability", "version"):
        said = sorted({host[what] for host in hosts if host[what] and host["state"] == "up"})
        if len(said) > 1:
            found.append(f"hosts differ in {what}: {', '.join(said)}")
    if backlog["parked"]:
        found.append(
            f"parked messages, which are delivered no more: {backlog['parked']}; "
            "`actorflow fsck` names them"
        )
    full = [str(p["partition"]) for p in partitions if p["inbox"] >= unread_max]
    if full:
        found.append(
            f"{unread_max:,} or more unread letters wait in the inbox of partition "
            f"{', '.join(full)}: its owner is too slow or stands still"
        )
    return found


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1e3, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    except (OverflowError, ValueError, OSError):
        return ""
