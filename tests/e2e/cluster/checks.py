"""What must hold of a cluster whatever broke: I1 to I11 of its store, its side log and its logs."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.store.redis import RedisStore
from actorflow.workflow import Registry, WorkflowEngine
from actorflow.workflow.events import (
    EventRaised,
    ExecutionCompleted,
    Status,
    TaskCompleted,
    TaskScheduled,
)
from actorflow.workflow.fsck import Fsck, Report
from tests.e2e.cluster.app import expected
from tests.e2e.cluster.hosts import PARTITIONS, Site
from tests.sim.invariants import check_history, check_timers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from actorflow.workflow.events import HistoryEvent

CHILD = ":0003"
"""What the id of a ledger's child adds to the id of its parent."""

QUIET_S = 30.0

BAD_IN_LOGS = re.compile(
    "Traceback|was destroyed but|never retrieved|never awaited|failed unexpectedly|critical"
)


class Executed(NamedTuple):
    """One run of an activity's body as the side log tells it; `ended_us` None when it was cut."""

    began_us: int
    ended_us: int | None
    pid: int


async def fsck(site: Site) -> Report:
    """Check the store once, while hosts run."""
    store = RedisStore(site.redis.url, durability="memory")
    await store.open()
    try:
        return await Fsck(store, PARTITIONS).check()
    finally:
        await store.close()


async def check_quiet(site: Site) -> Report:
    """I7, I8 and I9: soon nothing is open and nothing waits any more, and fsck finds no fault."""
    deadline_s = asyncio.get_running_loop().time() + QUIET_S
    while True:
        report = await fsck(site)
        rest = (report.open_instances, report.messages, report.on_links, report.reminders)
        if report.is_clean and not any(rest):
            return report
        assert asyncio.get_running_loop().time() < deadline_s, (rest, report.findings[:20])
        await asyncio.sleep(0.5)


async def check_all(site: Site, accepted: dict[str, int], *, faults: int) -> None:
    """Check everything, and end the hosts on the way. `accepted` are the acknowledged starts."""
    await check_quiet(site)
    codes = await asyncio.gather(*(host.end(signal.SIGTERM) for host in site.hosts))
    assert set(codes) == {0}, codes
    check_logs(site)
    check_keys(site)
    asked: Counter[str] = Counter()
    async for instance_id, events in _histories(site, accepted):
        check_history(events)
        check_timers(events)
        kinds = Counter(type(event) for event in events)
        assert kinds[ExecutionCompleted] == 1, instance_id
        assert kinds[TaskCompleted] == kinds[TaskScheduled] == 2, instance_id
        asked.update(e.task_execution_id for e in events if isinstance(e, TaskScheduled))
        raised = [event.dedup_id for event in events if isinstance(event, EventRaised)]
        assert raised == ([] if instance_id.endswith(CHILD) else [f"event-{instance_id}"])
    check_side_log(site.side_log, asked, faults=faults)


async def _histories(
    site: Site, accepted: dict[str, int]
) -> AsyncIterator[tuple[str, tuple[HistoryEvent, ...]]]:
    """I3: every acknowledged start has ended with the right output."""
    store = RedisStore(site.redis.url, durability="memory")
    async with WorkflowEngine(store, Registry(), partition_count=PARTITIONS) as engine:
        for instance_id, number in accepted.items():
            instance = await engine.get(instance_id)
            assert instance is not None, instance_id
            assert instance.status is Status.COMPLETED, instance
            assert json.loads(instance.output or "") == expected(number, number * 10), instance
            for each in (instance_id, instance_id + CHILD):
                yield each, (await engine.history(each)).events


def check_keys(site: Site) -> None:
    """I14: no key ends by itself."""
    with site.redis.client() as client:
        keys = list(client.scan_iter(count=1_000))
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.pttl(key)
        ending = [key for key, ttl in zip(keys, pipeline.execute(), strict=True) if ttl != -1]
    assert ending == []


def check_logs(site: Site) -> None:
    """I11: no host has met anything that it did not expect."""
    for host in site.hosts:
        lines = host.log.read_text(errors="replace").splitlines()
        bad = [number for number, line in enumerate(lines) if BAD_IN_LOGS.search(line)]
        shown = "\n".join(lines[max(0, bad[0] - 3) : bad[0] + 60]) if bad else ""
        assert not bad, f"{host.name}: {len(bad)} lines like\n{shown}"


def read_side_log(path: Path) -> dict[str, list[Executed]]:
    """Return the runs of each activity, by the id of the task."""
    began: dict[tuple[str, int], list[int]] = defaultdict(list)
    runs: dict[str, list[Executed]] = defaultdict(list)
    for line in path.read_text().splitlines():
        at_us, mark, _, task, pid = line.split()
        open_runs = began[task, int(pid)]
        if mark == "began":
            open_runs.append(int(at_us))
        else:
            runs[task].append(Executed(open_runs.pop(0), int(at_us), int(pid)))
    for (task, process), rest in began.items():
        runs[task].extend(Executed(at_us, None, process) for at_us in rest)
    return runs


def check_side_log(path: Path, asked: Counter[str], *, faults: int) -> None:
    """I5: each activity ran, once more a fault at most, and none that no history asks for."""
    runs = read_side_log(path)
    assert asked.keys() <= runs.keys()
    strange = runs.keys() - asked.keys()
    assert not strange, f"{len(strange)} activities ran that no history asks for"
    too_often = {task: found for task, found in runs.items() if len(found) > 1 + faults}
    assert too_often == {}
    for task, found in runs.items():
        ended = [run for run in found if run.ended_us is not None]
        assert ended, f"{task} has a result and never ended"
        if faults == 0:
            assert len(found) == 1, f"{task} ran {len(found)} times without a fault"
