"""A lifeline to a store in memory that is not the host's own: it works while the host is stuck."""

from collections.abc import Callable, Sequence

from actorflow.actors.clock import Clock
from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.ports import Lease, Ownership
from actorflow.actors.transport import Member, Membership


class FakeLifeline:
    """`Lifeline` over an `Ownership` and a `Membership`. `cut` makes it fail.

    Args:
        clock: of the store; None if it cannot be asked.
        seq_of: where the commits of a partition stand, by which a store that lost some is noticed.
    """

    def __init__(
        self,
        store: Ownership,
        membership: Membership,
        clock: Clock | None = None,
        seq_of: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._store = store
        self._seq_of = seq_of
        self._seqs: dict[Lease, int] = {}
        self._membership = membership
        self._clock = clock
        self.cut = False
        self.renewals = 0

    async def open(self) -> None:
        """See `Lifeline`."""
        self._check()

    async def close(self) -> None:
        """See `Lifeline`."""

    async def time_ns(self) -> int | None:
        """See `Lifeline`."""
        self._check()
        return self._clock.now_ns() if self._clock is not None else None

    async def beat(self, host: str, info: bytes) -> Sequence[Member]:
        """See `Lifeline`."""
        self._check()
        return await self._membership.beat(host, info)

    async def leave(self, host: str) -> None:
        """See `Lifeline`."""
        self._check()
        await self._membership.leave(host)

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        """See `Lifeline`."""
        self._check()
        self.renewals += 1
        if not await self._store.renew(lease, ttl_ms=ttl_ms):
            return False
        seq, before = self._seq_of(lease.partition), self._seqs.get(lease, 0)
        self._seqs[lease] = seq
        return seq >= before

    async def release(self, lease: Lease) -> None:
        """See `Lifeline`."""
        self._check()
        await self._store.release(lease, dead=True)

    def _check(self) -> None:
        if self.cut:
            raise StoreUnavailableError("cut", written=None)
