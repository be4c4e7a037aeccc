"""Letters and members in Redis: an inbox stream for each partition and host, one hash of members.

A partition's inbox lies in the partition's slot. Whoever owns it reads it, on a connection of its
own that blocks until something comes, and trims what it has read. Implements `transport.Transport`
and `transport.Membership`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.errors import StoreUnavailableError, UsageError
from actorflow.actors.store.redis.keys import slot_of
from actorflow.actors.store.redis.script import BEAT, SEND
from actorflow.actors.transport import Member, Received

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actorflow.actors.store.redis.client import RedisClient
    from actorflow.actors.store.redis.script import Argument
    from actorflow.actors.store.redis.store import RedisStore

BLOCK_MS = 2_000
"""How long one read waits for letters."""

READ_COUNT = 500
"""Letters in one read of one inbox."""

SEND_COUNT = 64
"""Letters that are appended by one call."""

INBOX_MAX = 100_000
"""Letters that an inbox holds about; the oldest are dropped. Links send again, callers time out."""

TRIM_S = 1.0
"""Pause between two trims of what was read."""

RETRY_S = 0.2
"""Pause after a read that failed."""

KEEP_MS = 30_000
"""How long letters that were read stay in an inbox: longer than any commit takes, and any lease."""

INBOXES_REMEMBERED = 4_096
"""Names of inboxes that need not be made again: more than there are partitions and hosts."""

FORGET_MS = 60_000
"""A host that was silent for this long is no longer listed."""


class _Inbox(NamedTuple):
    key: bytes
    slot: int


class RedisPost:
    """One a host, over the Redis of an open `RedisStore`.

    Concurrency: one event loop.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._host = ""
        self._inboxes: dict[int | str, _Inbox] = {}
        self._places: dict[int | str, str] = {}
        self._trimmed: dict[int | str, str] = {}
        self._readers: dict[int | str, asyncio.Task[None]] = {}
        self._trimmer: asyncio.Task[None] | None = None
        self._arrived: list[Received] = []
        self._event = asyncio.Event()
        self._failed: Callable[[StoreUnavailableError], None] = _unheard
        self._client: RedisClient | None = None
        self._reading: RedisClient | None = None

    # ---- Transport -----------------------------------------------------------------------------

    async def open(self, host: str, failed: Callable[[StoreUnavailableError], None]) -> None:
        """See `Transport.open`."""
        self._host = host
        self._failed = failed
        self._client = self._store.another_client()
        self._reading = self._store.another_client(extra_s=BLOCK_MS / 1e3)
        self._begin(host, "0")
        self._trimmer = asyncio.create_task(self._trim_loop(), name="inbox-trim")  # noqa: TID251 -- ends in close

    async def close(self) -> None:
        """See `Transport.close`."""
        tasks = [*self._readers.values(), *([self._trimmer] if self._trimmer else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._readers.clear()
        client, self._client = self._client, None
        reading, self._reading = self._reading, None
        if reading is not None:
            await reading.close()
        if client is not None:
            try:
                await client.ask(self._inbox(self._host).slot, ("DEL", self._inbox(self._host).key))
            finally:
                await client.close()

    async def send(self, letters: Sequence[tuple[int | str, bytes]]) -> None:
        """See `Transport.send`."""
        if self._store.in_cluster:
            by_slot: dict[int, list[tuple[int | str, bytes]]] = {}
            for letter in letters:
                by_slot.setdefault(self._inbox(letter[0]).slot, []).append(letter)
            await asyncio.gather(*(self._append(*pair) for pair in by_slot.items()))
        else:
            await self._append(0, letters)

    async def _append(self, slot: int, letters: Sequence[tuple[int | str, bytes]]) -> None:
        client, failed = self._open_client(), b""
        for start in range(0, len(letters), SEND_COUNT):
            numbers: dict[bytes, int] = {}
            args: list[Argument] = [INBOX_MAX]
            for address, data in letters[start : start + SEND_COUNT]:
                args += numbers.setdefault(self._inbox(address).key, len(numbers) + 1), data
            _, error = await client.run(slot, SEND, SEND.call(tuple(numbers), args))
            failed = error or failed
        if failed:
            raise StoreUnavailableError(f"an inbox takes no letters: {failed!r}", written=None)

    def subscribe(self, partition: int, cursor: str) -> None:
        """See `Transport.subscribe`."""
        self._begin(partition, cursor or "0")

    def unsubscribe(self, partition: int) -> None:
        """See `Transport.unsubscribe`."""
        self._places.pop(partition, None)
        self._arrived = [item for item in self._arrived if item.address != partition]
        reader = self._readers.pop(partition, None)
        if reader is not None:
            reader.cancel()

    async def receive(self) -> Sequence[Received]:
        """See `Transport.receive`."""
        while not self._arrived:
            self._event.clear()
            await self._event.wait()
        arrived, self._arrived = self._arrived, []
        return [item for item in arrived if item.address in self._places]

    # ---- Membership ----------------------------------------------------------------------------

    async def beat(self, host: str, info: bytes) -> Sequence[Member]:
        """See `Membership.beat`."""
        key = self._store.members_key
        data = BEAT.call((key,), (host, info, FORGET_MS))
        reply = await self._open_client().run(slot_of(key.encode()), BEAT, data)
        return [
            Member(reply[i].decode(), int(reply[i + 1]), reply[i + 2])
            for i in range(0, len(reply), 3)
        ]

    async def leave(self, host: str) -> None:
        """See `Membership.leave`."""
        key = self._store.members_key
        await self._open_client().ask(slot_of(key.encode()), ("HDEL", key, host))

    # ---- reading -------------------------------------------------------------------------------

    def _begin(self, address: int | str, cursor: str) -> None:
        self._places[address] = cursor
        if address in self._readers:
            self._readers.pop(address).cancel()
        if self._store.in_cluster or address == self._host:
            self._readers[address] = asyncio.create_task(  # noqa: TID251 -- ends in close or unsubscribe
                self._read_loop(address), name=f"inbox-{address}"
            )
        else:
            self._nudge()

    def _nudge(self) -> None:
        """One read serves all inboxes of one server: let it begin again with the new one."""
        reader = self._readers.get(self._host)
        if reader is not None:
            reader.cancel()
            self._readers[self._host] = asyncio.create_task(  # noqa: TID251 -- as in `_begin`
                self._read_loop(self._host), name=f"inbox-{self._host}"
            )

    async def _read_loop(self, address: int | str) -> None:
        client = self._reading
        while client is not None:
            addresses = [address] if self._store.in_cluster else list(self._places)
            try:
                await self._read(client, addresses)
            except StoreUnavailableError as error:
                self._failed(error)
                await asyncio.sleep(RETRY_S)  # noqa: TID251 -- back-off

    async def _read(self, client: RedisClient, addresses: list[int | str]) -> None:
        inboxes = [self._inbox(address) for address in addresses]
        by_key = {inbox.key: address for inbox, address in zip(inboxes, addresses, strict=True)}
        places = [self._places[address] for address in addresses]
        head = ("XREAD", "COUNT", READ_COUNT, "BLOCK", BLOCK_MS, "STREAMS")
        reply = await client.block(inboxes[0].slot, (*head, *by_key, *places))
        for key, entries in reply or ():
            address = by_key[key]
            if address not in self._places:
                continue
            for entry_id, fields in entries:
                self._arrived.append(Received(address, entry_id.decode(), fields[1]))
            self._places[address] = entries[-1][0].decode()
        self._event.set()

    async def _trim_loop(self) -> None:
        while True:
            await asyncio.sleep(TRIM_S)  # noqa: TID251 -- the rhythm of trims
            for address, place in list(self._places.items()):
                if place != "0" and self._trimmed.get(address) != place:
                    self._trimmed[address] = place
                    await self._trim(address, place)

    async def _trim(self, address: int | str, place: str) -> None:
        # What was read may not be committed yet: a new owner reads on from the committed place.
        oldest_ms = int(place.partition("-")[0]) - KEEP_MS
        command = ("XTRIM", self._inbox(address).key, "MINID", "~", max(0, oldest_ms))
        try:
            await self._open_client().ask(self._inbox(address).slot, command)
        except StoreUnavailableError as error:
            self._failed(error)

    # ---- names ---------------------------------------------------------------------------------

    def _inbox(self, address: int | str) -> _Inbox:
        found = self._inboxes.get(address)
        if found is None:
            if len(self._inboxes) >= INBOXES_REMEMBERED:
                self._inboxes.clear()  # hosts that are long gone among them
            if isinstance(address, int):
                key = self._store.partitions[address].inbox.encode()
            else:
                key = self._store.host_inbox_key(address).encode()
            found = self._inboxes[address] = _Inbox(key, slot_of(key))
        return found

    def _open_client(self) -> RedisClient:
        if self._client is None:
            raise UsageError("the post is not open; the actor system opens it")
        return self._client


def _unheard(error: StoreUnavailableError) -> None:
    """Nobody listens: the post is not open."""
    del error
