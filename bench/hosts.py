"""Several hosts of one cluster as processes, driven from here; `bench.host` is what they run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from actorflow.actors.store.redis.keys import PartitionKeys
from bench.floor import decoded
from bench.host import LINE_BYTES, Order
from bench.ownership import owners, settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors.ports import Commit
    from bench.case import Case

ROOT = Path(__file__).resolve().parent.parent

START_S = 60.0
"""How long a host may take until it serves."""


@dataclass(frozen=True, slots=True)
class Loop:
    """What a closed loop did, all processes together. `server_s` is the store's own process."""

    spent_s: list[float]
    wall_s: float
    cpu_s: float
    turns: int
    commits: int
    server_s: float = 0.0


class HostProcess:
    """One host."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.host_id = ""

    async def hear(self) -> dict[str, Any]:
        """Return the next line of the host."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the host ended; its complaint is above"
        found: dict[str, Any] = json.loads(line)
        return found

    async def ask(self, do: str, **request: object) -> dict[str, Any]:
        """Let the host do something; return what it says."""
        self._tell(do, request)
        return await self.hear()

    def _tell(self, do: str, request: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode({"do": do, **request}) + b"\n")

    async def stop(self) -> None:
        """Stop it gracefully and wait for its end."""
        if self._process.returncode is None:
            self._tell("stop", {})
            await self._process.wait()

    async def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()


class Hosts:
    """A cluster. `async with` ends all processes.

    Args:
        name: the namespace of its store.
        records: whether hosts keep their commits, for a floor.
    """

    def __init__(self, case: Case, name: str, *, records: bool = False) -> None:
        self._case = case
        self._name = name
        self._records = records
        self.running: list[HostProcess] = []
        self.partitions = [
            PartitionKeys(name, number, case.partitions) for number in range(case.partitions)
        ]
        self.ticks: list[Path] = []

    async def __aenter__(self) -> Hosts:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(host.kill() for host in self.running))

    async def start(self, count: int) -> None:
        """Start hosts, and wait until they have shared the partitions with those that run."""
        started = [await self._spawn() for _ in range(count)]
        async with asyncio.timeout(START_S):
            for host in started:
                host.host_id = (await host.hear())["host"]
        self.running += started
        await self.settled()

    async def _spawn(self) -> HostProcess:
        case = self._case
        ticks = case.directory / f"{self._name}-{len(self.ticks)}.ticks"
        self.ticks.append(ticks)
        order = Order(
            url=case.server.url(self._name),
            partitions=case.partitions,
            durability=case.durability,
            directory=str(case.directory),
            uvloop=case.uvloop,
            default_gc=case.default_gc,
            records=self._records,
            ticks=str(ticks),
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.host", msgspec.json.encode(order).decode()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            limit=LINE_BYTES,
        )
        return HostProcess(process)

    async def settled(self) -> None:
        """Return when each partition is where it belongs."""
        ids = {host.host_id for host in self.running}
        await settled(self._case.server.port, self.partitions, ids)

    async def owners(self) -> list[str]:
        """Return the host of each partition."""
        return await owners(self._case.server.port, self.partitions)

    async def ask_all(self, do: str, **request: object) -> list[dict[str, Any]]:
        """Let all hosts do the same at once."""
        return await _ask_all(self.running, do, **request)

    async def loop(self, op: str, case: Case) -> Loop:
        """Let the clients of the case, spread over the hosts, run an operation."""
        return await loop_on(self.running, op, case)

    async def commits(self) -> tuple[list[Commit], int]:
        """Return the commits of all hosts in the order of each partition, and how many of the first
        ones were made before the last loop."""
        before: list[Commit] = []
        during: list[Commit] = []
        for number, host in enumerate(self.running):
            file = self._case.directory / f"{self._name}-{number}.commits"
            await host.ask("records", file=str(file))
            first, second = msgspec.msgpack.decode(file.read_bytes())
            before += decoded(first)
            during += decoded(second)
        return [*_in_order(before), *_in_order(during)], len(before)


async def loop_on(hosts: Sequence[HostProcess], op: str, case: Case) -> Loop:
    """Let the clients of the case, spread over hosts of one or more clusters, run an operation."""
    share = replace(
        case,
        clients=max(1, case.clients // len(hosts)),
        count=case.count and -(-case.count // len(hosts)),
    )
    sent = {name: getattr(share, name) for name in ("clients", "count", "seconds")}
    await _ask_all(hosts, "loop", op=op, case=sent, warm_up=True)
    # Measured until all have ended: a host also works for the clients of the others.
    await _ask_all(hosts, "begin")
    server_s = case.server_cpu_s()
    loops = await _ask_all(hosts, "loop", op=op, case=sent, warm_up=False)
    server_s = case.server_cpu_s() - server_s
    found = await _ask_all(hosts, "end")
    return Loop(
        [spent for one in loops for spent in one["spent_s"]],
        max(one["wall_s"] for one in loops),
        sum(one["cpu_s"] for one in found),
        sum(one["turns"] for one in found),
        sum(one["commits"] for one in found),
        server_s,
    )


async def _ask_all(
    hosts: Sequence[HostProcess], do: str, **request: object
) -> list[dict[str, Any]]:
    return await asyncio.gather(*(host.ask(do, **request) for host in hosts))


def _in_order(commits: Sequence[Commit]) -> list[Commit]:
    return sorted(commits, key=lambda commit: (commit.lease.partition, commit.seq))
