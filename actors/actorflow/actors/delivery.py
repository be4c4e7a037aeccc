"""Durable messages on their way through worker types: given out once a life, ended once for all."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from actorflow.actors.completion import GONE, Sends, unpack_completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors.actor import WorkerType
    from actorflow.actors.message import Message


class Deliveries:
    """The deliveries of one partition. `ended` are those whose end the next commit takes."""

    __slots__ = ("_life", "_open", "_wake", "ended")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._life = 0
        self._open: dict[int, WorkerType] = {}
        self.ended: deque[tuple[Message, Sends]] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def give(self, message: Message, worker: WorkerType) -> None:
        """Hand a message over whose row is committed."""
        self._open[message.id] = worker
        worker.deliver(WorkDelivery(self, message, self._life))

    def end(self, message: Message, sends: Sends) -> None:
        """Consume the message with the next commit, unless that is done."""
        worker = self._open.pop(message.id, None)
        if worker is None:
            message.settle(GONE, None)
            return
        worker.completed(message.target, message.id)
        self.ended.append((message, sends))
        self._wake()

    def admit(self, call: Message) -> None:
        """Take the end of a delivery from whoever did the work; see `completion`."""
        call.id, sends = unpack_completion(call.payload)
        self.end(call, sends)

    def is_of_now(self, life: int) -> bool:
        """Whether nothing was dropped since a delivery of that life began."""
        return life == self._life

    def clear(self) -> None:
        """The partition is given up: what was given out is void."""
        self._life += 1
        self._open.clear()
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
