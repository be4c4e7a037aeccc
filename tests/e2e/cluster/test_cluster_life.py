"""What users of many hosts must never see: an event lost while an instance begins anew, a status
that goes back, a child that outlives its parent."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster.checks import check_logs, check_quiet
from tests.e2e.cluster.clients import Caller, Reader
from tests.e2e.cluster.hosts import site

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

EVENTS = 1_000
AT_ONCE = 40
READS = 100
CHILDREN = 100


async def read_without_pause(caller: Caller, enough: asyncio.Event) -> int:
    """Read one instance from all hosts until there was enough, and `READS` times at least; return
    how often."""
    reader, count = Reader(caller, "probe"), 0
    while not enough.is_set() or count <= READS:
        reader.saw(await caller.get("probe"))
        count += 1
    return count


@pytest.mark.asyncio
async def test_a_thousand_events_arrive_while_their_instance_begins_anew(tmp_path: Path) -> None:
    """It does so after each 50 events, its host is killed on the way, and others read it."""
    async with site(tmp_path) as place, Caller(place) as caller:
        await caller.start("probe", "probe")
        gate, enough = asyncio.Semaphore(AT_ONCE), asyncio.Event()

        async def tick(number: int) -> None:
            async with gate:
                if number in (EVENTS // 4, EVENTS // 2):
                    host = place.hosts[number // (EVENTS // 4)]
                    await host.end(signal.SIGKILL)
                    await host.start()
                await caller.raise_event("probe", "tick", number, f"tick-{number}")

        async with asyncio.TaskGroup() as readers:
            reading = readers.create_task(read_without_pause(caller, enough))
            await asyncio.gather(*map(tick, range(EVENTS)))
            while _count(await caller.get("probe")) < EVENTS:  # noqa: ASYNC110 -- a poll
                await asyncio.sleep(0.1)
            enough.set()
        assert reading.result() > READS
        assert _count(await caller.get("probe")) == EVENTS
        await caller.ask("POST", "v1.0/workflows/dapr/probe/terminate", {})
        await check_quiet(place)
        check_logs(place)


def _count(answer: dict[str, dict[str, str]]) -> int:
    return int(json.loads(answer["properties"].get("dapr.workflow.custom_status") or "0"))


@pytest.mark.asyncio
async def test_all_children_on_all_hosts_end_with_their_parent(tmp_path: Path) -> None:
    async with site(tmp_path) as place, Caller(place) as caller:
        await caller.start("tree", "tree", CHILDREN)
        await _until(caller, "RUNNING", CHILDREN + 1)
        await caller.ask("POST", "v1.0/workflows/dapr/tree/terminate", {})
        took_s = await _until(caller, "TERMINATED", CHILDREN + 1)
        sys.stdout.write(f"{CHILDREN} children ended in {took_s:.2f} s\n")
        await check_quiet(place)
        check_logs(place)


async def _until(caller: Caller, status: str, count: int) -> float:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    path = f"actorflow/v1/instances?idPrefix=tree&status={status}&limit=200"
    while len((await caller.ask("GET", path))["instances"]) < count:  # noqa: ASYNC110 -- a poll
        await asyncio.sleep(0.1)
    return loop.time() - began_s
