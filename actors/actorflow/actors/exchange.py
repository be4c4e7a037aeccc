"""Letters between this host and the others: calls to partitions that live elsewhere, and answers.

Sending is `post`, which never waits: letters collect and leave together. Whoever needs an answer
waits for it with a time-out of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from actorflow.actors.address import ActorId
from actorflow.actors.door import PartitionState
from actorflow.actors.errors import (
    ActorflowError,
    ContentionError,
    StoreUnavailableError,
    UnavailableError,
)
from actorflow.actors.letters import (
    Answer,
    Call,
    LinkAck,
    LinkBatch,
    NoticeLetter,
    WatchRequest,
    answer_of,
    decode_letter,
    encode_letter,
    error_of,
)
from actorflow.actors.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actorflow.actors.environment import Environment
    from actorflow.actors.letters import Letter
    from actorflow.actors.partition import Partition
    from actorflow.actors.ports import Summary
    from actorflow.actors.transport import Received, Transport

_log = logging.getLogger(__name__)

RETRY_S = 0.2
"""Pause after the transport failed."""

CALLS_REMEMBERED = 10_000
"""Calls of other hosts by which a repeated letter is recognised."""

WATCH_S = 15.0
"""How long a partition tells another host about a watched actor; watchers ask again in time."""


class Exchange:
    """One a host. `deliver` gets what is meant for the host itself: offers and notices. Once it
    `is_closed`, calls end with an error.
    """

    def __init__(
        self,
        host: str,
        transport: Transport,
        partitions: Sequence[Partition],
        env: Environment,
        *,
        deliver: Callable[[Letter], None],
    ) -> None:
        self._host = host
        self._transport = transport
        self._partitions = partitions
        self._partition_of = env.partition_of
        self._watched = env.watched
        self._outage = env.outage
        self._deliver = deliver
        self._outbound: list[tuple[int | str, bytes]] = []
        self._work = asyncio.Event()
        self._sending = asyncio.Lock()
        self._calls: dict[str, asyncio.Future[bytes]] = {}
        self._calls_made = 0
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.is_closed = False

    def close(self) -> None:
        """End every call that still waits for an answer, and every later one: none can come."""
        self.is_closed = True
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(_closed())

    # ---- sending -------------------------------------------------------------------------------

    def post(self, address: int | str, letter: Letter) -> None:
        """Send a letter to a partition or a host; it may get lost."""
        self._outbound.append((address, encode_letter(letter)))
        self._work.set()

    async def call(
        self,
        partition: int,
        message: Message,
        *,
        durable: bool,
        timeout_s: float,
        repeat_s: float,
    ) -> bytes:
        """Call an actor on whichever host owns its partition.

        Args:
            repeat_s: make the call again after this silence, and then after twice as long each
                time. The first answer to any of them counts.

        Raises:
            UnavailableError: no answer in time; the outcome is unknown.
            ActorflowError: what the owner answered.
        """
        if self.is_closed:
            raise _closed()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        deadline_s = loop.time() + timeout_s
        made: list[str] = []
        timers: list[asyncio.TimerHandle] = []

        def make() -> None:
            left_s = deadline_s - loop.time()
            if left_s <= 0 and not answer.done():
                answer.set_exception(_unanswered(partition, timeout_s))
            if answer.done():
                return
            call_id = self._next_call_id()
            self._calls[call_id] = answer
            self._post_call(partition, call_id, message, durable=durable)
            pause_s = min(repeat_s * 2 ** len(made), left_s)
            made.append(call_id)
            timers[:] = [loop.call_later(pause_s, make)]

        make()
        try:
            return await answer
        finally:
            for timer in timers:
                timer.cancel()
            for call_id in made:
                del self._calls[call_id]

    def _next_call_id(self) -> str:
        self._calls_made += 1
        return f"{self._host}/{self._calls_made}"

    def _post_call(self, partition: int, call_id: str, message: Message, *, durable: bool) -> None:
        letter = Call(
            call_id,
            self._host,
            message.target,
            message.method,
            message.payload,
            message.chain,
            message.sender,
            durable,
        )
        self.post(partition, letter)

    async def send_loop(self) -> None:
        """Runs until cancelled: sends what was posted, all that has collected at once."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self.flush()
            except StoreUnavailableError:
                await asyncio.sleep(RETRY_S)  # noqa: TID251 -- back-off

    # ---- receiving -----------------------------------------------------------------------------

    async def receive_loop(self) -> None:
        """Runs until cancelled: hands out what arrives."""
        while True:
            try:
                received = await self._transport.receive()
            except StoreUnavailableError as error:
                self._outage.failed(error)
                await asyncio.sleep(RETRY_S)  # noqa: TID251 -- back-off
                continue
            for item in received:
                self._hand_out(item)

    def _hand_out(self, item: Received) -> None:
        try:
            letter = decode_letter(item.data)
        except msgspec.DecodeError as error:
            _log.error("letter not readable", extra={"address": item.address, "cause": str(error)})
            return
        if isinstance(item.address, int):
            self._to_partition(self._partitions[item.address], item.cursor, letter)
        elif isinstance(letter, Answer):
            self._answered(letter)
        else:
            self._deliver(letter)

    def _to_partition(self, partition: Partition, cursor: str, letter: Letter) -> None:
        if partition.state is not PartitionState.OPEN:
            return  # not read: the next owner finds it
        partition.read_up_to(cursor)
        match letter:
            case LinkBatch():
                partition.receive_link(letter)
            case LinkAck():
                partition.receive_ack(letter)
            case Call():
                self._admit(partition, letter)
            case WatchRequest():
                self._watch_for(partition, letter)
            case _:
                _log.error("letter for a host in a partition's inbox")

    def _admit(self, partition: Partition, call: Call) -> None:
        if not self._is_first(call.id):
            return  # the transport repeated it
        slot = _RemoteSlot(self, call)
        target = ActorId(*call.target)
        chain = tuple(ActorId(*actor) for actor in call.chain)
        sender = ActorId(*call.sender) if call.sender is not None else None
        message = Message(target, call.method, call.payload, sender=sender, reply=slot, chain=chain)
        try:
            if call.durable:
                partition.accept(message)
            else:
                partition.admit(message)
        except ActorflowError as error:
            slot.set_exception(error)

    def _is_first(self, call_id: str) -> bool:
        if call_id in self._seen:
            return False
        self._seen[call_id] = None
        if len(self._seen) > CALLS_REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _answered(self, answer: Answer) -> None:
        waiting = self._calls.get(answer.id)
        if waiting is None or waiting.done():
            return  # late
        if answer.code:
            waiting.set_exception(error_of(answer))
        else:
            waiting.set_result(answer.payload)

    def _watch_for(self, partition: Partition, request: WatchRequest) -> None:
        if request.host == self._host:
            return  # it has become the owner itself
        actor = ActorId(*request.actor)
        watches = self._watched.setdefault(actor, [])
        known = next(
            (w for w in watches if isinstance(w, _RemoteWatch) and w.host == request.host), None
        )
        if known is None:
            known = _RemoteWatch(self, actor, request.host)
            watches.append(known)
        activation = partition.roster.find(actor)
        is_yet_to_come = activation is not None and activation.phase not in ("", *request.phases)
        if known.add(request.phases) and not (request.phases and is_yet_to_come):
            # Look once more: it may have changed while the request was under way.
            known.notice(None)
        known.extend()

    def notice_here(self, actor: ActorId, summary: Summary | None) -> None:
        """Tell those who wait on this very host: to pass it on might send it in circles."""
        for watch in tuple(self._watched.get(actor, ())):
            if not isinstance(watch, _RemoteWatch):
                watch.notice(summary)

    def post_request(self, request: WatchRequest) -> None:
        """Send a request for notices to the owner of its actor."""
        self.post(self._partition_of(ActorId(*request.actor)), request)

    def forget_watch(self, actor: ActorId, watch: object) -> None:
        """A remote watch has run out."""
        watches = self._watched.get(actor)
        if watches is not None and watch in watches:
            watches.remove(watch)
            if not watches:
                del self._watched[actor]

    async def flush(self) -> None:
        """Send all that was posted. Raises StoreUnavailableError."""
        async with self._sending:
            letters, self._outbound = self._outbound, []
            if not letters:
                return
            try:
                await self._transport.send(letters)
            except StoreUnavailableError as error:
                self._outage.letters_lost(len(letters), error)
                raise


