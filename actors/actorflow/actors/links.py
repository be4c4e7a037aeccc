"""The links of one partition: what it sends to other partitions, and how far it has their
messages."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from zlib import crc32

from actorflow.actors.letters import LinkAck, LinkBatch
from actorflow.actors.link import START, Incoming, Outgoing, Verdict
from actorflow.actors.ports import EntryId, LinkEntry, LinkMark

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors.batch import Batch
    from actorflow.actors.environment import Environment
    from actorflow.actors.letters import Letter
    from actorflow.actors.message import Message
    from actorflow.actors.ports import Lease, Recovery

_log = logging.getLogger(__name__)

RESEND_S = 2.0
"""A batch that is not answered for this long is sent again."""

RETENTION_S = 120.0
"""How long acknowledged entries are kept, for a receiver whose store lost its tail."""


class Links:
    """Both ends of all links of one partition.

    Entries get their ids when they are sent by a turn, leave when their commit is released, and are
    forgotten some time after the receiver has stored them. `wake` asks for a commit that has
    nothing but bookkeeping in it.
    """

    def __init__(self, partition: int, env: Environment, wake: Callable[[], None]) -> None:
        self._partition = partition
        self._env = env
        self._wake = wake
        self._outgoing: dict[int, Outgoing] = {}
        self._incoming: dict[int, Incoming] = {}
        self._tails: dict[int, EntryId] = {}
        self._sent_at_s: dict[int, float] = {}
        self._trims: dict[int, EntryId] = {}
        self._held: list[LinkBatch] = []
        self._epoch = 0
        self._lineage = 0

    def open(self, lease: Lease, recovery: Recovery) -> None:
        """Begin to own: everything that is not acknowledged is sent once more."""
        self.clear()
        self._epoch = lease.epoch
        self._lineage = crc32(lease.token.encode())
        by_destination: dict[int, list[LinkEntry]] = {}
        for entry in recovery.outbox:
            by_destination.setdefault(entry.destination, []).append(entry)
        for destination, entries in by_destination.items():
            self._outgoing[destination] = Outgoing(destination, entries)
            self._tails[destination] = entries[-1].id
            self._flush(destination)
        self._incoming = {mark.source: Incoming(mark) for mark in recovery.marks}

    def marks(self) -> tuple[LinkMark, ...]:
        """How far this partition has what each other one sent it."""
        return tuple(link.mark for link in self._incoming.values())

    def clear(self) -> None:
        """Forget everything: the partition is not ours any more."""
        self._outgoing.clear()
        self._incoming.clear()
        self._tails.clear()
        self._sent_at_s.clear()
        self._trims.clear()
        self._held.clear()

    @property
    def has_trims(self) -> bool:
        """Whether the next commit should forget entries."""
        return bool(self._trims)

    def pending_count(self) -> int:
        """Entries that their receivers have not stored yet."""
        return sum([link.pending_count for link in self._outgoing.values()])

    # ---- sending -------------------------------------------------------------------------------

    def address(self, message: Message, destination: int) -> LinkEntry:
        """Give a message of the running turn its place on the link."""
        tail = self._tails.get(destination, START)
        n = tail.n + 1 if tail.epoch == self._epoch else 1
        entry = LinkEntry(
            destination,
            EntryId(self._epoch, n),
            self._lineage,
            tail,
            message.target,
            message.method,
            message.payload,
            message.sender,
        )
        self._tails[destination] = entry.id
        return entry

    def before_commit(self, batch: Batch) -> None:
        """Add to a batch that is about to close what can be forgotten by now."""
        if self._trims:
            batch.trims.update(self._trims)
            self._trims.clear()

    def released(self, batch: Batch) -> None:
        """The batch is committed: send its entries, and acknowledge what it stored."""
        for entry in batch.outbox:
            link = self._outgoing.get(entry.destination)
            if link is None:
                link = self._outgoing[entry.destination] = Outgoing(entry.destination)
            link.committed(entry)
        for destination in {entry.destination for entry in batch.outbox}:
            self._flush(destination)
        for mark in batch.marks.values():
            incoming = self._incoming[mark.source]
            incoming.durable = mark
            self._answer(mark, gap=False)

    def _flush(self, destination: int) -> None:
        link = self._outgoing[destination]
        entries = link.next_batch()
        if entries:
            self._sent_at_s[destination] = self._env.loop.time()
            skip = (link.skip.id, link.skip.lineage) if link.skip is not None else None
            self._post(destination, LinkBatch(self._partition, tuple(entries), skip))

    def acknowledged(self, letter: LinkAck) -> None:
        """A receiver has stored entries, or misses some."""
        link = self._outgoing.get(letter.destination)
        if link is None:
            return
        if letter.gap:
            self._env.counters.link_rewinds += 1
            link.rewind(letter.mark, letter.lineage)
        else:
            link.acknowledge(letter.mark, letter.lineage, self._env.loop.time())
        self._flush(letter.destination)

    def tick(self) -> None:
        """About once a second: send again what was not answered, forget what is old."""
        now_s = self._env.loop.time()
        for destination, link in self._outgoing.items():
            if link.in_flight and now_s - self._sent_at_s[destination] > RESEND_S:
                self._env.counters.link_resends += 1
                link.send_again()
            if (expired := link.expire(now_s - RETENTION_S)) is not None:
                self._trims[destination] = expired
                self._wake()
            self._flush(destination)

    # ---- receiving -----------------------------------------------------------------------------

    def accept(self, letter: LinkBatch, batch: Batch) -> list[LinkEntry]:
        """Return the entries to take now; note in `batch` how far the link is then. What it has no
        room for is held for the next one: see `take_held`."""
        limits = self._env.limits
        if not batch.receive(letter.entries, limits.batch_turns, limits.batch_bytes):
            self._held.append(letter)
            return []
        taken, verdict = self._incoming_from(letter)
        if taken:
            batch.marks[letter.source] = self._incoming[letter.source].mark
        self._judge(verdict, letter.source, taken=bool(taken))
        return taken

    def _incoming_from(self, letter: LinkBatch) -> tuple[list[LinkEntry], Verdict]:
        incoming = self._incoming.get(letter.source)
        if incoming is None:
            incoming = Incoming(LinkMark(letter.source, START, 0))
            self._incoming[letter.source] = incoming
        return incoming.accept(letter.entries, letter.skip)

    def _judge(self, verdict: Verdict, source: int, *, taken: bool) -> None:
        """Say what is wrong with a link, and to the sender what it has to repeat."""
        incoming = self._incoming[source]
        if verdict is Verdict.ROLLED_BACK:
            self._alarm("source_rolled_back", source)
        elif verdict is Verdict.SKIPPED:
            self._alarm("link_gap", source)
        if verdict is Verdict.GAP:
            self._env.counters.link_gaps += 1
            self._answer(incoming.mark, gap=True)
        elif not taken:
            self._env.counters.link_duplicates += 1
            if incoming.durable == incoming.mark:
                self._answer(incoming.durable, gap=False)

    def take_held(self) -> list[LinkBatch]:
        """Return the letters that had no room, oldest first, to be accepted into a new batch."""
        held, self._held = self._held, []
        return held

    def _answer(self, mark: LinkMark, *, gap: bool) -> None:
        self._post(mark.source, LinkAck(self._partition, mark.id, mark.lineage, gap))

    def _post(self, partition: int, letter: Letter) -> None:
        self._env.host.post(partition, letter)

    def _alarm(self, kind: str, other: int) -> None:
        self._env.counters.link_alarms += 1
        _log.critical(
            "a link shows that a store lost data",
            extra={"alarm": kind, "partition": self._partition, "other": other},
        )
