"""Commits to many partitions at once through whatever happens, and what must hold afterwards."""

import asyncio
from collections import Counter

from actorflow.actors.address import ActorId
from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.ports import Acquired, ActorWrite, Commit, CommitResult, Summary
from actorflow.actors.store.redis import RedisStore

TTL_MS = 10_000
RETRY_S = 0.005


class Writer:
    """One owner that appends 1, 2, 3 ... to the log of one actor, each in a commit of its own.

    `answers` counts what the store said, unknown and refused ones as the `written` they carry.
    """

    def __init__(self, store: RedisStore, partition: int, token: str = "writer") -> None:
        self.store = store
        self.partition = partition
        self.token = token
        self.actor = ActorId("Counter", f"c{partition}")
        self.answers: Counter[object] = Counter()
        self.acquired: Acquired | None = None
        self.done = 0

    async def acquire(self) -> Acquired:
        while True:
            try:
                acquired = await self.store.acquire(self.partition, self.token, ttl_ms=TTL_MS)
            except StoreUnavailableError:
                await asyncio.sleep(RETRY_S)
                continue
            assert isinstance(acquired, Acquired)
            self.acquired = acquired
            self.done = acquired.seq
            return acquired

    async def acquire_once(self) -> None:
        """Try to acquire, and raise what comes."""
        await self.store.acquire(self.partition, self.token, ttl_ms=TTL_MS)

    def next_commit(self) -> Commit:
        assert self.acquired is not None
        seq = self.done + 1
        write = ActorWrite(
            self.actor,
            1,
            create=seq == 1,
            summary=Summary("counter", "RUNNING", 0, seq, b"x" * 100),
            log_start=self.done,
            log_append=(b"%d" % seq,),
        )
        return Commit(
            self.acquired.lease, self.done, seq, f"{self.acquired.lease.token}:{seq}", (write,)
        )

    async def send(self, commit: Commit) -> CommitResult:
        """Send until there is a final answer."""
        while True:
            try:
                result = await self.store.commit(commit)
            except StoreUnavailableError as error:
                self.answers[error.written] += 1
                await asyncio.sleep(RETRY_S)
                continue
            self.answers[result] += 1
            return result

    async def write(self, count: int) -> None:
        """Acquire and make so many commits."""
        if self.acquired is None:
            await self.acquire()
        for _ in range(count):
            result = await self.send(self.next_commit())
            assert result in (CommitResult.OK, CommitResult.ALREADY), result
            self.done += 1

    async def write_until(self, stop: asyncio.Event, *, at_least: int = 0) -> None:
        """Commit until told to stop."""
        while not stop.is_set() or self.done < at_least:
            await self.write(1)

    async def check(self) -> None:
        """I1, I2: every commit is there, once, in order."""
        (record,) = await self.store.load(self.partition, [self.actor], with_log=True)
        assert record is not None
        assert record.log == tuple(b"%d" % i for i in range(1, self.done + 1))
        assert record.log_length == self.done
        acquired = await self.store.acquire(self.partition, self.token, ttl_ms=TTL_MS)
        assert isinstance(acquired, Acquired)
        assert acquired.seq == self.done


def answers_of(writers: list[Writer]) -> Counter[object]:
    """Add up what all were answered."""
    total: Counter[object] = Counter()
    for writer in writers:
        total += writer.answers
    return total
