"""Export and import: nothing is lost on the way, and what runs goes on in the other store."""

from __future__ import annotations

import asyncio
import json
import string
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow.actors import ActorId, Reminder
from actorflow.actors.address import partition_of
from actorflow.actors.clock import SystemClock, SystemIds
from actorflow.actors.ports import (
    ActorWrite,
    Commit,
    CommitResult,
    EntryId,
    LinkEntry,
    LinkMark,
    MessageRow,
    Summary,
)
from actorflow.actors.store.memory import MemoryStore
from actorflow.actors.store.sqlite import SqliteStore
from actorflow.workflow import ActivityContext, Registry, WorkflowContext, WorkflowEngine
from actorflow.workflow.archive import Selection, export_instances
from actorflow.workflow.archive_format import ArchiveError
from actorflow.workflow.archive_import import COMMIT_LOG_ENTRIES, Importer
from actorflow.workflow.events import Status
from actorflow.workflow.fsck import Fsck
from actorflow.workflow.offline import OfflineStore
from actorflow.workflow.requests import INSTANCE
from tests.sim.loop import SimLoop, simulate
from tests.sim.stand import Stand

if TYPE_CHECKING:
    from pathlib import Path

    from actorflow.actors.ports import PartitionStore
    from actorflow.workflow.archive import Count

TYPES = (INSTANCE, "activity", "workflow.worker")


async def exported(
    store: PartitionStore, partitions: int = 1, selection: Selection | None = None
) -> list[bytes]:
    lines: list[bytes] = []
    await export_instances(
        store, partitions, lines.append, SystemClock(), selection=selection or Selection()
    )
    return lines


async def imported(
    store: PartitionStore, lines: list[bytes], partitions: int = 1, *, skip: bool = False
) -> Count:
    async with OfflineStore(store, partitions, SystemIds()) as owned:
        return await Importer(owned, skip_existing=skip).read(lines)


def content(lines: list[bytes]) -> list[Any]:
    """All lines but the header, which has the time of the export."""
    assert json.loads(lines[0])["kind"] == "actorflow-archive"
    return [json.loads(line) for line in lines[1:]]


# ---- round trip ----------------------------------------------------------------------------------

BLOBS = st.binary(max_size=40) | st.text(max_size=20).map(str.encode)
KEYS = st.text(string.ascii_letters + " :/é☃{}", min_size=1, max_size=12)
NAMES = st.text(string.ascii_lowercase + "_é", min_size=1, max_size=8)


@st.composite
def contents(draw: st.DrawFn) -> tuple[list[ActorWrite], list[MessageRow]]:
    """Instances with anything in them, and messages to them and to nobody."""
    keys = draw(st.lists(KEYS, max_size=6, unique=True))
    writes = [
        ActorWrite(
            ActorId(INSTANCE, key),
            number,
            create=True,
            summary=Summary(
                draw(NAMES),
                draw(st.sampled_from([s.value for s in Status])),
                draw(st.integers(0, 2**50)),
                draw(st.integers(0, 2**50)),
                draw(BLOBS),
            ),
            put_fields=tuple(draw(st.dictionaries(NAMES, BLOBS, max_size=4)).items()),
            log_append=tuple(draw(st.lists(BLOBS, max_size=5))),
            put_reminders=tuple(
                Reminder(name, draw(st.integers(0, 2**50)), draw(st.integers(0, 9)), draw(BLOBS))
                for name in draw(st.lists(NAMES, max_size=3, unique=True))
            ),
        )
        for number, key in enumerate(keys, 1)
    ]
    targets = st.tuples(st.sampled_from(TYPES), st.sampled_from([*keys, "nobody", "niemand"]))
    rows = [
        MessageRow(
            number,
            ActorId(*draw(targets)),
            draw(NAMES),
            draw(BLOBS),
            draw(st.none() | targets.map(lambda parts: ActorId(*parts))),
            draw(st.sampled_from(["", "RuntimeError: no"])),
        )
        for number in range(1, draw(st.integers(0, 6)))
    ]
    return writes, rows


@given(contents())
@settings(max_examples=60, deadline=None)
def test_round_trip_from_sqlite_to_memory(
    tmp_path_factory: pytest.TempPathFactory, data: tuple[list[ActorWrite], list[MessageRow]]
) -> None:
    async def main() -> None:
        path = tmp_path_factory.mktemp("trip") / "store.db"
        first = SqliteStore(path)
        await first.open()
        try:
            async with OfflineStore(first, 1, SystemIds()) as owned:
                await owned.commit(0, actors=tuple(data[0]), put_messages=tuple(data[1]))
            lines = await exported(first)
        finally:
            await first.close()
        for partitions in (1, 3):
            second = MemoryStore()
            await imported(second, lines, partitions)
            assert content(await exported(second, partitions)) == content(lines)
            for write in data[0]:
                (record,) = await second.load(
                    partition_of(write.actor, partitions), [write.actor], with_log=True
                )
                assert record is not None
                assert record.summary == write.summary
                assert record.fields == dict(write.put_fields)
                assert record.log == write.log_append
            count = await imported(second, lines, partitions, skip=True)
            assert (count.instances, count.skipped) == (0, len(data[0]))
            assert content(await exported(second, partitions)) == content(lines)

    asyncio.run(main())


