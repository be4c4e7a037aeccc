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


RETAINED_ENTRIES = 10_000
"""Acknowledged entries that a link keeps at most, however new they are."""


START = EntryId(0, 0)
"""Before the first entry of a link."""


class Verdict(StrEnum):
    """What a receiver does with an entry."""

    ACCEPT = "accept"
    DUPLICATE = "duplicate"
    GAP = "gap"
    ROLLED_BACK = "rolled_back"  # accept, and raise an alarm: the sender's store lost its tail
    SKIPPED = "skipped"  # accept, and raise an alarm: what came before is kept nowhere


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
    whose store lost its tail can be filled up again. After a recovery nobody knows what the
    receiver has: the newest entry is sent, and the answer tells.

    `skip` is set while the receiver misses entries that are kept nowhere: the mark after which it
    may take whatever comes next.
    """

    __slots__ = (
        "_acks",
        "_kept",
        "_lineages",
        "_sent",
        "_waiting",
        "acked",
        "destination",
        "skip",
    )

    def __init__(self, destination: int, stored: Iterable[LinkEntry] = ()) -> None:
        self.destination = destination
        self._kept = deque(stored)  # probably acknowledged
        self._sent: deque[LinkEntry] = deque()  # under way
        self._waiting: deque[LinkEntry] = deque()
        self._lineages = {entry.id.epoch: entry.lineage for entry in self._kept}
        self._acks: deque[tuple[float, EntryId]] = deque()
        self.acked = START
        self.skip: LinkMark | None = None
        if self._kept:
            self._waiting.append(self._kept.pop())

    @property
    def in_flight(self) -> bool:
        """Whether an answer is to come."""
        return bool(self._sent)

    @property
    def pending_count(self) -> int:
        """Entries that are not acknowledged, as far as is known."""
        return len(self._sent) + len(self._waiting)

    def committed(self, entry: LinkEntry) -> None:
        """An entry is durable and may be sent."""
        self._waiting.append(entry)
        self._lineages[entry.id.epoch] = entry.lineage

    def next_batch(self) -> list[LinkEntry]:
        """Return what to send now, marked as under way; empty when there is nothing to do."""
        batch: list[LinkEntry] = []
        if self._sent:
            return batch
        size_bytes = 0
        while self._waiting and len(batch) < LINK_BATCH_ENTRIES:
            size_bytes += len(self._waiting[0].payload)
            if batch and size_bytes > LINK_BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        self._sent.extend(batch)
        return batch

    def acknowledge(self, mark: EntryId, lineage: int, now_s: float) -> None:
        """The receiver has stored everything up to `mark`."""
        mark = self._known(mark, lineage)
        for entries in (self._sent, self._waiting):
            while entries and entries[0].id <= mark:
                self._kept.append(entries.popleft())
        if mark > self.acked:
            self.acked = mark
            self._acks.append((now_s, mark))
            self.skip = None

    def rewind(self, mark: EntryId, lineage: int) -> None:
        """The receiver misses what follows `mark`: send again from there."""
        start = self._known(mark, lineage)
        self.send_again()
        while self._kept and self._kept[-1].id > start:
            self._waiting.appendleft(self._kept.pop())
        while self._acks and self._acks[-1][1] > start:
            self._acks.pop()
        self.acked = min(self.acked, start)
        while self._waiting and self._waiting[0].id <= start:
            self._kept.append(self._waiting.popleft())
        is_cut = bool(self._waiting) and self._waiting[0].prev > start
        self.skip = LinkMark(self.destination, mark, lineage) if is_cut else None

    def send_again(self) -> None:
        """No answer came: send everything that is not acknowledged once more."""
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()

    def expire(self, before_s: float) -> EntryId | None:
        """Forget entries that were acknowledged before a time, or are too many; the newest one of
        the link stays: its id is the predecessor that the next one must name.

        Returns: the last one forgotten, if any.
        """
        expired = START
        while self._acks and self._acks[0][0] <= before_s:
            expired = self._acks.popleft()[1]
        kept = self._kept
        spare = len(kept) if self._sent or self._waiting else len(kept) - 1
        forgotten: EntryId | None = None
        while spare > 0 and (
            kept[0].id <= expired or (spare > RETAINED_ENTRIES and kept[0].id <= self.acked)
        ):
            forgotten = kept.popleft().id
            spare -= 1
        return forgotten

    def _known(self, mark: EntryId, lineage: int) -> EntryId:
        """Return the mark as a place among the entries kept here: one from a life of this
        partition that its store has lost counts as the start of the epoch."""
        if self._lineages.get(mark.epoch, lineage) != lineage:
            return EntryId(mark.epoch, 0)
        return mark


class Incoming:
    """The receiver's side of one link. `mark` runs ahead of `durable` while a commit is out."""

    __slots__ = ("durable", "mark")

    def __init__(self, mark: LinkMark) -> None:
        self.mark = mark
        self.durable = mark

    def accept(
        self, entries: Iterable[LinkEntry], skip: tuple[EntryId, int] | None = None
    ) -> tuple[list[LinkEntry], Verdict]:
        """Return the entries to take, in order, and what was most remarkable about them.

        ACCEPT means that all were taken or known; GAP asks the sender to rewind to `mark`.

        Args:
            skip: the sender keeps nothing between this mark and the first entry.
        """
        taken: list[LinkEntry] = []
        worst = Verdict.ACCEPT
        for entry in entries:
            verdict = judge(entry, self.mark)
            if verdict is Verdict.GAP:
                if taken or skip != (self.mark.id, self.mark.lineage):
                    return taken, verdict
                verdict = Verdict.SKIPPED
            if verdict is Verdict.DUPLICATE:
                continue
            if verdict is not Verdict.ACCEPT:
                worst = verdict
            taken.append(entry)
            self.mark = LinkMark(self.mark.source, entry.id, entry.lineage)
        return taken, worst
