"""Where the messages of finished turns go: over a link, or to an actor of the same partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actorflow.actors.batch import Batch
    from actorflow.actors.committer import Committer
    from actorflow.actors.environment import Environment
    from actorflow.actors.links import Links
    from actorflow.actors.message import Message
    from actorflow.actors.roster import Roster


class Sending:
    """Gives messages their ids and puts them into a batch. One for each partition."""

    __slots__ = ("_committer", "_env", "_index", "_links", "_next_id", "_roster")

    def __init__(
        self, index: int, env: Environment, links: Links, committer: Committer, roster: Roster
    ) -> None:
        self._index = index
        self._env = env
        self._links = links
        self._committer = committer
        self._roster = roster
        self._next_id = 1

    def begin(self, next_message_id: int) -> None:
        """Begin an ownership: ids from this one on are free."""
        self._next_id = next_message_id

    def send(self, batch: Batch, message: Message, depth: int) -> None:
        """Send a message of a finished turn; `depth` counts those that follow from each other."""
        sender, target = message.sender, message.target
        if sender is not None and sender.key == target.key:  # so it is of this partition, too
            self.send_here(batch, message, depth)
            return
        destination = self._env.partition_of(target)
        if destination == self._index:
            self.send_here(batch, message, depth)
        else:
            batch.outbox.append(self._links.address(message, destination))

    def send_here(self, batch: Batch, message: Message, depth: int) -> None:
        """Send a message whose target is of this partition."""
        self._number(message)
        message.depth = depth
        batch.send(message)
        target = message.target
        in_flight = self._committer.in_flight
        if (
            target.type in self._env.worker_types  # durable before it runs
            or depth > self._env.limits.chain_depth
            # INVARIANT: once one message for a target waits for a commit, later ones do too: order
            # between a sender and a receiver.
            or target in batch.deferred
            or (in_flight is not None and target in in_flight.deferred)
        ):
            batch.deferred.add(target)
            batch.deliveries.append(message)
        else:
            self._roster.enter(message)

    def keep(self, batch: Batch, message: Message, reason: str) -> None:
        """Store a message that is not delivered, with the reason; its slot hears when it is."""
        self._number(message)
        batch.send(message)
        batch.park(message, reason)
        batch.answers.append((message, b"", None))

    def _number(self, message: Message) -> None:
        message.id = self._next_id
        self._next_id += 1
