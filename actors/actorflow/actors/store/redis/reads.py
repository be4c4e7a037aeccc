"""What is read from a partition, in pieces that keep a server busy for about a millisecond."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from msgspec import DecodeError

from actorflow.actors.errors import CorruptError, StoreUnavailableError
from actorflow.actors.ports import ActorRecord, DueReminder, MessageRow, Recovery
from actorflow.actors.store.redis.encoding import (
    decode_entry,
    decode_mark,
    decode_message,
    decode_reminder,
    decode_summary,
)
from actorflow.actors.store.redis.script import DUE, LOAD, TAIL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import LinkEntry
    from actorflow.actors.store.redis.client import Client, Reply
    from actorflow.actors.store.redis.keys import PartitionKeys

T = TypeVar("T")

GROUP_MAX = 64
"""Actors in one script."""

LOG_PIECE = 2_000
"""Log entries in one script."""

ROWS_PIECE = 500
"""Messages or reminders in one request."""

EXACT_MAX = 2**53
"""Times up to here are exact as scores of a sorted set, which are doubles."""

SLACK = 2_048
"""How far a double may be from the 64-bit integer that it stands for."""

RESTARTS_MAX = 10
"""How often reading a log begins again because its actor changed meanwhile."""


async def load(
    client: Client, keys: PartitionKeys, actors: Sequence[ActorId], *, with_log: bool
) -> list[ActorRecord | None]:
    """Read many actors; see `Store.load`. Each record is one committed state of its actor."""
    groups = [actors[i : i + GROUP_MAX] for i in range(0, len(actors), GROUP_MAX)]
    if len(groups) == 1:
        return await _load_group(client, keys, groups[0], with_log=with_log)
    found = await asyncio.gather(
        *(_load_group(client, keys, group, with_log=with_log) for group in groups)
    )
    return [record for records in found for record in records]


async def recover(client: Client, keys: PartitionKeys, *, horizon_ms: int) -> Recovery:
    """Read what waits; see `Store.recover`. For the owner: nobody else commits meanwhile."""
    ids, reasons, marks, cursor = await client.ask(
        keys.slot,
        ("HKEYS", keys.messages),
        ("HGETALL", keys.parked),
        ("HVALS", keys.marks),
        ("HGET", keys.meta, "cursor"),
    )
    parked = dict(_pairs(reasons))
    messages: list[MessageRow] = []
    ids.sort(key=int)
    for piece in (ids[i : i + ROWS_PIECE] for i in range(0, len(ids), ROWS_PIECE)):
        (rows,) = await client.ask(keys.slot, ("HMGET", keys.messages, *piece))
        for message_id, row in zip(piece, rows, strict=True):
            if row is not None:
                messages.append(_message(row, parked.get(message_id), keys))
    reminders = await due(client, keys, from_ms=-(2**64), until_ms=horizon_ms, limit=None)
    return Recovery(
        tuple(messages),
        tuple(reminders),
        tuple(await _outbox(client, keys)),
        tuple(sorted(_read(decode_mark, row, keys.marks) for row in marks)),
        (cursor or b"").decode(),
    )


async def due(
    client: Client, keys: PartitionKeys, *, from_ms: int, until_ms: int, limit: int | None
) -> list[DueReminder]:
    """Read reminders of a window, all when `limit` is None; see `Store.due`."""
    exact = from_ms >= -EXACT_MAX and until_ms <= EXACT_MAX
    low = str(from_ms) if from_ms >= -EXACT_MAX else str(from_ms - SLACK)
    high = f"({until_ms}" if until_ms <= EXACT_MAX else str(until_ms + SLACK)
    found: list[DueReminder] = []
    passed = 0
    while limit is None or len(found) < limit:
        piece = ROWS_PIECE if limit is None else min(ROWS_PIECE, limit - len(found))
        request = DUE.call((keys.due, keys.reminders), (low, high, passed, piece))
        rows = await client.run(keys.slot, DUE, request)
        passed += len(rows)
        for row in rows:
            entry = _reminder(row, keys)
            if exact or from_ms <= entry.reminder.due_ms < until_ms:
                found.append(entry)
        if len(rows) < piece:
            break
    if not exact:
        found.sort(key=lambda entry: (entry.reminder.due_ms, entry.number, entry.reminder.name))
    return found


async def _outbox(client: Client, keys: PartitionKeys) -> list[LinkEntry]:
    entries: list[LinkEntry] = []
    while True:
        last = len(entries) + ROWS_PIECE - 1
        (rows,) = await client.ask(keys.slot, ("ZRANGE", keys.outbox, len(entries), last))
        entries += [_read(decode_entry, row, keys.outbox) for row in rows]
        if len(rows) < ROWS_PIECE:
            return entries


async def _load_group(
    client: Client, keys: PartitionKeys, actors: Sequence[ActorId], *, with_log: bool
) -> list[ActorRecord | None]:
    names = [name for actor in actors for name in keys.pair(actor)]
    request = LOAD.call(names, (LOG_PIECE if with_log else 0,))
    found = await client.run(keys.slot, LOAD, request)
    records: list[ActorRecord | None] = []
    for actor, entry in zip(actors, found, strict=True):
        if entry is None:
            records.append(None)
        elif with_log and entry[1] > len(entry[2]):
            records.append(await _load_long(client, keys, actor, entry))
        else:
            records.append(_record(actor, *entry))
    return records


async def _load_long(
    client: Client, keys: PartitionKeys, actor: ActorId, entry: Reply
) -> ActorRecord | None:
    """Read the rest of a log that is too long for one script.

    Entries are only ever added, or all dropped under a new generation; so pieces fit each other as
    long as number and generation stay.
    """
    names = keys.pair(actor)
    for _ in range(RESTARTS_MAX):
        if entry is None:
            return None
        state, length, log = entry
        fields = dict(_pairs(state))
        same = (fields.get(b"n", b""), fields.get(b"g", b""))
        while len(log) < length:
            last = min(len(log) + LOG_PIECE, length) - 1
            request = TAIL.call(names, (*same, len(log), last))
            piece = await client.run(keys.slot, TAIL, request)
            if not piece:
                break
            log += piece
        else:
            return _record(actor, state, length, log)
        (entry,) = await client.run(keys.slot, LOAD, LOAD.call(names, (LOG_PIECE,)))
    raise StoreUnavailableError(f"{actor} changed too often while it was read", written=False)


def _record(actor: ActorId, state: list[bytes], length: int, log: list[bytes]) -> ActorRecord:
    fields: dict[str, bytes] = {}
    number = 0
    phase, summary = b"", None
    try:
        for name, value in _pairs(state):
            if name == b"n":
                number = int(value)
            elif name == b"p":
                phase = value
            elif name == b"u":
                summary = value
            elif name.startswith(b"f"):
                fields[name[1:].decode()] = value
        read = None if summary is None else decode_summary(phase, summary)
    except ValueError as error:
        raise CorruptError(f"{actor}: its stored state cannot be read ({error})") from error
    if number < 1:
        raise CorruptError(f"{actor}: its stored state has no number")
    return ActorRecord(actor, number, read, fields, length, tuple(log))


def _message(row: bytes, reason: bytes | None, keys: PartitionKeys) -> MessageRow:
    message = _read(decode_message, row, keys.messages)
    return message if reason is None else message._replace(parked=reason.decode())


def _reminder(row: bytes | None, keys: PartitionKeys) -> DueReminder:
    if row is None:
        raise CorruptError(f"{keys.reminders}: a reminder is due that has no row")
    return _read(decode_reminder, row, keys.reminders)


def _read(decode: Callable[[bytes], T], row: bytes, key: str) -> T:
    try:
        return decode(row)
    except (DecodeError, ValueError) as error:
        raise CorruptError(f"{key}: a row cannot be read ({error})") from error


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
