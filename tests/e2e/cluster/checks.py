"""What must hold of a cluster whatever broke, in its store, side log and logs: I1 to I9, I11,
I13 and I14. `Reader` sees to I10 meanwhile."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.address import ActorId, partition_of
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.keys import tag_of
from actorflow.workflow.events import (
    EventRaised,
    ExecutionCompleted,
    Status,
    TaskCompleted,
    TaskScheduled,
)
from actorflow.workflow.fsck import Fsck, Report
from actorflow.workflow.records import history_of, instance_of
from actorflow.workflow.requests import INSTANCE
from tests.e2e.cluster.app import expected
from tests.e2e.cluster.clients import Caller
from tests.e2e.cluster.hosts import PARTITIONS, Site
from tests.sim.invariants import check_history, check_timers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from actorflow.actors.ports import ActorRecord
    from tests.e2e.cluster.audit import ServerLog

CHILD = ":0003"
"""What the id of a ledger's child adds to the id of its parent."""

QUIET_S = 180.0
SLACK_MS = 100
"""By which clocks and their rounding may differ on one machine."""

CLOCKS_APART_MS = (time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)) // 1_000_000
"""What the clock of Redis is ahead of that of the side log."""

ENDED = ("COMPLETED", "TERMINATED")
GROUP = 100
"""Instances that are read at once."""

OF_A_PARTITION = re.compile(rb"af:\{((\d+)\.\d+)\}:")
NOT_OF_A_PARTITION = re.compile(rb"af:(cluster$|members$|\{host\.)")
OF_INSTANCES = re.compile(rb"\}:([sl]:|x:|messages$|parked$|due$|reminders$)")

BAD_IN_LOGS = re.compile(
    "Traceback|was destroyed but|never retrieved|never awaited|failed unexpectedly|critical"
)

BAD_BESIDES_ALARMS = re.compile(f"(?!.*store_rollback)({BAD_IN_LOGS.pattern})")


class Executed(NamedTuple):
    """One run of an activity's body as the side log tells it; `ended_us` None when it was cut."""

    began_us: int
    ended_us: int | None
    pid: int


class Asked(NamedTuple):
    """An activity that a history asks for: of which partition, since when by the store's clock."""

    partition: int
    since_ms: int


Epochs = Callable[[int], Iterable[int]]
"""When a partition was acquired, in ms of the store's clock."""


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


async def check_all(
    site: Site,
    accepted: dict[str, int],
    *,
    faults: int,
    asked: dict[str, Asked] | None = None,
    log: ServerLog | None = None,
    alarms: bool = False,
    attempts: int = 0,
) -> Counter[str]:
    """Check everything, and end the hosts on the way. Returns what the server's log counts.

    Args:
        accepted: the acknowledged starts that have not been checked before.
        asked: the activities of those that have.
        log: of the server, when it has all that was ever committed.
        alarms: whether hosts may have noticed that the store lost what it had.
        attempts: that clients gave up.
    """
    await check_quiet(site)
    asked = (asked or {}) | await check_instances(site, accepted)
    epochs: Epochs | None = None
    if log is not None:
        log.catch_up()
        epochs = log.epochs
        if faults:
            # A busy machine may let leases end, too: what moves with its partition runs again.
            faults = max(faults, log.most_acquired())
    together = check_side_log(site.side_log, asked, faults=faults, epochs=epochs)
    await check_purge(site, attempts=attempts)
    codes = await asyncio.gather(*(host.end(signal.SIGTERM) for host in site.hosts))
    assert set(codes) == {0}, codes
    check_logs(site, alarms=alarms)
    check_keys(site)
    if log is None:
        return Counter()
    seen = log.catch_up()
    assert seen["committed"], "no commit in the log"
    return seen + Counter({"activities that two owners ran at once": together})