# ---- what runs goes on ---------------------------------------------------------------------------


def app_of(waits_s: float) -> Registry:
    app = Registry()

    @app.activity
    async def nap(_: ActivityContext, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @app.workflow
    async def naps(ctx: WorkflowContext, seconds: float) -> float:
        return float(await ctx.call_activity(nap, input=seconds))

    @app.workflow
    async def sleeps(ctx: WorkflowContext, seconds: float) -> str:
        await ctx.create_timer(timedelta(seconds=seconds))
        return "awake"

    @app.workflow
    async def listens(ctx: WorkflowContext, _: None) -> int:
        return int(await ctx.wait_for_external_event("n", type=int))

    @app.workflow
    async def parent(ctx: WorkflowContext, seconds: float) -> float:
        return float(await ctx.call_child_workflow(naps, input=seconds))

    return app


RUNNING = {"naps": 40, "sleeps": 50, "listens": None, "parent": 45}


@pytest.mark.parametrize("partitions", [1, 4])
def test_running_instances_go_on_in_the_other_store(partitions: int) -> None:
    async def main(loop: SimLoop) -> None:
        app = app_of(40)
        old = Stand(loop, app)
        await old.world.start_host()
        for name, value in RUNNING.items():
            await old.start(name, value, instance_id=name)
        await old.start("naps", 1, instance_id="ended")
        await old.end_of("ended")
        await old.raise_event("listens", "other", 3, "e-1")
        await old.world.kill_host()
        code, old.world.registry = app, Registry()
        await old.world.start_host()
        await old.start("naps", 2, instance_id="no-worker")
        await old.world.stop_hosts()
        lines = await exported(old.memory)

        memory = MemoryStore(clock=old.world.clock)
        count = await imported(memory, lines, partitions)
        assert (count.instances, count.skipped) == (7, 0)
        report = await Fsck(memory, partitions, is_live=False).check()
        assert report.findings == []
        assert report.instances == 7
        engine = WorkflowEngine(
            memory, code, clock=old.world.clock, ids=old.world.ids, partition_count=partitions
        )
        async with engine:
            await engine.raise_event("listens", "n", "7")
            outputs = {
                name: (await engine.wait_for_completion(name, timeout_s=100)).output
                for name in ("naps", "sleeps", "listens", "parent", "no-worker", "ended")
            }
        assert outputs == {
            "naps": "40.0",
            "sleeps": '"awake"',
            "listens": "7",
            "parent": "45.0",
            "no-worker": "2.0",
            "ended": "1.0",
        }
        assert (await Fsck(memory, partitions, is_live=False).check()).findings == []

    simulate(1, main)


def test_messages_between_partitions_travel_once() -> None:
    """Entries that their receiver has stored are not exported again from the sender's outbox."""

    async def main() -> None:
        store = MemoryStore()
        target = ActorId(INSTANCE, "b")  # of partition 1 of 2
        entries = [
            LinkEntry(1, EntryId(5, n), 7, EntryId(5, n - 1), target, "start", b"%d" % n)
            for n in (1, 2, 3)
        ]
        store._partition(0).outbox = {(1, entry.id): entry for entry in entries}
        store._partition(1).marks = {0: LinkMark(0, EntryId(5, 1), 7)}
        (loose, _) = content(await exported(store, 2))
        assert [message["payload"] for message in loose["messages"]] == ["2", "3"]

    asyncio.run(main())


def test_a_long_history_is_written_in_pieces(tmp_path: Path) -> None:
    class Counting(MemoryStore):
        largest = 0

        async def commit(self, commit: Commit) -> CommitResult:
            sizes = [len(write.log_append) for write in commit.actors]
            self.largest = max([self.largest, *sizes])
            return await super().commit(commit)

    async def main() -> None:
        log = tuple(b"%d" % n for n in range(3 * COMMIT_LOG_ENTRIES + 5))
        store, other = MemoryStore(), Counting()
        writes = [
            ActorWrite(
                ActorId(INSTANCE, f"i-{number}"),
                number,
                create=True,
                summary=Summary("w", "RUNNING", 1, 2, b"h"),
                log_append=log if number == 2 else log[:3],
            )
            for number in (1, 2, 3)
        ]
        async with OfflineStore(store, 1, SystemIds()) as owned:
            await owned.commit(0, actors=tuple(writes))
        await imported(other, await exported(store))
        assert content(await exported(other)) == content(await exported(store))
        assert other.largest == COMMIT_LOG_ENTRIES

    asyncio.run(main())


# ---- selection and refusals ----------------------------------------------------------------------


async def small_store() -> MemoryStore:
    store = MemoryStore()
    phases = {"a-1": "RUNNING", "a-2": "COMPLETED", "b-1": "RUNNING"}
    writes = [
        ActorWrite(ActorId(INSTANCE, key), n, create=True, summary=Summary("w", phase, 1, 2, b"{}"))
        for n, (key, phase) in enumerate(phases.items(), 1)
    ]
    rows = [
        MessageRow(1, ActorId(INSTANCE, "a-1:0001"), "start", b"{}", ActorId(INSTANCE, "a-1")),
        MessageRow(2, ActorId("activity", "b-1"), "run", b"{}", ActorId(INSTANCE, "b-1")),
        MessageRow(3, ActorId(INSTANCE, "zzz"), "start", b"{}"),
    ]
    async with OfflineStore(store, 1, SystemIds()) as owned:
        await owned.commit(0, actors=tuple(writes), put_messages=tuple(rows))
    return store


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        (Selection(), ["a-1", "a-2", "b-1", "a-1:0001", "zzz"]),
        (Selection(id_prefix="a-"), ["a-1", "a-2", "a-1:0001"]),
        (Selection(statuses=("RUNNING",)), ["a-1", "b-1", "a-1:0001"]),
        (Selection(("COMPLETED",), "a-"), ["a-2"]),
        (Selection(("COMPLETED",), "b-"), []),
    ],
)
def test_selection(selection: Selection, ids: list[str]) -> None:
    async def main() -> None:
        lines = content(await exported(await small_store(), selection=selection))
        assert [line["id"] for line in lines[:-1]] == ids

    asyncio.run(main())


