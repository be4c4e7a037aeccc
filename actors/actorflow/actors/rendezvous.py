"""PURE. Which host should own which partition: no table, no agreement, the same answer
everywhere."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def wanted_owner(partition: int, hosts: Iterable[str]) -> str | None:
    """Return the host that scores highest for a partition (rendezvous hashing); None without hosts.

    A host that joins or leaves moves only the partitions that it wins or held.
    """
    return max(hosts, key=lambda host: (_score(partition, host), host), default=None)


@lru_cache(maxsize=16_384)  # asked twice a second for each partition and host
def _score(partition: int, host: str) -> bytes:
    return blake2b(f"{partition}:{host}".encode(), digest_size=8).digest()
