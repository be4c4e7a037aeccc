"""Export and import of what remote workers run, of several apps, into stores of all kinds."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from actorflow.actors.clock import SystemIds
from actorflow.actors.store.memory import MemoryStore
from actorflow.actors.store.sqlite.store import SqliteStore
from actorflow.workflow import WorkflowEngine
from actorflow.workflow.archive import export_instances
from actorflow.workflow.archive_format import ArchiveError
from actorflow.workflow.archive_import import Importer
from actorflow.workflow.fsck import Fsck
from actorflow.workflow.offline import OfflineStore
from tests.fakes.remote_worker import RemoteWorker
from tests.sim.invariants import stored_messages
from tests.sim.loop import SimClock, SimLoop, simulate
from tests.sim.remote import WORKFLOWS, RemoteStand

if TYPE_CHECKING:
    from pathlib import Path

    from actorflow.actors.ports import PartitionStore

APPS = ("default", "orders", "zebra")


async def exported(store: PartitionStore, clock: SimClock, partitions: int = 1) -> list[bytes]:
    lines: list[bytes] = []
    await export_instances(store, partitions, lines.append, clock)
    return lines


def normal(line: bytes) -> str:
    """Return a line whose messages are in an order that does not depend on partitions."""
    value = json.loads(line)
    if isinstance(value.get("messages"), list):
        value["messages"].sort(key=json.dumps)
    return json.dumps(value)


async def imported(lines: list[bytes], store: PartitionStore, partitions: int) -> int:
    async with OfflineStore(store, partitions, SystemIds()) as owned:
        count = await Importer(owned, skip_existing=True).read(lines)
    return count.instances


async def busy_archive(loop: SimLoop) -> list[bytes]:
    """Export a store with an instance of the same id in each app, in the middle of a wide fan-out,
    and one that waits for a worker."""
    stand = RemoteStand(loop)
    stand.store.on_applied = None
    await stand.world.start_host()
    for app_id in APPS:
        worker = stand.worker(app_id=app_id)
        await stand.start("fan", 20, "x", app_id=app_id)
        while not stored_messages(stand.memory) or not worker.items:  # noqa: ASYNC110 -- virtual
            await asyncio.sleep(0.01)
        await stand.kill_worker(worker)
        await stand.start("chain", 1, "waits", app_id=app_id)
    await asyncio.sleep(5)
    await stand.world.stop_hosts()
    return await exported(stand.memory, stand.clock)


@pytest.mark.parametrize("partitions", [1, 8])
def test_instances_of_all_apps_go_on_elsewhere(partitions: int) -> None:
    async def main(loop: SimLoop) -> None:
        lines = await busy_archive(loop)
        stand = RemoteStand(loop, 5, partition_count=partitions if partitions > 1 else 0)
        stand.store.on_applied = None
        assert await imported(lines, stand.memory, partitions) == 6
        assert await imported(lines, stand.memory, partitions) == 0
        report = await Fsck(stand.memory, partitions, is_live=False).check()
        assert report.faults == []
        assert report.instances == 6
        stand.store.on_applied = None
        await stand.world.start_host()
        for app_id in APPS:
            stand.worker(app_id=app_id)
        for app_id in APPS:
            ends = [
                json.loads((await stand.end_of(id_, app_id=app_id)).output or "")
                for id_ in ("x", "waits")
            ]
            assert ends == [380, 8]
        for worker in list(stand.workers):
            await stand.kill_worker(worker)
        await stand.world.stop_hosts()

    simulate(2, main)


def test_an_import_that_was_cut_off_is_repeated() -> None:
    async def main(loop: SimLoop) -> None:
        lines = await busy_archive(loop)
        for cut in range(1, len(lines)):
            memory = MemoryStore(clock=SimClock(loop))
            with pytest.raises(ArchiveError):
                await imported(lines[:cut], memory, 8)
            await imported(lines, memory, 8)
            report = await Fsck(memory, 8, is_live=False).check()
            assert report.faults == []
            assert report.instances == 6
            again = await exported(memory, SimClock(loop), 8)
            assert sorted(map(normal, again[1:])) == sorted(map(normal, lines[1:]))

    simulate(2, main)


@pytest.mark.asyncio
async def test_sqlite(tmp_path: Path) -> None:
    """The same on a file, with real time."""
    lines: list[bytes] = []

    def archive() -> None:
        async def main(loop: SimLoop) -> None:
            lines.extend(await busy_archive(loop))

        simulate(2, main)

    await asyncio.to_thread(archive)
    store = SqliteStore(tmp_path / "flow.db")
    await store.open()
    assert await imported(lines, store, 1) == 6
    report = await Fsck(store, 1, is_live=False).check()
    assert report.faults == []
    assert report.instances == 6
    await store.close()

    async def double(value: int) -> int:
        return value * 2

    async with WorkflowEngine(SqliteStore(tmp_path / "flow.db")) as engine:
        workers = [
            RemoteWorker(
                lambda: engine, app_id=app_id, workflows=WORKFLOWS, activities={"double": double}
            )
            for app_id in APPS
        ]
        for worker in workers:
            worker.start()
        for app_id in APPS:
            end = await engine.wait_for_completion("x", timeout_s=120, app_id=app_id)
            assert end.output == "380"
        for worker in workers:
            await worker.kill()
