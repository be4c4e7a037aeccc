"""Closed loops: many clients do one operation again and again, in one process or in several.

Clients always live inside the hosts: a load generator of its own would share the two cores and cost
more than what it measures. Among several hosts an instance lives on any of them, so most calls
cross from the client's host to another, as they do behind a load balancer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.case import Case, Row, Span, Target, closed_loop, engine_on, quantile, warm_up
from bench.floor import Floor, RecordingStore, floor_of
from bench.hosts import Hosts, Loop
from bench.ops import op_named

if TYPE_CHECKING:
    from actorflow.actors.ports import Commit


class Recorded(NamedTuple):
    """The commits of a loop, the first `skip` of which prepare it, and the turns of the rest."""

    commits: list[Commit]
    skip: int
    turns: int


async def throughput(
    scenario: str,
    op: str,
    case: Case,
    targets: tuple[Target, ...],
    *,
    commits_a_client: int = 1,
) -> Row:
    """Measure an operation in a closed loop, beside the bare store with the batches of such a loop.

    The batches are those of a loop before, which is not measured: what is recorded costs more than
    can be subtracted.
    Finished instances pile up. Processor time is that of whole processes, clients included, but for
    that of Redis, which stands apart. `commits_a_client` is how many a client can have under way.
    """
    if case.processes > 1:
        loop, recorded = await _in_many(op, case)
    else:
        loop, recorded = await _in_one(op, case)
    floor = await floor_of(
        recorded.commits,
        case.new_store("floor"),
        turns=recorded.turns,
        skip=recorded.skip,
        at_once=case.clients * commits_a_client,
        server=case.redis,
    )
    row = Row(scenario=scenario, clients=case.clients, targets=targets)
    row.figures = loop_figures(loop, floor)
    row.floor = floor_figures(floor, row.figures)
    if case.redis is not None:
        row.figures["server_us_per_op"] = round(loop.server_s / len(loop.spent_s) * 1e6, 1)
        turns_per_op = row.figures["turns_per_op"]
        row.floor["server_us_per_op"] = round(floor.server_us_per_turn * turns_per_op, 1)
    return row


async def _in_one(op: str, case: Case) -> tuple[Loop, Recorded]:
    store = RecordingStore(case.new_store("recorded"))
    async with engine_on(case, store) as engine:
        await warm_up(engine, op_named(op), case)
        span = Span(engine, store)
        await closed_loop(engine, op_named(op), case)
        span.stop()
    recorded = Recorded(store.commits()[: span.end_commit], span.first_commit, span.turns)
    del store
    async with engine_on(case, case.new_store("run")) as engine:
        await warm_up(engine, op_named(op), case)
        server_s = case.server_cpu_s()
        span = Span(engine)
        spent_s = await closed_loop(engine, op_named(op), case)
        span.stop()
        server_s = case.server_cpu_s() - server_s
    loop = Loop(spent_s, span.wall_s, span.cpu_s, span.turns, span.commits, server_s)
    return loop, recorded


async def _in_many(op: str, case: Case) -> tuple[Loop, Recorded]:
    async with Hosts(case, "recorded", records=True) as hosts:
        await hosts.start(case.processes)
        first = await hosts.loop(op, case)
        recorded = Recorded(*await hosts.commits(), first.turns)
    async with Hosts(case, "run") as hosts:
        await hosts.start(case.processes)
        return await hosts.loop(op, case), recorded


def loop_figures(loop: Loop, floor: Floor) -> dict[str, float]:
    """Return what a closed loop showed."""
    ops = len(loop.spent_s)
    cpu_us_per_turn = loop.cpu_s / loop.turns * 1e6
    return {
        "ops": ops,
        "per_s": round(ops / loop.wall_s, 1),
        "p50_ms": round(quantile(loop.spent_s, 0.5) * 1e3, 3),
        "p99_ms": round(quantile(loop.spent_s, 0.99) * 1e3, 3),
        "cpu_us_per_op": round(loop.cpu_s / ops * 1e6, 1),
        "turns_per_op": round(loop.turns / ops, 2),
        "commits_per_op": round(loop.commits / ops, 3),
        "turns_per_commit": round(loop.turns / loop.commits, 2),
        "turns_per_s": round(loop.turns / loop.wall_s, 1),
        "cpu_us_per_turn": round(cpu_us_per_turn, 1),
        "engine_us_per_turn": round(cpu_us_per_turn - floor.cpu_us_per_turn, 1),
        "share_of_floor": round(loop.turns / loop.wall_s / floor.turns_per_s, 3),
    }


def floor_figures(floor: Floor, figures: dict[str, float]) -> dict[str, float]:
    """Return what the bare store did with the same batches."""
    return {
        "turns_per_s": floor.turns_per_s,
        "cpu_us_per_turn": floor.cpu_us_per_turn,
        "commit_p50_ms": floor.commit_p50_ms,
        "op_ms": round(floor.commit_p50_ms * max(1.0, figures["commits_per_op"]), 3),
    }
