"""Bookkeeping of links: what is sent, kept and forgotten."""

from __future__ import annotations

from actorflow.actors.address import ActorId
from actorflow.actors.link import (
    LINK_BATCH_BYTES,
    LINK_BATCH_ENTRIES,
    RETAINED_ENTRIES,
    START,
    Incoming,
    Outgoing,
    Verdict,
)
from actorflow.actors.ports import EntryId, LinkEntry, LinkMark

TO = ActorId("a", "1")


def entries(count: int, *, epoch: int = 1, first: int = 1, payload: bytes = b"") -> list[LinkEntry]:
    """Return consecutive entries of one epoch."""
    found: list[LinkEntry] = []
    for n in range(first, first + count):
        prev = EntryId(epoch, n - 1) if n > 1 else START
        found.append(LinkEntry(1, EntryId(epoch, n), epoch, prev, TO, "m", payload))
    return found


def link_with(count: int, payload: bytes = b"") -> Outgoing:
    link = Outgoing(1)
    for entry in entries(count, payload=payload):
        link.committed(entry)
    return link


def numbers(batch: list[LinkEntry]) -> list[int]:
    return [entry.id.n for entry in batch]


def test_one_batch_at_a_time() -> None:
    link = link_with(LINK_BATCH_ENTRIES + 2)
    assert len(link.next_batch()) == LINK_BATCH_ENTRIES
    assert link.next_batch() == []
    link.acknowledge(EntryId(1, LINK_BATCH_ENTRIES), 1, 0.0)
    assert numbers(link.next_batch()) == [LINK_BATCH_ENTRIES + 1, LINK_BATCH_ENTRIES + 2]
    assert link.pending_count == 2


def test_a_batch_has_a_size_but_takes_one_oversized_entry() -> None:
    link = link_with(3, payload=bytes(LINK_BATCH_BYTES // 2 + 1))
    assert numbers(link.next_batch()) == [1]
    big = link_with(2, payload=bytes(LINK_BATCH_BYTES * 2))
    assert numbers(big.next_batch()) == [1]


def test_silence_sends_again_and_an_old_answer_changes_nothing() -> None:
    link = link_with(3)
    link.next_batch()
    link.acknowledge(EntryId(1, 1), 1, 0.0)
    link.send_again()
    assert numbers(link.next_batch()) == [2, 3]
    link.acknowledge(EntryId(1, 3), 1, 0.0)
    link.acknowledge(EntryId(1, 1), 1, 0.0)
    assert link.acked == EntryId(1, 3)
    assert link.next_batch() == []


def test_after_a_recovery_the_newest_entry_asks() -> None:
    link = Outgoing(1, entries(5))
    assert numbers(link.next_batch()) == [5]
    link.rewind(EntryId(1, 2), 1)
    assert numbers(link.next_batch()) == [3, 4, 5]
    assert link.skip is None


def test_a_receiver_that_lost_its_tail_is_refilled_as_often_as_it_takes() -> None:
    link = link_with(4)
    link.next_batch()
    link.acknowledge(EntryId(1, 4), 1, 0.0)
    link.rewind(EntryId(1, 1), 1)
    assert numbers(link.next_batch()) == [2, 3, 4]
    link.send_again()
    assert numbers(link.next_batch()) == [2, 3, 4], "the refill itself was lost"


def test_the_newest_entry_is_kept_and_too_many_are_not() -> None:
    link = link_with(3)
    link.next_batch()
    link.acknowledge(EntryId(1, 3), 1, 10.0)
    assert link.expire(9.0) is None
    assert link.expire(10.0) == EntryId(1, 2)
    assert link.expire(99.0) is None
    many = link_with(RETAINED_ENTRIES + 50)
    while batch := many.next_batch():
        many.acknowledge(batch[-1].id, 1, 10.0)
    assert many.expire(0.0) == EntryId(1, 49)


def test_what_is_not_acknowledged_is_never_forgotten() -> None:
    link = Outgoing(1, entries(RETAINED_ENTRIES + 50))
    assert link.expire(1e9) is None


def test_below_the_kept_range_the_receiver_may_skip() -> None:
    link = link_with(4)
    link.next_batch()
    link.acknowledge(EntryId(1, 4), 1, 0.0)
    link.expire(0.0)
    link.rewind(EntryId(1, 1), 1)
    assert link.skip == LinkMark(1, EntryId(1, 1), 1)
    batch = link.next_batch()
    assert numbers(batch) == [4]
    receiver = Incoming(LinkMark(1, EntryId(1, 1), 1))
    assert receiver.accept(batch) == ([], Verdict.GAP)
    assert receiver.accept(batch, (EntryId(1, 0), 1)) == ([], Verdict.GAP), "another mark"
    assert receiver.accept(batch, (EntryId(1, 1), 1)) == (batch, Verdict.SKIPPED)
    link.acknowledge(EntryId(1, 4), 1, 1.0)
    assert link.skip is None


def test_a_mark_of_a_lost_life_counts_as_none() -> None:
    link = link_with(2)
    link.next_batch()
    link.acknowledge(EntryId(1, 9), 77, 0.0)
    assert link.acked == EntryId(1, 0)
    link.rewind(EntryId(1, 9), 77)
    assert numbers(link.next_batch()) == [1, 2]
    receiver = Incoming(LinkMark(1, EntryId(1, 9), 77))
    assert receiver.accept(entries(2))[1] is Verdict.ROLLED_BACK


def test_a_receiver_takes_each_entry_once_and_in_order() -> None:
    receiver = Incoming(LinkMark(1, START, 0))
    first, second, third = entries(3)
    assert receiver.accept([second, third]) == ([], Verdict.GAP)
    assert receiver.accept([first, second]) == ([first, second], Verdict.ACCEPT)
    assert receiver.accept([second, third]) == ([third], Verdict.ACCEPT)
    assert receiver.accept([first]) == ([], Verdict.ACCEPT)
    assert receiver.mark.id == third.id
    assert receiver.durable.id == START
