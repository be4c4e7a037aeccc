"""PURE. What one turn wants: collected while it runs, kept only if it ends well."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from actorflow.actors.message import Message
from actorflow.actors.ports import ActorWrite, Reminder, Summary

if TYPE_CHECKING:
    from actorflow.actors.address import ActorId

T = TypeVar("T")


class Effects:
    """The effects of one turn of one actor, or the folded effects of several.

    Nothing here happens before the commit that stores it. A turn that raises leaves none of it.
    `number` and `log_start` are filled in by the partition when the turn has ended.
    """

    __slots__ = (
        "actor",
        "create",
        "delete",
        "fields",
        "keep",
        "log",
        "log_reset",
        "log_start",
        "number",
        "rejection",
        "reminders",
        "retire",
        "sends",
        "size_bytes",
        "summary",
    )

    def __init__(self, actor: ActorId) -> None:
        self.actor = actor
        self.number = 0
        self.create = False
        self.delete = False
        self.summary: Summary | None = None
        self.fields: dict[str, bytes | None] | None = None
        self.log: list[bytes] | None = None
        self.log_start = 0
        self.log_reset = False
        self.reminders: dict[str, Reminder | None] | None = None
        self.sends: list[Message] | None = None
        self.rejection: Exception | None = None
        self.keep = False
        self.retire = False
        self.size_bytes = 0

    def set_summary(self, summary: Summary) -> None:
        """Replace what can be read and searched without activating the actor."""
        self.summary = summary
        self.size_bytes += len(summary.head) + 64

    def put_field(self, name: str, value: bytes) -> None:
        """Write one named value of the actor's state."""
        if self.fields is None:
            self.fields = {}
        self.fields[name] = value
        self.size_bytes += len(name) + len(value)

    def delete_field(self, name: str) -> None:
        """Remove one named value; harmless when there is none."""
        if self.fields is None:
            self.fields = {}
        self.fields[name] = None
        self.size_bytes += len(name)

    def append_log(self, entry: bytes) -> None:
        """Append one entry to the actor's log."""
        if self.log is None:
            self.log = []
        self.log.append(entry)
        self.size_bytes += len(entry) + 16

    def reset_log(self) -> None:
        """Drop the whole log, what this turn appended so far included."""
        self.log_reset = True
        self.log = None

    def set_reminder(self, reminder: Reminder) -> None:
        """Set or replace the reminder of this name."""
        if self.reminders is None:
            self.reminders = {}
        self.reminders[reminder.name] = reminder
        self.size_bytes += len(reminder.payload) + 32

    def cancel_reminder(self, name: str) -> None:
        """Remove the reminder of this name; harmless when there is none."""
        if self.reminders is None:
            self.reminders = {}
        self.reminders[name] = None

    def send(self, target: ActorId, method: str, payload: bytes = b"") -> None:
        """Send a message that takes effect exactly once, if and when this turn commits."""
        if self.sends is None:
            self.sends = []
        self.sends.append(Message(target, method, payload, sender=self.actor))
        self.size_bytes += len(payload) + 64

    def reject(self, error: Exception) -> None:
        """Answer the caller with `error`. The actor promises that it changed nothing in this turn;
        all other effects are dropped."""
        self.rejection = error

    def answer_error(self, error: Exception) -> None:
        """Answer the caller with `error`, and keep all other effects of the turn."""
        self.rejection = error
        self.keep = True

    def retire_actor(self) -> None:
        """Let the live object go after the commit, without waiting until it was idle for long."""
        self.retire = True

    def delete_actor(self) -> None:
        """Delete everything stored of this actor: state, log and reminders."""
        self.delete = True
        self.summary = None
        self.fields = None
        self.log = None
        self.log_reset = False
        self.reminders = None

    def writes(self) -> bool:
        """Whether anything of the actor itself is to be stored."""
        return (
            self.log is not None
            or self.summary is not None
            or self.fields is not None
            or self.reminders is not None
            or self.log_reset
            or self.delete
        )

    def absorb(self, later: Effects) -> None:
        """Fold the effects of a later turn of the same actor number into these."""
        self.size_bytes += later.size_bytes
        if later.summary is not None:
            self.summary = later.summary
        if later.fields is not None:
            self.fields = later.fields if self.fields is None else self.fields | later.fields
        if later.reminders is not None:
            self.reminders = (
                later.reminders if self.reminders is None else self.reminders | later.reminders
            )
        if later.log_reset:
            self.log_reset = not self.create
            self.log, self.log_start = later.log, 0
        elif later.log is not None:
            if self.log is None:
                self.log, self.log_start = later.log, later.log_start
            else:
                self.log.extend(later.log)

    def to_write(self) -> ActorWrite:
        """Return the net effect in the form that a store takes."""
        if self.delete:
            return ActorWrite(self.actor, self.number, delete=True)
        put_fields: tuple[tuple[str, bytes], ...] = ()
        put_reminders: tuple[tuple[str, Reminder], ...] = ()
        delete_fields: tuple[str, ...] = ()
        delete_reminders: tuple[str, ...] = ()
        if self.fields is not None:
            put_fields, delete_fields = _parted(self.fields)
        if self.reminders is not None:
            put_reminders, delete_reminders = _parted(self.reminders)
        return ActorWrite(
            self.actor,
            self.number,
            create=self.create,
            summary=self.summary,
            put_fields=put_fields,
            delete_fields=delete_fields,
            log_reset=self.log_reset,
            log_start=self.log_start,
            log_append=tuple(self.log) if self.log is not None else (),
            put_reminders=tuple([put for _, put in put_reminders]) if put_reminders else (),
            delete_reminders=delete_reminders,
        )


def _parted(changes: dict[str, T | None]) -> tuple[tuple[tuple[str, T], ...], tuple[str, ...]]:
    """Return what is put, and the names of what is deleted."""
    put = tuple([(name, value) for name, value in changes.items() if value is not None])
    if len(put) == len(changes):
        return put, ()
    return put, tuple([name for name, value in changes.items() if value is None])
