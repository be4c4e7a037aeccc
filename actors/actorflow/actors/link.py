"""PURE. Links: ordered, exactly-once streams of messages from one partition to another.

The sender stores each entry with the turn that sent it and keeps it until the receiver has stored
it too. An entry's id is (epoch of the sender, n), n from 1 in each epoch, and it names its
predecessor on the same link; so the receiver can tell a duplicate from a gap, whatever the
transport loses, repeats or reorders, and also after a fail-over of either side. The receiver's mark
is advanced by the very commit that stores the messages. The rules were checked in random-schedule
models: `tests/property`.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING

from actorflow.actors.ports import EntryId, LinkMark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.actors.ports import LinkEntry

LINK_BATCH_ENTRIES = 128
"""Entries in one batch of a link."""

LINK_BATCH_BYTES = 256 * 1024
"""Payload bytes in one batch of a link, one oversized entry aside."""


START = EntryId(0, 0)
"""Before the first entry of a link."""


class Verdict(StrEnum):
    """What a receiver does with an entry."""

    ACCEPT = "accept"
    DUPLICATE = "duplicate"
    GAP = "gap"
    ROLLED_BACK = "rolled_back"  # accept, and raise an alarm: the sender's store lost its tail


def judge(entry: LinkEntry, mark: LinkMark) -> Verdict:
    """Decide about one entry."""
    if entry.id.epoch == mark.id.epoch and entry.lineage != mark.lineage:
        # The same epoch from another life of the sender: its n begins again at 1.
        return Verdict.ROLLED_BACK if entry.id.n == 1 else Verdict.GAP
    if entry.id <= mark.id:
        return Verdict.DUPLICATE
    if entry.prev == mark.id:
        return Verdict.ACCEPT
    return Verdict.ROLLED_BACK if entry.prev < mark.id else Verdict.GAP


class Outgoing:
    """The sender's side of one link. Pure bookkeeping: says what to send and what to forget.

    At most one batch is under way. Acknowledged entries are kept for a while, so that a receiver
    whose store lost its tail can be filled up again.
    """

    __slots__ = ("_acks", "_entries", "_sent", "acked", "destination", "in_flight", "last")

    def __init__(self, destination: int, stored: Iterable[LinkEntry] = ()) -> None:
        self.destination = destination
        self._entries = deque(stored)
        self.acked = START
        self._sent = START
        self._acks: deque[tuple[float, EntryId]] = deque()
        self.in_flight = False
        self.last = self._entries[-1].id if self._entries else START

    @property
    def pending_count(self) -> int:
        """Entries that are not acknowledged."""
        return sum(entry.id > self.acked for entry in self._entries)

    def committed(self, entry: LinkEntry) -> None:
        """An entry is durable and may be sent."""
        self._entries.append(entry)

    def next_batch(self) -> list[LinkEntry]:
        """Return what to send now, marked as under way; empty when there is nothing to do."""
        if self.in_flight:
            return []
        batch: list[LinkEntry] = []
        size_bytes = 0
        for entry in self._entries:
            if entry.id <= self._sent:
                continue
            size_bytes += len(entry.payload)
            if batch and (len(batch) >= LINK_BATCH_ENTRIES or size_bytes > LINK_BATCH_BYTES):
                break
            batch.append(entry)
        if batch:
            self._sent = batch[-1].id
            self.in_flight = True
        return batch

    def acknowledge(self, mark: EntryId, now_s: float) -> None:
        """The receiver has stored everything up to `mark`."""
        if mark > self.acked:
            self.acked = mark
            self._acks.append((now_s, mark))
        if self.acked >= self._sent:
            self._sent = self.acked
            self.in_flight = False

    def rewind(self, mark: EntryId) -> bool:
        """The receiver misses what follows `mark`: send again from there.

        Returns: False when that is no longer kept: a gap that only people can judge.
        """
        self._sent = mark
        self.in_flight = False
        following = next((entry for entry in self._entries if entry.id > mark), None)
        return following is None or following.prev <= mark

    def send_again(self) -> None:
        """No answer came: send everything that is not acknowledged once more."""
        self._sent = self.acked
        self.in_flight = False

    def expire(self, before_s: float) -> EntryId | None:
        """Forget entries that were acknowledged before a time, the newest one excepted.

        Returns: the last one forgotten, if any.
        """
        expired: EntryId | None = None
        while self._acks and self._acks[0][0] <= before_s:
            expired = self._acks.popleft()[1]
        if expired is None:
            return None
        # The newest entry stays: its id is the predecessor that the next one must name.
        forgotten: EntryId | None = None
        while len(self._entries) > 1 and self._entries[0].id <= expired:
            forgotten = self._entries.popleft().id
        return forgotten


class Incoming:
    """The receiver's side of one link. `mark` runs ahead of `durable` while a commit is out."""

    __slots__ = ("durable", "mark")

    def __init__(self, mark: LinkMark) -> None:
        self.mark = mark
        self.durable = mark

    def accept(self, entries: Iterable[LinkEntry]) -> tuple[list[LinkEntry], Verdict]:
        """Return the entries to take, in order, and the verdict on the first that was not.

        ACCEPT means that all were taken or known; GAP asks the sender to rewind to `durable`.
        """
        taken: list[LinkEntry] = []
        worst = Verdict.ACCEPT
        for entry in entries:
            verdict = judge(entry, self.mark)
            if verdict is Verdict.GAP:
                return taken, verdict
            if verdict is Verdict.DUPLICATE:
                continue
            if verdict is Verdict.ROLLED_BACK:
                worst = verdict
            taken.append(entry)
            self.mark = LinkMark(self.mark.source, entry.id, entry.lineage)
        return taken, worst
