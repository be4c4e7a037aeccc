"""Which server holds a slot: always the same, the one that Sentinel names, or a cluster's map."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from actorflow.actors.errors import CorruptError, StoreUnavailableError
from actorflow.actors.store.redis.errors import ErrorReply, refusal
from actorflow.actors.store.redis.keys import SLOTS
from actorflow.actors.store.redis.script import pack
from actorflow.actors.store.redis.wire import Account, Address, Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors.store.redis.url import Location
    from actorflow.actors.store.redis.wire import Reply

_SLOTS_REQUEST = pack(("CLUSTER", "SLOTS"))


class Routes(Protocol):
    """Finds primaries."""

    async def address_of(self, slot: int) -> Address:
        """Return the server that holds a slot. Raises StoreUnavailableError."""
        ...

    async def primaries(self) -> list[Address]:
        """Return all servers that hold slots. Raises StoreUnavailableError."""
        ...

    def moved(self, slot: int, address: Address) -> None:
        """Note what a server said about a slot."""
        ...

    def doubt(self) -> None:
        """Ask again before the next use: a server did not answer, or is no primary any more."""
        ...


class FixedRoute:
    """One server for all slots."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def address_of(self, slot: int) -> Address:
        """See `Routes`."""
        return self._address

    async def primaries(self) -> list[Address]:
        """See `Routes`."""
        return [self._address]

    def moved(self, slot: int, address: Address) -> None:
        """Do nothing: a server without a cluster moves no slots."""

    def doubt(self) -> None:
        """Do nothing: there is no other."""


class SentinelRoute:
    """The primary that the Sentinels name."""

    def __init__(self, sentinels: Sequence[Address], service: str, account: Account) -> None:
        self._sentinels = list(sentinels)
        self._service = service
        self._account = account
        self._primary: Address | None = None

    async def address_of(self, slot: int) -> Address:
        """See `Routes`."""
        if self._primary is None:
            self._primary = await self._ask()
        return self._primary

    async def primaries(self) -> list[Address]:
        """See `Routes`."""
        return [await self.address_of(0)]

    def moved(self, slot: int, address: Address) -> None:
        """Do nothing: only Sentinel says who is primary."""

    def doubt(self) -> None:
        """See `Routes`."""
        self._primary = None

    async def _ask(self) -> Address:
        request = pack(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service))
        reply = await _first_answer(self._sentinels, self._account, request)
        if reply is None:
            raise StoreUnavailableError(
                f"the Sentinels know no service {self._service!r}; check its name", written=False
            )
        host, port = reply
        return Address(host.decode(), int(port))


class ClusterRoutes:
    """A Redis Cluster's map of slots, learnt from any node, mended by what nodes answer."""

    def __init__(self, seeds: Sequence[Address], account: Account) -> None:
        self._seeds = list(seeds)
        self._account = account
        self._owners: list[Address | None] = [None] * SLOTS
        self._fresh = False
        self._lock = asyncio.Lock()

    async def address_of(self, slot: int) -> Address:
        """See `Routes`."""
        if not self._fresh:
            await self._learn()
        address = self._owners[slot]
        if address is None:
            self._fresh = False
            raise StoreUnavailableError(
                f"no node of the cluster holds slot {slot}; check `CLUSTER SLOTS`", written=False
            )
        return address

    async def primaries(self) -> list[Address]:
        """See `Routes`."""
        if not self._fresh:
            await self._learn()
        return sorted({address for address in self._owners if address is not None})

    def moved(self, slot: int, address: Address) -> None:
        """See `Routes`."""
        self._owners[slot] = address

    def doubt(self) -> None:
        """See `Routes`."""
        self._fresh = False

    async def _learn(self) -> None:
        async with self._lock:
            if self._fresh:
                return
            known = {address for address in self._owners if address is not None}
            candidates = [*self._seeds, *sorted(known - set(self._seeds))]
            ranges = await _first_answer(candidates, self._account, _SLOTS_REQUEST)
            owners: list[Address | None] = [None] * SLOTS
            for first, last, primary, *_ in ranges:
                # A node that does not know its own name leaves it empty: it is the one we asked.
                address = Address((primary[0] or b"").decode() or self._seeds[0].host, primary[1])
                owners[first : last + 1] = [address] * (last - first + 1)
            self._owners = owners
            self._fresh = True


def routes_to(location: Location) -> Routes:
    """Return the routes that a URL asks for."""
    if location.topology == "sentinel":
        account = location.sentinel_account or Account()
        return SentinelRoute(location.addresses, location.service, account)
    if location.topology == "cluster":
        return ClusterRoutes(location.addresses, location.account)
    return FixedRoute(location.addresses[0])


async def _first_answer(addresses: Sequence[Address], account: Account, request: bytes) -> Reply:
    """Ask one after the other until one answers."""
    problem: StoreUnavailableError | CorruptError | None = None
    for address in addresses:
        wire = Wire(address, account)
        try:
            (reply,) = await wire.call(request)
        except StoreUnavailableError as error:
            problem = error
        else:
            if not isinstance(reply, ErrorReply):
                return reply
            problem = refusal(reply, address)
        finally:
            await wire.close()
    raise StoreUnavailableError(str(problem), written=False) from problem
