"""The scenarios that need Redis: hosts that share, idle, crash, restart; instances that are parked.

Hosts are processes of `bench.host`. Figures are of all hosts together; Redis stands apart.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from actorflow.actors.address import ActorId, partition_of
from actorflow.workflow.requests import INSTANCE
from bench import workflows
from bench.case import Case, Row, Target, engine_on, quantile
from bench.hosts import Hosts, loop_on
from bench.ops import run
from bench.preload import parked_listener, preload
from bench.progress import say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from bench.hosts import HostProcess, Loop

HOSTS = 4
"""Hosts of a scenario that says nothing else."""

ROUNDS = 2
"""Rounds of `hosts-cost`: the least of each way counts."""

QUIET_S = 6.0
"""After a change, until nothing of it is left to do: proofs of the last commits, trims."""

TICK_PERIOD_S = 0.25
"""An instance of `host-crash` and `host-restart` moves on this often."""

TICKS_FOR_S = 60.0
"""How long these instances live."""


def _hosts(case: Case) -> int:
    return case.processes if case.processes > 1 else HOSTS


def _quiet_s(case: Case) -> float:
    return max(1.0, QUIET_S * min(1.0, case.scale))


async def step(case: Case) -> Row:
    """One durable step at one client, beside round trips of PING: in a chain, and a whole hello."""
    count = case.sized(1_000)
    workflows.stamps_s.clear()
    async with engine_on(case, case.new_store("run")) as engine:
        for _ in range(2):  # the first one warms up
            workflows.stamps_s.clear()
            await run(engine, "steps", str(count))
        stamps_s = list(workflows.stamps_s)
        hello_s, ping_s = [], []
        async with Redis(port=case.server.port) as client:
            for _ in range(count):
                begun_s = time.perf_counter()
                await run(engine, "hello", '"World"')
                ended_s = time.perf_counter()
                await client.ping()
                hello_s.append(ended_s - begun_s)
                ping_s.append(time.perf_counter() - ended_s)
    step_s = [after - before for before, after in pairwise(stamps_s)]
    round_trip_ms = quantile(ping_s, 0.5) * 1e3
    limit_ms = round(3 * round_trip_ms + 0.5, 3)
    return Row(
        scenario="step",
        clients=1,
        figures={
            "step_p50_ms": round(quantile(step_s, 0.5) * 1e3, 3),
            "step_p99_ms": round(quantile(step_s, 0.99) * 1e3, 3),
            "hello_p50_ms": round(quantile(hello_s, 0.5) * 1e3, 3),
            "hello_p99_ms": round(quantile(hello_s, 0.99) * 1e3, 3),
        },
        floor={"step_p50_ms": round(round_trip_ms, 3)},
        targets=(Target("step_p50_ms", limit_ms), Target("hello_p50_ms", limit_ms)),
    )


async def hosts_cost(case: Case) -> Row:
    """Processor time of a `chain-5` at 128 clients on four hosts, beside that on one.

    Strangers are as many hosts that share nothing but the machine and its Redis, each with a
    cluster of its own, and its part of the partitions and clients: what they cost more than one
    host is the machine's part. With ids that clients give, three of four instances live elsewhere.
    """
    many = _hosts(case)
    case = replace(case, clients=case.sized(128))
    ways: dict[str, Callable[[Case, str], Awaitable[Loop]]] = {
        "one host": partial(_as_cluster, 1, "chain:5"),
        f"{many} hosts": partial(_as_cluster, many, "chain:5"),
        f"{many} strangers": partial(_as_strangers, many, "chain:5"),
        f"{many} hosts, ids given": partial(_as_cluster, many, "given/chain:5"),
    }
    found: dict[str, list[Loop]] = {way: [] for way in ways}
    for number in range(ROUNDS):
        for way, measure in ways.items():
            say(f"hosts-cost: {way}, round {number + 1} of {ROUNDS}")
            found[way].append(await measure(case, f"run-{number}-{list(ways).index(way)}"))
    one, together, apart, given = (_costs(loops) for loops in found.values())
    return Row(
        scenario="hosts-cost",
        clients=case.clients,
        figures={
            "hosts": many,
            **together,
            "ratio": round(together["cpu_us_per_op"] / one["cpu_us_per_op"], 3),
            "ratio_of_strangers": round(apart["cpu_us_per_op"] / one["cpu_us_per_op"], 3),
            "ratio_ids_given": round(given["cpu_us_per_op"] / one["cpu_us_per_op"], 3),
        },
        floor={"hosts": 1, **one},
        targets=(Target("ratio", 1.3),),
    )


async def _as_cluster(count: int, op: str, case: Case, name: str) -> Loop:
    async with Hosts(case, name) as hosts:
        await hosts.start(count)
        return await hosts.loop(op, case)


async def _as_strangers(count: int, op: str, case: Case, name: str) -> Loop:
    share = replace(case, partitions=max(1, case.partitions // count))
    async with AsyncExitStack() as stack:
        running = []
        for number in range(count):
            hosts = await stack.enter_async_context(Hosts(share, f"{name}-{number}"))
            await hosts.start(1)
            running += hosts.running
        return await loop_on(running, op, case)


def _costs(loops: Sequence[Loop]) -> dict[str, float]:
    """Return the least of several rounds, which others' work disturbed least."""
    return {
        "cpu_us_per_op": round(min(one.cpu_s / len(one.spent_s) for one in loops) * 1e6, 1),
        "server_us_per_op": round(min(one.server_s / len(one.spent_s) for one in loops) * 1e6, 1),
        "workflows_per_s": round(max(len(one.spent_s) / one.wall_s for one in loops), 1),
    }


