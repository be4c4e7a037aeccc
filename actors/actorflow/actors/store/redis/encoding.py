"""A commit as the arguments of `commit.lua`, and rows as bytes.

What Lua must understand is written as text; what it only keeps is MessagePack of the port's own
types. All integers are at most 64 bits, because every other store keeps them so.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.msgpack import Decoder, Encoder

from actorflow.actors.lease import Standing, fault_in
from actorflow.actors.ports import DueReminder, EntryId, LinkEntry, LinkMark, MessageRow, Summary
from actorflow.actors.store.redis.script import COMMIT, COMMIT_WHEN_FULL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors.ports import ActorWrite, Commit
    from actorflow.actors.store.redis.keys import PartitionKeys, TypeNames
    from actorflow.actors.store.redis.script import Argument, Command, Script

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
"""Largest integer in a row."""

_pack = Encoder().encode
decode_message = Decoder(MessageRow).decode
"""Read a message row; `parked` is empty in it, the reason is kept beside it."""

decode_reminder = Decoder(DueReminder).decode
"""Read the row of a reminder."""

decode_mark = Decoder(LinkMark).decode
"""Read how far a link is stored."""

_decode_entry = Decoder(LinkEntry).decode

_EMPTY = Standing()
_NUMBERS = b" ".join([b"%d"] * 19)
_PLACE_BYTES = 4 + 16 + 16


class PackedCommit(NamedTuple):
    """A commit ready to be sent. The same one is packed to the same command each time."""

    script: Script
    command: Command
    fault: str
    """What is wrong with it, or ""; it is sent all the same, since an owner that was fenced out
    must hear that first."""


def pack_commit(commit: Commit, keys: PartitionKeys, *, is_repeated: bool = False) -> PackedCommit:
    """Encode a commit for its partition.

    Args:
        is_repeated: whether it may have been done already, which a full server must answer as well.
    """
    fault = fault_in(_EMPTY, commit)
    if not fault:
        try:
            names, args, creates = _arguments(commit, keys)
        except (UnicodeEncodeError, OverflowError) as error:
            fault = f"{type(error).__name__}: {error}"
        else:
            script = COMMIT if creates and not is_repeated else COMMIT_WHEN_FULL
            return PackedCommit(script, script.call(names, args), "")
    numbers = _NUMBERS % (commit.lease.epoch, commit.prev_seq, 0, 1, *[0] * 15)
    args = [commit.lease.token, _sendable(commit.commit_id), "", numbers]
    return PackedCommit(COMMIT_WHEN_FULL, COMMIT_WHEN_FULL.call(keys.shared, args), fault)


def reminder_member(number: int, name: str) -> str:
    """Return what stands for a reminder in the due index: it sorts by number, then by name."""
    digits = str(number)
    return f"{chr(96 + len(digits))}{digits}{name}"


def decode_entry(member: bytes) -> LinkEntry:
    """Read an outbox entry. Raises msgspec.DecodeError."""
    return _decode_entry(member[_PLACE_BYTES:])


def encode_summary(summary: Summary) -> bytes:
    """Return a summary without its phase, which is kept beside it.

    Raises:
        UnicodeEncodeError, OverflowError: no server can take it.
    """
    label, created_ms, updated_ms = summary.label.encode(), summary.created_ms, summary.updated_ms
    if not (INT_MIN <= created_ms <= INT_MAX and INT_MIN <= updated_ms <= INT_MAX):
        raise OverflowError(f"{created_ms} or {updated_ms} does not fit in 64 bits")
    return b"%d %d %d %b%b" % (created_ms, updated_ms, len(label), label, summary.head)


def decode_summary(phase: bytes, data: bytes) -> Summary:
    """Read a summary. Raises ValueError when it is damaged."""
    created, updated, length, rest = data.split(b" ", 3)
    end = int(length)
    return Summary(rest[:end].decode(), phase.decode(), int(created), int(updated), rest[end:])


def _arguments(
    commit: Commit, keys: PartitionKeys
) -> tuple[list[Argument], list[Argument], list[int]]:
    """Return keys and arguments of the script, and the numbers of actors that it creates.

    Raises:
        UnicodeEncodeError, OverflowError: no server can take it. Each text from outside is encoded
            here, since one that cannot be would spoil the pipeline that it is in.
    """
    lease, seq, puts = commit.lease, _checked(commit.seq), commit.put_messages
    types: dict[str, tuple[TypeNames, bytes]] = {}
    names: list[str] = []
    writes: list[Argument] = []
    creates: list[int] = []
    reminders: tuple[list[Argument], list[Argument], list[Argument]] = ([], [], [])
    for write in _creates_last(commit.actors):
        actor_type, key = write.actor
        known = types.get(actor_type)
        if known is None:
            found = keys.names_of(actor_type)
            known = types[actor_type] = (found, b"%d %d" % (len(types) + 1, found.state_bytes))
        (state, log, _, _), type_words = known
        names += (state + key, log + key)
        _add_write(writes, write, type_words, seq)
        if write.create:
            creates.append(_checked(write.number))
        if write.put_reminders or write.delete_reminders:
            _add_reminders(write, *reminders)
    "".join((*names, lease.token, commit.commit_id, commit.cursor)).encode()
    messages, parked = _messages(commit)
    due, _, gone = reminders
    numbers = _NUMBERS % (
        lease.epoch,
        commit.prev_seq,
        seq,
        0,
        min(creates) if creates else 0,
        _checked(max(creates) + 1) if creates else 0,
        puts[0].id if puts else 0,
        _checked(puts[-1].id + 1) if puts else 0,
        len(types),
        len(commit.actors),
        len(puts),
        len(commit.delete_messages),
        len(commit.park_messages),
        len(parked) // 2,
        len(due) // 2,
        len(gone),
        len(commit.put_outbox),
        len(commit.trim_outbox),
        len(commit.put_marks),
    )
    args: list[Argument] = [lease.token, commit.commit_id, commit.cursor, numbers]
    args += messages
    args += commit.delete_messages
    args += parked
    for part in reminders:
        args += part
    if commit.put_outbox or commit.trim_outbox or commit.put_marks:
        _add_links(args, commit)
    args += writes
    return [*keys.shared, *[found.index_key for found, _ in types.values()], *names], args, creates


def _messages(commit: Commit) -> tuple[list[Argument], list[Argument]]:
    """Return the messages to store, and those to park."""
    messages: list[Argument] = []
    parked: list[Argument] = []
    for message_id, reason in commit.park_messages:
        parked += (message_id, reason.encode())
    for row in commit.put_messages:
        messages += (row.id, _pack(row))
        if row.parked:
            parked += (row.id, row.parked.encode())
    return messages, parked


def _creates_last(writes: Sequence[ActorWrite]) -> Sequence[ActorWrite]:
    if len(writes) > 1:
        return sorted(writes, key=attrgetter("create"))
    return writes


def _add_write(args: list[Argument], write: ActorWrite, type_words: bytes, seq: int) -> None:
    """Add a write's head, a text of nine words, and behind it what the head counts."""
    _, number, create, delete, summary, put, deleted, log_reset, log_start, log, armed, off = write
    if delete:
        args.append(b"d %d %b 0 0 0 0 " % (number, type_words))
        return
    at = len(args)
    args.append(b"")  # the head, which counts what follows
    kind, phase = b"w", b""
    if create:
        kind = b"c"
        args += (b"n", number)
    elif log_reset:
        kind = b"r"
        args += (b"g", seq)
    if summary is not None:
        text = summary.phase.encode()
        phase = b"=" + text
        if create:
            args += (b"p", text)
        args += (b"u", encode_summary(summary))
    for name, value in put:
        args += (b"f" + name.encode(), value)
    for reminder in armed:
        args += (b"r" + reminder.name.encode(), b"")
    pairs = (len(args) - at) // 2
    for name in deleted:
        args.append(b"f" + name.encode())
    for name in off:
        args.append(b"r" + name.encode())
    args[at] = b"%b %d %b %d %d %d %d %b" % (
        kind,
        number,
        type_words,
        pairs,
        len(deleted) + len(off),
        len(log),
        log_start,
        phase,
    )
    args += log


