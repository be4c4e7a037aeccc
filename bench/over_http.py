"""The scenarios over HTTP: server, load generator and floor each in a process of their own."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bench.case import Case, Row, Target, quantile
from bench.processes import ROOT, cpu_s, server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OWNING_S = 4.0
"""Warm-up of hosts on Redis, in which they share the partitions."""


async def http_start(case: Case) -> Row:
    """Start workflows over HTTP, which run to their end meanwhile; floor: aiohttp's bare echo."""
    targets = (Target("per_s", 1_800, at_least=True),) if case.clients == 16 else ()
    return await _over_http("http-start", "start", case, targets)


async def http_hello(case: Case) -> Row:
    """Start over HTTP and wait for the end with a second request; floor: two bare echoes."""
    targets = (Target("p50_ms", 2.0),) if case.clients == 1 else ()
    return await _over_http("http-hello", "hello", case, targets)


async def _over_http(scenario: str, mode: str, case: Case, targets: tuple[Target, ...]) -> Row:
    async with _process(case, "echo", ["bench.http_echo"]) as (pid, port):
        await _load(case, port, "echo", seconds=0.3)
        before = cpu_s(pid)
        echo = await _load(case, port, "echo", seconds=max(0.3, case.seconds / 3))
        echo_cpu_s = cpu_s(pid) - before
    serve = [
        "actorflow.server",
        "serve",
        "--app",
        str(ROOT / "bench" / "workflows.py"),
        "--store",
        _url(case),
        "--http-port",
        "0",
    ]
    if case.store != "memory":
        serve += ["--durability", case.durability]
    if case.store == "redis":
        serve += ["--partitions", str(case.partitions), "--processes", str(case.processes)]
        serve += ["--cluster-file", str(case.directory / "cluster")]
    async with _process(case, "serve", serve) as (pid, port):
        await _load(case, port, mode, seconds=0.3 if case.store != "redis" else OWNING_S)
        before = cpu_s(pid)
        run = await _load(case, port, mode, seconds=case.seconds)
        spent_s = cpu_s(pid) - before
    ops = len(run["spent_s"])
    per_s = ops / run["wall_s"]
    requests = 2 if mode == "hello" else 1
    echo_per_s = len(echo["spent_s"]) / echo["wall_s"] / requests
    return Row(
        scenario=scenario,
        clients=case.clients,
        figures={
            "ops": ops,
            "per_s": round(per_s, 1),
            "p50_ms": round(quantile(run["spent_s"], 0.5) * 1e3, 3),
            "p99_ms": round(quantile(run["spent_s"], 0.99) * 1e3, 3),
            "cpu_us_per_op": round(spent_s / ops * 1e6, 1),
            "generator_cpu_share": run["generator_cpu_share"],
            "share_of_floor": round(per_s / echo_per_s, 3),
        },
        floor={
            "per_s": round(echo_per_s, 1),
            "p50_ms": round(quantile(echo["spent_s"], 0.5) * 1e3 * requests, 3),
            "cpu_us_per_op": round(echo_cpu_s / len(echo["spent_s"]) * 1e6 * requests, 1),
        },
        targets=targets,
    )


def _url(case: Case) -> str:
    if case.store == "memory":
        return "memory://"
    if case.store == "redis":
        return case.server.url("http")
    return f"sqlite:///{case.directory / 'http.db'}"


async def _load(case: Case, port: int, mode: str, *, seconds: float) -> dict[str, Any]:
    generator = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.http_load",
        *("--port", str(port), "--clients", str(case.clients)),
        *("--seconds", str(seconds), "--mode", mode),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    output, _ = await generator.communicate()
    found: dict[str, Any] = json.loads(output)
    assert not found["failed"], f"{found['failed']} requests failed: {found['failures']}"
    return found


@asynccontextmanager
async def _process(case: Case, name: str, command: list[str]) -> AsyncIterator[tuple[int, int]]:
    """Run a module that writes a ready file; yield its process id and port; stop it at the end."""
    loop = [] if case.uvloop else ["--no-uvloop"]
    async with server(name, [*command, *loop], case.directory) as (pid, ready):
        yield pid, int(ready["urls"][0].rpartition(":")[2].rstrip("/"))
