"""PURE. Whether a commit may be applied: fence, order and inner consistency.

Every store asks `refusal` and then `fault_in` before its first write, so that all of them refuse
the same commits for the same reasons. What needs stored rows (does this actor exist, how long is
its log) is checked by the store itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.ports import CommitResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors.ports import ActorWrite, Commit, MessageRow, Summary

SUMMARY_MAX_BYTES = 16 * 1024
"""Largest summary. Lists read many of them at once, so what is large belongs into a field."""


PEACE_MS = 60_000
"""An owner that was in office for so long is not counted with those before it."""

DEAD = "?"
"""Stands for the token of an owner whose lease others have ended. No owner has it."""


class Standing(NamedTuple):
    """Where one partition stands. `token` is None while nobody owns it."""

    epoch: int = 0
    token: str | None = None
    seq: int = 0
    commit_id: str = ""
    next_actor_number: int = 1
    next_message_id: int = 1


def next_epoch(standing: Standing, now_ms: int) -> int:
    """Return the epoch of the next owner.

    The clock keeps it from being used again when the store lost its tail; the stored number keeps
    it rising when the clock jumped back.
    """
    return max(standing.epoch + 1, now_ms)


def abandoned_now(standing: Standing, token: str, abandoned: int, now_ms: int) -> int:
    """Return what `Acquired.abandoned` is for the next owner.

    Args:
        token: of the next owner.
        abandoned: what it was for the last one.
        now_ms: of the store's clock; `standing.epoch` is when the last owner came into office.
    """
    if standing.token is None:
        return 0
    if standing.token == token:
        return abandoned
    return 1 if now_ms - standing.epoch >= PEACE_MS else abandoned + 1


def refusal(standing: Standing, commit: Commit) -> CommitResult | None:
    """Return why the commit may not be applied now, or None. The order of the checks is part of
    the rule: a resend of an applied commit is ALREADY only for the present owner."""
    if standing.epoch != commit.lease.epoch or standing.token != commit.lease.token:
        return CommitResult.FENCED
    if standing.commit_id == commit.commit_id and commit.commit_id:
        return CommitResult.ALREADY
    if standing.seq != commit.prev_seq:
        return CommitResult.SEQ
    return None


def fault_in(standing: Standing, commit: Commit) -> str:
    """Return what is wrong with the commit itself, or an empty text. A fault means BAD."""
    if commit.seq != commit.prev_seq + 1:
        return f"seq {commit.seq} does not follow prev_seq {commit.prev_seq}"
    if not commit.commit_id:
        return "the commit id is empty"
    seen: set[int] = set()
    for write in commit.actors:
        if write.number in seen:
            return f"actor number {write.number} is written twice"
        seen.add(write.number)
        if fault := _fault_in_write(standing, write):
            return f"actor {write.number}: {fault}"
    return _fault_in_messages(standing, commit)


def advanced(standing: Standing, commit: Commit) -> Standing:
    """Return where the partition stands once the commit is applied."""
    number = standing.next_actor_number
    for write in commit.actors:
        if write.create and write.number >= number:
            number = write.number + 1
    messages = commit.put_messages  # their ids rise
    message_id = messages[-1].id + 1 if messages else standing.next_message_id
    return Standing(
        standing.epoch, standing.token, commit.seq, commit.commit_id, number, message_id
    )


def _fault_in_write(standing: Standing, write: ActorWrite) -> str:
    _, number, create, delete, summary, put, deleted, log_reset, log_start, log, armed, off = write
    if delete:
        return _fault_in_delete(write)
    if create and number < standing.next_actor_number:
        return f"was used before; the next one is {standing.next_actor_number}"
    if log_start and log and (create or log_reset):
        return f"log starts at {log_start} in an empty log"
    if len(put) + len(deleted) > 1 and _repeats([name for name, _ in put], deleted):
        return "a field is named twice"
    if (armed or off) and (fault := _fault_in_reminders(write)):
        return fault
    return "" if summary is None else _fault_in_summary(summary)


def _fault_in_delete(write: ActorWrite) -> str:
    others = (
        write.create
        or write.summary is not None
        or write.put_fields
        or write.delete_fields
        or write.log_reset
        or write.log_append
        or write.put_reminders
        or write.delete_reminders
    )
    return "is deleted and written at once" if others else ""


def _fault_in_summary(summary: Summary) -> str:
    head_bytes = len(summary.head)
    # Four bytes a character is the most that UTF-8 needs; nearly every summary passes here.
    if head_bytes + 4 * (len(summary.label) + len(summary.phase)) <= SUMMARY_MAX_BYTES:
        return ""
    size_bytes = sum(len(text.encode(errors="replace")) for text in (summary.label, summary.phase))
    size_bytes += head_bytes
    if size_bytes <= SUMMARY_MAX_BYTES:
        return ""
    return f"summary is limited to {SUMMARY_MAX_BYTES:,} bytes, found {size_bytes:,}"


def _fault_in_reminders(write: ActorWrite) -> str:
    if _repeats([reminder.name for reminder in write.put_reminders], write.delete_reminders):
        return "a reminder is named twice"
    if any(reminder.period_ms < 0 for reminder in write.put_reminders):
        return "a reminder has a negative period"
    return ""


def _fault_in_messages(standing: Standing, commit: Commit) -> str:
    last_id = standing.next_message_id - 1
    message: MessageRow
    for message in commit.put_messages:
        if message.id <= last_id:
            return f"message {message.id} does not rise above {last_id}"
        last_id = message.id
    deleted = commit.delete_messages
    if commit.park_messages:
        if _repeats([message_id for message_id, _ in commit.park_messages], deleted):
            return "a message is named twice"
        if not all(reason for _, reason in commit.park_messages):
            return "a message is parked without a reason"
    elif len(deleted) > 1 and _repeats(deleted, ()):
        return "a message is deleted twice"
    return ""


def _repeats(some: Sequence[object], others: Sequence[object]) -> bool:
    return len({*some, *others}) != len(some) + len(others)
