"""The scenarios with clients in the engine's own process. `SCENARIOS` names them all."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import tracemalloc
from typing import TYPE_CHECKING
from unittest.mock import patch

import psutil

from actorflow.actors import ActorId, runtime
from actorflow.actors import Limits as ActorLimits
from actorflow.actors.address import partition_of
from actorflow.workflow.requests import INSTANCE
from bench import workflows
from bench.case import Case, Row, Span, Target, engine_on, quantile
from bench.floor import RecordingStore, floor_of
from bench.ops import run
from bench.preload import finished_hello, preload
from bench.throughput import throughput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.actors.ports import Commit
    from actorflow.workflow.engine import WorkflowEngine

HISTORY_ROUNDS = 12
"""Rounds of two events an instance at each length of history; the cheapest counts."""

TIMER_SPREAD_S = 3.0
"""The timers of `timers-10k` are due in this time, evenly."""


async def hello_1(case: Case) -> Row:
    """Start a workflow of one activity and wait for its end."""
    targets = (Target("p50_ms", 1.0),) if case.clients == 1 else ()
    return await throughput("hello-1", 'hello:"World"', case, targets)


async def chain_5(case: Case) -> Row:
    """Start a workflow of five activities in turn and wait for its end."""
    targets: tuple[Target, ...] = (Target("share_of_floor", 0.25, at_least=True),)
    if case.store == "redis":
        targets += (Target("cpu_us_per_op", 500),)
    else:
        targets += (Target("engine_us_per_turn", 80), Target("per_s", 1_500, at_least=True))
    return await throughput("chain-5", "chain:5", case, targets if case.clients == 128 else ())


async def fanout_100(case: Case) -> Row:
    """Start a workflow of a hundred activities at once and wait for its end."""
    targets = (Target("p50_ms", 10),) if case.clients == 1 else ()
    width = case.sized(100)
    return await throughput("fanout-100", f"fanout:{width}", case, targets, commits_a_client=width)


async def event(case: Case) -> Row:
    """Start, wait until it runs, raise the event it waits for, wait for the end."""
    return await throughput("event", "approve", case, ())


async def _start_all(engine: WorkflowEngine, name: str, texts: Iterable[str]) -> list[str]:
    """Start many instances, 128 at a time."""
    waiting = iter(list(texts))
    started: list[str] = []

    async def client() -> None:
        for text in waiting:
            instance_id = await engine.start(name, input=text)
            started.append(instance_id)

    await asyncio.gather(*(client() for _ in range(128)))
    last = await engine.get(started[-1])
    assert last is not None
    assert last.failure is None, f"{name} failed: {last.failure}"
    return started


async def timers_10k(case: Case) -> Row:
    """Ten thousand instances sleep at once: how late is each, in its code and until durable?"""
    count = case.sized(10_000)
    due_s: dict[ActorId, float] = {}
    durable_late_s: list[float] = []
    all_done = asyncio.Event()
    workflows.lateness_s.clear()

    def note(commit: Commit) -> None:
        now_s = time.time()
        durable_late_s.extend(
            now_s - due_s[write.actor]
            for write in commit.actors
            if write.summary is not None and write.summary.phase == "COMPLETED"
        )
        if len(durable_late_s) == count:
            all_done.set()

    store = RecordingStore(case.new_store("run"), on_commit=note)
    async with engine_on(case, store) as engine:
        begun_s = time.perf_counter()
        spread_s = TIMER_SPREAD_S * min(1.0, case.scale * 10)
        # Starting takes a moment itself: 1 s a 2,000 instances, with room to spare.
        first_s = time.time() + 0.5 + count / 2_000
        texts = [f"{first_s + n * spread_s / count}" for n in range(count)]

        async def start(text: str) -> None:
            instance_id = f"sleeper-{text}"
            due_s[ActorId(INSTANCE, instance_id)] = float(text)
            await engine.start("sleeper", instance_id=instance_id, input=text)

        for first in range(0, count, 128):
            await asyncio.gather(*(start(text) for text in texts[first : first + 128]))
        started_s = time.perf_counter() - begun_s
        slack_s = first_s - time.time()
        span = Span(engine, store)
        await all_done.wait()
        span.stop()
    floor = await floor_of(
        store.commits()[: span.end_commit],
        case.new_store("floor"),
        turns=span.turns,
        skip=span.first_commit,
        server=case.redis,
    )
    return Row(
        scenario="timers-10k",
        clients=case.clients,
        figures={
            "instances": count,
            "start_per_s": round(count / started_s),
            "slack_s": round(slack_s, 2),
            "code_late_p50_ms": round(quantile(workflows.lateness_s, 0.5) * 1e3, 2),
            "code_late_p99_ms": round(quantile(workflows.lateness_s, 0.99) * 1e3, 2),
            "late_p50_ms": round(quantile(durable_late_s, 0.5) * 1e3, 2),
            "late_p99_ms": round(quantile(durable_late_s, 0.99) * 1e3, 2),
            "earliest_ms": round(min(workflows.lateness_s) * 1e3, 2),
            "cpu_us_per_turn": round(span.cpu_s / span.turns * 1e6, 1),
            "turns_per_commit": round(span.turns / span.commits, 2),
        },
        floor={
            "cpu_us_per_turn": floor.cpu_us_per_turn,
            "commit_p50_ms": floor.commit_p50_ms,
        },
        targets=(Target("late_p99_ms", 100),),
    )


async def idle_10k(case: Case) -> Row:
    """Memory of an instance that waits for an event, with its code live and after eviction."""
    count = case.sized(10_000)
    with patch.object(runtime, "HOUSEKEEPING_S", 0.1):  # or the eviction comes seconds later
        live = await _parked_bytes(case, count, traced=True, evict=False)
        live_rss = await _parked_bytes(case, count, traced=False, evict=False)
        evicted = await _parked_bytes(case, count, traced=True, evict=True)
    return Row(
        scenario="idle-10k",
        clients=case.clients,
        figures={
            "instances": count,
            "live_bytes": round(live),
            "live_rss_bytes": round(live_rss),
            "evicted_bytes": round(evicted),
        },
        floor={"live_bytes": _bare_coroutine_bytes()},
        targets=(Target("live_bytes", 4_096), Target("evicted_bytes", 16)),
    )


async def _parked_bytes(case: Case, count: int, *, traced: bool, evict: bool) -> float:
    """Return what one parked instance adds: Python's own count, or resident memory.

    The engine has parked and forgotten some instances before, so that what it needs once is there.
    """
    limits = ActorLimits(idle_ttl_s=0.001 if evict else 3_600.0)
    store = case.new_store(f"idle-{traced}-{evict}")
    async with engine_on(case, store, actor_limits=limits) as engine:
        # Once before, because what grows once, such as tables of dicts, is not of an instance.
        await _park(engine, count if evict else 256, evict=evict)
        gc.collect()
        if traced:
            tracemalloc.start()
        before = _memory_bytes(traced=traced)
        await _park(engine, count, evict=evict)
        gc.collect()
        after = _memory_bytes(traced=traced)
        if traced:
            tracemalloc.stop()
    return (after - before) / count


async def _park(engine: WorkflowEngine, count: int, *, evict: bool) -> None:
    """Start instances that wait for an event; return when they are idle, or evicted."""
    await _start_all(engine, "listener", ['""'] * count)
    while evict and engine.actors.gauges()["live_actors"]:  # noqa: ASYNC110 -- nobody tells
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)


def _memory_bytes(*, traced: bool) -> int:
    if traced:
        return tracemalloc.get_traced_memory()[0]
    return int(psutil.Process(os.getpid()).memory_info().rss)


def _bare_coroutine_bytes() -> float:
    """Return what a coroutine costs that is suspended and has nothing around it."""

    async def wait() -> None:
        await asyncio.sleep(0)

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    parked = [wait() for _ in range(1_000)]
    for coroutine in parked:
        coroutine.send(None)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for coroutine in parked:
        coroutine.close()
    return round(used / len(parked))


async def replay_1k(case: Case) -> Row:
    """Rebuild an instance of a thousand events: read, decode, run its code again."""
    length = case.sized(500)
    instances = 20
    store = case.new_store("run")
    async with engine_on(case, store) as engine:
        started = await _start_all(engine, "long_chain", [str(length)] * instances)
        events = 0
        while events < 2 * length + 2:
            await asyncio.sleep(0.05)
            events = min([len((await engine.history(one)).events) for one in started])
    spent_s: list[float] = []
    read_s: list[float] = []
    async with engine_on(case, store) as engine:
        for instance_id in started:
            actor = ActorId(INSTANCE, instance_id)
            begun_s = time.perf_counter()
            await store.load(partition_of(actor, case.partition_count), [actor], with_log=True)
            read_s.append(time.perf_counter() - begun_s)
            begun_s = time.perf_counter()
            assert await engine.why(instance_id), "an instance that waits says for what"
            spent_s.append(time.perf_counter() - begun_s)
    return Row(
        scenario="replay-1k",
        clients=case.clients,
        figures={
            "events": events,
            "p50_ms": round(quantile(spent_s, 0.5) * 1e3, 2),
            "p99_ms": round(quantile(spent_s, 0.99) * 1e3, 2),
            "us_per_event": round(quantile(spent_s, 0.5) / events * 1e6, 2),
        },
        floor={"p50_ms": round(quantile(read_s, 0.5) * 1e3, 2)},
    )


async def cost_flat(case: Case) -> Row:
    """Processor time a turn: few and many instances in the store; short and long histories live."""
    few, many = case.sized(1_000), case.sized(100_000)
    by_store = {count: await _hello_turn_us(case, count) for count in (few, many)}
    floor_few, floor_many = by_store[few][1], by_store[many][1]
    short, long = 10, case.sized(1_000)
    by_history = await _event_turn_us(case, (short, long))
    return Row(
        scenario="cost-flat",
        clients=case.clients,
        figures={
            "us_per_turn_1k_instances": by_store[few][0],
            "us_per_turn_100k_instances": by_store[many][0],
            "ratio_instances": round(by_store[many][0] / by_store[few][0], 3),
            "us_per_turn_10_events": by_history[0][0],
            "us_per_turn_1k_events": by_history[1][0],
            "ratio_history": round(by_history[1][0] / by_history[0][0], 3),
        },
        floor={
            "us_per_turn_1k_instances": floor_few,
            "us_per_turn_100k_instances": floor_many,
            "ratio_instances": round(floor_many / floor_few, 3),
            "us_per_turn_10_events": by_history[0][1],
            "us_per_turn_1k_events": by_history[1][1],
            "ratio_history": round(by_history[1][1] / by_history[0][1], 3),
        },
        targets=(Target("ratio_instances", 1.25), Target("ratio_history", 1.25)),
    )


async def _hello_turn_us(case: Case, instances: int) -> tuple[float, float]:
    """Return microseconds a turn of the engine, and of the bare store, both on a filled store."""
    inner, bare = case.new_store(f"flat-{instances}"), case.new_store(f"floor-{instances}")
    copies = await finished_hello()
    await preload(inner, copies, instances, case.partition_count)
    await preload(bare, copies, instances, case.partition_count)
    store = RecordingStore(inner)
    async with engine_on(case, store) as engine:
        ops = case.sized(4_000)
        await _run_many(engine, ops // 4)
        best = float("inf")
        for _ in range(3):
            span = Span(engine, store)
            await _run_many(engine, ops)
            span.stop()
            best = min(best, span.cpu_s / span.turns * 1e6)
        turns = engine.actors.counters.turns
    floor = await floor_of(store.commits(), bare, turns=turns, server=case.redis)
    return round(best, 1), floor.cpu_us_per_turn


async def _run_many(engine: WorkflowEngine, ops: int) -> None:
    left = iter(range(ops))

    async def client() -> None:
        for _ in left:
            await run(engine, "hello", '"World"')

    await asyncio.gather(*(client() for _ in range(16)))


async def _event_turn_us(case: Case, lengths: tuple[int, int]) -> list[tuple[float, float]]:
    """Raise events on live instances until their histories have each length; measure there.

    Returns: for each length microseconds a turn of the engine, and of the bare store.
    """
    instances = case.sized(64)
    store = RecordingStore(case.new_store("history"))
    found: list[tuple[float, float]] = []
    async with engine_on(case, store) as engine:
        names = await _start_all(engine, "listener", ['""'] * instances)
        events = 2
        for length in lengths:
            while events < length:
                await _raise_all(engine, names)
                events += 2  # the event, and the next wait
            whole = Span(engine, store)
            rounds = []
            for _ in range(HISTORY_ROUNDS):
                span = Span(engine, store)
                await _raise_all(engine, names)
                await _raise_all(engine, names)
                span.stop()
                rounds.append(span.cpu_s / span.turns * 1e6)
            whole.stop()
            events += 4 * HISTORY_ROUNDS
            floor = await floor_of(
                store.commits()[: whole.end_commit],
                case.new_store(f"history-floor-{length}"),
                turns=whole.turns,
                skip=whole.first_commit,
            )
            found.append((round(min(rounds), 1), floor.cpu_us_per_turn))
    return found


async def _raise_all(engine: WorkflowEngine, names: list[str]) -> None:
    await asyncio.gather(*(engine.raise_event(name, "tick", "1") for name in names))
