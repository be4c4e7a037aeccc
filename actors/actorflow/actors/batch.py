"""PURE. Finished turns folded into one commit.

A message that is sent and consumed within one batch leaves no trace in the store; what is still on
its way when the batch closes becomes a row. Nothing in a batch has happened until its commit is
answered with OK or ALREADY; then `Partition` releases its replies, deliveries, reminders and
notices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.actors.ports import (
    ActorWrite,
    Commit,
    EntryId,
    Lease,
    LinkEntry,
    LinkMark,
    Reminder,
    Summary,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors.address import ActorId
    from actorflow.actors.effects import Effects
    from actorflow.actors.message import Message


class Batch:
    """The open batch of a partition. `seq` is the sequence number that its commit will have."""

    __slots__ = (
        "answers",
        "armed",
        "consumed",
        "cursor",
        "deferred",
        "deliveries",
        "marks",
        "nets",
        "notices",
        "outbox",
        "parked",
        "received",
        "received_bytes",
        "retired",
        "seq",
        "size_bytes",
        "trims",
        "turns",
        "unsaved",
    )

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.turns = 0
        self.size_bytes = 0
        self.received = 0
        self.received_bytes = 0
        self.nets: dict[int, Effects] = {}
        self.unsaved: dict[int, Message] = {}
        self.consumed: list[int] = []
        self.parked: list[tuple[int, str]] = []
        self.answers: list[tuple[Message, bytes, Exception | None]] = []
        self.deliveries: list[Message] = []
        self.deferred: set[ActorId] = set()
        self.armed: dict[tuple[int, str], tuple[ActorId, Reminder]] = {}
        self.retired: list[ActorId] = []
        self.cursor = ""
        self.outbox: list[LinkEntry] = []
        self.trims: dict[int, EntryId] = {}
        self.marks: dict[int, LinkMark] = {}
        self.notices: list[tuple[ActorId, Summary | None]] = []

    def is_full(self, turns: int, size_bytes: int) -> bool:
        """Whether the next turn belongs to the next batch."""
        return self.turns >= turns or self.size_bytes >= size_bytes

    def receive(self, entries: Sequence[LinkEntry], turns: int, size_bytes: int) -> bool:
        """Make room for messages of another partition; False: they belong to the next batch. They
        have a share as large as that of the turns, so that neither can keep the other out."""
        received_bytes = self.received_bytes + sum(len(entry.payload) for entry in entries)
        received = self.received + len(entries)
        if self.received and (received > turns or received_bytes > size_bytes):
            return False
        self.received, self.received_bytes = received, received_bytes
        return True

    def is_empty(self) -> bool:
        """Whether nothing but the place in the inbox would change."""
        return not (self.nets or self.consumed or self.unsaved or self.outbox or self.parked)

    def fold(self, effects: Effects) -> None:
        """Add what a finished turn does to its own actor. `effects.number` is set."""
        self.size_bytes += effects.size_bytes
        number = effects.number
        if effects.delete:
            self._fold_delete(effects)
        elif (net := self.nets.get(number)) is None:
            if effects.log_reset and effects.create:
                effects.log_reset = False
            self.nets[number] = effects
        else:
            net.absorb(effects)
        if effects.reminders:
            for name, reminder in effects.reminders.items():
                if reminder is None:
                    self.armed.pop((number, name), None)
                else:
                    self.armed[number, name] = (effects.actor, reminder)
        if effects.retire:
            self.retired.append(effects.actor)
        if effects.summary is not None or effects.delete:
            self.notices.append((effects.actor, effects.summary))

    def _fold_delete(self, effects: Effects) -> None:
        net = self.nets.pop(effects.number, None)
        if net is None or not net.create:
            self.nets[effects.number] = effects
        self.forget_armed(effects.number)

    def forget_armed(self, number: int, name: str | None = None) -> None:
        """A later turn cancelled one reminder of the actor, or (None) all: do not arm it."""
        if name is not None:
            self.armed.pop((number, name), None)
        elif self.armed:
            self.armed = {key: value for key, value in self.armed.items() if key[0] != number}

    def send(self, message: Message) -> None:
        """Add a message whose id is assigned and whose consumption is still to come."""
        self.unsaved[message.id] = message

    def consume(self, message_id: int) -> None:
        """A turn of this batch has handled the message."""
        if self.unsaved.pop(message_id, None) is None:
            self.consumed.append(message_id)

    def park(self, message: Message, reason: str) -> None:
        """Keep the message for people, deliver it no more."""
        self.parked.append((message.id, reason))

    def refuse_all(self, error: Exception) -> None:
        """The batch will not be committed: tell everybody who waits for it."""
        for message, _, _ in self.answers:
            message.refuse(error)

    def to_commit(self, lease: Lease, commit_id: str) -> Commit:
        """Close the batch: the one atomic write that stands for all its turns."""
        deleted: list[ActorWrite] = []
        written: list[ActorWrite] = []
        for net in self.nets.values():
            (deleted if net.delete else written).append(net.to_write())
        parked = dict(self.parked)
        rows = [message.to_row(parked.pop(id_, "")) for id_, message in self.unsaved.items()]
        return Commit(
            lease=lease,
            prev_seq=self.seq - 1,
            seq=self.seq,
            commit_id=commit_id,
            actors=(*deleted, *written),
            put_messages=tuple(rows),
            delete_messages=tuple(self.consumed),
            park_messages=tuple(parked.items()),
            put_outbox=tuple(self.outbox),
            trim_outbox=tuple(self.trims.items()),
            put_marks=tuple(self.marks.values()),
            cursor=self.cursor,
        )
