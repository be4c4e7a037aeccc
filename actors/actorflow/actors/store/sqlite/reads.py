"""The statements that read. Each runs on one connection and sees one committed state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import MsgspecError
from msgspec.msgpack import Decoder

from actorflow.actors.address import ActorId
from actorflow.actors.errors import CorruptError
from actorflow.actors.ports import (
    ActorRecord,
    DueReminder,
    MessageRow,
    Recovery,
    Reminder,
    Summary,
)
from actorflow.actors.query import prefix_end

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from actorflow.actors.ports import Query

_unpack = Decoder(tuple[bytes, ...]).decode

_RECORD = "number, log_length, label, phase, created_ms, updated_ms, head"


def load(
    connection: sqlite3.Connection, actors: Sequence[ActorId], *, with_log: bool
) -> list[ActorRecord | None]:
    """Read many actors; see `Store.load`."""
    return [_load_one(connection, actor, with_log=with_log) for actor in actors]


def recover(connection: sqlite3.Connection, horizon_ms: int) -> Recovery:
    """Read what waits; see `Store.recover`."""
    rows = connection.execute(
        "SELECT id, target_type, target_key, method, payload, sender_type, sender_key, parked"
        " FROM message ORDER BY id"
    )
    messages = tuple(
        MessageRow(
            id_,
            ActorId(target_type, target_key),
            method,
            payload,
            None if sender_type is None else ActorId(sender_type, sender_key),
            parked,
        )
        for id_, target_type, target_key, method, payload, sender_type, sender_key, parked in rows
    )
    return Recovery(
        messages, tuple(due(connection, from_ms=-(2**63), until_ms=horizon_ms, limit=-1))
    )


def due(
    connection: sqlite3.Connection, *, from_ms: int, until_ms: int, limit: int
) -> list[DueReminder]:
    """Read reminders of a window, at most `limit` unless that is negative; see `Store.due`."""
    rows = connection.execute(
        "SELECT actor.type, actor.key, actor.number, name, due_ms, period_ms, payload"
        " FROM reminder CROSS JOIN actor ON actor.number = reminder.actor"
        " WHERE due_ms >= ? AND due_ms < ? ORDER BY due_ms, reminder.actor, name LIMIT ?",
        (_bindable(from_ms), _bindable(until_ms), limit),
    )
    return [
        DueReminder(ActorId(type_, key), number, Reminder(*reminder))
        for type_, key, number, *reminder in rows
    ]


def find(connection: sqlite3.Connection, query: Query) -> list[ActorRecord]:
    """Search; see `Store.find`. Reads as many rows as it returns unless `label` or times filter."""
    statement, parameters = _search(query)
    return [
        ActorRecord(ActorId(query.actor_type, key), number, _summary(rest), {}, log_length)
        for key, number, log_length, *rest in connection.execute(statement, parameters)
    ]


def _load_one(
    connection: sqlite3.Connection, actor: ActorId, *, with_log: bool
) -> ActorRecord | None:
    row = connection.execute(
        f"SELECT {_RECORD} FROM actor WHERE type = ? AND key = ?",  # noqa: S608 -- a constant
        actor,
    ).fetchone()
    if row is None:
        return None
    number, log_length, *rest = row
    fields = dict(
        connection.execute("SELECT name, value FROM field WHERE actor = ?", (number,)).fetchall()
    )
    log: tuple[bytes, ...] = ()
    if with_log and log_length:
        rows = connection.execute(
            "SELECT entries FROM log WHERE actor = ? ORDER BY start", (number,)
        )
        try:
            log = tuple(entry for (entries,) in rows for entry in _unpack(entries))
        except MsgspecError as error:
            raise CorruptError(f"the log of {actor} cannot be read: {error}") from error
    return ActorRecord(actor, number, _summary(rest), fields, log_length, log)


def _summary(columns: Sequence[object]) -> Summary | None:
    return None if columns[0] is None else Summary._make(columns)


def _search(query: Query) -> tuple[str, list[object]]:
    """Build one range search, or one a phase: each runs along an index in the order of keys."""
    from_prefix = query.key_prefix > query.after
    conditions = ["type = ?", "key >= ?" if from_prefix else "key > ?"]
    parameters: list[object] = [
        query.actor_type,
        query.key_prefix if from_prefix else query.after,
    ]
    for condition, value in (
        ("key < ?", prefix_end(query.key_prefix)),
        ("label = ?", query.label or None),
        ("created_ms >= ?", _bindable(query.created_from_ms)),
        ("created_ms < ?", _bindable(query.created_to_ms)),
    ):
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    where = " AND ".join(conditions)
    select = f"SELECT key, {_RECORD} FROM actor"  # noqa: S608 -- constants; values are bound
    if not query.phases:
        statement = f"{select} INDEXED BY actor_key WHERE {where} ORDER BY key LIMIT ?"
        return statement, [*parameters, query.limit]
    phases = list(dict.fromkeys(query.phases))
    branch = (
        f"SELECT * FROM ({select} INDEXED BY actor_phase WHERE {where} AND phase = ?"  # noqa: S608 -- bound
        " ORDER BY key LIMIT ?)"
    )
    bound: list[object] = []
    for phase in phases:
        bound += [*parameters, phase, query.limit]
    statement = " UNION ALL ".join([branch] * len(phases)) + " ORDER BY key LIMIT ?"
    return statement, [*bound, query.limit]


def _bindable(value: int | None) -> int | None:
    """Bring a bound into the range of stored integers; what lies beyond excludes nothing more."""
    return None if value is None else max(-(2**63), min(2**63 - 1, value))