def refuse(lines: list[bytes], text: str, *, partitions: int = 1) -> MemoryStore:
    store = MemoryStore()

    async def main() -> None:
        with pytest.raises(ArchiveError, match=text):
            await imported(store, lines, partitions)

    asyncio.run(main())
    return store


def archive() -> list[bytes]:
    async def main() -> list[bytes]:
        return await exported(await small_store())

    return asyncio.run(main())


def test_what_is_no_archive_is_refused() -> None:
    lines = archive()
    refuse([], "no actorflow archive")
    refuse([b"\x00\x01"], "no actorflow archive")
    refuse(lines[1:], "no actorflow archive")
    refuse([lines[0].replace(b'"version":2', b'"version":9'), *lines[1:]], "upgrade")
    refuse(lines[:-1], "cut off")
    refuse([*lines[:2], *lines[3:]], "lines are missing")
    refuse([*lines, lines[1].replace(b"a-1", b"a-9")], "lines are missing or were added")
    refuse([lines[0], b"{nonsense\n", *lines[1:]], "line 2 is no line")
    refuse([lines[0], lines[1], *lines[1:]], "comes twice")
    refuse([lines[0], *lines], "second header")
    refuse([lines[0], lines[1].replace(b'"id":"a-1"', b'"id":""')], "line 2: .*empty")
    refuse([lines[0], lines[1].replace(b'"head":"{}"', b'"head":{"b64":"?"}')], "line 2: .*base64")
    refuse([lines[0], lines[1].replace(b"RUNNING", b"R" * 20_000), *lines[2:]], "changed by hand")


def test_what_exists_is_refused_or_skipped_and_the_rest_is_imported() -> None:
    lines = archive()

    async def main() -> None:
        store = MemoryStore()
        with pytest.raises(ArchiveError, match="cut off"):
            await imported(store, lines[:3])
        with pytest.raises(ArchiveError, match="exists already"):
            await imported(store, lines)
        count = await imported(store, lines, skip=True)
        assert (count.instances, count.skipped) == (1, 2)
        assert content(await exported(store)) == content(lines)

    asyncio.run(main())


def test_an_import_that_was_killed_inside_a_history_is_done_again() -> None:
    lines = archive()

    async def main() -> None:
        store = MemoryStore()
        half = ActorWrite(ActorId(INSTANCE, "a-1"), 1, create=True, log_append=(b"x",))
        async with OfflineStore(store, 1, SystemIds()) as owned:
            owned.next_actor_number(0)
            await owned.commit(0, actors=(half,))
        await imported(store, lines, skip=True)
        assert content(await exported(store)) == content(lines)

    asyncio.run(main())
