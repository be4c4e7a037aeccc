"""A process of test R14: takes partition 0 whenever it is free and commits as fast as it can."""

import asyncio
import itertools
import json
import sys

from actorflow.actors.address import ActorId
from actorflow.actors.ports import Acquired, ActorWrite, Commit, CommitResult
from actorflow.actors.store.redis import RedisStore

TTL_MS = 300
LOG = ActorId("Rival", "log")


async def commit_while_owner(store: RedisStore, acquired: Acquired) -> None:
    """Append (seq, epoch) to the log until somebody else owns the partition."""
    lease, done = acquired.lease, acquired.seq
    while True:
        seq = done + 1
        first = seq == 1
        write = ActorWrite(
            LOG,
            1,
            create=first,
            log_start=max(0, seq - 2),
            log_append=() if first else (f"{seq} {lease.epoch}".encode(),),
        )
        commit = Commit(lease, done, seq, f"{lease.token}:{seq}", (write,))
        result = await store.commit(commit)
        if result is not CommitResult.OK:
            assert result is CommitResult.FENCED, result
            say("fenced", lease.epoch, done)
            return
        done = seq


def say(what: str, epoch: int, seq: int) -> None:
    """Report one event as a line."""
    print(json.dumps({"what": what, "epoch": epoch, "seq": seq}), flush=True)  # noqa: T201 -- read by the test


async def main(url: str, cluster_id: str, name: str) -> None:
    """Run until the test ends the process."""
    store = RedisStore(url, cluster_id=cluster_id)
    await store.open()
    for life in itertools.count():
        acquired = await store.acquire(0, f"{name}-{life}", ttl_ms=TTL_MS)
        if isinstance(acquired, Acquired):
            say("own", acquired.lease.epoch, acquired.seq)
            await commit_while_owner(store, acquired)
        else:
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
