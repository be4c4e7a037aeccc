"""Durable messages on their way through worker types: given out once a life, ended once for all."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from actorflow.actors.completion import GONE, UNFIT, DeliveryKey, Sends, key_of, unpack_completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors.actor import WorkerType
    from actorflow.actors.address import ActorId
    from actorflow.actors.alone import Alone
    from actorflow.actors.message import Message
    from actorflow.actors.ports import Acquired


MESSAGE_OVERHEAD_BYTES = 512
"""What a message in memory costs besides its payload, about."""

STORED_FIRST = 1 << 30
"""Depth of a message whose sends are stored before anybody gets them: far beyond each chain. If the
host ends while somebody handles them, it is not for what the sender did."""


class Deliveries:
    """The deliveries of one partition. `ended` are those whose end the next commit takes, each with
    the sender of what follows from it. `open_bytes` is about the memory of those that workers have
    and have not done with."""

    __slots__ = (
        "_amended",
        "_life",
        "_open",
        "_recovered_end",
        "_wake",
        "abandoned",
        "alone",
        "ended",
        "open_bytes",
    )

    def __init__(self, wake: Callable[[], None], alone: Alone) -> None:
        self._wake = wake
        self.alone = alone
        self._life = 0
        self._open: dict[int, WorkDelivery] = {}
        self._amended: deque[_Amended] = deque()
        self._recovered_end = self.abandoned = 0
        self.open_bytes = 0
        self.ended: deque[tuple[Message, ActorId | None, Sends]] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, acquired: Acquired) -> None:
        """Begin an ownership. What is given from now on and is older was recovered."""
        self.abandoned = acquired.abandoned
        self._recovered_end = acquired.next_message_id if acquired.abandoned else 0

    def is_suspect(self, message: Message) -> bool:
        """Whether the message was recovered from an owner that did not give it up."""
        return message.id < self._recovered_end

    def give(self, message: Message, worker: WorkerType) -> None:
        """Hand a message over whose row is committed."""
        key = key_of(message.target, message.id, message.payload)
        self.open_bytes += len(message.payload) + MESSAGE_OVERHEAD_BYTES
        if self._amended and self._amended[0].stands_in(key):
            delivery = self._amended.popleft().delivery
            self._open[message.id] = delivery
            message.depth = STORED_FIRST
            delivery.goes_on(message, key)
        else:
            delivery = WorkDelivery(self, message, key, worker, self._life)
            self._open[message.id] = delivery
            worker.deliver(delivery)

    def amend(self, delivery: WorkDelivery, payload: bytes) -> bool:
        """Replace the message of a delivery with the next commit; False when it has ended."""
        message = delivery.message
        if self._open.pop(message.id, None) is None:
            return False
        self.open_bytes -= len(message.payload) + MESSAGE_OVERHEAD_BYTES
        self._amended.append(_Amended(delivery, crc32(payload)))
        again = [(message.target, message.method, payload)]  # by whoever has sent it
        self.ended.append((message, message.sender, again))
        self._wake()
        return True

    def end(self, message: Message, sends: Sends) -> None:
        """Consume the message with the next commit, unless that is done."""
        known = self._open.pop(message.id, None)
        if known is None:
            message.settle(GONE, None)
            return
        self.open_bytes -= len(known.message.payload) + MESSAGE_OVERHEAD_BYTES
        known.worker.completed(known.known_as)
        if self.is_suspect(message):
            message.depth = STORED_FIRST
        self.ended.append((message, message.target, sends))
        self._wake()

    def admit(self, call: Message) -> None:
        """Take the end of a delivery from whoever did the work; see `completion`."""
        key, sends = call.ends or unpack_completion(call.target, call.payload)
        known = self._open.get(key.message_id)
        if known is None or known.key != key:
            call.settle(GONE, None)
        elif not known.worker.fits(known.message, sends):
            call.settle(UNFIT, None)
        else:
            call.id = key.message_id
            self.end(call, sends)

    def is_of_now(self, life: int) -> bool:
        """Whether nothing was dropped since a delivery of that life began."""
        return life == self._life

    def clear(self) -> None:
        """The partition is given up: what was given out is void."""
        self._life += 1
        self._open.clear()
        self.open_bytes = 0
        self.ended.clear()
        for amended in self._amended:
            amended.delivery.end_amending(done=False)
        self._amended.clear()


class _Amended(NamedTuple):
    """A delivery whose message is replaced by the next commit, or one soon after."""

    delivery: WorkDelivery
    check: int

    def stands_in(self, key: DeliveryKey) -> bool:
        """Whether this is the key of the message that replaces it."""
        return self.check == key.check and self.delivery.message.target == key.target


class WorkDelivery:
    """Implements `actor.Delivery`: bound to one ownership of the partition, void after it. The
    worker has it `known_as` the key that it was given with."""

    __slots__ = ("_amending", "_deliveries", "_life", "key", "known_as", "message", "worker")

    def __init__(
        self,
        deliveries: Deliveries,
        message: Message,
        key: DeliveryKey,
        worker: WorkerType,
        life: int,
    ) -> None:
        self._deliveries = deliveries
        self._life = life
        self._amending: asyncio.Future[bool] | None = None
        self.message = message
        self.key = self.known_as = key
        self.worker = worker

    @property
    def is_void(self) -> bool:
        """See `actor.Delivery`."""
        return not self._deliveries.is_of_now(self._life)

    def complete(self, sends: Sends) -> None:
        """See `actor.Delivery`."""
        if self._amending is not None:
            self._amending.add_done_callback(lambda _: self.complete(sends))
        elif not self.is_void:
            self._deliveries.end(self.message, sends)

    @property
    def abandoned(self) -> int:
        """See `actor.Delivery`."""
        return self._deliveries.abandoned if self._deliveries.is_suspect(self.message) else 0

    @property
    def alone(self) -> Alone:
        """See `actor.Delivery`."""
        return self._deliveries.alone

    async def amend(self, payload: bytes) -> bool:
        """See `actor.Delivery`."""
        if self.is_void or not self._deliveries.amend(self, payload):
            return False
        self._amending = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._amending)

    def goes_on(self, message: Message, key: DeliveryKey) -> None:
        """The message was replaced by this one."""
        self.message, self.key = message, key
        self.end_amending(done=True)

    def end_amending(self, *, done: bool) -> None:
        """The message was replaced; else the delivery is void."""
        amending, self._amending = self._amending, None
        if amending is not None:
            amending.set_result(done)
