"""Real SDK workers that are killed, frozen, cut off and back again, on SQLite and on Redis hosts.

After each fault everything that was accepted has ended, with one recorded result for each activity,
and no activity ran more often than once and once more for each fault that hit it.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests import servers
from tests.proxy import Proxy
from tests.sdk.lines import LINES, Line
from tests.sdk.program import Program
from tests.sdk.stand import Server, new_program

pytestmark = [pytest.mark.sdk, pytest.mark.e2e, pytest.mark.timeout(1_000)]

PYTHON = LINES[0]
HOSTS = 3
ENDED_S = 150
"""Longer than any instance takes; a call may take longer still."""

DRAIN_S = 600
"""A server that stops waits so long for what runs, much longer than a test waits for its end:
streams and long polls do not run."""


class World:
    """Hosts, a client that no fault hits, and workers that faults hit."""

    def __init__(self, hosts: list[Server]) -> None:
        self.hosts = hosts
        self.client = new_program(PYTHON, hosts[0], worker=False)
        self.workers: list[Program] = []
        self.names: list[str] = []

    @property
    def last(self) -> Server:
        """The host that workers connect to: on Redis another one than the client's."""
        return self.hosts[-1]

    def worker(self, *, grpc_port: int = 0) -> Program:
        """Start a worker on the last host."""
        self.workers.append(new_program(PYTHON, self.last, grpc_port=grpc_port))
        return self.workers[-1]

    def start(self, workflow: str, given: Any, count: int = 1) -> None:
        """Start so many instances."""
        for _ in range(count):
            name = f"fault-{len(self.names)}"
            self.client.call("start", workflow=workflow, id=name, input=given)
            self.names.append(name)

    def check(self, *, faults: int) -> None:
        """Wait for all instances, and look at what is recorded and at what was done."""
        for name in self.names:
            state = self.client.call("wait", id=name, timeout_s=ENDED_S)
            assert state["status"] == "COMPLETED", state
            events = self.hosts[0].get(f"/actorflow/v1/instances/{name}/history")["events"]
            kinds = Counter(event["type"] for event in events)
            assert kinds["TaskScheduled"] == kinds["TaskCompleted"], kinds
            assert kinds["TaskFailed"] == 0
        begun = Counter(
            (one["id"], one["number"]) for worker in self.workers for one in worker.told("begin")
        )
        assert not begun or max(begun.values()) <= 1 + faults, begun

    def close(self) -> None:
        for program in (self.client, *self.workers):
            program.kill()


