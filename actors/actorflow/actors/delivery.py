"""A durable message on its way through a worker type."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actorflow.actors.address import ActorId
    from actorflow.actors.message import Message
    from actorflow.actors.partition import Partition


class WorkDelivery:
    """Implements `actor.Delivery`: bound to one ownership of the partition, void after it."""

    __slots__ = ("_life", "_partition", "message")

    def __init__(self, partition: Partition, message: Message, life: int) -> None:
        self._partition = partition
        self._life = life
        self.message = message

    def complete(self, sends: list[tuple[ActorId, str, bytes]]) -> None:
        """Consume the message and send these, atomically, in the next commit."""
        self._partition.complete_delivery(self.message, sends, self._life)