async def groups(case: Case) -> Row:
    """How many turns of `chain-5` share a commit at 1, 8, 32 and 128 clients."""
    figures: dict[str, float] = {}
    found = []
    async with Hosts(case, "run") as hosts:
        await hosts.start(case.processes)
        for clients in (1, 8, 32, 128):
            say(f"groups: {clients} clients")
            loop = await hosts.loop("chain:5", replace(case, clients=clients))
            found.append(loop.turns / loop.commits)
            figures[f"turns_per_commit_{clients}"] = round(found[-1], 2)
    figures["growth"] = round(found[-1] / found[0], 2)
    return Row(
        scenario="groups",
        clients=128,
        figures=figures,
        floor={"growth": 1.0},
        targets=(Target("growth", 1.5, at_least=True),),
    )


async def _idle_percent(case: Case, hosts: Hosts, seconds: float) -> tuple[float, float]:
    """Return percent of a core: all hosts together, and Redis."""
    before = await hosts.ask_all("state")
    server_s, begun_s = case.server_cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    server_s, wall_s = case.server_cpu_s() - server_s, time.perf_counter() - begun_s
    after = await hosts.ask_all("state")
    spent_s = sum(b["cpu_s"] - a["cpu_s"] for a, b in zip(before, after, strict=True))
    return spent_s / wall_s * 100, server_s / wall_s * 100


async def idle_hosts(case: Case) -> Row:
    """Four hosts with nothing to do: percent of a core, all of them together."""
    count, seconds = _hosts(case), max(1.0, 30 * min(1.0, case.scale))
    before_s, begun_s = case.server_cpu_s(), time.perf_counter()
    await asyncio.sleep(min(seconds, 5.0))
    alone = (case.server_cpu_s() - before_s) / (time.perf_counter() - begun_s) * 100
    async with Hosts(case, "run") as hosts:
        await hosts.start(count)
        say(f"idle-hosts: {count} hosts share {case.partitions} partitions")
        await asyncio.sleep(_quiet_s(case))
        hosts_percent, server_percent = await _idle_percent(case, hosts, seconds)
    return Row(
        scenario="idle-hosts",
        clients=0,
        figures={
            "hosts": count,
            "cpu_percent": round(hosts_percent, 2),
            "server_percent": round(server_percent, 2),
        },
        floor={"server_percent": round(alone, 2)},
        targets=(Target("cpu_percent", 3.0),),
    )


