"""The file of the embedded store: who may open it, what is accepted, how long its log grows."""

import errno
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from actorflow.actors.errors import CorruptError, StoreInUseError, StoreUnavailableError
from actorflow.actors.ports import Acquired, ActorWrite, CommitResult
from actorflow.actors.store.sqlite import SqliteStore, schema
from actorflow.actors.store.sqlite.snapshot import copy_database
from tests.conformance.store_kit import ORDER, Owner, SteppedClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "actors.db"


@asynccontextmanager
async def opened(path: Path, *, wal_limit_bytes: int = 1 << 20) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock=SteppedClock(), wal_limit_bytes=wal_limit_bytes)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def content(path: Path) -> bytes:
    return path.read_bytes()


def size_bytes(path: Path) -> int:
    return path.stat().st_size


def open_to_all(path: Path) -> None:
    path.chmod(0o644)


@pytest.mark.asyncio
async def test_only_the_owner_of_the_files_may_read_them(path: Path) -> None:
    async with opened(path) as store:
        await Owner.of(store)
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == [
            "actors.db",
            "actors.db-lock",
            "actors.db-shm",
            "actors.db-wal",
        ]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    open_to_all(path)
    async with opened(path) as store:
        await Owner.of(store)
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


@pytest.mark.asyncio
async def test_second_store_is_refused_with_the_pid(path: Path) -> None:
    async with opened(path):
        second = SqliteStore(path)
        with pytest.raises(StoreInUseError, match=rf"in this process \({os.getpid()}\)"):
            await second.open()
        link = path.with_name("other-name.db")
        link.symlink_to(path)
        with pytest.raises(StoreInUseError):
            await SqliteStore(link).open()
    async with opened(path):
        pass


@pytest.mark.asyncio
async def test_lock_names_a_foreign_process(path: Path) -> None:
    async with opened(path):
        path.with_name("actors.db-lock").write_text("4194304")
        with pytest.raises(StoreInUseError, match="process 4194304; stop that process"):
            await SqliteStore(path).open()


@pytest.mark.asyncio
async def test_owner_without_its_lock_is_fenced_by_the_epoch(path: Path) -> None:
    """Somebody removed the lock file: the second one fences the first, never both commit."""
    async with opened(path) as first:
        old = await Owner.of(first, "t-1")
        await old.write()
        path.with_name("actors.db-lock").unlink()
        async with opened(path) as second:
            new = await Owner.of(second, "t-2")
            assert await first.commit(old.build()) is CommitResult.FENCED
            assert not await first.renew(old.lease, ttl_ms=1)
            await new.write()
            assert new.seq == 2


async def refused(path: Path, pattern: str) -> None:
    """The file is refused, left as it is, and not locked."""
    before = content(path)
    for _ in range(2):
        with pytest.raises(CorruptError, match=pattern):
            await SqliteStore(path).open()
    assert content(path) == before
    assert not path.with_name(path.name + "-wal").exists()


@pytest.mark.asyncio
async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look like one\n" * 100)
    await refused(path, "not a SQLite database")


@pytest.mark.asyncio
async def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.commit()
    await refused(path, "another program")


@pytest.mark.asyncio
async def test_newer_format_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    with closing(sqlite3.connect(path)) as later:
        later.execute(f"PRAGMA user_version = {schema.FORMAT_LEVEL + 1}")
        later.commit()
        later.execute("PRAGMA journal_mode = DELETE")
    await refused(path, rf"format level {schema.FORMAT_LEVEL + 1} .* upgrade")


@pytest.mark.asyncio
async def test_file_of_an_earlier_release_gets_the_column_it_lacks(path: Path) -> None:
    async with opened(path) as store:
        await Owner.of(store, "t-1")
    with closing(sqlite3.connect(path)) as earlier:
        earlier.execute("ALTER TABLE partition DROP COLUMN abandoned")
        earlier.commit()
    for count in (1, 2):
        async with opened(path) as store:
            acquired = await store.acquire(0, f"t-{count}-later", ttl_ms=1_000)
            assert isinstance(acquired, Acquired)
            assert acquired.abandoned == count


