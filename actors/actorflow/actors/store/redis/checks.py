"""What a server must be before it is trusted with data: refusals that say what to change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from actorflow.actors.store.redis.errors import StoreRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Durability = Literal["memory", "local", "fsync", "replicated", "both"]
"""What an acknowledged commit survives: no end of the server; `kill -9` of anything; a power cut;
the loss of the primary; both of the latter."""

OLDEST_REDIS = (7, 0, 0)
"""The first with script flags, without which a refused write is skipped and the next one done."""

OLDEST_VALKEY = (8, 0, 0)

_FIXED_REDIS = ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2))
_FIXED_VALKEY = ((7, 2, 12), (8, 0, 7), (8, 1, 6), (9, 0, 2))
"""In each series, the first release without the known holes of the Lua engine."""


@dataclass(frozen=True, slots=True)
class Server:
    """What one server says of itself. Settings that it may not tell are absent."""

    place: str
    info: Mapping[str, str]
    settings: Mapping[str, str]
    offset_ms: float = 0.0
    """How far the server's clock is ahead of ours, at least."""

    @property
    def is_valkey(self) -> bool:
        """Whether it is Valkey."""
        return "valkey_version" in self.info

    @property
    def version(self) -> tuple[int, ...]:
        """Its own version, not the one of Redis with which Valkey says to be compatible."""
        text = self.info.get("valkey_version") or self.info.get("redis_version", "0")
        return tuple(map(int, re.findall(r"\d+", text)[:3]))

    @property
    def in_cluster(self) -> bool:
        """Whether it is a node of a Redis Cluster."""
        return self.info.get("cluster_enabled") == "1"


def parse_info(text: str) -> dict[str, str]:
    """Read the answer to INFO."""
    lines = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}


def check_server(
    server: Server, durability: Durability, *, replicas: int, clock_limit_ms: float
) -> list[str]:
    """Refuse a server that cannot hold what is promised; return warnings about the rest.

    Raises:
        StoreRefusedError: names everything that is wrong, each with its mend.
    """
    problems = [
        *_version_problems(server),
        *_memory_problems(server),
        *_persistence_problems(server, durability),
        *_replication_problems(server, durability, replicas),
        *_clock_problems(server, clock_limit_ms),
    ]
    if problems:
        raise StoreRefusedError(f"{server.place} cannot be used: {'; '.join(problems)}")
    return list(_warnings(server, durability))


def _version_problems(server: Server) -> Iterator[str]:
    oldest = OLDEST_VALKEY if server.is_valkey else OLDEST_REDIS
    if server.version < oldest:
        kind = "Valkey" if server.is_valkey else "Redis"
        yield f"{kind} {_dotted(server.version)} is too old, install {_dotted(oldest)} or newer"
    if server.info.get("role") == "slave":
        yield "it is a replica, give the address of the primary"


def _memory_problems(server: Server) -> Iterator[str]:
    policy = server.info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield (
            f"maxmemory-policy is {policy}, which deletes state when memory runs short: set "
            "`maxmemory-policy noeviction`"
        )


def _persistence_problems(server: Server, durability: Durability) -> Iterator[str]:
    if durability == "memory":
        return
    if server.info.get("aof_enabled") != "1":
        yield (
            f"it has no append-only file, so durability {durability!r} cannot be promised: set "
            "`appendonly yes`, or ask for durability 'memory'"
        )
    elif durability in ("fsync", "both"):
        mode = server.settings.get("appendfsync", "always")
        if mode != "always":
            yield (
                f"appendfsync is {mode}, so durability {durability!r} cannot be promised: set "
                "`appendfsync always`, or ask for durability 'local'"
            )


def _replication_problems(server: Server, durability: Durability, replicas: int) -> Iterator[str]:
    if durability not in ("replicated", "both"):
        return
    connected = int(server.info.get("connected_slaves", "0"))
    if connected < replicas:
        yield f"{connected} replicas are connected, durability {durability!r} needs {replicas}"
    least = int(server.settings.get("min-replicas-to-write", str(replicas)))
    if least < 1:
        yield (
            f"min-replicas-to-write is {least}, so a primary that was cut off would go on alone: "
            "set `min-replicas-to-write 1`"
        )


def _clock_problems(server: Server, limit_ms: float) -> Iterator[str]:
    if abs(server.offset_ms) > limit_ms:
        yield (
            f"its clock differs from this host's by {server.offset_ms / 1e3:+.1f} s, more than "
            f"{limit_ms / 1e3:g} s: synchronise both with NTP"
        )


def _warnings(server: Server, durability: Durability) -> Iterator[str]:
    if not _is_fixed(server.version, _FIXED_VALKEY if server.is_valkey else _FIXED_REDIS):
        yield (
            f"{server.place}: version {_dotted(server.version)} may have known holes in its Lua "
            "engine (CVE-2025-49844 and others) unless your distribution has mended them; upgrade"
        )
    if durability == "memory":
        yield f"{server.place}: durability is 'memory'; a restart of the server may lose everything"
    if durability in ("fsync", "both") and "appendfsync" not in server.settings:
        yield f"{server.place}: may not read appendfsync; see to it that it is `always`"
    if durability in ("replicated", "both") and "min-replicas-to-write" not in server.settings:
        yield f"{server.place}: may not read min-replicas-to-write; see to it that it is 1 or more"


def _is_fixed(version: tuple[int, ...], fixed: tuple[tuple[int, ...], ...]) -> bool:
    """A series without an entry is fixed when it is newer than all that have one."""
    for first in fixed:
        if first[:2] == version[:2]:
            return version >= first
    return version > fixed[-1]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