async def parked_100k(case: Case) -> Row:
    """A hundred thousand instances that wait: what they cost, and how soon one takes an event."""
    count, seconds = case.sized(100_000), max(1.0, 20 * min(1.0, case.scale))
    say(f"parked-100k: writing {count:,} instances")
    ids = await preload(case.new_store("run"), await parked_listener(), count, case.partitions)
    async with Hosts(case, "empty") as hosts:
        await hosts.start(case.processes)
        await asyncio.sleep(_quiet_s(case))
        say("parked-100k: idle without them")
        without, server_without = await _idle_percent(case, hosts, seconds)
        rss_without = sum(one["rss_bytes"] for one in await hosts.ask_all("state"))
    async with Hosts(case, "run") as hosts:
        begun_s = time.perf_counter()
        await hosts.start(case.processes)
        ready_s = time.perf_counter() - begun_s
        await asyncio.sleep(_quiet_s(case))
        say("parked-100k: idle with them")
        with_them, server_with = await _idle_percent(case, hosts, seconds)
        rss_with = sum(one["rss_bytes"] for one in await hosts.ask_all("state"))
        told = ids[:: max(1, count // case.sized(2_000))]
        say(f"parked-100k: {len(told):,} of them get an event, and another one")
        first_s = (await hosts.running[0].ask("tell", ids=told))["spent_s"]
        second_s = (await hosts.running[0].ask("tell", ids=told))["spent_s"]
    return Row(
        scenario="parked-100k",
        clients=1,
        figures={
            "instances": count,
            "ready_s": round(ready_s, 2),
            "cpu_percent": round(with_them, 2),
            "more_cpu_percent": round(with_them - without, 2),
            "server_percent": round(server_with, 2),
            "more_bytes_each": round((rss_with - rss_without) / count, 1),
            "first_event_p50_ms": round(quantile(first_s, 0.5) * 1e3, 3),
            "first_event_p99_ms": round(quantile(first_s, 0.99) * 1e3, 3),
        },
        floor={
            "cpu_percent": round(without, 2),
            "server_percent": round(server_without, 2),
            "first_event_p50_ms": round(quantile(second_s, 0.5) * 1e3, 3),
            "first_event_p99_ms": round(quantile(second_s, 0.99) * 1e3, 3),
        },
        targets=(Target("more_cpu_percent", 0.3),),
    )


async def host_crash(case: Case) -> Row:
    """`kill -9` of one of four hosts: how long its instances do not move on."""
    return await _with_tickers(case, "host-crash", Target("gap_p99_s", 5.0))


async def host_restart(case: Case) -> Row:
    """One of four hosts stops gracefully and comes back: how long instances do not move on."""
    return await _with_tickers(case, "host-restart", Target("gap_p99_s", 1.0))


async def _with_tickers(case: Case, scenario: str, target: Target) -> Row:
    count, hosts_count = case.sized(200), _hosts(case)
    async with Hosts(case, "run") as hosts:
        await hosts.start(hosts_count)
        text = f"[{TICKS_FOR_S / TICK_PERIOD_S}, {TICK_PERIOD_S}]"
        started = (await hosts.running[0].ask("start", name="ticker", count=count, input=text))[
            "ids"
        ]
        say(f"{scenario}: {count} instances on {hosts_count} hosts move on every {TICK_PERIOD_S} s")
        await asyncio.sleep(_quiet_s(case))
        before = await hosts.owners()
        partitions = {one: partition_of(ActorId(INSTANCE, one), case.partitions) for one in started}
        victim = next(
            host for host in hosts.running if host.host_id == before[partitions[started[0]]]
        )
        at_s = time.time()
        if scenario == "host-crash":
            moved = {one for one in started if before[partitions[one]] == victim.host_id}
            await _crash(hosts, victim)
        else:
            await _restart(hosts, victim)
            after = await hosts.owners()
            moved = {
                one
                for one in started
                if victim.host_id == before[partitions[one]]
                or before[partitions[one]] != after[partitions[one]]
            }
        settled_s = time.time() - at_s
        say(f"{scenario}: all partitions where they belong after {settled_s:.1f} s")
        await asyncio.sleep(2.0)
        gaps, usual_s = _gaps(hosts, at_s)
    missing = moved - gaps.keys()
    assert not missing, f"{len(missing)} instances never moved on"
    affected_s = [gaps[one] for one in moved]
    others_s = [gap for one, gap in gaps.items() if one not in moved] or [0.0]
    return Row(
        scenario=scenario,
        clients=0,
        figures={
            "instances": count,
            "moved": len(moved),
            "gap_p50_s": round(quantile(affected_s, 0.5), 3),
            "gap_p99_s": round(quantile(affected_s, 0.99), 3),
            "gap_max_s": round(max(affected_s), 3),
            "others_p99_s": round(quantile(others_s, 0.99), 3),
            "settled_s": round(settled_s, 2),
        },
        floor={
            "gap_p50_s": round(quantile(usual_s, 0.5), 3),
            "gap_p99_s": round(quantile(usual_s, 0.99), 3),
        },
        targets=(target,),
    )


async def _crash(hosts: Hosts, victim: HostProcess) -> None:
    hosts.running.remove(victim)
    await victim.kill()
    await hosts.settled()


async def _restart(hosts: Hosts, victim: HostProcess) -> None:
    hosts.running.remove(victim)
    await victim.stop()
    await hosts.start(1)


def _gaps(hosts: Hosts, at_s: float) -> tuple[dict[str, float], list[float]]:
    """Return the longest pause of each instance that ended after `at_s`; and all before."""
    ticks = _ticks(hosts)
    longest: dict[str, float] = {}
    usual: list[float] = []
    for instance_id, times in ticks.items():
        for began_s, ended_s in pairwise(times):
            gap_s = ended_s - began_s
            if ended_s > at_s:
                longest[instance_id] = max(gap_s, longest.get(instance_id, 0.0))
            else:
                usual.append(gap_s)
    return longest, usual or [0.0]


def _ticks(hosts: Hosts) -> dict[str, Sequence[float]]:
    """Return when each instance moved on, in order."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for line in _lines(hosts):
        instance_id, _, at = line.partition(" ")
        found[instance_id].append(float(at))
    return {instance_id: sorted(times) for instance_id, times in found.items()}


def _lines(hosts: Hosts) -> Iterable[str]:
    for file in hosts.ticks:
        if file.exists():
            yield from file.read_text().splitlines()
