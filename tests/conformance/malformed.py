"""Commits that a store must refuse with BAD. `spoil` adds one fault to a good commit.

The store has ORDER as number 1 (log of 2, field `a`, reminder `r`), AUDIT as number 2 (empty), and
the messages 1 and 2. The good commit creates actor 3, writes to actor 2, puts message 3, parks 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

from actorflow.actors.address import ActorId
from actorflow.actors.ports import ActorWrite, Commit, MessageRow, Reminder, Summary

ORDER = ActorId("Order", "o-1")
AUDIT = ActorId("Audit", "main")
ABSENT = ActorId("Order", "absent")
SURROGATE = "\ud800"


@dataclass(frozen=True)
class Malformed:
    """One way to be wrong."""

    name: str
    spoil: Callable[[Commit], Commit]


def _write(name: str, *writes: ActorWrite) -> Malformed:
    return Malformed(name, lambda commit: commit._replace(actors=(*commit.actors, *writes)))


def _put(name: str, *rows: MessageRow) -> Malformed:
    return Malformed(
        name, lambda commit: commit._replace(put_messages=(*commit.put_messages, *rows))
    )


def _delete(name: str, *ids: int) -> Malformed:
    return Malformed(name, lambda commit: commit._replace(delete_messages=ids))


def _park(name: str, *parked: tuple[int, str]) -> Malformed:
    return Malformed(
        name, lambda commit: commit._replace(park_messages=(*commit.park_messages, *parked))
    )


def _summary(label: str = "", phase: str = "", head: bytes = b"", created_ms: int = 0) -> Summary:
    return Summary(label, phase, created_ms, 0, head)


_WAKE = Reminder("w", 1, 0, b"")

MALFORMED = (
    Malformed("seq does not follow", lambda commit: commit._replace(seq=commit.seq + 1)),
    Malformed("seq stands still", lambda commit: commit._replace(seq=commit.prev_seq)),
    Malformed("empty commit id", lambda commit: commit._replace(commit_id="")),
    Malformed("commit id not Unicode", lambda commit: commit._replace(commit_id=SURROGATE)),
    _write("number written twice", ActorWrite(AUDIT, 2, put_fields=(("b", b""),))),
    _write("number created twice", ActorWrite(ABSENT, 3, create=True)),
    _write("create what exists", ActorWrite(ORDER, 4, create=True)),
    _write("create with a used number", ActorWrite(ABSENT, 1, create=True)),
    _write("create with number zero", ActorWrite(ABSENT, 0, create=True)),
    _write(
        "create the same actor twice",
        ActorWrite(ABSENT, 4, create=True),
        ActorWrite(ABSENT, 5, create=True),
    ),
    _write("write to nobody", ActorWrite(ABSENT, 4)),
    _write("write under another number", ActorWrite(ORDER, 4, summary=_summary())),
    _write("write to another actor's number", ActorWrite(ABSENT, 1, summary=_summary())),
    _write("fields of nobody", ActorWrite(ABSENT, 4, put_fields=(("a", b""),))),
    _write("reminders of nobody", ActorWrite(ABSENT, 4, put_reminders=(_WAKE,))),
    _write("reset of nobody", ActorWrite(ABSENT, 4, log_reset=True)),
    _write("delete nobody", ActorWrite(ABSENT, 4, delete=True)),
    _write("delete under another number", ActorWrite(ORDER, 4, delete=True)),
    _write("delete another actor's number", ActorWrite(ABSENT, 1, delete=True)),
    _write("delete and create", ActorWrite(ORDER, 1, delete=True, create=True)),
    _write("delete and summarise", ActorWrite(ORDER, 1, delete=True, summary=_summary())),
    _write("delete and put", ActorWrite(ORDER, 1, delete=True, put_fields=(("b", b""),))),
    _write("delete and append", ActorWrite(ORDER, 1, delete=True, log_append=(b"",), log_start=2)),
    _write("delete and reset", ActorWrite(ORDER, 1, delete=True, log_reset=True)),
    _write("delete and remind", ActorWrite(ORDER, 1, delete=True, put_reminders=(_WAKE,))),
    _write(
        "delete then write",
        ActorWrite(ORDER, 1, delete=True),
        ActorWrite(ORDER, 1, summary=_summary()),
    ),
    _write("log starts too early", ActorWrite(ORDER, 1, log_append=(b"",), log_start=1)),
    _write("log starts too late", ActorWrite(ORDER, 1, log_append=(b"",), log_start=3)),
    _write("log starts at zero again", ActorWrite(ORDER, 1, log_append=(b"",))),
    _write(
        "log starts late after a reset",
        ActorWrite(ORDER, 1, log_reset=True, log_append=(b"",), log_start=2),
    ),
    _write(
        "log starts late in a new actor",
        ActorWrite(ABSENT, 4, create=True, log_append=(b"",), log_start=1),
    ),
    _write(
        "late log with summary",
        ActorWrite(ORDER, 1, summary=_summary(), log_append=(b"",), log_start=3),
    ),
    _write("field put twice", ActorWrite(ORDER, 1, put_fields=(("b", b"1"), ("b", b"2")))),
    _write("field deleted twice", ActorWrite(ORDER, 1, delete_fields=("a", "a"))),
    _write(
        "field put and deleted",
        ActorWrite(ORDER, 1, put_fields=(("a", b""),), delete_fields=("a",)),
    ),
    _write("reminder put twice", ActorWrite(ORDER, 1, put_reminders=(_WAKE, _WAKE))),
    _write(
        "reminder put and deleted",
        ActorWrite(ORDER, 1, put_reminders=(_WAKE,), delete_reminders=("w",)),
    ),
    _write("negative period", ActorWrite(ORDER, 1, put_reminders=(Reminder("w", 1, -1, b""),))),
    _write("summary too large", ActorWrite(ORDER, 1, summary=_summary(head=bytes(16 * 1024 + 1)))),
    _write(
        "summary too large in UTF-8",
        ActorWrite(ORDER, 1, summary=_summary(label="\u00e9" * 4_097, head=bytes(8 * 1024))),
    ),
    _write("label not Unicode", ActorWrite(ORDER, 1, summary=_summary(label=SURROGATE))),
    _write("field name not Unicode", ActorWrite(ORDER, 1, put_fields=((SURROGATE, b""),))),
    _write("key not Unicode", ActorWrite(ActorId("Order", SURROGATE), 4, create=True)),
    _write("time beyond 64 bits", ActorWrite(ORDER, 1, summary=_summary(created_ms=2**63))),
    _write(
        "due beyond 64 bits", ActorWrite(ORDER, 1, put_reminders=(Reminder("w", 2**63, 0, b""),))
    ),
    _write("number beyond 64 bits", ActorWrite(ABSENT, 2**63, create=True)),
    _write("last number of all", ActorWrite(ABSENT, 2**63 - 1, create=True)),
    _put("message put again", MessageRow(2, ORDER, "add", b"")),
    _put("message put twice", MessageRow(3, ORDER, "add", b"")),
    _put("messages fall", MessageRow(5, ORDER, "add", b""), MessageRow(4, ORDER, "add", b"")),
    _put("message beyond 64 bits", MessageRow(2**63, ORDER, "add", b"")),
    _put("method not Unicode", MessageRow(4, ORDER, SURROGATE, b"")),
    _delete("delete an unknown message", 2, 9),
    _delete("delete a message twice", 2, 2),
    _delete("delete a message that is put", 2, 3),
    _delete("delete a message that is parked", 1),
    _park("park an unknown message", (9, "poison")),
    _park("park a message twice", (1, "again")),
    _park("park a message that is put", (3, "poison")),
    _park("park without a reason", (2, "")),
    _park("reason not Unicode", (2, SURROGATE)),
)
