"""R02: whatever is asked of it, SQLite answers as the memory store does."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actorflow.actors.address import ActorId
from actorflow.actors.ports import (
    Acquired,
    ActorWrite,
    Commit,
    CommitResult,
    Lease,
    MessageRow,
    Query,
    Reminder,
    Summary,
)
from actorflow.actors.store.memory import MemoryStore
from actorflow.actors.store.sqlite import SqliteStore
from tests.conformance.store_kit import TTL_MS, SteppedClock, picture_of

ACTORS = [
    ActorId(actor_type, key) for actor_type in ("A", "B") for key in ("a", "a%", "b", "\u00e9")
]
TOKENS = ("t-1", "t-2")

actors = st.sampled_from(ACTORS)
names = st.sampled_from(["y", "%", "z", "w", "x"])
times = st.integers(-2, 6)
blobs = st.sampled_from([b"", b"1", b"\x00\xff"])
summaries = st.builds(Summary, names, names, times, times, blobs)
reminders = st.builds(Reminder, names, times, st.integers(0, 2), blobs)


few_times = st.sampled_from([False] * 11 + [True])


def few(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=2, unique_by=lambda item: item[0]).map(tuple)


class Stores(RuleBasedStateMachine):
    """Both stores get the same calls. Most commits fit what is stored, some do not."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = SteppedClock()
        self.directory = tempfile.TemporaryDirectory()
        self.memory = MemoryStore(clock=self.clock)
        self.sqlite = SqliteStore(Path(self.directory.name) / "actors.db", clock=self.clock)
        self.runner = asyncio.Runner()
        self.runner.run(self.sqlite.open())
        self.lease = Lease(0, 0, "t-1")
        self.seq = 0
        self.next_number = self.next_message = 1
        self.last: Commit | None = None

    def teardown(self) -> None:
        self.runner.run(self.sqlite.close())
        self.runner.close()
        self.directory.cleanup()

    def both(self, method: str, *args: object, **options: object) -> Any:
        answers = [
            self.runner.run(getattr(store, method)(*args, **options))
            for store in (self.memory, self.sqlite)
        ]
        assert answers[0] == answers[1], f"{method}{args}{options}"
        return answers[0]

    @initialize()
    def begin(self) -> None:
        self.acquire(TOKENS[0])

    @rule(token=st.sampled_from(TOKENS))
    def acquire(self, token: str) -> None:
        answer = self.both("acquire", 0, token, ttl_ms=TTL_MS)
        if isinstance(answer, Acquired):
            self.lease = answer.lease
            self.seq, self.next_number, self.next_message = answer[1:4]

    @rule(step_ms=st.sampled_from([-1_000, 1, TTL_MS - 1, TTL_MS]), release=few_times)
    def renew_or_release(self, step_ms: int, *, release: bool) -> None:
        self.clock.now_ms += step_ms
        self.both("renew", self.lease, ttl_ms=TTL_MS)
        if release:
            self.both("release", self.lease)

    @rule()
    def resend(self) -> None:
        if self.last is not None:
            self.both("commit", self.last)

    @rule(data=st.data(), slips=st.lists(few_times, min_size=1, max_size=5))
    def commit(self, data: st.DataObject, slips: list[bool]) -> None:
        for slip in slips:
            self.commit_one(data, slip=slip)

    def commit_one(self, data: st.DataObject, *, slip: bool) -> None:
        records = self.runner.run(self.memory.load(0, ACTORS, with_log=False))
        stored = {record.actor: record for record in records if record is not None}
        waiting = [row.id for row in self.runner.run(self.memory.recover(0, horizon_ms=0)).messages]
        writes = []
        number = self.next_number
        for actor in data.draw(st.lists(actors, max_size=4, unique=not slip)):
            record = stored.get(actor)
            if record is not None and data.draw(st.booleans()):
                writes.append(ActorWrite(actor, record.number, delete=True))
                record = None
                if not slip and data.draw(st.booleans()):
                    continue
            write = data.draw(self.writes_to(actor, record.number if record else number))
            if write.log_append and record is not None and not write.log_reset:
                write = write._replace(log_start=record.log_length + slip)
            if not slip:
                write = _without_clashes(write)
            if record is None:
                write = write._replace(create=True, log_reset=False)
                number += 1
            writes.append(write)
        ids = st.sampled_from(waiting) if waiting and not slip else st.integers(0, 9)
        touched = data.draw(st.lists(ids, max_size=3, unique=not slip)) if waiting or slip else []
        cut = data.draw(st.integers(0, len(touched)))
        commit = Commit(
            self.lease,
            self.seq,
            self.seq + 1,
            f"{self.lease.epoch}:{self.seq}:{number}:{len(writes)}:{touched}",
            tuple(data.draw(st.permutations(writes))),
            tuple(
                MessageRow(self.next_message + i, data.draw(actors), "m", b"p", None)
                for i in range(data.draw(st.integers(0, 3)))
            ),
            tuple(touched[:cut]),
            tuple((id_, data.draw(names)) for id_ in touched[cut:]),
        )
        if self.both("commit", commit) is CommitResult.OK:
            self.last, self.seq, self.next_number = commit, commit.seq, number
            self.next_message += len(commit.put_messages)

    @staticmethod
    def writes_to(actor: ActorId, number: int) -> st.SearchStrategy[ActorWrite]:
        return st.builds(
            ActorWrite,
            st.just(actor),
            st.just(number),
            summary=st.none() | summaries,
            put_fields=few(st.tuples(names, blobs)),
            delete_fields=st.sampled_from([(), (), ("z",), ("x", "z")]),
            log_reset=st.sampled_from([False, False, True]),
            log_append=st.lists(blobs, max_size=2).map(tuple),
            put_reminders=few(reminders),
            delete_reminders=st.sampled_from([(), (), ("z",), ("x", "z")]),
        )

    @rule(
        query=st.builds(
            Query,
            st.sampled_from(["A", "B", "C"]),
            st.integers(1, 3),
            after=st.sampled_from(["", "a", "aa", "b"]),
            phases=few(names),
            label=st.sampled_from(["", "", "x"]),
            key_prefix=st.sampled_from(["", "a", "a%", "\u00e9"]),
            created_from_ms=st.none() | times,
            created_to_ms=st.none() | times,
        )
    )
    def find(self, query: Query) -> None:
        self.both("find", query)

    @rule(from_ms=times, until_ms=times, limit=st.integers(0, 3))
    def due(self, from_ms: int, until_ms: int, limit: int) -> None:
        self.both("due", 0, from_ms=from_ms, until_ms=until_ms, limit=limit)

    @invariant()
    def they_look_alike(self) -> None:
        memory = self.runner.run(picture_of(self.memory, ACTORS))
        assert self.runner.run(picture_of(self.sqlite, ACTORS)) == memory


def _without_clashes(write: ActorWrite) -> ActorWrite:
    fields = {name for name, _ in write.put_fields}
    wakes = {reminder.name for reminder in write.put_reminders}
    return write._replace(
        delete_fields=tuple(name for name in write.delete_fields if name not in fields),
        delete_reminders=tuple(name for name in write.delete_reminders if name not in wakes),
    )


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
