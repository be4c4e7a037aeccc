"""Find actors over all partitions in the order of their keys, reading little more than is returned.

Each partition keeps its actors of a type in one sorted set, by key, and once more by phase and key.
A search is a merge of such ranges: one for each partition, and for each phase that is asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING

from actorflow.actors.address import ActorId
from actorflow.actors.errors import CorruptError
from actorflow.actors.ports import ActorRecord
from actorflow.actors.query import prefix_end
from actorflow.actors.store.redis.encoding import decode_summary
from actorflow.actors.store.redis.reads import SLACK
from actorflow.actors.store.redis.script import SUMMARIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors.ports import Query
    from actorflow.actors.store.redis.client import Client, Reply
    from actorflow.actors.store.redis.keys import PartitionKeys

PAGE_MIN, PAGE_MAX = 8, 250
"""Index entries in one read of one range."""


async def find(
    client: Client, partitions: Sequence[PartitionKeys], query: Query
) -> list[ActorRecord]:
    """Search; see `Store.find`."""
    phases: list[str | None] = [*dict.fromkeys(query.phases)] or [None]
    count = len(partitions) * len(phases)
    times = (query.created_from_ms, query.created_to_ms)
    filtered = bool(query.label) or times != (None, None)
    page = PAGE_MAX if filtered else min(PAGE_MAX, query.limit // count + PAGE_MIN)
    ranges = [_Range(client, keys, query, phase, page) for keys in partitions for phase in phases]
    await asyncio.gather(*(one.fill() for one in ranges))
    heads = [(one.ready[0].actor.key, i) for i, one in enumerate(ranges) if one.ready]
    heapify(heads)
    found: list[ActorRecord] = []
    while heads and len(found) < query.limit:
        key, i = heads[0]
        record = ranges[i].ready.popleft()
        # An actor whose phase changes between two reads may stand in two ranges.
        if not found or found[-1].actor.key != key:
            found.append(record)
        if not ranges[i].ready:
            await ranges[i].fill()
        if ranges[i].ready:
            heapreplace(heads, (ranges[i].ready[0].actor.key, i))
        else:
            heappop(heads)
    return found


class _Range:
    """One range of one index, read in pages. After `fill`, `ready` is empty only at its end."""

    def __init__(
        self, client: Client, keys: PartitionKeys, query: Query, phase: str | None, page: int
    ) -> None:
        self._client = client
        self._keys = keys
        self._query = query
        self._page = page
        self._index = keys.index(query.actor_type)
        self._pair_prefixes = keys.state_prefix(query.actor_type), keys.log_prefix(query.actor_type)
        base = "k" if phase is None else f"p{len(phase.encode())}:{phase}"
        self._base_bytes = len(base.encode())
        follows = query.after and query.after >= query.key_prefix
        low = f"({base}{query.after}" if follows else f"[{base}{query.key_prefix}"
        self._low = low.encode()
        self._high = f"({prefix_end(base + query.key_prefix)}"
        self._filters = (
            "" if phase is None else "=" + phase,
            "=" + query.label if query.label else "",
            "" if query.created_from_ms is None else query.created_from_ms - SLACK,
            "" if query.created_to_ms is None else query.created_to_ms + SLACK,
        )
        self._ended = False
        self.ready: deque[ActorRecord] = deque()

    async def fill(self) -> None:
        while not self.ready and not self._ended:
            await self._read_page()

    async def _read_page(self) -> None:
        slot = self._keys.slot
        bounds = (self._low, self._high, "BYLEX", "LIMIT", 0, self._page)
        (members,) = await self._client.ask(slot, ("ZRANGE", self._index, *bounds))
        self._ended = len(members) < self._page
        if not members:
            return
        self._low = b"(" + members[-1]
        keys = [member[self._base_bytes :].decode() for member in members]
        names = [prefix + key for key in keys for prefix in self._pair_prefixes]
        args = [str(argument) for argument in self._filters]
        found = await self._client.run(slot, SUMMARIES, SUMMARIES.call(names, args))
        for key, entry in zip(keys, found, strict=True):
            if entry is not None:
                record = _record(ActorId(self._query.actor_type, key), *entry)
                if _created_within(record, self._query):
                    self.ready.append(record)


def _record(
    actor: ActorId, number: bytes, length: int, phase: bytes | None, summary: bytes | None
) -> ActorRecord:
    try:
        read = None if summary is None else decode_summary(phase or b"", summary)
    except ValueError as error:
        raise CorruptError(f"{actor}: its stored summary cannot be read ({error})") from error
    return ActorRecord(actor, int(number), read, {}, length)


def _created_within(record: ActorRecord, query: Query) -> bool:
    """Compare exactly what the script compared as doubles."""
    if record.summary is None:
        return True
    created: Reply = record.summary.created_ms
    return (query.created_from_ms is None or created >= query.created_from_ms) and (
        query.created_to_ms is None or created < query.created_to_ms
    )