@pytest.fixture(params=["sqlite", "redis"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    PYTHON.installed()
    hosts: list[Server] = []
    redis: servers.Server | None = None
    drain = ("--graceful-shutdown-seconds", str(DRAIN_S))
    if request.param == "redis":
        redis = servers.Server("redis", tmp_path / "redis")
        redis.start()
        store = ("--store", redis.url, "--partitions", "16", "--lease-seconds", "2", *drain)
        hosts += [Server(tmp_path, f"host{number}", *store) for number in range(HOSTS)]
    else:
        hosts.append(
            Server(tmp_path, "server", "--store", f"sqlite:///{tmp_path}/server.db", *drain)
        )
    place = None
    try:
        hosts[0].start()  # founds the store
        for host in hosts[1:]:
            host.launch()
        for host in hosts[1:]:
            host.wait_until_ready()
        place = World(hosts)
        yield place
    finally:
        if place is not None:
            place.close()
        for host in hosts:
            host.kill()
        if redis is not None:
            redis.kill()


@pytest_asyncio.fixture
async def proxy(world: World) -> AsyncIterator[Proxy]:
    """A proxy before the host that workers connect to."""
    async with Proxy(world.last.grpc_port) as found:
        yield found


# --- P08: the worker -----------------------------------------------------------------------------


def test_a_worker_killed_in_its_activities(world: World) -> None:
    first = world.worker()
    world.start("spread", {"count": 3, "seconds": 0.5}, count=5)
    first.wait_told("begin")
    first.kill()
    world.worker()
    world.check(faults=1)


def test_workers_killed_again_and_again_under_load(world: World) -> None:
    world.worker()
    for round_number in range(3):
        world.start("steps", {"count": 5, "seconds": 0.05}, count=8)
        world.workers[-1].wait_told("end", number=round_number)
        world.workers[-1].kill()
        world.worker()
    world.check(faults=3)


def test_a_frozen_worker_loses_its_items_and_cannot_end_them_twice(world: World) -> None:
    frozen = world.worker()
    world.start("steps", {"count": 2, "seconds": 2}, count=2)
    frozen.wait_told("begin")
    frozen.send(signal.SIGSTOP)
    other = world.worker()
    other.wait_told("begin")
    frozen.send(signal.SIGCONT)
    world.check(faults=1)


@pytest.mark.asyncio
async def test_a_worker_cut_off_and_back_within_the_grace(world: World, proxy: Proxy) -> None:
    worker = await asyncio.to_thread(world.worker, grpc_port=proxy.port)
    await asyncio.to_thread(world.start, "steps", {"count": 2, "seconds": 3}, 3)
    await asyncio.to_thread(worker.wait_told, "begin")
    proxy.cut()
    await asyncio.to_thread(world.check, faults=1)


@pytest.mark.asyncio
async def test_a_worker_cut_off_while_turns_run(world: World, proxy: Proxy) -> None:
    await asyncio.to_thread(world.worker, grpc_port=proxy.port)
    for _ in range(5):
        await asyncio.to_thread(world.start, "chain", 1, 6)
        proxy.cut()
    await asyncio.to_thread(world.check, faults=5)


# --- P13: half-open connections ------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_half_open_worker_is_noticed(world: World, proxy: Proxy) -> None:
    lost = await asyncio.to_thread(world.worker, grpc_port=proxy.port)
    await asyncio.to_thread(world.start, "steps", {"count": 1, "seconds": 60}, 1)
    await asyncio.to_thread(lost.wait_told, "begin")
    proxy.silence()
    other = await asyncio.to_thread(world.worker)
    await asyncio.to_thread(other.wait_told, "begin")
    await asyncio.to_thread(world.client.call, "terminate", id=world.names[0])


# --- the server under its workers, and P10 -------------------------------------------------------


def test_a_server_killed_under_its_worker(world: World) -> None:
    worker = world.worker()
    world.start("steps", {"count": 3, "seconds": 0.5}, count=5)
    worker.wait_told("begin")
    world.last.kill()
    world.last.start()
    world.check(faults=2)  # the kill, and the worker that ends an activity before it is back


@pytest.mark.parametrize(
    "line", [line for line in LINES if line.name != "dotnet"], ids=lambda line: line.name
)
def test_a_server_killed_under_the_first_stream_of_a_worker(line: Line, tmp_path: Path) -> None:
    line.installed()
    server = Server(tmp_path)
    try:
        program = new_program(line, server.start())
        try:
            for name in ("before", "after"):
                server.post(f"/v1.0/workflows/dapr/chain/start?instanceID={name}", "1")
                wait = f"/actorflow/v1/instances/{name}/wait?timeout={ENDED_S}"
                assert server.get(wait)["status"] == "COMPLETED"
                server.kill()
                server.start()
        finally:
            program.kill()
    finally:
        server.kill()


def test_a_server_that_stops_with_fifty_streams_and_long_polls(world: World) -> None:
    worker = world.worker()
    worker.call("worker", count=49)
    world.start("approval", None, count=10)
    poller = new_program(PYTHON, world.last, worker=False)
    world.workers.append(poller)
    polls = [poller.ask("wait", id=name, timeout_s=ENDED_S) for name in world.names]
    poller.call("get", id=world.names[0])  # the polls were sent before
    assert world.last.end() == 0
    world.last.start()
    for name in world.names:
        world.client.call("raise_event", id=name, event="approval", data=1)
    assert {poller.answer(poll)["status"] for poll in polls} == {"COMPLETED"}
    world.check(faults=1)
