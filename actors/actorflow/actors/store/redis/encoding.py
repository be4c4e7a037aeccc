"""A commit as the arguments of `commit.lua`, and rows as bytes.

What Lua must understand is written as text; what it only keeps is MessagePack of the port's own
types. All integers are at most 64 bits, because every other store keeps them so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.msgpack import Decoder, Encoder

from actorflow.actors.lease import Standing, fault_in
from actorflow.actors.ports import DueReminder, EntryId, LinkEntry, LinkMark, MessageRow, Summary
from actorflow.actors.store.redis.script import COMMIT, COMMIT_WHEN_FULL

if TYPE_CHECKING:
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
_PLACE_BYTES = 4 + 16 + 16


class PackedCommit:
    """A commit ready to be sent: the same command every time."""

    __slots__ = ("_command", "_script", "commit", "fault", "is_doubtful")

    def __init__(self, commit: Commit, script: Script, command: Command, fault: str) -> None:
        self.commit = commit
        self._script = script
        self._command = command
        self.fault = fault
        """What is wrong with it, or ""; it is sent all the same, since an owner that was fenced out
        must hear that first."""
        self.is_doubtful = False
        """Whether nobody knows if a server has carried it out."""

    @property
    def script(self) -> Script:
        """The script of `command`. What may have been done already must be answered by a full
        server as well."""
        return COMMIT_WHEN_FULL if self.is_doubtful else self._script

    @property
    def command(self) -> Command:
        """The call of `script`."""
        if self.is_doubtful:
            return (self._command[0], COMMIT_WHEN_FULL.sha, *self._command[2:])
        return self._command


def pack_commit(commit: Commit, keys: PartitionKeys) -> PackedCommit:
    """Encode a commit for its partition."""
    fault = fault_in(_EMPTY, commit)
    if not fault:
        creates = [write.number for write in commit.actors if write.create]
        script = COMMIT if creates else COMMIT_WHEN_FULL
        try:
            command = script.call(*_arguments(commit, keys, creates))
            return PackedCommit(commit, script, command, "")
        except (UnicodeEncodeError, OverflowError) as error:
            fault = f"{type(error).__name__}: {error}"
    lease = commit.lease
    head = (lease.epoch, lease.token, commit.prev_seq, 0, _sendable(commit.commit_id), "1")
    return PackedCommit(commit, COMMIT_WHEN_FULL, COMMIT_WHEN_FULL.call(keys.shared, head), fault)


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
    commit: Commit, keys: PartitionKeys, creates: list[int]
) -> tuple[list[Argument], list[Argument]]:
    """Return keys and arguments of the script.

    Raises:
        UnicodeEncodeError, OverflowError: no server can take it. Each text from outside is encoded
            here, since one that cannot be would spoil the pipeline that it is in.
    """
    lease = commit.lease
    puts = commit.put_messages
    types: dict[str, tuple[int, TypeNames]] = {}
    names: list[str] = []
    writes: list[Argument] = []
    due: list[Argument] = []
    rows: list[Argument] = []
    gone: list[Argument] = []
    ordered = sorted(commit.actors, key=_creates_last) if creates else commit.actors
    for write in ordered:
        actor_type, key = write.actor
        known = types.get(actor_type)
        if known is None:
            known = types[actor_type] = (len(types) + 1, keys.names_of(actor_type))
        type_names = known[1]
        names += (type_names.state + key, type_names.log + key)
        _add_write(writes, write, known[0], commit.seq)
        if write.put_reminders or write.delete_reminders:
            _add_reminders(write, due, rows, gone)
    "".join((*names, lease.token, commit.commit_id, commit.cursor)).encode()
    messages, parked = _messages(commit)
    args: list[Argument] = [
        lease.epoch,
        lease.token,
        commit.prev_seq,
        _checked(commit.seq),
        commit.commit_id,
        "",
        min(creates) if creates else "",
        _checked(max(creates) + 1) if creates else "",
        puts[0].id if puts else "",
        _checked(puts[-1].id + 1) if puts else "",
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
        commit.cursor,
    ]
    args += [known[1].state_bytes for known in types.values()]
    for part in (messages, commit.delete_messages, parked, due, rows, gone):
        args += part
    if commit.put_outbox or commit.trim_outbox or commit.put_marks:
        _add_links(args, commit)
    args += writes
    return [*keys.shared, *[known[1].index_key for known in types.values()], *names], args


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


def _creates_last(write: ActorWrite) -> bool:
    return not write.delete


def _add_write(args: list[Argument], write: ActorWrite, type_index: int, seq: int) -> None:
    if write.delete:
        args += ("d", write.number, type_index, "", 0, 0, 0, 0)
        return
    pairs: list[Argument] = []
    kind = "w"
    if write.create:
        kind = "c"
        pairs += ("n", _checked(write.number))
    elif write.log_reset:
        kind = "r"
        pairs += ("g", seq)
    phase = b""
    summary = write.summary
    if summary is not None:
        phase = b"=" + summary.phase.encode()
        if write.create:
            pairs += ("p", phase[1:])
        pairs += ("u", encode_summary(summary))
    for name, value in write.put_fields:
        pairs += (b"f" + name.encode(), value)
    for reminder in write.put_reminders:
        pairs += (b"r" + reminder.name.encode(), "")
    deletes: list[Argument] = [b"f" + name.encode() for name in write.delete_fields]
    deletes += [b"r" + name.encode() for name in write.delete_reminders]
    log = write.log_append
    args += (kind, write.number, type_index, phase)
    args += (len(pairs) // 2, len(deletes), len(log), write.log_start)
    args += pairs
    args += deletes
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
