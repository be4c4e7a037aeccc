"""A post office and a member list in memory: what hosts share, for many hosts in one process.

They work as the real ones do, and lose, repeat and delay letters on request.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.transport import Member, Received


@dataclass
class PostFaults:
    """Chances, from 0 to 1, of what may happen to a letter."""

    lose: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0
    delay_max_s: float = 0.5


@dataclass
class FakePost:
    """All inboxes. `seed` decides about faults."""

    seed: int = 0
    faults: PostFaults = field(default_factory=PostFaults)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._inboxes: dict[int | str, list[bytes]] = {}
        self._arrived: dict[asyncio.Event, None] = {}  # in order, as a seed must replay
        self.beats: dict[str, tuple[float, bytes]] = {}
        self.lost = 0

    def put(self, address: int | str, data: bytes) -> None:
        """Deliver one letter, or not, or twice, or later."""
        faults = self.faults
        if self._random.random() < faults.lose:
            self.lost += 1
            return
        copies = 2 if self._random.random() < faults.repeat else 1
        for _ in range(copies):
            if self._random.random() < faults.delay:
                delay_s = self._random.random() * faults.delay_max_s
                asyncio.get_running_loop().call_later(delay_s, self._arrive, address, data)
            else:
                self._arrive(address, data)

    def _arrive(self, address: int | str, data: bytes) -> None:
        self._inboxes.setdefault(address, []).append(data)
        for event in self._arrived:
            event.set()

    def after(self, address: int | str, index: int) -> list[bytes]:
        """Return the letters of an inbox from an index on."""
        return self._inboxes.get(address, [])[index:]

    def listen(self, event: asyncio.Event) -> None:
        """Set the event whenever a letter arrives anywhere."""
        self._arrived[event] = None

    def deaf(self, event: asyncio.Event) -> None:
        """Undo `listen`."""
        self._arrived.pop(event, None)


class FakeTransport:
    """`Transport` over a `FakePost`. `cut` makes it fail as a broken connection would; each sending
    takes `delay_s`."""

    def __init__(self, post: FakePost) -> None:
        self._post = post
        self._host = ""
        self._places: dict[int | str, int] = {}
        self._subscribed: dict[int | str, object] = {}
        self._event = asyncio.Event()
        self._clear = asyncio.Event()
        self._clear.set()
        self.cut = False
        self.delay_s = 0.0

    def freeze(self) -> None:
        """Hold everything, as on a host that is paused, until `thaw`."""
        self._clear.clear()

    def thaw(self) -> None:
        """Go on."""
        self._clear.set()

    async def open(self, host: str, failed: Callable[[StoreUnavailableError], None]) -> None:
        """See `Transport`."""
        del failed  # it recovers from nothing by itself
        self._host = host
        self._places[host] = 0
        self._post.listen(self._event)

    async def close(self) -> None:
        """See `Transport`."""
        self._post.deaf(self._event)

    async def send(self, letters: Sequence[tuple[int | str, bytes]]) -> None:
        """See `Transport`."""
        await self._clear.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.cut:
            raise StoreUnavailableError("cut", written=None)
        for address, data in letters:
            self._post.put(address, data)

    def subscribe(self, partition: int, cursor: str) -> None:
        """See `Transport`."""
        self._places[partition] = int(cursor or "0")
        self._subscribed[partition] = object()
        self._event.set()

    def unsubscribe(self, partition: int) -> None:
        """See `Transport`."""
        self._places.pop(partition, None)
        self._subscribed.pop(partition, None)

    async def receive(self) -> Sequence[Received]:
        """See `Transport`."""
        while True:
            if self.cut:
                raise StoreUnavailableError("cut", written=False)
            found: list[Received] = []
            read_for = dict(self._subscribed)
            for address, place in list(self._places.items()):
                letters = self._post.after(address, place)
                for offset, data in enumerate(letters, 1):
                    found.append(Received(address, str(place + offset), data))
                self._places[address] = place + len(letters)
            if found:
                await self._clear.wait()
                return [item for item in found if self._is_current(item.address, read_for)]
            self._event.clear()
            await self._event.wait()

    def _is_current(self, address: int | str, read_for: dict[int | str, object]) -> bool:
        return address in self._places and self._subscribed.get(address) is read_for.get(address)


class FakeMembership:
    """`Membership` over a `FakePost`. `cut` makes it fail; `silent` loses what is said; each beat
    takes `delay_s`."""

    def __init__(self, post: FakePost) -> None:
        self._post = post
        self._clear = asyncio.Event()
        self._clear.set()
        self.silent = False
        self.cut = False
        self.delay_s = 0.0

    def freeze(self) -> None:
        """Hold everything, as on a host that is paused, until `thaw`."""
        self._clear.clear()

    def thaw(self) -> None:
        """Go on."""
        self._clear.set()

    async def beat(self, host: str, info: bytes) -> Sequence[Member]:
        """See `Membership`."""
        await self._clear.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.cut:
            raise StoreUnavailableError("cut", written=None)
        now_s = asyncio.get_running_loop().time()
        if not self.silent:
            self._post.beats[host] = (now_s, info)
        return [
            Member(name, int((now_s - at_s) * 1_000), told)
            for name, (at_s, told) in self._post.beats.items()
        ]

    async def leave(self, host: str) -> None:
        """See `Membership`."""
        self._post.beats.pop(host, None)
