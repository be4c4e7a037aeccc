"""All scenarios by name, and how one case is run."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable  # noqa: TC003 -- of a NamedTuple
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.collector import calm_collector
from bench import clusters, machine, over_http, scenarios, sdk
from bench.case import Case, Row  # noqa: TC001 -- of a NamedTuple
from bench.redis_server import redis_server

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.redis_server import RedisServer

STORES = ("sqlite", "memory", "redis")


class Scenario(NamedTuple):
    """`per_clients`: it is run once for each number of clients. `stores`: where it can run."""

    run: Callable[[Case], Awaitable[Row]]
    per_clients: bool = False
    stores: tuple[str, ...] = STORES

    @property
    def says(self) -> str:
        """One sentence about it."""
        return (self.run.__doc__ or "").partition("\n")[0]


_REDIS = ("redis",)

SCENARIOS: dict[str, Scenario] = {
    "hello-1": Scenario(scenarios.hello_1, per_clients=True),
    "chain-5": Scenario(scenarios.chain_5, per_clients=True),
    "fanout-100": Scenario(scenarios.fanout_100, per_clients=True),
    "event": Scenario(scenarios.event, per_clients=True),
    "timers-10k": Scenario(scenarios.timers_10k),
    "idle-10k": Scenario(scenarios.idle_10k),
    "replay-1k": Scenario(scenarios.replay_1k),
    "cost-flat": Scenario(scenarios.cost_flat),
    "http-start": Scenario(over_http.http_start, per_clients=True),
    "http-hello": Scenario(over_http.http_hello, per_clients=True),
    "sdk-hello-1": Scenario(sdk.sdk_hello_1),
    "sdk-chain-5": Scenario(sdk.sdk_chain_5),
    "sdk-fanout-100": Scenario(sdk.sdk_fanout_100),
    "sdk-idle-streams": Scenario(sdk.sdk_idle_streams),
    "step": Scenario(clusters.step, stores=_REDIS),
    "groups": Scenario(clusters.groups, stores=_REDIS),
    "hosts-cost": Scenario(clusters.hosts_cost, stores=_REDIS),
    "idle-hosts": Scenario(clusters.idle_hosts, stores=_REDIS),
    "host-crash": Scenario(clusters.host_crash, stores=_REDIS),
    "host-restart": Scenario(clusters.host_restart, stores=_REDIS),
    "parked-100k": Scenario(clusters.parked_100k, stores=_REDIS),
}
"""Every scenario."""


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
    scenario = SCENARIOS[name].run
    if not case.default_gc:
        calm_collector()
    with (
        tempfile.TemporaryDirectory(dir=case.directory) as directory,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        probes["loop_ping_us"] = runner.run(machine.loop_ping_us())
        case = replace(case, directory=Path(directory))
        with _server(case) as server:
            row = runner.run(_run(scenario, replace(case, redis=server)))
    return row, probes


def _server(case: Case) -> AbstractContextManager[RedisServer | None]:
    if case.store != "redis":
        return nullcontext()
    return redis_server(case.directory, syncs=case.durability == "fsync")


async def _run(scenario: Callable[[Case], Awaitable[Row]], case: Case) -> Row:
    return await scenario(case)