class _RemoteWatch:
    """Tells another host about an actor: once for each set of phases that it asked for, or of each
    change for a while. Stands among the local `Watch`es."""

    __slots__ = ("_actor", "_exchange", "_timer", "_wanted", "host")

    def __init__(self, exchange: Exchange, actor: ActorId, host: str) -> None:
        self._exchange = exchange
        self._actor = actor
        self._timer: asyncio.TimerHandle | None = None
        self._wanted: set[tuple[str, ...]] = set()
        self.host = host

    def add(self, phases: tuple[str, ...]) -> bool:
        """Note what the host waits for; return whether that is new."""
        is_new = phases not in self._wanted
        self._wanted.add(phases)
        return is_new

    def extend(self) -> None:
        """Go on for `WATCH_S` from now."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(WATCH_S, self._exchange.forget_watch, self._actor, self)

    def ask(self) -> None:
        """The actor moves to another owner, who gets the request then."""
        self._leave()
        for phases in self._wanted:
            self._exchange.post_request(WatchRequest(self._actor, self.host, phases))

    def notice(self, summary: Summary | None) -> None:
        """See `Watch.notice`."""
        if summary is not None:
            met = {phases for phases in self._wanted if not phases or summary.phase in phases}
            if not met:
                return
            self._wanted -= met - {()}
            if not self._wanted:
                self._leave()
        self._exchange.post(self.host, NoticeLetter(self._actor, summary))

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._exchange.forget_watch(self._actor, self)

    def fail(self, error: Exception) -> None:
        """See `Watch.fail`: the other host reads the store from time to time anyway."""


class _RemoteSlot:
    """Sends the answer to the host that asked. Implements `message.ReplySlot`."""

    __slots__ = ("_call", "_exchange")

    def __init__(self, exchange: Exchange, call: Call) -> None:
        self._exchange = exchange
        self._call = call

    def done(self) -> bool:
        """See `ReplySlot`; whether the caller still waits is not known here."""
        return False

    def set_result(self, result: bytes) -> None:
        """See `ReplySlot`."""
        self._exchange.post(self._call.reply_to, Answer(self._call.id, result))

    def set_exception(self, exception: BaseException) -> None:
        """See `ReplySlot`. What a partition drops that is lost, its next owner may still find in
        the inbox and do: nobody knows."""
        if isinstance(exception, ContentionError):
            exception = UnavailableError(f"{exception}; whether the call takes effect is unknown")
        self._exchange.post(self._call.reply_to, answer_of(self._call.id, exception))


def _unanswered(partition: int, timeout_s: float) -> UnavailableError:
    return UnavailableError(
        f"no answer from partition {partition} in {timeout_s:g} s; the outcome is unknown"
    )


def _closed() -> UnavailableError:
    return UnavailableError(
        "the host stopped before the answer came; the outcome is unknown, ask another host"
    )
