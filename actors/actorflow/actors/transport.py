"""How letters travel between hosts, and how hosts know of each other: the ports.

Letters may be lost, repeated or late. There is no connection between hosts: each partition and each
host has an inbox in the store that everybody may append to, and its owner reads it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.ports import Lease


class Received(NamedTuple):
    """A letter that arrived. `cursor` is its place in the inbox, "" in a host's own inbox."""

    address: int | str  # partition or host
    cursor: str
    data: bytes


class Member(NamedTuple):
    """A host as the store sees it. `age_ms` is the time since its last heartbeat."""

    host: str
    age_ms: int
    info: bytes = b""


class Transport(Protocol):
    """Carries letters.

    Raises, all methods: StoreUnavailableError; what was to be sent may or may not arrive.
    """

    async def open(self, host: str, failed: Callable[[StoreUnavailableError], None]) -> None:
        """Begin to receive what is sent to this host. `failed` hears of each failure from which
        the transport recovers by itself."""
        ...

    async def close(self) -> None:
        """Stop receiving."""
        ...

    async def send(self, letters: Sequence[tuple[int | str, bytes]]) -> None:
        """Append each letter to the inbox of a partition (int) or a host (str)."""
        ...

    def subscribe(self, partition: int, cursor: str) -> None:
        """Receive what was and will be sent to a partition, after `cursor` ("" is the oldest)."""
        ...

    def unsubscribe(self, partition: int) -> None:
        """Receive no more for a partition."""
        ...

    async def receive(self) -> Sequence[Received]:
        """Wait for letters and return them, oldest first for each inbox.

        Never what was read for an earlier subscription: that partition had another owner since, who
        may have done what the letters ask for.
        """
        ...


class Membership(Protocol):
    """Which hosts are there."""

    async def beat(self, host: str, info: bytes) -> Sequence[Member]:
        """Say that this host lives, and return all hosts that were heard of lately.

        Raises:
            StoreUnavailableError: not done, or unknown.
        """
        ...

    async def leave(self, host: str) -> None:
        """Say goodbye: the others need not wait until the host counts as dead."""
        ...


class Lifeline(Protocol):
    """What keeps a host alive in the eyes of the others, on connections of its own: it is used
    beside the host's event loop, which may be blocked.

    Raises, all methods: StoreUnavailableError.
    Concurrency: one event loop, that of `open`.
    """

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    async def time_ns(self) -> int | None:
        """Return the store's clock (UTC nanoseconds since 1970), None if it cannot be asked."""
        ...

    async def beat(self, host: str, info: bytes) -> Sequence[Member]:
        """See `Membership.beat`."""
        ...

    async def leave(self, host: str) -> None:
        """See `Membership.leave`."""
        ...

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        """See `Ownership.renew`."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give up a partition whose owner's loop is silent: as `Ownership.release` of a dead
        one."""
        ...
