"""The statements of a commit. One call of `executemany` a table, so that no row costs Python twice.

A check that needs stored rows is part of the statement that writes them: it counts the rows that
matched. A mismatch raises `_MismatchError` within the transaction; its rollback leaves nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.msgpack import Encoder

from actorflow.actors.lease import Standing, advanced, fault_in, refusal
from actorflow.actors.ports import CommitResult
from actorflow.actors.store.sqlite.faults import REFUSED_DATA

if TYPE_CHECKING:
    import sqlite3

    from actorflow.actors.ports import ActorWrite, Commit

_log = logging.getLogger(__name__)
_pack = Encoder().encode


_NOBODY = (None, None)
_NO_SUMMARY = (None,) * 5

_SUMMARISE = (
    "UPDATE actor SET label = ?1, created_ms = ?3, updated_ms = ?4, head = ?5,"
    " log_length = log_length + ?6"
    " WHERE number = ?7 AND type = ?8 AND key = ?9 AND log_length = ifnull(?10, log_length)"
    " AND phase IS ?2"
)
"""For a row whose phase stays: naming an indexed column costs the index though its value stays."""

_SUMMARISE_PHASE = (
    "UPDATE actor SET label = ?1, phase = ?2, created_ms = ?3, updated_ms = ?4, head = ?5,"
    " log_length = log_length + ?6"
    " WHERE number = ?7 AND type = ?8 AND key = ?9 AND log_length = ifnull(?10, log_length)"
    " AND phase IS NOT ?2"
)


class _MismatchError(Exception):
    """The commit contradicts what is stored."""


def read_standing(connection: sqlite3.Connection) -> Standing:
    """Read where the partition stands."""
    return Standing._make(
        connection.execute(
            "SELECT epoch, token, seq, commit_id, next_actor_number, next_message_id"
            " FROM partition WHERE number = 0"
        ).fetchone()
    )


def write_standing(connection: sqlite3.Connection, standing: Standing) -> None:
    """Store where the partition stands."""
    connection.execute(
        "UPDATE partition SET epoch = ?, token = ?, seq = ?, commit_id = ?,"
        " next_actor_number = ?, next_message_id = ? WHERE number = 0",
        standing,
    )


def read_abandoned(connection: sqlite3.Connection) -> int:
    """Read `Acquired.abandoned` of the present owner."""
    return int(connection.execute("SELECT abandoned FROM partition").fetchone()[0])


def write_abandoned(connection: sqlite3.Connection, abandoned: int) -> None:
    """Store `Acquired.abandoned` of the present owner."""
    connection.execute("UPDATE partition SET abandoned = ? WHERE abandoned <> ?", (abandoned,) * 2)


def apply_commit(
    connection: sqlite3.Connection, commit: Commit, assumed: Standing
) -> tuple[CommitResult, Standing]:
    """Do the commit's work in an open transaction. The caller commits it on OK, else rolls back.

    Args:
        assumed: where the partition stands as far as the caller knows. The statement that changes
            the row compares it, and the row is read only where they differ: a wrong one costs a
            read and nothing else.

    Returns:
        The answer, and what to assume for the next commit.
    """
    standing = assumed
    try:
        after = advanced(standing, commit)
        if refusal(standing, commit) is not None or not _swap_standing(connection, standing, after):
            standing = read_standing(connection)
            refused = refusal(standing, commit)
            if refused is not None:
                return refused, standing
            after = advanced(standing, commit)
            write_standing(connection, after)
        fault = fault_in(standing, commit) or _fault_in_links(commit)
        if not fault:
            _apply_actors(connection, commit.actors)
            _apply_messages(connection, commit)
            return CommitResult.OK, after
    except _MismatchError as mismatch:
        fault = str(mismatch)
    except REFUSED_DATA as error:
        fault = f"{type(error).__name__}: {error}"
    _log.error("commit is malformed", extra={"commit": commit.commit_id, "fault": fault})
    return CommitResult.BAD, standing


def _swap_standing(connection: sqlite3.Connection, expected: Standing, after: Standing) -> bool:
    """Compare and swap where the partition stands; False when it is not as expected."""
    try:
        swapped = connection.execute(
            "UPDATE partition SET seq = ?, commit_id = ?, next_actor_number = ?,"
            " next_message_id = ? WHERE number = 0 AND epoch = ? AND token = ? AND seq = ?"
            " AND commit_id = ? AND next_actor_number = ? AND next_message_id = ?",
            (*after[2:], *expected),
        )
    except REFUSED_DATA:
        return False  # an owner that was fenced out must hear that first: the row tells
    return bool(swapped.rowcount)


def _fault_in_links(commit: Commit) -> str:
    """Refuse what would need other partitions, rather than forget it."""
    if commit.put_outbox or commit.put_marks:
        return "this store has one partition, so there is none to link to"
    return ""


def _apply_actors(connection: sqlite3.Connection, writes: tuple[ActorWrite, ...]) -> None:
    deleted = []
    created = []
    reset = []
    changed = []
    for w in writes:
        if w.delete:
            deleted.append((w.number, *w.actor))
        elif w.create:
            created.append(w)
        else:
            changed.append(w)
            if w.log_reset:
                reset.append((w.number,))
    if deleted:
        _delete_actors(connection, deleted)
    if created:
        _create_actors(connection, created)
    if reset:
        connection.executemany("DELETE FROM log WHERE actor = ?", reset)
        connection.executemany("UPDATE actor SET log_length = 0 WHERE number = ?", reset)
    if changed:
        _update_actors(connection, changed)
    appended = [(w.number, w.log_start, _pack(w.log_append)) for w in writes if w.log_append]
    if appended:
        connection.executemany("INSERT INTO log (actor, start, entries) VALUES (?, ?, ?)", appended)
    _apply_fields(connection, writes)
    _apply_reminders(connection, writes)


def _delete_actors(connection: sqlite3.Connection, deleted: list[tuple[int, str, str]]) -> None:
    cursor = connection.executemany(
        "DELETE FROM actor WHERE number = ? AND type = ? AND key = ?", deleted
    )
    if cursor.rowcount != len(deleted):
        raise _MismatchError("an actor to delete does not exist under its number")
    numbers = [(number,) for number, _, _ in deleted]
    for table in ("log", "field", "reminder"):
        connection.executemany(f"DELETE FROM {table} WHERE actor = ?", numbers)  # noqa: S608 -- names above


def _create_actors(connection: sqlite3.Connection, writes: list[ActorWrite]) -> None:
    connection.executemany(
        "INSERT INTO actor"
        " (number, type, key, log_length, label, phase, created_ms, updated_ms, head)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(w.number, *w.actor, len(w.log_append), *(w.summary or _NO_SUMMARY)) for w in writes],
    )


def _update_actors(connection: sqlite3.Connection, writes: list[ActorWrite]) -> None:
    # The last value is the length that the log must have, None where nothing is appended.
    summarised = []
    plain = []
    for w in writes:
        count = len(w.log_append)
        row = (count, w.number, *w.actor, w.log_start if count else None)
        if w.summary is not None:
            summarised.append((*w.summary, *row))
        else:
            plain.append(row)
    matched = 0
    if summarised:
        matched += connection.executemany(_SUMMARISE, summarised).rowcount
        if matched != len(summarised):
            matched += connection.executemany(_SUMMARISE_PHASE, summarised).rowcount
    if plain:
        matched += connection.executemany(
            "UPDATE actor SET log_length = log_length + ?"
            " WHERE number = ? AND type = ? AND key = ? AND log_length = ifnull(?, log_length)",
            plain,
        ).rowcount
    if matched != len(writes):
        raise _MismatchError(
            "an actor does not exist under its number, or its log has another length"
        )


def _apply_fields(connection: sqlite3.Connection, writes: tuple[ActorWrite, ...]) -> None:
    put = [(w.number, *item) for w in writes if w.put_fields for item in w.put_fields]
    deleted = [(w.number, name) for w in writes if w.delete_fields for name in w.delete_fields]
    if put:
        connection.executemany("INSERT OR REPLACE INTO field VALUES (?, ?, ?)", put)
    if deleted:
        connection.executemany("DELETE FROM field WHERE actor = ? AND name = ?", deleted)


def _apply_reminders(connection: sqlite3.Connection, writes: tuple[ActorWrite, ...]) -> None:
    put = [(w.number, *item) for w in writes if w.put_reminders for item in w.put_reminders]
    deleted = [
        (w.number, name) for w in writes if w.delete_reminders for name in w.delete_reminders
    ]
    if put:
        connection.executemany("INSERT OR REPLACE INTO reminder VALUES (?, ?, ?, ?, ?)", put)
    if deleted:
        connection.executemany("DELETE FROM reminder WHERE actor = ? AND name = ?", deleted)


def _apply_messages(connection: sqlite3.Connection, commit: Commit) -> None:
    if deleted := commit.delete_messages:
        cursor = connection.executemany(
            "DELETE FROM message WHERE id = ?", [(message_id,) for message_id in deleted]
        )
        if cursor.rowcount != len(deleted):
            raise _MismatchError("a message to delete is not stored")
    if parked := commit.park_messages:
        cursor = connection.executemany("UPDATE message SET parked = ?2 WHERE id = ?1", parked)
        if cursor.rowcount != len(parked):
            raise _MismatchError("a message to park is not stored")
    if commit.put_messages:
        connection.executemany(
            "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (id_, *target, method, payload, *(sender or _NOBODY), parked)
                for id_, target, method, payload, sender, parked in commit.put_messages
            ],
        )
