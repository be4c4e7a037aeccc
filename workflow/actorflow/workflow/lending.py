"""Work goes to a worker on whichever host it is connected to.

Hosts tell each other how many workers of each app they have, at every change and every few seconds.
An owner with work and no worker of its own that has room lends it: the other host gives it to its
worker, and the answer ends the work at the owner (`ActorSystem.complete`). Letters may be lost: the
owner takes back what it lent to a host that has fallen silent or has no such worker any more, and
asks again for what it has not heard of for long.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import msgspec

from actorflow.actors import ActorId
from actorflow.actors.message import Message
from actorflow.workflow.requests import ACTIVITY, WorkerWanted, WorkItem, pack, unpack
from actorflow.workflow.streams import ITEMS_MAX, Work, WorkerStream

if TYPE_CHECKING:
    from actorflow.actors import ActorSystem
    from actorflow.workflow.streams import Key

_log = logging.getLogger(__name__)

WORKERS = "workflow.workers"
"""Topic: how many workers of each app the sender has."""

LEND = "workflow.lend"
"""Topic: a piece of work for a worker of the receiver."""

RETURN = "workflow.return"
"""Topic: a piece of work that the sender has no worker for."""

ASK = "workflow.ask"
"""Topic: pieces of work that the sender has lent: those unknown are to be returned."""

ANNOUNCE_S = 2.0
"""A host with workers says so this often."""

SILENT_S = 7.0
"""What was lent to a host that has not been heard of for so long is taken back."""


class _Lent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    target: tuple[str, str]
    message_id: int
    payload: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode_lent = msgspec.msgpack.Decoder(_Lent).decode
_decode_asked = msgspec.msgpack.Decoder(list[_Lent]).decode
_decode_counts = msgspec.msgpack.Decoder(dict[str, int]).decode


class Pool(Protocol):
    """What lending asks of the workers of this host."""

    def put(self, work: Work) -> None:
        """Take work."""
        ...

    def take_back(self, works: list[Work]) -> None:
        """Let work wait again."""
        ...

    def find(self, key: Key) -> Work | None:
        """Return a piece of work that is here."""
        ...

    def works(self) -> list[Work]:
        """Return all work that is here."""
        ...

    def drop(self, work: Work) -> None:
        """Forget work: it is another host's."""
        ...

    def stream_counts(self) -> dict[str, int]:
        """Workers connected here, by app."""
        ...

    def try_parked(self, app_id: str) -> None:
        """A new worker is there."""
        ...

    def noticed(self) -> None:
        """Another host has, or has not, workers of some app."""
        ...


class _Neighbour:
    """What another host has said of its workers, and how much of ours it has."""

    __slots__ = ("counts", "heard_s", "lent")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.heard_s = 0.0
        self.lent: dict[Key, Work] = {}

    def room(self, app_id: str) -> int:
        """Return how many items more its workers of the app can take, as far as we know."""
        lent = sum(work.app_id == app_id for work in self.lent.values())
        return self.counts.get(app_id, 0) * ITEMS_MAX - lent


