"""One host of a cluster under measurement, told by lines of JSON what to do: see `bench.hosts`.

It has the engine and the clients in one process, and no HTTP. The first line is an `Order`; each
later one is a request with `do`, answered by one line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from actorflow.actors.collector import calm_collector
from actorflow.actors.store.redis import RedisStore
from actorflow.workflow.engine import WorkflowEngine
from bench import workflows
from bench.case import Case, Span, closed_loop, cluster_of, warm_up
from bench.floor import RecordingStore
from bench.ops import op_named

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LINE_BYTES = 64 * 1024 * 1024
"""Longest line in either direction."""

STARTS_AT_ONCE = 64


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is told first. `ticks` is the file for the activity `tick`."""

    url: str
    partitions: int
    durability: str
    directory: str
    uvloop: bool
    default_gc: bool
    records: bool
    ticks: str


@dataclass
class Host:
    """The engine of this process, and what the last loop showed."""

    order: Order
    engine: WorkflowEngine
    store: RecordingStore
    span: Span | None = None

    async def loop(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a closed loop."""
        case = Case(directory=Path(), **request["case"])
        op = op_named(request["op"])
        if request["warm_up"]:
            await warm_up(self.engine, op, case)
            return {}
        begun_s = time.perf_counter()
        spent_s = await closed_loop(self.engine, op, case)
        return {"spent_s": spent_s, "wall_s": time.perf_counter() - begun_s}

    async def begin(self, _: dict[str, Any]) -> dict[str, Any]:
        """Begin to measure."""
        self.span = Span(self.engine, self.store)
        return {}

    async def end(self, _: dict[str, Any]) -> dict[str, Any]:
        """Return what happened since `begin`."""
        assert self.span is not None, "only after `begin`"
        self.span.stop()
        return {
            "cpu_s": self.span.cpu_s,
            "turns": self.span.turns,
            "commits": self.span.commits,
        }

    async def records(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write the commits of this host to a file."""
        assert self.span is not None, "only after a loop"
        before, during = self.span.first_commit, self.span.end_commit
        records = self.store.records[:before], self.store.records[before:during]
        file = Path(request["file"])
        file.write_bytes(msgspec.msgpack.encode(records))  # noqa: ASYNC240 -- nothing else runs
        return {}

    async def start(self, request: dict[str, Any]) -> dict[str, Any]:
        """Start many instances of one workflow."""
        waiting = iter(range(request["count"]))
        started: list[str] = []

        async def client() -> None:
            for _ in waiting:
                instance_id = await self.engine.start(request["name"], input=request["input"])
                started.append(instance_id)

        await asyncio.gather(*(client() for _ in range(STARTS_AT_ONCE)))
        return {"ids": started}

    async def tell(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raise an event on each of these instances, one after another; return how long it took."""
        spent_s = []
        for instance_id in request["ids"]:
            begun_s = time.perf_counter()
            await self.engine.raise_event(instance_id, "tick", "1")
            spent_s.append(time.perf_counter() - begun_s)
        return {"spent_s": spent_s}

    async def state(self, _: dict[str, Any]) -> dict[str, Any]:
        """Return processor time and memory of this process, and the engine's counters."""
        stats = self.engine.stats()
        return {
            "cpu_s": time.process_time(),
            "rss_bytes": psutil.Process().memory_info().rss,
            "counters": dict(stats.counters),
            "gauges": dict(stats.gauges),
        }


async def serve(order: Order, requests: asyncio.StreamReader) -> None:
    """Run a host until its input ends or it is told to stop."""
    recording = RecordingStore(
        RedisStore(order.url, partition_count=order.partitions, durability=order.durability)  # type: ignore[arg-type]  # checked by the parent
    )
    store = recording if order.records else recording.inner
    engine = WorkflowEngine(
        store, workflows.app, partition_count=order.partitions, cluster=cluster_of(store)
    )
    workflows.write_ticks_to(Path(order.ticks))
    async with engine:
        host = Host(order, engine, recording)
        actions: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "loop": host.loop,
            "begin": host.begin,
            "end": host.end,
            "records": host.records,
            "start": host.start,
            "tell": host.tell,
            "state": host.state,
        }
        answer({"host": engine.actors.host_id})
        while (line := await requests.readline()) and (request := json.loads(line))["do"] != "stop":
            answer(await actions[request["do"]](request))


def answer(found: dict[str, Any]) -> None:
    """Write one line to the parent."""
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
    sys.stdout.buffer.flush()


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    return reader


def main() -> None:
    """Read the order and run."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if order.uvloop:
        import uvloop  # noqa: PLC0415 -- only if asked for

        factory = uvloop.new_event_loop
    if not order.default_gc:
        calm_collector()

    async def run() -> None:
        await serve(order, await _standard_input())

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())


if __name__ == "__main__":
    main()
