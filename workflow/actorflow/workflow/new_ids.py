"""PURE. Ids that this host makes: of instances that nobody has named, and of requests.

In a cluster such an instance is one that this host serves. Then no call of whoever started it here
crosses to another host, which would cost letters, reads and time. A host that has much in hand, or
no partition, takes any id, so that what comes to one host spreads over all.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Protocol

from actorflow.actors.address import ActorId
from actorflow.workflow.requests import INSTANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TRIES_MAX = 64
"""Ids that are looked at. One of four hosts needs four on average."""

IN_HAND_MAX = 100
"""Work in hand from which a host takes any id: actors that are ready for a turn, and messages that
workers have and have not done with."""

LOOK_AGAIN_NS = 20_000_000
"""What is in hand is added up this often at most. What begins meanwhile counts as well."""

_TAIL_DIGITS = 4
_TAILS = 16**_TAIL_DIGITS


class Home(Protocol):
    """What must be known of the host, as of `ActorSystem`."""

    @property
    def is_clustered(self) -> bool:
        """Whether there can be other hosts."""
        ...

    def other_hosts(self) -> Sequence[str]:
        """Return the living hosts besides this one."""
        ...

    def is_here(self, actor: ActorId) -> bool:
        """Whether this host serves the actor now."""
        ...

    def gauges(self) -> Mapping[str, int]:
        """Return present sizes."""
        ...


class NewIds:
    """Makes ids. `random_id` returns a random UUID."""

    def __init__(self, home: Home, random_id: Callable[[], str], now_ns: Callable[[], int]) -> None:
        self._home = home
        self._random_id = random_id
        self._now_ns = now_ns
        self._looked_ns = 0
        self._room = 0
        self._requests = count(1)
        self._prefix = ""

    def request(self) -> str:
        """Return an id by which a request that is sent to another host twice is known; "" where
        that cannot happen."""
        if not self._home.is_clustered:
            return ""
        self._prefix = self._prefix or self._random_id()
        return f"{self._prefix}.{next(self._requests)}"

    def instance(self) -> str:
        """Return a random UUID; where there are other hosts one of this host, while it has room."""
        first = self._random_id()
        if not self._home.other_hosts() or not self._has_room():
            return first
        near = near_id(first, self._is_here)
        # A host without partitions need not look for each id.
        self._room = 0 if near is None else self._room - 1
        return near or first

    def _is_here(self, instance_id: str) -> bool:
        return self._home.is_here(ActorId(INSTANCE, instance_id))

    def _has_room(self) -> bool:
        now_ns = self._now_ns()
        if not 0 <= now_ns - self._looked_ns < LOOK_AGAIN_NS:
            self._looked_ns = now_ns
            self._room = IN_HAND_MAX - in_hand(self._home.gauges())
        return self._room > 0


def in_hand(gauges: Mapping[str, int]) -> int:
    """Return how much waits for this host, or runs on it."""
    return gauges.get("ready_actors", 0) + gauges.get("pending_deliveries", 0)


def near_id(first: str, is_here: Callable[[str], bool]) -> str | None:
    """Return an id that is here, as random as the first one, of which only the last digits differ;
    None when none of `TRIES_MAX` is."""
    if is_here(first):
        return first
    head, tail = first[:-_TAIL_DIGITS], int(first[-_TAIL_DIGITS:], 16)
    for more in range(1, TRIES_MAX):
        candidate = f"{head}{(tail + more) % _TAILS:0{_TAIL_DIGITS}x}"
        if is_here(candidate):
            return candidate
    return None