async def check_instances(site: Site, accepted: dict[str, int]) -> dict[str, Asked]:
    """I1, I3, I4 and I6 of every acknowledged start, and of its child. Returns the activities that
    their histories ask for."""
    asked: dict[str, Asked] = {}
    ids = [each for instance_id in accepted for each in (instance_id, instance_id + CHILD)]
    async for record in _records(site, ids):
        events, key = history_of(record), record.actor.key
        check_history(events)
        check_timers(events)
        kinds = Counter(type(event) for event in events)
        assert kinds[ExecutionCompleted] == 1, key
        assert kinds[TaskCompleted] == kinds[TaskScheduled] == 2, key
        partition = partition_of(record.actor, PARTITIONS)
        for event in events:
            if isinstance(event, TaskScheduled):
                assert event.task_execution_id not in asked, key
                asked[event.task_execution_id] = Asked(partition, event.at_ns // 1_000_000)
        raised = [event.dedup_id for event in events if isinstance(event, EventRaised)]
        assert raised == ([] if key.endswith(CHILD) else [f"event-{key}"])
        instance = instance_of(record)
        assert instance.status is Status.COMPLETED, instance
        if (number := accepted.get(key)) is not None:
            assert json.loads(instance.output or "") == expected(number, number * 10), instance
    return asked


async def _records(site: Site, ids: list[str]) -> AsyncIterator[ActorRecord]:
    """Yield what is stored of instances, with their logs."""
    by_partition: dict[int, list[ActorId]] = defaultdict(list)
    for instance_id in ids:
        actor = ActorId(INSTANCE, instance_id)
        by_partition[partition_of(actor, PARTITIONS)].append(actor)
    store = RedisStore(site.redis.url, durability="memory")
    await store.open()
    try:
        for partition, actors in by_partition.items():
            for i in range(0, len(actors), GROUP):
                some = actors[i : i + GROUP]
                for actor, record in zip(
                    some, await store.load(partition, some, with_log=True), strict=True
                ):
                    assert record is not None, f"{actor} is lost"
                    yield record
    finally:
        await store.close()


async def check_purge(site: Site, *, attempts: int) -> None:
    """I13: once all instances are purged, no key of any is left. So many attempts to start them
    were given up, and may have come late."""
    async with Caller(site) as caller:
        while page := (await caller.ask("GET", "actorflow/v1/instances?limit=200"))["instances"]:
            anew = [one["instanceID"] for one in page if one["status"] not in ENDED]
            assert len(anew) <= attempts, page
            for instance_id in anew:  # by an attempt that its client gave up, after the purge
                await caller.ask("POST", f"v1.0/workflows/dapr/{instance_id}/terminate", {})
            await caller.purge([one["instanceID"] for one in page])
    async with asyncio.timeout(QUIET_S):
        while left := _keys(site, OF_INSTANCES):
            await asyncio.sleep(0.2)
            assert left


def _keys(site: Site, pattern: re.Pattern[bytes] | None = None) -> list[bytes]:
    with site.redis.client() as client:
        keys = list(client.scan_iter(count=1_000))
    return [key for key in keys if pattern is None or pattern.search(key)]


def check_keys(site: Site) -> None:
    """I14: each key of a partition has its tag, and no key ends by itself."""
    keys = _keys(site)
    for key in keys:
        if match := OF_A_PARTITION.match(key):
            assert match[1].decode() == tag_of(int(match[2]), PARTITIONS), key
        else:
            assert NOT_OF_A_PARTITION.match(key), key
    with site.redis.client() as client:
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.pttl(key)
        ending = [key for key, ttl in zip(keys, pipeline.execute(), strict=True) if ttl != -1]
    assert ending == []


def check_logs(site: Site, *, alarms: bool = False) -> None:
    """I11: no host has met anything that it did not expect."""
    bad_line = BAD_IN_LOGS if not alarms else BAD_BESIDES_ALARMS
    for host in site.hosts:
        lines = host.log.read_text(errors="replace").splitlines()
        bad = [number for number, line in enumerate(lines) if bad_line.search(line)]
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


def check_side_log(
    path: Path, asked: dict[str, Asked], *, faults: int, epochs: Epochs | None = None
) -> int:
    """I5: each activity ran, once more a fault at most, and none that no history asks for.

    With `epochs`, also: again only for a new owner of its partition, and so never two at once but
    for an owner that does not know yet that it was replaced. Returns how many of these there were.
    """
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
    if epochs is not None:
        for task, found in runs.items():
            if len(found) > 1:
                check_owners(task, asked[task], found, epochs(asked[task].partition))
    return sum(map(ran_together, runs.values()))


def check_owners(task: str, asked: Asked, found: list[Executed], epochs: Iterable[int]) -> None:
    """The first run is by whoever owned the partition when the activity was asked for. Each other
    one needs an owner who came since then, and before it began."""
    began_ms = max(run.began_us for run in found) // 1_000 + CLOCKS_APART_MS + SLACK_MS
    owners = [epoch for epoch in epochs if asked.since_ms - SLACK_MS <= epoch <= began_ms]
    assert len(found) <= 1 + len(owners), (
        f"{task} ran {len(found)} times for {len(owners)} new owners of partition "
        f"{asked.partition}: {found}"
    )


def ran_together(found: list[Executed]) -> bool:
    """Whether two runs of one activity overlap. One that was cut counts as over at once."""
    spans = sorted((run.began_us, run.ended_us or run.began_us) for run in found)
    return any(second[0] < first[1] for first, second in pairwise(spans))
