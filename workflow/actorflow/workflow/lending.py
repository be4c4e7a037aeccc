"""Work goes to a worker on whichever host it is connected to.

Hosts tell each other their app, and for which apps their workers can take how much more: at every
change, every few seconds while they have any, and to hosts that are new. An owner with work and no
worker of its own that has room lends it: the other host gives it to its worker, and the answer ends
the work at the owner (`ActorSystem.complete`). A host that cannot give away what it was lent
returns it at once.

Letters may be lost: the owner takes back what it lent to a host that has fallen silent, and tells
the others every few seconds what they have of it. What they do not know of they return; what they
have beyond that is done, or somebody else's by now, and they drop it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

import msgspec

from actorflow.actors import ActorId
from actorflow.workflow.requests import ACTIVITY, WorkerWanted, WorkItem, pack, unpack
from actorflow.workflow.streams import Key, Work

if TYPE_CHECKING:
    from actorflow.actors import ActorSystem

WORKERS = "workflow.workers"
"""Topic: what the workers of the sender can take, by app."""

LEND = "workflow.lend"
"""Topic: a piece of work for a worker of the receiver."""

RETURN = "workflow.return"
"""Topic: a piece of work that the sender has no worker for."""

ASK = "workflow.ask"
"""Topic: all that the sender has lent to the receiver."""

DONE = "workflow.done"
"""Topic: pieces of work that the sender had lent, and that are done."""

ANNOUNCE_S = 2.0
"""A host says so often which workers it has."""

SILENT_S = 7.0
"""What was lent to a host that has not been heard of for so long is taken back."""

LEFT_S = 3.0
"""What was lent to a host without workers of its app is taken back after so long, if that host has
not returned it."""

SETTLED_S = 5.0
"""What was borrowed longer ago than this, and is not among what the lender lists, is dropped."""

TELL_S = 0.05
"""News for other hosts are gathered for so long."""

ASKS_MAX = 3
"""How often a host that has nothing lent any more is told so."""


class _Lent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A piece of work. `is_stalled`, on its way back: the workers there cannot do it."""

    target: tuple[str, str]
    message_id: int
    check: int
    payload: bytes = b""
    is_stalled: bool = False

    @property
    def key(self) -> Key:
        return Key(ActorId(*self.target), self.message_id, self.check)


class _Offer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Workers of one app at one host: how many there are, how many items more they take, and a
    number that grows when one connects."""

    count: int
    room: int
    serial: int


_encode = msgspec.msgpack.Encoder().encode
_decode_lent = msgspec.msgpack.Decoder(_Lent).decode
_decode_list = msgspec.msgpack.Decoder(list[_Lent]).decode
_decode_offers = msgspec.msgpack.Decoder(dict[str, _Offer]).decode


class Pool(Protocol):
    """What lending asks of the workers of this host."""

    def put(self, work: Work) -> None:
        """Take work."""
        ...

    def take_back(self, works: list[Work]) -> None:
        """Let work wait again."""
        ...

    def park(self, work: Work) -> None:
        """Let work wait for a worker yet to connect."""
        ...

    def find(self, key: Key) -> Work | None:
        """Return a piece of work that is here."""
        ...

    def works(self) -> list[Work]:
        """Return all work that is here."""
        ...

    def drop(self, work: Work) -> None:
        """Forget work, whoever has it: it is done, or another host's."""
        ...

    def offers(self) -> dict[str, tuple[int, int, int]]:
        """What workers are connected here, by app, as in `_Offer`."""
        ...

    def try_parked(self, app_id: str, newcomer: str = "") -> None:
        """A new worker is there, on that host."""
        ...

    def room_came(self, app_id: str) -> None:
        """Another host's workers can take more."""
        ...


class _Neighbour:
    """What another host has said of its workers, and what of ours it has."""

    __slots__ = ("asks", "heard_s", "lent", "offers", "room")

    def __init__(self) -> None:
        self.offers: dict[str, _Offer] = {}
        self.room: defaultdict[str, int] = defaultdict(int)
        self.heard_s = 0.0
        self.lent: dict[Key, Work] = {}
        self.asks = 0

    @property
    def is_busy(self) -> bool:
        """Whether it should be heard: it has workers, or work of ours."""
        return bool(self.lent) or any(offer.count for offer in self.offers.values())


