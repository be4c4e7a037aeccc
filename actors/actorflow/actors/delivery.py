"""Durable messages on their way through worker types: given out once a life, ended once for all."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from actorflow.actors.completion import GONE, DeliveryKey, Sends, key_of, unpack_completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors.actor import WorkerType
    from actorflow.actors.message import Message


MESSAGE_OVERHEAD_BYTES = 512
"""What a message in memory costs besides its payload, about."""


class Deliveries:
    """The deliveries of one partition. `ended` are those whose end the next commit takes.
    `open_bytes` is about the memory of those that workers have and have not done with."""

    __slots__ = ("_life", "_open", "_wake", "ended", "open_bytes")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._life = 0
        self._open: dict[int, tuple[DeliveryKey, WorkerType, int]] = {}
        self.open_bytes = 0
        self.ended: deque[tuple[Message, Sends]] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def give(self, message: Message, worker: WorkerType) -> None:
        """Hand a message over whose row is committed."""
        size_bytes = len(message.payload) + MESSAGE_OVERHEAD_BYTES
        key = key_of(message.target, message.id, message.payload)
        self._open[message.id] = (key, worker, size_bytes)
        self.open_bytes += size_bytes
        worker.deliver(WorkDelivery(self, message, self._life))

    def end(self, message: Message, sends: Sends) -> None:
        """Consume the message with the next commit, unless that is done."""
        known = self._open.pop(message.id, None)
        if known is None:
            message.settle(GONE, None)
            return
        key, worker, size_bytes = known
        self.open_bytes -= size_bytes
        worker.completed(key)
        self.ended.append((message, sends))
        self._wake()

    def admit(self, call: Message) -> None:
        """Take the end of a delivery from whoever did the work; see `completion`."""
        key, sends = unpack_completion(call.target, call.payload)
        known = self._open.get(key.message_id)
        if known is None or known[0] != key:
            call.settle(GONE, None)
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


class WorkDelivery:
    """Implements `actor.Delivery`: bound to one ownership of the partition, void after it."""

    __slots__ = ("_deliveries", "_life", "message")

    def __init__(self, deliveries: Deliveries, message: Message, life: int) -> None:
        self._deliveries = deliveries
        self._life = life
        self.message = message

    @property
    def is_void(self) -> bool:
        """See `actor.Delivery`."""
        return not self._deliveries.is_of_now(self._life)

    def complete(self, sends: Sends) -> None:
        """See `actor.Delivery`."""
        if not self.is_void:
            self._deliveries.end(self.message, sends)
