"""Runs scripts and commands where their slot lives, and mends what says "not done": nothing else.

An answer that nobody can read as "not done" is never followed by a second sending from here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.store.redis.errors import ErrorReply, refusal, unanswered
from actorflow.actors.store.redis.script import pack
from actorflow.actors.store.redis.wire import Address, Wire

if TYPE_CHECKING:
    from actorflow.actors.store.redis.routes import Routes
    from actorflow.actors.store.redis.script import Script
    from actorflow.actors.store.redis.wire import Account, Reply

HOPS_MAX = 6
"""How often one call follows the cluster or loads its script before it gives up."""

READS = -1
"""The lane of reads: their long answers do not make commits wait."""

_ASKING = pack(("ASKING",))


class Client(Protocol):
    """What the store asks of the network. `RedisClient` is one; tests have servers in memory."""

    async def run(self, slot: int, script: Script, data: bytes, *, lane: int = READS) -> Reply:
        """Run one packed script call and return its answer, which is no error."""
        ...

    async def run_replicated(
        self, slot: int, script: Script, data: bytes, *, lane: int, replicas: int, wait_ms: int
    ) -> Reply:
        """Run a script and return its answer once so many replicas have it."""
        ...

    async def ask(self, slot: int, *commands: bytes) -> list[Reply]:
        """Run packed commands without a script and return their answers, none of them an error."""
        ...

    async def close(self) -> None:
        """Finish what is under way and close all connections."""
        ...


class RedisClient:
    """`Client` over TCP. One connection for each server and lane, made when it is needed.

    Errors of every call: `StoreUnavailableError`, and `CorruptError` for a script that failed after
    its checks.
    """

    def __init__(self, routes: Routes, account: Account, *, timeout_s: float) -> None:
        self._routes = routes
        self._account = account
        self._timeout_s = timeout_s
        self._wires: dict[tuple[Address, int], Wire] = {}

    @property
    def routes(self) -> Routes:
        """How this client finds servers."""
        return self._routes

    def another(self, *, extra_s: float = 0.0) -> RedisClient:
        """Return a client of the same servers with connections of its own, for calls that block.

        Args:
            extra_s: how much longer than this client's its calls may be silent.
        """
        return RedisClient(self._routes, self._account, timeout_s=self._timeout_s + extra_s)

    async def run(self, slot: int, script: Script, data: bytes, *, lane: int = READS) -> Reply:
        """See `Client`."""
        return (await self._run(slot, script, data, 1, lane, self._timeout_s))[0]

    async def run_replicated(
        self, slot: int, script: Script, data: bytes, *, lane: int, replicas: int, wait_ms: int
    ) -> Reply:
        """See `Client`.

        Raises:
            StoreUnavailableError: also when too few replicas answered in time; `written` is None,
                since a fail-over may now lose it.
        """
        request = data + pack(("WAIT", replicas, wait_ms))
        timeout_s = self._timeout_s + wait_ms / 1e3
        reply, reached = await self._run(slot, script, request, 2, lane, timeout_s)
        if isinstance(reached, ErrorReply):
            # The script did run: a primary that is demoted frees who waits for its replicas.
            raise unanswered("WAIT", str(reached))
        if reached < replicas:
            raise StoreUnavailableError(
                f"{reached} of {replicas} replicas answered within {wait_ms} ms", written=None
            )
        return reply

    async def ask(self, slot: int, *commands: bytes) -> list[Reply]:
        """See `Client`."""
        for _ in range(HOPS_MAX):
            wire = await self._wire_of(slot, READS)
            replies = await self._call(wire, b"".join(commands), len(commands), self._timeout_s)
            error = next((reply for reply in replies if isinstance(reply, ErrorReply)), None)
            if error is None:
                return replies
            if error.word == "ASK":
                wire = self.wire(_address_in(error), READS)
                asked = b"".join(_ASKING + command for command in commands)
                replies = (await self._call(wire, asked, 2 * len(commands), self._timeout_s))[1::2]
                error = next((reply for reply in replies if isinstance(reply, ErrorReply)), None)
                if error is None:
                    return replies
            if not self._mend(slot, error):
                break
        assert error is not None
        raise refusal(error, wire.address)

    async def ask_at(self, address: Address, *commands: bytes) -> list[Reply]:
        """Run packed commands at one server; errors stand among the answers."""
        return await self.wire(address, READS).call(b"".join(commands), len(commands))

    async def close(self, *, finish: bool = True) -> None:
        """See `Client`. Without `finish`, requests that wait for an answer are dropped: for reads
        that block."""
        wires, self._wires = self._wires, {}
        await asyncio.gather(*(wire.close(finish=finish) for wire in wires.values()))

    def wire(self, address: Address, lane: int) -> Wire:
        """Return the connection to a server in a lane."""
        wire = self._wires.get((address, lane))
        if wire is None:
            wire = Wire(address, self._account, timeout_s=self._timeout_s)
            self._wires[address, lane] = wire
        return wire

    async def _wire_of(self, slot: int, lane: int) -> Wire:
        return self.wire(await self._routes.address_of(slot), lane)

    async def _run(
        self, slot: int, script: Script, data: bytes, count: int, lane: int, timeout_s: float
    ) -> list[Reply]:
        asking = False
        wire = await self._wire_of(slot, lane)
        for _ in range(HOPS_MAX):
            if asking:
                replies = (await self._call(wire, _ASKING + data, count + 1, timeout_s))[1:]
            else:
                replies = await self._call(wire, data, count, timeout_s)
            error = replies[0]
            if not isinstance(error, ErrorReply):
                return replies
            if error.word == "NOSCRIPT":
                (loaded,) = await self._call(wire, script.loading(), 1, timeout_s)
                if isinstance(loaded, ErrorReply):
                    raise refusal(loaded, wire.address)
                continue
            asking = error.word == "ASK"
            if asking:
                wire = self.wire(_address_in(error), lane)
            elif self._mend(slot, error):
                wire = await self._wire_of(slot, lane)
            else:
                break
        assert isinstance(error, ErrorReply)
        raise refusal(error, wire.address)

    def _mend(self, slot: int, error: ErrorReply) -> bool:
        """Learn from a refusal; True when asking again at once makes sense."""
        if error.word == "MOVED":
            self._routes.moved(slot, _address_in(error))
            return True
        if error.word in ("READONLY", "CLUSTERDOWN", "MASTERDOWN"):
            self._routes.doubt()
        return False

    async def _call(self, wire: Wire, data: bytes, count: int, timeout_s: float) -> list[Reply]:
        try:
            return await wire.call(data, count, timeout_s=timeout_s)
        except StoreUnavailableError:
            self._routes.doubt()
            raise


def _address_in(error: ErrorReply) -> Address:
    """Read `MOVED 866 127.0.0.1:7001` or `ASK ...`."""
    host, _, port = str(error).split(" ")[2].rpartition(":")
    return Address(host.strip("[]"), int(port))