class Lending:
    """The dealings of one host with the workers of the others. See the module docstring."""

    def __init__(self, actors: ActorSystem, pool: Pool) -> None:
        self._actors = actors
        self._pool = pool
        self._neighbours: dict[str, _Neighbour] = {}
        self._has_announced = False

    def start(self) -> None:
        """Begin to listen and to speak, if there can be other hosts."""
        if not self._actors.is_clustered:
            return
        self._actors.listen(WORKERS, self._heard)
        self._actors.listen(LEND, self._borrow)
        self._actors.listen(RETURN, self._returned)
        self._actors.listen(ASK, self._asked)
        self._actors.spawn(self._keep_telling(), "worker-announcements")

    def serves(self, app_id: str) -> bool:
        """Whether another host has a worker of the app."""
        return any(neighbour.counts.get(app_id) for neighbour in self._neighbours.values())

    # ---- announcements -------------------------------------------------------------------------

    def announce(self) -> None:
        """Tell the others how many workers are connected here."""
        counts = self._pool.stream_counts()
        if counts or self._has_announced:
            self._has_announced = bool(counts)
            for host in self._actors.other_hosts():
                self._actors.tell_host(host, WORKERS, _encode(counts))

    async def _keep_telling(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(ANNOUNCE_S)  # noqa: TID251 -- the rhythm of announcements
            self.announce()
            for host, neighbour in list(self._neighbours.items()):
                if neighbour.heard_s < loop.time() - SILENT_S:
                    del self._neighbours[host]
                    self._recover(neighbour, set())
                elif neighbour.lent:
                    asked = [_Lent(*key) for key in neighbour.lent]
                    self._actors.tell_host(host, ASK, _encode(asked))

    def _heard(self, host: str, payload: bytes) -> None:
        neighbour = self._neighbours.setdefault(host, _Neighbour())
        before, neighbour.counts = neighbour.counts, _decode_counts(payload)
        neighbour.heard_s = asyncio.get_running_loop().time()
        self._recover(neighbour, {app_id for app_id, n in neighbour.counts.items() if n})
        for app_id, count in neighbour.counts.items():
            if count > before.get(app_id, 0):
                self._pool.try_parked(app_id)
        self._pool.noticed()

    def _recover(self, neighbour: _Neighbour, served: set[str]) -> None:
        """Take back what was lent for apps that the host does not serve."""
        lost = [work for work in neighbour.lent.values() if work.app_id not in served]
        for work in lost:
            del neighbour.lent[work.key]
        self._pool.take_back(lost)

    # ---- the lender ----------------------------------------------------------------------------

    def lend(self, work: Work) -> bool:
        """Give work to another host whose workers have room; False when there is none."""
        rooms = {host: n.room(work.app_id) for host, n in self._neighbours.items()}
        host = max(rooms, key=rooms.__getitem__, default="")
        if rooms.get(host, 0) <= 0:
            return False
        work.holder = host
        self._neighbours[host].lent[work.key] = work
        letter = _Lent(*work.key, pack(work.request))
        self._actors.tell_host(host, LEND, _encode(letter))
        return True

    def done(self, work: Work) -> None:
        """Work that was lent is done."""
        neighbour = self._neighbours.get(work.holder) if isinstance(work.holder, str) else None
        if neighbour is not None:
            neighbour.lent.pop(work.key, None)

    def _returned(self, host: str, payload: bytes) -> None:
        lent = _decode_lent(payload)
        neighbour = self._neighbours.get(host)
        if neighbour is not None:
            work = neighbour.lent.pop((ActorId(*lent.target), lent.message_id), None)
            self._pool.take_back([work] if work is not None else [])

    # ---- the borrower --------------------------------------------------------------------------

    def _borrow(self, host: str, payload: bytes) -> None:
        lent = _decode_lent(payload)
        target = ActorId(*lent.target)
        request: WorkItem | WorkerWanted
        if target.type == ACTIVITY:
            request = unpack(WorkItem, lent.payload)
        else:
            request = unpack(WorkerWanted, lent.payload)
        if not self._pool.stream_counts().get(request.app_id):
            self._return(host, lent.target, lent.message_id)
            return
        message = Message(target, "", id=lent.message_id)
        self._pool.put(Work(message, request, lender=host))

    def _return(self, host: str, target: tuple[str, str], message_id: int) -> None:
        self._actors.tell_host(host, RETURN, _encode(_Lent(target, message_id)))

    def return_idle(self, app_id: str) -> None:
        """The last worker of an app has gone: what others have lent for it goes back."""
        for work in self._pool.works():
            if work.lender and work.app_id == app_id and not isinstance(work.holder, WorkerStream):
                self._pool.drop(work)
                self._return(work.lender, *work.key)

    def _asked(self, host: str, payload: bytes) -> None:
        for lent in _decode_asked(payload):
            if self._pool.find((ActorId(*lent.target), lent.message_id)) is None:
                self._return(host, lent.target, lent.message_id)
