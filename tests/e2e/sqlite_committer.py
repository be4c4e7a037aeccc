"""A process that commits to a SQLite store until it is killed. Run by test_sqlite_kill.py.

Commit n appends n to the log of actor n % 7, replaces message n - 1 by message n, and counts in a
field and a summary; so all that is stored follows from the last sequence number. Every third commit
is acknowledged by a line on standard output, once it was answered.
"""

import asyncio
import resource
import signal
import sys
from dataclasses import dataclass

from actorflow.actors.address import ActorId
from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.ports import (
    Acquired,
    ActorWrite,
    Commit,
    CommitResult,
    Lease,
    MessageRow,
    Reminder,
    Summary,
)
from actorflow.actors.store.sqlite import Durability, SqliteStore

ACTORS = [ActorId("Order", f"o-{index}") for index in range(7)]
AUDIT = ActorId("Audit", "main")
WAL_LIMIT_BYTES = 256 * 1024
"""Small, so that checkpoints run all the time and some kill hits one."""


def entry(seq: int) -> bytes:
    """Make the log entry of commit `seq`: of several pages now and then."""
    return b"%d:" % seq + bytes(seq * 7_919 % 13_000)


def expected_log(index: int, seq: int) -> tuple[bytes, ...]:
    """Return the log of one actor once commit `seq` is applied."""
    return tuple(entry(n) for n in range(1, seq + 1) if n % 7 == index)


@dataclass
class Committer:
    """The next commit follows from the last one."""

    store: SqliteStore
    lease: Lease
    seq: int

    def build(self) -> Commit:
        seq = self.seq + 1
        index = seq % 7
        # Actors are created in the order 1 2 3 4 5 6 0 by the first seven commits; 8 is the audit.
        number = index or 7
        count = len(range(index or 7, seq, 7))
        first = seq <= 7
        writes = [
            ActorWrite(
                ACTORS[index],
                number,
                create=first,
                summary=Summary("kill", "RUNNING", 1, seq, b"%d" % seq),
                put_fields=(("last", b"%d" % seq),),
                log_start=0 if first else count,
                log_append=(entry(seq),),
                put_reminders=(Reminder("wake", seq, 0, b""),),
            )
        ]
        if seq >= 8:
            total = (("total", b"%d" % seq),)
            writes.append(ActorWrite(AUDIT, 8, create=seq == 8, put_fields=total))
        return Commit(
            self.lease,
            self.seq,
            seq,
            f"{self.lease.token}:{seq}",
            tuple(writes),
            (MessageRow(seq, AUDIT, "note", entry(seq)),),
            (seq - 1,) if seq > 1 else (),
        )

    async def step(self) -> None:
        result = await self.store.commit(self.build())
        if result not in (CommitResult.OK, CommitResult.ALREADY):
            raise AssertionError(f"commit {self.seq + 1}: {result}")
        self.seq += 1
        if self.seq % 3 == 0:
            say(f"ack {self.seq}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def until_killed(committer: Committer) -> None:
    while True:
        await committer.step()


async def until_the_disk_is_full(committer: Committer) -> None:
    """Hit a real write error, free space, and go on."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, unlimited[1]))
    try:
        await until_killed(committer)
    except StoreUnavailableError as error:
        say(f"full {error.written} {error}")
    for _ in range(3):
        try:
            await committer.step()
        except StoreUnavailableError:
            say("still full")
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    for _ in range(20):
        await committer.step()
    say(f"done {committer.seq}")


async def main(path: str, durability: Durability, task: str) -> None:
    store = SqliteStore(path, durability=durability, wal_limit_bytes=WAL_LIMIT_BYTES)
    await store.open()
    acquired = await store.acquire(0, f"t-{durability}", ttl_ms=60_000)
    assert isinstance(acquired, Acquired)
    committer = Committer(store, acquired.lease, acquired.seq)
    say(f"open {acquired.seq}")
    if task == "full":
        await until_the_disk_is_full(committer)
        await store.close()
    else:
        await until_killed(committer)


if __name__ == "__main__":
    level: Durability = "fsync" if sys.argv[2] == "fsync" else "local"
    asyncio.run(main(sys.argv[1], level, sys.argv[3]))