@pytest.mark.asyncio
@pytest.mark.parametrize("page_bytes", [1024, 2048, 4096, 8192])
async def test_file_keeps_its_page_size(
    path: Path, monkeypatch: pytest.MonkeyPatch, page_bytes: int
) -> None:
    """Also with values that need many pages; and so does a copy of it."""
    monkeypatch.setattr(schema, "PAGE_BYTES", page_bytes)
    async with opened(path):
        pass
    monkeypatch.undo()
    entries = tuple(bytes([n]) * 100_000 for n in range(3))
    async with opened(path) as store:
        owner = await Owner.of(store)
        await owner.create(ORDER, put_fields=(("input", entries[0]),), log_append=entries)
        copy_database(path, path.with_name("copy.db"))
    for name in ("actors.db", "copy.db"):
        async with opened(path.with_name(name)) as store:
            (record,) = await store.load(0, [ORDER], with_log=True)
            assert record is not None
            assert record.log == entries
            assert record.fields == {"input": entries[0]}
        with closing(sqlite3.connect(path.with_name(name))) as other:
            assert other.execute("PRAGMA page_size").fetchone() == (page_bytes,)
            assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.asyncio
async def test_cut_database_is_refused(path: Path) -> None:
    async with opened(path) as store:
        owner = await Owner.of(store)
        await owner.create(ORDER, log_append=(bytes(50_000),))
    with path.open("r+b") as file:
        file.truncate(8_192)
    with pytest.raises(CorruptError, match="damaged"):
        async with opened(path) as store:
            await store.load(0, [ORDER], with_log=True)


@pytest.mark.asyncio
async def test_impossible_paths_are_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, cause in [
        (tmp_path / "file" / "actors.db", "Not a directory|File exists"),
        (tmp_path, "directory"),
    ]:
        with pytest.raises(StoreUnavailableError, match=cause) as caught:
            await SqliteStore(path).open()
        assert caught.value.written is False


@pytest.mark.asyncio
async def test_log_that_cannot_be_opened_is_explained(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def open_no_log(name: Path, *rest: int) -> int:
        if str(name).endswith("-wal"):
            raise OSError(errno.EMFILE, "Too many open files")
        return open_file(name, *rest)

    monkeypatch.setattr(os, "open", open_no_log)
    with pytest.raises(StoreUnavailableError, match="Too many open files"):
        await SqliteStore(path).open()
    monkeypatch.undo()
    assert not path.with_name("actors.db-wal").exists()  # all connections are closed
    async with opened(path):
        pass


@pytest.mark.asyncio
async def test_file_locked_by_another_program_cannot_be_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "OPEN_WAIT_S", 0.01)
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="another program"):
            await SqliteStore(path).open()
        other.execute("ROLLBACK")
    async with opened(path):
        pass


@pytest.mark.asyncio
async def test_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreUnavailableError, match=r"install 3\.37\.0"):
        await SqliteStore(path).open()


@pytest.mark.asyncio
async def test_log_stays_short_under_load(path: Path) -> None:
    limit_bytes, longest_bytes = 256 * 1024, 0
    log_path = path.with_name("actors.db-wal")
    async with opened(path, wal_limit_bytes=limit_bytes) as store:
        owner = await Owner.of(store)
        await owner.create(ORDER)
        for step in range(1_200):
            await owner.write(ActorWrite(ORDER, 1, log_start=step, log_append=(bytes(20_000),)))
            longest_bytes = max(longest_bytes, size_bytes(log_path))
    assert size_bytes(path) > 20_000_000
    # Usually 5 limits. How far the writer gets ahead of the checkpoint's thread is up to the
    # scheduler (8.4 was seen beside other work); that it is a fraction of the data is up to us.
    assert longest_bytes < 16 * limit_bytes
    assert not log_path.exists()


@pytest.mark.asyncio
async def test_reader_that_stays_delays_the_end_of_the_log(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that cannot finish is tried again after as much growth, not at each commit."""
    async with opened(path, wal_limit_bytes=64 * 1024) as store:
        owner = await Owner.of(store)
        await owner.create(ORDER)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM partition").fetchall()
            for step in range(60):
                await owner.write(ActorWrite(ORDER, 1, log_start=step, log_append=(bytes(20_000),)))
            other.execute("COMMIT")
        grown_bytes = size_bytes(path.with_name("actors.db-wal"))
        assert grown_bytes > 1_000_000
        for step in range(60, 400):
            await owner.write(ActorWrite(ORDER, 1, log_start=step, log_append=(bytes(20_000),)))
        assert size_bytes(path.with_name("actors.db-wal")) < grown_bytes
