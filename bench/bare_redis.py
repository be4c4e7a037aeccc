"""The floor on Redis: the script calls of a run's commits through plain redis-py, nothing else.

Arguments are made before the clock starts. What may be under way at once is one pipeline; the next
one has the next commit of each partition, so that each partition's commits stay in order.
"""

from __future__ import annotations

import time
from itertools import zip_longest
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from actorflow.actors.store.redis.encoding import pack_commit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actorflow.actors.ports import Commit
    from actorflow.actors.store.redis import RedisStore
    from actorflow.actors.store.redis.encoding import PackedCommit


class ScriptCalls:
    """Calls of many partitions' commits, ready to be made.

    Args:
        store: open, and owner of the partitions; it names their keys.
        chains: the commits of each partition, in order.
        at_once: calls in one pipeline at most.
    """

    def __init__(self, store: RedisStore, chains: Sequence[Sequence[Commit]], at_once: int) -> None:
        packed = [
            [pack_commit(commit, store.partitions[commit.lease.partition]) for commit in chain]
            for chain in chains
        ]
        self._groups = list(_groups(packed, at_once))
        self.count = sum(map(len, self._groups))

    async def make(self, port: int) -> list[float]:
        """Make all calls; return the seconds that each pipeline took."""
        spent_s = []
        async with Redis(port=port) as client:
            for text in {one.script.text for group in self._groups for one in group}:
                await client.script_load(text)
            for group in self._groups:
                begun_s = time.perf_counter()
                pipe = client.pipeline(transaction=False)
                for one in group:
                    pipe.execute_command(*one.command)
                answers = await pipe.execute()
                spent_s.append(time.perf_counter() - begun_s)
                assert all(answer[0] == b"OK" for answer in answers), answers
        return spent_s


def _groups(chains: Sequence[Sequence[PackedCommit]], at_once: int) -> Iterator[list[PackedCommit]]:
    for row in zip_longest(*chains):
        found = [packed for packed in row if packed is not None]
        for first in range(0, len(found), at_once):
            yield found[first : first + at_once]
