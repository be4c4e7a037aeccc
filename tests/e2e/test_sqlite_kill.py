"""R13: the embedded store against kill -9, a second process and a full disk. Real processes."""

import asyncio
import itertools
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from actorflow.actors.errors import StoreInUseError
from actorflow.actors.ports import Acquired, ActorRecord, Query, Recovery
from actorflow.actors.store.sqlite import SqliteStore
from tests.e2e.sqlite_committer import ACTORS, AUDIT, entry, expected_log

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

ROUNDS = 50
"""Kills at least. Every other one meets a store that syncs each commit."""

COMMITS_MAX = 2_000
"""Logs of a store are read in full after each kill; a new store keeps that short."""


@contextmanager
def committer(path: Path, durability: str, task: str = "run") -> Iterator[subprocess.Popen[str]]:
    """Start a process that commits; it is killed at the end if it still runs."""
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root / "actors"), str(root)]),
        "PYTHONWARNINGS": "error",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.sqlite_committer", str(path), durability, task],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env=environment,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(process: subprocess.Popen[str]) -> Iterator[list[str]]:
    assert process.stdout is not None
    for line in process.stdout:
        # A killed process may leave half a line, which acknowledges nothing.
        if line.endswith("\n"):
            yield line.split(maxsplit=2)


async def check(path: Path, least_seq: int) -> int:
    """Everything up to a sequence number is there, that number is high enough, nothing is more."""
    store = SqliteStore(path)
    await store.open()
    try:
        acquired = await store.acquire(0, "t-check", ttl_ms=1)
        assert isinstance(acquired, Acquired)
        seq = acquired.seq
        assert least_seq <= seq
        records = await store.load(0, [*ACTORS, AUDIT], with_log=True)
        recovery = await store.recover(0, horizon_ms=2**53)
        found = await store.find(Query("Order", 10, phases=("RUNNING",)))
        await store.release(acquired.lease)
    finally:
        await store.close()
    check_records(records, seq)
    check_pending(recovery, seq)
    assert len(found) == min(seq, 7)
    return seq


def check_records(records: list[ActorRecord | None], seq: int) -> None:
    *orders, audit = records
    for index, record in enumerate(orders):
        log = expected_log(index, seq)
        if not log:
            assert record is None
            continue
        last = log[-1].partition(b":")[0]
        assert record is not None
        assert record.log == log
        assert record.log_length == len(log)
        assert record.fields == {"last": last}
        assert record.summary is not None
        assert record.summary.head == last
    if seq >= 8:
        assert audit is not None
        assert audit.fields == {"total": b"%d" % seq}


def check_pending(recovery: Recovery, seq: int) -> None:
    assert [(row.id, row.payload) for row in recovery.messages] == [(seq, entry(seq))]
    last = sorted(range(max(1, seq - 6), seq + 1))
    assert [due.reminder.due_ms for due in recovery.reminders] == last


def test_every_acknowledged_commit_survives_kill_9(tmp_path: Path) -> None:
    """50 kills while commits and checkpoints run: all is there, and nothing is half applied.

    It goes on until one has hit between a COMMIT and its line, which a quiet machine makes rare.
    """
    chance = random.Random(13)
    path, seq, unacknowledged, stores = tmp_path / "0.db", 0, 0, 0
    for round_ in itertools.count():
        if round_ >= ROUNDS and unacknowledged:
            break
        if seq > COMMITS_MAX:
            stores += 1
            path, seq = tmp_path / f"{stores}.db", 0
        wanted = chance.randrange(1, 120)
        with committer(path, ("local", "fsync")[round_ % 2]) as process:
            acknowledged = 0
            for kind, number in lines_of(process):
                acknowledged = int(number)
                if kind == "open":
                    assert acknowledged == seq
                    wanted += acknowledged
                elif acknowledged >= wanted:
                    if chance.random() < 0.5:  # somewhere in the next commits, not at the first
                        time.sleep(chance.random() * 0.003)
                    process.kill()
        assert acknowledged >= wanted
        seq = asyncio.run(check(path, acknowledged))
        unacknowledged += seq > acknowledged
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "actors.db"
    with committer(path, "local") as process:
        lines = lines_of(process)
        assert next(lines)[0] == "open"
        with pytest.raises(StoreInUseError, match=f"process {process.pid}; stop that process"):
            asyncio.run(SqliteStore(path).open())
        first = int(next(lines)[1])
        assert int(next(lines)[1]) == first + 3
        process.kill()
    assert asyncio.run(check(path, first + 3)) > first


@pytest.mark.parametrize("durability", ["local", "fsync"])
def test_full_disk_is_survived(tmp_path: Path, durability: str) -> None:
    """A file may not grow, so that the system refuses to write in the middle of a commit."""
    path = tmp_path / "actors.db"
    with committer(path, durability, "full") as process:
        said = [line for line in lines_of(process) if line[0] != "ack"]
    assert process.returncode == 0, said
    kinds = [line[0] for line in said]
    assert kinds == ["open", "full", "still", "still", "still", "done"]
    assert "disk" in said[1][2]
    committed = int(said[-1][1])
    assert asyncio.run(check(path, committed)) == committed
