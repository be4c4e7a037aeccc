"""Small commits of an embedded store are done without a task: same answers, same outcome of
failures as with one."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.ports import ActorWrite, CommitResult, CommitsAtOnce, Lease
from actorflow.actors.store.sqlite import SqliteStore
from actorflow.workflow import WorkflowEngine
from actorflow.workflow.events import Status
from bench.workflows import app
from tests.conformance.store_kit import ORDER, Owner, SteppedClock, picture_of
from tests.fakes.faulty_sqlite import Faults, sqlite_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "actors.db", clock=SteppedClock())
    await store.open()
    yield store
    await store.close()


async def test_answers_are_those_of_a_commit(store: SqliteStore) -> None:
    assert isinstance(store, CommitsAtOnce)
    owner = await Owner.of(store)
    first = owner.build(ActorWrite(ORDER, 1, create=True, log_append=(b"1",)))
    assert store.commit_at_once(first) is CommitResult.OK
    assert store.commit_at_once(first) is CommitResult.ALREADY
    second = first._replace(prev_seq=first.seq, seq=first.seq + 1, commit_id="c-2")
    before = await picture_of(store, [ORDER])
    assert store.commit_at_once(second) is CommitResult.BAD  # it creates what is there
    assert store.commit_at_once(second._replace(prev_seq=7, seq=8)) is CommitResult.SEQ
    fenced = second._replace(lease=Lease(0, owner.lease.epoch, "another"))
    assert store.commit_at_once(fenced) is CommitResult.FENCED
    assert await picture_of(store, [ORDER]) == before


async def test_what_would_wait_is_left_to_a_commit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "actors.db", durability="fsync", clock=SteppedClock())
    await store.open()
    owner = await Owner.of(store)
    commit = owner.build(ActorWrite(ORDER, 1, create=True))
    assert store.commit_at_once(commit) is None
    assert await store.load(0, [ORDER], with_log=False) == [None]
    assert await store.commit(commit) is CommitResult.OK
    await store.close()
    assert store.commit_at_once(commit) is None


async def test_failure_is_that_of_a_commit(tmp_path: Path) -> None:
    faults = Faults()
    store = SqliteStore(
        tmp_path / "actors.db", clock=SteppedClock(), connection_factory=faults.connection_class()
    )
    await store.open()
    owner = await Owner.of(store)
    commit = owner.build(ActorWrite(ORDER, 1, create=True))
    faults.before["UPDATE partition"] = sqlite_error(sqlite3.SQLITE_FULL)
    with pytest.raises(StoreUnavailableError) as caught:
        store.commit_at_once(commit)
    assert caught.value.written is False
    assert await store.load(0, [ORDER], with_log=False) == [None]
    assert store.commit_at_once(commit) is CommitResult.OK
    await store.close()


@pytest.mark.parametrize("is_done", [False, True])
async def test_engine_sends_a_commit_again_that_failed_at_once(
    tmp_path: Path, is_done: bool
) -> None:
    """Whether the COMMIT that failed was done or not: the instance goes on, and once."""
    faults = Faults()
    store = SqliteStore(tmp_path / "actors.db", connection_factory=faults.connection_class())
    async with WorkflowEngine(store, app) as engine:
        where = faults.after if is_done else faults.before
        for number in range(3):
            where["COMMIT"] = sqlite_error(sqlite3.SQLITE_IOERR_WRITE)
            instance_id = await engine.start("chain", input="3", instance_id=f"c-{number}")
            async with asyncio.timeout(60):
                ended = await engine.wait_for_completion(instance_id, timeout_s=None)
            assert ended.status is Status.COMPLETED
            assert ended == await engine.get(instance_id)
        counters = engine.actors.counters
        assert counters.commit_resends == 3
        assert counters.commits_already == (3 if is_done else 0)
        assert engine.problems() == []
