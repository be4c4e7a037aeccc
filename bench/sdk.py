"""The scenarios of Dapr's SDKs: server, application and floor each in a process of their own.

A work item is a turn or an activity that a worker is sent, and its answer. The processor time of
the server's process for one work item holds all that the run did: starts and waits of the clients,
the store, grpc. The floor is a bare `grpc.aio` server with the same calls: for as many items as a
workflow has one start and one wait, of the same sizes and as many at a time. It runs at the pace of
the SDK's run, by which the engine is judged, and as fast as it can, where one wake-up serves many
items. All are measured in alternation and the least counts, since others' work only adds.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.case import Case, Row, Target, quantile
from bench.processes import Peer, cpu_s, peer, server
from bench.progress import say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROUNDS = 3
"""Floor, raw worker and SDK take turns so often."""

AT_ONCE_MAX = 100
"""Items that the server has out to one worker at most."""

TICK_S = 0.01
"""The system counts processor time in steps of this."""

ITEM_RATIO = 2.0
"""Processor time of an item may be so many times that of the floor's at the same pace."""

ADDED_MS = {"sqlite": 2.0, "memory": 2.0, "redis": 3.0}
"""From an answer to the next item of its instance, p50."""

_ITEMS = re.compile(
    r'^actorflow_grpc_requests_total\{.*method="[^"]*/Complete.*\} ([0-9.e+]+)$', re.M
)


