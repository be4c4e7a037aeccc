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
from actorflow.actors.errors import ActorflowError, StoreUnavailableError, UnavailableError
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
    """One a host. `deliver` gets what is meant for the host itself: offers and notices."""

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
        self._ids = env.ids
        self._watched = env.watched
        self._deliver = deliver
        self._outbound: list[tuple[int | str, bytes]] = []
        self._work = asyncio.Event()
        self._calls: dict[str, asyncio.Future[bytes]] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()

    # ---- sending -------------------------------------------------------------------------------

    def post(self, address: int | str, letter: Letter) -> None:
        """Send a letter to a partition or a host; it may get lost."""
        self._outbound.append((address, encode_letter(letter)))
        self._work.set()

    async def call(
        self, partition: int, message: Message, *, durable: bool, timeout_s: float
    ) -> bytes:
        """Call an actor on whichever host owns its partition.

        Raises:
            UnavailableError: no answer in time; the outcome is unknown.
            ActorflowError: what the owner answered.
        """
        call_id = self._ids.uuid()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[call_id] = answer
        letter = Call(
            call_id,
            self._host,
            message.target,
            message.method,
            message.payload,
            message.chain,
            durable,
        )
        try:
            self.post(partition, letter)
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise UnavailableError(
                f"no answer from partition {partition} in {timeout_s:g} s; the outcome is unknown"
            ) from None
        finally:
            del self._calls[call_id]

    async def send_loop(self) -> None:
        """Runs until cancelled: sends what was posted, all that has collected at once."""
        while True:
            await self._work.wait()
            self._work.clear()
            letters, self._outbound = self._outbound, []
            try:
                await self._transport.send(letters)
            except StoreUnavailableError as error:
                _log.warning("letters lost", extra={"count": len(letters), "cause": str(error)})
                await asyncio.sleep(RETRY_S)  # noqa: TID251 -- back-off

    # ---- receiving -----------------------------------------------------------------------------

    async def receive_loop(self) -> None:
        """Runs until cancelled: hands out what arrives."""
        while True:
            try:
                received = await self._transport.receive()
            except StoreUnavailableError as error:
                _log.warning("no letters for now", extra={"cause": str(error)})
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
        partition.read_up_to(cursor)
        match letter:
            case LinkBatch():
                partition.receive_link(letter)
            case LinkAck():
                partition.receive_ack(letter)
            case Call():
                self._admit(partition, letter)
            case WatchRequest():
                self._watch_for(ActorId(*letter.actor), letter.host)
            case _:
                _log.error("letter for a host in a partition's inbox")

    def _admit(self, partition: Partition, call: Call) -> None:
        if not self._is_first(call.id):
            return  # the transport repeated it
        slot = _RemoteSlot(self, call)
        target = ActorId(*call.target)
        chain = tuple(ActorId(*actor) for actor in call.chain)
        message = Message(target, call.method, call.payload, reply=slot, chain=chain)
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

    def _watch_for(self, actor: ActorId, host: str) -> None:
        watches = self._watched.setdefault(actor, [])
        known = next((w for w in watches if isinstance(w, _RemoteWatch) and w.host == host), None)
        if known is None:
            known = _RemoteWatch(self, actor, host)
            watches.append(known)
        known.extend()

    def forget_watch(self, actor: ActorId, watch: object) -> None:
        """A remote watch has run out."""
        watches = self._watched.get(actor)
        if watches is not None and watch in watches:
            watches.remove(watch)
            if not watches:
                del self._watched[actor]

    async def flush(self) -> None:
        """Send what is left. Raises StoreUnavailableError."""
        letters, self._outbound = self._outbound, []
        if letters:
            await self._transport.send(letters)


class _RemoteWatch:
    """Tells another host about an actor for a while. Stands among the local `Watch`es."""

    __slots__ = ("_actor", "_exchange", "_timer", "host")

    def __init__(self, exchange: Exchange, actor: ActorId, host: str) -> None:
        self._exchange = exchange
        self._actor = actor
        self._timer: asyncio.TimerHandle | None = None
        self.host = host

    def extend(self) -> None:
        """Go on for `WATCH_S` from now."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(WATCH_S, self._exchange.forget_watch, self._actor, self)

    def notice(self, summary: Summary | None) -> None:
        """See `Watch.notice`."""
        self._exchange.post(self.host, NoticeLetter(self._actor, summary))

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
        """See `ReplySlot`."""
        self._exchange.post(self._call.reply_to, answer_of(self._call.id, exception))
