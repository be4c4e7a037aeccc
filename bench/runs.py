"""All scenarios by name, and how one case is run."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from actorflow.actors.collector import calm_collector
from bench import machine, over_http, scenarios

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.case import Case, Row

SCENARIOS: dict[str, tuple[Callable[[Case], Awaitable[Row]], bool]] = {
    "hello-1": (scenarios.hello_1, True),
    "chain-5": (scenarios.chain_5, True),
    "fanout-100": (scenarios.fanout_100, True),
    "event": (scenarios.event, True),
    "timers-10k": (scenarios.timers_10k, False),
    "idle-10k": (scenarios.idle_10k, False),
    "replay-1k": (scenarios.replay_1k, False),
    "cost-flat": (scenarios.cost_flat, False),
    "http-start": (over_http.http_start, True),
    "http-hello": (over_http.http_hello, True),
}
"""Every scenario, and whether it is run once for each number of clients."""


def run_case(name: str, case: Case) -> tuple[Row, dict[str, object]]:
    """Run one case in this process; return its row and the probes taken beside it."""
    probes: dict[str, object] = {
        "load": machine.load(),
        "processor_ms": machine.processor_ms(),
        "disk_sync_ms": machine.disk_sync_ms(case.directory),
    }
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if case.uvloop:
        import uvloop  # noqa: PLC0415 -- only if asked for

        factory = uvloop.new_event_loop
    scenario, _ = SCENARIOS[name]
    if not case.default_gc:
        calm_collector()
    with (
        tempfile.TemporaryDirectory(dir=case.directory) as directory,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        probes["loop_ping_us"] = runner.run(machine.loop_ping_us())
        row = runner.run(_run(scenario, replace(case, directory=Path(directory))))
    return row, probes


async def _run(scenario: Callable[[Case], Awaitable[Row]], case: Case) -> Row:
    return await scenario(case)