@dataclass(frozen=True, slots=True)
class Load:
    """Workflows of one kind in a closed loop. `size` is its input."""

    name: str
    size: int
    clients: int

    @property
    def at_once(self) -> int:
        """Items of one workflow that are under way at a time."""
        wide = self.size if self.name == "fanout" else 1
        return min(AT_ONCE_MAX // self.clients, wide)


async def sdk_hello_1(case: Case) -> Row:
    """Workflows of one activity, worker and client of Dapr's SDK for Python; floor: stream echo."""
    return await _sdk("sdk-hello-1", Load("chain", 1, 16), case)


async def sdk_chain_5(case: Case) -> Row:
    """Five activities one after another with Dapr's SDK for Python; floor: stream echo."""
    return await _sdk("sdk-chain-5", Load("chain", 5, 16), case)


async def sdk_fanout_100(case: Case) -> Row:
    """A hundred activities at once with Dapr's SDK for Python; floor: stream echo."""
    return await _sdk("sdk-fanout-100", Load("fanout", 100, 4), case)


async def sdk_idle_streams(case: Case) -> Row:
    """A thousand connected workers without work: percent of a core; floor: none connected."""
    count, seconds = case.sized(1_000), max(0.5, 30 * min(1.0, case.scale))
    async with _serve(case) as (pid, _, address), peer(["bench.grpc_worker"]) as raw:
        without = await _percent(pid, seconds / 3)
        say(f"sdk-idle-streams: connecting {count:,} workers")
        begun_s = time.perf_counter()
        await raw.ask(do="idle", address=address, streams=count)
        connected_s = time.perf_counter() - begun_s
        await asyncio.sleep(min(seconds, 5.0))
        percent = await _percent(pid, seconds)
        alive = (await raw.ask(do="close"))["alive"]
    assert alive == count, f"{count - alive} of {count} workers lost their stream"
    return Row(
        scenario="sdk-idle-streams",
        clients=0,
        figures={
            "streams": count,
            "connected_s": round(connected_s, 2),
            "cpu_percent": round(percent, 2),
        },
        floor={"cpu_percent": round(without, 2)},
        targets=(Target("cpu_percent", 2.0),),
    )


async def _percent(pid: int, seconds: float) -> float:
    before_s, begun_s = cpu_s(pid), time.perf_counter()
    await asyncio.sleep(seconds)
    return (cpu_s(pid) - before_s) / (time.perf_counter() - begun_s) * 100


async def _sdk(scenario: str, load: Load, case: Case) -> Row:
    figures, sizes = await _latency(load, case)
    floors: list[dict[str, float]] = []
    paced: list[dict[str, float]] = []
    raws: list[dict[str, float]] = []
    sdks: list[dict[str, float]] = []
    async with AsyncExitStack() as stack:
        echo_pid, ready = await stack.enter_async_context(
            server("echo", ["bench.grpc_echo"], case.directory)
        )
        pid, urls, address = await stack.enter_async_context(_serve(case))
        raw = await stack.enter_async_context(peer(["bench.grpc_worker"]))
        floor = _Floor(raw, echo_pid, ready["grpc"][0], load, sizes)
        await floor.run(0.3)
        await _work(raw, address, load, load.clients)
        rounds = case.sized(ROUNDS)
        for n in range(rounds):
            say(f"{scenario}: round {n + 1} of {rounds}")
            floors.append(await floor.run(case.seconds / 2))
            raws.append(await _raw_round(raw, pid, address, load, case))
            # The worker of one program at a time: two would share the work.
            endpoint = f"http://{address}"
            async with peer(["bench.sdk_program"], DAPR_GRPC_ENDPOINT=endpoint) as program:
                order = {"name": load.name, "size": load.size, "clients": load.clients}
                await program.ask(**order, count=2 * load.clients)
                sdks.append(await _sdk_round(program, pid, urls, order, case))
            pace = sdks[-1]["items_per_s"]
            paced.append(await floor.run(case.seconds / 2, per_s=pace))
        alone = await floor.run(case.seconds / 2, clients=1)
    best, raw_best, floor_best, paced_best = (
        min(runs, key=lambda one: one["cpu_us_per_item"]) for runs in (sdks, raws, floors, paced)
    )
    spent_us, fast_us = best["cpu_us_per_item"], floor_best["cpu_us_per_item"]
    paced_us = paced_best["cpu_us_per_item"]
    row = Row(scenario=scenario, clients=load.clients)
    row.figures = {
        **{name: round(value, 3) for name, value in best.items()},
        "cpu_ratio": round(spent_us / fast_us, 2),
        "cpu_ratio_at_pace": round(spent_us / paced_us, 2),
        "own_ratio": round(spent_us / fast_us - 1, 2),
        "own_ratio_at_pace": round(spent_us / paced_us - 1, 2),
        "raw_items_per_s": round(raw_best["items_per_s"], 1),
        "raw_cpu_us_per_item": round(raw_best["cpu_us_per_item"], 1),
        "item_bytes": sizes["item_bytes"],
        **figures,
    }
    row.floor = {
        "cpu_us_per_item": round(fast_us, 1),
        "cpu_us_per_item_at_pace": round(paced_us, 1),
        "items_per_s": round(floor_best["items_per_s"], 1),
        "items_per_s_at_pace": round(paced_best["items_per_s"], 1),
    }
    row.targets = (Target("cpu_ratio_at_pace", ITEM_RATIO),)
    if "added_p50_ms" in figures:
        row.targets += (Target("added_p50_ms", ADDED_MS[case.store]),)
        row.floor["added_p50_ms"] = round(alone["p50_ms"], 3)
    return row


class _Floor:
    """The bare server, and who takes part in its rounds."""

    def __init__(
        self, raw: Peer, pid: int, address: str, load: Load, sizes: dict[str, int]
    ) -> None:
        self._raw = raw
        self._pid = pid
        self._load = load
        asked = ("answer_bytes", "start_bytes", "wait_bytes")
        self._order = {"do": "echo", "address": address} | {name: sizes[name] for name in asked}
        self._sizes = {
            name: sizes[name] for name in ("items", "item_bytes", "started_bytes", "waited_bytes")
        }

    async def run(self, seconds: float, *, per_s: float = 0, clients: int = 0) -> dict[str, float]:
        """Take part; `per_s` items a second at most. `clients` unless as many as the load has."""
        before_s = cpu_s(self._pid)
        run = await self._raw.ask(
            **self._order,
            sizes={**self._sizes, "at_once": 1 if clients == 1 else self._load.at_once},
            clients=clients or self._load.clients,
            seconds=seconds,
            per_s=per_s,
        )
        return {
            "cpu_us_per_item": max(TICK_S, cpu_s(self._pid) - before_s) / run["items"] * 1e6,
            "items_per_s": run["items"] / run["wall_s"],
            "p50_ms": quantile(run["spent_s"], 0.5) * 1e3,
        }


async def _work(raw: Peer, address: str, load: Load, count: int, *, clients: int = 0) -> Any:
    return await raw.ask(
        do="work",
        address=address,
        name=load.name,
        size=load.size,
        clients=clients or load.clients,
        count=count,
    )


async def _latency(load: Load, case: Case) -> tuple[dict[str, float], dict[str, int]]:
    """Return times from an answer to the next item, one workflow at a time, and sizes of items."""
    times = case.directory / "times.json"
    steps = case.sized(600)
    command, name = ["bench.grpc_timed"], "timed"
    async with (
        _serve(case, command, name, BENCH_TIMES=str(times)) as (_, _, address),
        peer(["bench.grpc_worker"]) as raw,
    ):
        count = max(2, steps // (2 * load.size))
        run = await _work(raw, address, load, count, clients=1)
    sizes = {one: round(run[one] / run["items"]) for one in ("item_bytes", "answer_bytes")}
    for one in ("items", "start_bytes", "started_bytes", "wait_bytes", "waited_bytes"):
        sizes[one] = round(run[one] / run["workflows"])
    if load.name == "fanout":
        return {}, sizes  # its turns wait for more than one answer
    found = json.loads(times.read_text())
    both = found["turn"] + found["activity"]
    return {
        "added_p50_ms": round(quantile(both, 0.5), 3),
        "added_p99_ms": round(quantile(both, 0.99), 3),
        "added_turn_p50_ms": round(quantile(found["turn"], 0.5), 3),
        "added_activity_p50_ms": round(quantile(found["activity"] or [0.0], 0.5), 3),
    }, sizes


async def _raw_round(raw: Peer, pid: int, address: str, load: Load, case: Case) -> dict[str, float]:
    # As many as take about as long as the rest of the round.
    count = max(load.clients, round(case.seconds * 400 / load.size))
    before_s = cpu_s(pid)
    run = await _work(raw, address, load, count)
    return {
        "cpu_us_per_item": (cpu_s(pid) - before_s) / run["items"] * 1e6,
        "items_per_s": run["items"] / run["wall_s"],
    }


async def _sdk_round(
    program: Peer, pid: int, urls: list[str], order: dict[str, Any], case: Case
) -> dict[str, float]:
    items = await asyncio.to_thread(_items, urls)
    before = cpu_s(pid), cpu_s(program.pid), case.server_cpu_s()
    run = await program.ask(**order, seconds=case.seconds, count=case.count)
    spent_s, program_s, redis_s = (
        now - then
        for now, then in zip(
            (cpu_s(pid), cpu_s(program.pid), case.server_cpu_s()), before, strict=True
        )
    )
    items = await asyncio.to_thread(_items, urls) - items
    ops = len(run["spent_s"])
    found = {
        "workflows": ops,
        "workflows_per_s": ops / run["wall_s"],
        "items_per_s": items / run["wall_s"],
        "items_per_workflow": items / ops,
        "p50_ms": quantile(run["spent_s"], 0.5) * 1e3,
        "p99_ms": quantile(run["spent_s"], 0.99) * 1e3,
        "cpu_us_per_workflow": spent_s / ops * 1e6,
        "cpu_us_per_item": spent_s / items * 1e6,
        "sdk_cpu_us_per_item": program_s / items * 1e6,
    }
    if case.redis is not None:
        found["server_us_per_item"] = redis_s / items * 1e6
    return found


def _items(urls: list[str]) -> float:
    """Return how many answers of workers the server has taken."""
    with urllib.request.urlopen(f"{urls[0]}/metrics") as answer:
        return sum(map(float, _ITEMS.findall(answer.read().decode())))


@asynccontextmanager
async def _serve(
    case: Case, command: list[str] | None = None, name: str = "serve", **environ: str
) -> AsyncIterator[tuple[int, list[str], str]]:
    """Run `actorflow serve` without any app; yield its process id, HTTP addresses, gRPC address."""
    url = {
        "memory": "memory://",
        "sqlite": f"sqlite:///{case.directory / name}.db",
        "redis": case.redis and case.redis.url(name),
    }[case.store]
    words = [*(command or ["actorflow.server"]), "serve", "--store", str(url)]
    words += ["--http-port", "0", "--grpc-port", "0"]
    if case.store != "memory":
        words += ["--durability", case.durability]
    if case.store == "redis":
        words += ["--partitions", str(case.partitions)]
        words += ["--cluster-file", str(case.directory / f"{name}.cluster")]
    async with server(name, words, case.directory, **environ) as (pid, ready):
        yield pid, [url.rstrip("/") for url in ready["urls"]], ready["grpc"][0]