def _add_reminders(
    write: ActorWrite, due: list[Argument], rows: list[Argument], gone: list[Argument]
) -> None:
    for reminder in write.put_reminders:
        member = reminder_member(write.number, reminder.name)
        _checked(reminder.period_ms)
        due += (_checked(reminder.due_ms), member)
        rows += (member, _pack((write.actor, write.number, reminder)))
    gone += [reminder_member(write.number, name) for name in write.delete_reminders]


def _add_links(args: list[Argument], commit: Commit) -> None:
    for entry in commit.put_outbox:
        args += (0, outbox_place(entry.destination, entry.id) + _pack(entry))
    for destination, last in commit.trim_outbox:
        beyond = outbox_place(destination, EntryId(last.epoch, last.n + 1))
        args += (b"[%04x" % destination, b"(" + beyond)
    for mark in commit.put_marks:
        args += (mark.source, _pack(mark))


def outbox_place(destination: int, entry: EntryId) -> bytes:
    """Return what an outbox entry begins with: it sorts by destination, then by id."""
    return b"%04x%016x%016x" % (destination, _checked(entry.epoch), _checked(entry.n))


def _checked(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise OverflowError(f"{value} does not fit in 64 bits")
    return value


def _sendable(text: str) -> bytes:
    return text.encode(errors="replace")
