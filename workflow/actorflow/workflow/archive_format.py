"""PURE. The lines of an archive: instances as JSON, independent of the store they came from.

The first line is a header with the version, the last one says how many lines of each kind there
were, so that a file that was cut off is noticed. Between them each line is one instance with all
that waits for it, or messages to an id that has no instance yet. Bytes are text where they are
UTF-8, so that a person can read the file, else base64.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from actorflow.actors.address import ActorId
from actorflow.actors.errors import UsageError
from actorflow.actors.ports import MessageRow, Reminder, Summary
from actorflow.workflow.requests import DEFAULT_APP, app_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

VERSION = 2
"""Of the format; a reader refuses a newer one. Since 2 lines name apps, and messages their keys."""

LINE_MAX_BYTES = 1024 * 1024 * 1024
"""Longest line that is read."""


class ArchiveError(UsageError):
    """An archive cannot be read or imported. The text says which line, and why."""

    code = "ARCHIVE"


class Binary(msgspec.Struct, frozen=True):
    """Bytes that are no UTF-8 text."""

    b64: str


Blob: TypeAlias = str | Binary


class _Line(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", kw_only=True):
    """Base of all lines."""


class Header(_Line, frozen=True, kw_only=True, tag="actorflow-archive"):
    """The first line. `selection` tells a person what was exported."""

    version: int
    app_id: str = ""
    created: str = ""
    selection: str = ""


class MessageLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pending message of one instance: `type` is that of its target, `key` too where it is not
    the instance's id."""

    type: str
    method: str
    payload: Blob = ""
    sender: tuple[str, str] | None = None
    parked: str = ""
    key: str = ""


class ReminderLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reminder of one instance."""

    name: str
    due_ms: int
    period_ms: int = 0
    payload: Blob = ""


class InstanceLine(_Line, frozen=True, kw_only=True, tag="instance"):
    """One instance and everything that waits for it. `app` is "" for the default app."""

    id: str
    app: str = ""
    name: str
    status: str
    created_ms: int
    updated_ms: int
    head: Blob
    fields: dict[str, Blob] = {}
    log: tuple[Blob, ...] = ()
    reminders: tuple[ReminderLine, ...] = ()
    messages: tuple[MessageLine, ...] = ()


class MessagesLine(_Line, frozen=True, kw_only=True, tag="messages"):
    """Messages to an id without an instance, such as the start of a child that is on its way."""

    id: str
    app: str = ""
    messages: tuple[MessageLine, ...]


class End(_Line, frozen=True, kw_only=True, tag="end"):
    """The last line."""

    instances: int
    messages: int


Line: TypeAlias = Header | InstanceLine | MessagesLine | End

_encode = msgspec.json.Encoder(order="deterministic").encode
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encode_line(line: Line) -> bytes:
    """Return the line's bytes with the line break."""
    return _encode(line) + b"\n"


def decode_line(data: bytes, number: int) -> Line:
    """Return a line. Raises ArchiveError, naming the line by its number."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveError(
            f"line {number} is no line of an archive: {error}; is the file damaged?"
        ) from error


def blob(data: bytes) -> Blob:
    """Return bytes as a line holds them."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Binary(b64encode(data).decode())


def bytes_of(value: Blob) -> bytes:
    """Return the bytes. Raises ArchiveError."""
    if isinstance(value, str):
        return value.encode()
    try:
        return b64decode(value.b64, validate=True)
    except ValueError as error:
        raise ArchiveError(f"a value is not base64: {error}") from error


def message_lines(id_: str, rows: Iterable[MessageRow]) -> tuple[MessageLine, ...]:
    """Return messages of the instance with this id as a line holds them."""
    return tuple(
        MessageLine(
            row.target.type,
            row.method,
            blob(row.payload),
            (row.sender.type, row.sender.key) if row.sender is not None else None,
            row.parked,
            row.target.key if row.target.key != id_ else "",
        )
        for row in rows
    )


def reminder_lines(reminders: Iterable[Reminder]) -> tuple[ReminderLine, ...]:
    """Return reminders as a line holds them, by name."""
    return tuple(
        ReminderLine(r.name, r.due_ms, r.period_ms, blob(r.payload))
        for r in sorted(reminders, key=lambda reminder: reminder.name)
    )


def instance_line(
    actor: ActorId,
    summary: Summary,
    fields: Mapping[str, bytes],
    log: Sequence[bytes],
    *,
    reminders: Iterable[Reminder],
    messages: Iterable[MessageRow],
) -> InstanceLine:
    """Return one instance as a line."""
    return InstanceLine(
        id=actor.key,
        app=app_name(actor.type),
        name=summary.label,
        status=summary.phase,
        created_ms=summary.created_ms,
        updated_ms=summary.updated_ms,
        head=blob(summary.head),
        fields={name: blob(value) for name, value in sorted(fields.items())},
        log=tuple(blob(entry) for entry in log),
        reminders=reminder_lines(reminders),
        messages=message_lines(actor.key, messages),
    )


def summary_from(line: InstanceLine) -> Summary:
    """Return the summary of a line."""
    return Summary(line.name, line.status, line.created_ms, line.updated_ms, bytes_of(line.head))


def reminders_from(line: InstanceLine) -> tuple[Reminder, ...]:
    """Return the reminders of a line."""
    return tuple(
        Reminder(r.name, r.due_ms, r.period_ms, bytes_of(r.payload)) for r in line.reminders
    )


def app_name(actor_type: str) -> str:
    """Return the app of an instance's actor type as a line holds it."""
    app_id = app_of(actor_type)
    return "" if app_id == DEFAULT_APP else app_id


def row_from(key: str, line: MessageLine, id_: int) -> MessageRow:
    """Return a message under a new id."""
    sender = ActorId(*line.sender) if line.sender is not None else None
    target = ActorId(line.type, line.key or key)
    return MessageRow(id_, target, line.method, bytes_of(line.payload), sender, line.parked)