class Lending:
    """The dealings of one host with the workers of the others. See the module docstring."""

    def __init__(self, actors: ActorSystem, pool: Pool, app_id: str) -> None:
        self._actors = actors
        self._pool = pool
        self._app_id = app_id
        self._neighbours: dict[str, _Neighbour] = {}
        self._borrowed_s: dict[Key, float] = {}
        self._done: defaultdict[str, list[_Lent]] = defaultdict(list)
        self._turned_away = False
        self._tells = False
        self._is_stopped = False

    def start(self) -> None:
        """Begin to listen and to speak, if there can be other hosts."""
        if not self._actors.is_clustered:
            return
        self._actors.listen(WORKERS, self._heard)
        self._actors.listen(LEND, self._borrow)
        self._actors.listen(RETURN, self._returned)
        self._actors.listen(ASK, self._asked)
        self._actors.listen(DONE, self._told_done)
        self._actors.spawn(self._keep_telling(), "worker-announcements")

    def stop(self) -> None:
        """Speak no more."""
        self._is_stopped = True

    def serves(self, app_id: str) -> bool:
        """Whether another host has a worker of the app."""
        return any(self._has_workers(known, app_id) for known in self._neighbours.values())

    def knows(self, app_id: str) -> bool:
        """Whether another host is of the app, or has a worker of it."""
        return any(app_id in neighbour.offers for neighbour in self._neighbours.values())

    # ---- announcements -------------------------------------------------------------------------

    def announce(self) -> None:
        """Tell the others what the workers connected here can take."""
        if self._is_stopped:
            return
        self._turned_away = False
        offers = {self._app_id: (0, 0, 0)} | self._pool.offers()
        payload = _encode(offers)
        for host in self._actors.other_hosts():
            self._actors.tell_host(host, WORKERS, payload)

    async def _keep_telling(self) -> None:
        loop = asyncio.get_running_loop()
        told: set[str] = set()
        while True:
            await asyncio.sleep(ANNOUNCE_S)  # noqa: TID251 -- the rhythm of announcements
            hosts = set(self._actors.other_hosts())
            if self._pool.offers() or hosts - told:  # without workers, only newcomers want to know
                self.announce()
            told = hosts
            for host, neighbour in list(self._neighbours.items()):
                is_silent = neighbour.heard_s < loop.time() - SILENT_S
                if is_silent and (host not in hosts or neighbour.is_busy):
                    del self._neighbours[host]
                    self._pool.take_back(list(neighbour.lent.values()))
                    continue
                neighbour.asks = ASKS_MAX if neighbour.lent else neighbour.asks - 1
                if neighbour.asks > 0:
                    lent = [_Lent(*key) for key in neighbour.lent]
                    self._actors.tell_host(host, ASK, _encode(lent))

    def _heard(self, host: str, payload: bytes) -> None:
        neighbour = self._neighbours.setdefault(host, _Neighbour())
        before, neighbour.offers = neighbour.offers, _decode_offers(payload)
        neighbour.heard_s = asyncio.get_running_loop().time()
        neighbour.room.clear()
        for app_id, offer in neighbour.offers.items():
            neighbour.room[app_id] = offer.room
            known = before.get(app_id)
            if offer.count and (known is None or offer.serial > known.serial):
                self._pool.try_parked(app_id, host)
            self._pool.room_came(app_id)
        for app_id in {work.app_id for work in neighbour.lent.values()}:
            if not self._has_workers(neighbour, app_id):
                asyncio.get_running_loop().call_later(LEFT_S, self._recover, host, app_id)

    @staticmethod
    def _has_workers(neighbour: _Neighbour, app_id: str) -> bool:
        offer = neighbour.offers.get(app_id)
        return offer is not None and offer.count > 0

    def _recover(self, host: str, app_id: str) -> None:
        """Take back what was lent for an app whose workers have left that host."""
        neighbour = self._neighbours.get(host)
        if neighbour is None or self._has_workers(neighbour, app_id) or self._is_stopped:
            return
        lost = [work for work in neighbour.lent.values() if work.app_id == app_id]
        for work in lost:
            del neighbour.lent[work.key]
        self._pool.take_back(lost)

    def _soon(self) -> None:
        if not self._tells and self._actors.is_clustered:
            self._tells = True
            asyncio.get_running_loop().call_later(TELL_S, self._tell)

    def _tell(self) -> None:
        self._tells = False
        if self._is_stopped:
            return
        done, self._done = self._done, defaultdict(list)
        for host, lent in done.items():
            self._actors.tell_host(host, DONE, _encode(lent))
        if self._turned_away:
            self.announce()

    # ---- the lender ----------------------------------------------------------------------------

    def lend(self, work: Work) -> bool:
        """Give work to another host whose workers have room; False when there is none."""
        if not self._neighbours:
            return False
        rooms = {host: n.room.get(work.app_id, 0) for host, n in self._neighbours.items()}
        host = work.newcomer
        if rooms.get(host, 0) <= 0:
            host = max(rooms, key=rooms.__getitem__, default="")
        if rooms.get(host, 0) <= 0:
            return False
        work.holder, work.newcomer = host, ""
        neighbour = self._neighbours[host]
        neighbour.room[work.app_id] -= 1
        neighbour.lent[work.key] = work
        letter = _Lent(*work.key, pack(work.request))
        self._actors.tell_host(host, LEND, _encode(letter))
        return True

    def done(self, work: Work) -> None:
        """Work that was lent is done, or to be done elsewhere."""
        neighbour = self._neighbours.get(work.holder) if isinstance(work.holder, str) else None
        if neighbour is not None and isinstance(work.holder, str):
            neighbour.lent.pop(work.key, None)
            neighbour.room[work.app_id] += 1
            self._done[work.holder].append(_Lent(*work.key))
            self._soon()

    def _returned(self, host: str, payload: bytes) -> None:
        lent = _decode_lent(payload)
        neighbour = self._neighbours.get(host)
        work = neighbour.lent.pop(lent.key, None) if neighbour is not None else None
        if neighbour is None or work is None:
            return
        work.holder = None
        if lent.is_stalled:
            self._pool.park(work)
        else:
            neighbour.room[work.app_id] = 0  # until it says otherwise
            self._pool.take_back([work])

    # ---- the borrower --------------------------------------------------------------------------

    def _borrow(self, host: str, payload: bytes) -> None:
        lent = _decode_lent(payload)
        request: WorkItem | WorkerWanted
        if lent.key.target.type == ACTIVITY:
            request = unpack(WorkItem, lent.payload)
        else:
            request = unpack(WorkerWanted, lent.payload)
        self._borrowed_s[lent.key] = asyncio.get_running_loop().time()
        self._pool.put(Work(lent.key, request, lender=host))

    def give_back(self, work: Work, *, is_stalled: bool = False) -> None:
        """Return borrowed work, which the pool has dropped: no worker here can take it."""
        self._borrowed_s.pop(work.key, None)
        self._turned_away = self._turned_away or not is_stalled
        letter = _Lent(*work.key, b"", is_stalled)
        self._actors.tell_host(work.lender, RETURN, _encode(letter))

    def room_here(self) -> None:
        """A worker of this host can take more: hosts that were turned away want to know."""
        if self._turned_away:
            self._soon()

    def _asked(self, host: str, payload: bytes) -> None:
        listed = {lent.key for lent in _decode_list(payload)}
        settled_s = asyncio.get_running_loop().time() - SETTLED_S
        for key in listed:
            if self._pool.find(key) is None:
                self._actors.tell_host(host, RETURN, _encode(_Lent(*key)))
        for work in self._pool.works():
            is_old = self._borrowed_s.get(work.key, 0.0) < settled_s
            if work.lender == host and work.key not in listed and is_old:
                self._drop(work)

    def _told_done(self, host: str, payload: bytes) -> None:
        for lent in _decode_list(payload):
            work = self._pool.find(lent.key)
            if work is not None and work.lender == host:
                self._drop(work)

    def _drop(self, work: Work) -> None:
        self._borrowed_s.pop(work.key, None)
        self._pool.drop(work)

    def forget(self, work: Work) -> None:
        """Borrowed work is done."""
        self._borrowed_s.pop(work.key, None)
