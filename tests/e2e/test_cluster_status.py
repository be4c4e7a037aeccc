"""`actorflow cluster status` of real hosts on a real Redis."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_cli_serve import ACTORFLOW, DEADLINE_S, EXAMPLE, Server, actorflow, environment
from tests.servers import Server as RedisServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer("redis", tmp_path / "redis") as server:
        yield server


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


def status(url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return actorflow("cluster", "status", *arguments, cwd=folder, ACTORFLOW_STORE=url)


def status_when(url: str, folder: Path, reached: Callable[[Any], bool]) -> Any:
    end_s = time.monotonic() + DEADLINE_S
    while True:
        done = status(url, folder, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        if reached(found):
            return found
        assert time.monotonic() < end_s, found


def test_two_hosts_share_and_one_takes_all_when_the_other_is_gone(
    redis_server: RedisServer, servers: list[Server], tmp_path: Path
) -> None:
    url = redis_server.url
    none = status(url, tmp_path)
    assert none.returncode == 2
    assert "no cluster was founded here yet" in none.stderr

    for level in ("local", "memory"):
        folder = tmp_path / level
        folder.mkdir()
        arguments = ("--store", url, "--partitions", "8", "--app", str(EXAMPLE))
        server = Server(folder, *arguments, "--durability", level, "--app-id", f"shop-{level}")
        servers.append(server.wait_until_ready())
    first, second = (server.process.pid for server in servers)

    def all_owned(found: Any) -> bool:
        states = {p["state"] for p in found["partitions"]}
        return states == {"owned"} and len(found["hosts"]) == 2

    shared = status_when(url, tmp_path, all_owned)
    hosts = {host["pid"]: host for host in shared["hosts"]}
    assert set(hosts) == {first, second}
    assert hosts[first]["app_id"] == "shop-local"
    assert hosts[second]["durability"] == "memory"
    assert sum(host["partitions"] for host in hosts.values()) == 8
    assert shared["problems"] == ["hosts differ in durability: local, memory"]
    assert {p["owner"] for p in shared["partitions"]} <= {h["host"] for h in hosts.values()}

    heir = hosts[first]["host"]
    os.kill(second, signal.SIGKILL)

    def all_moved(found: Any) -> bool:
        owners = {p["owner"] for p in found["partitions"]}
        return owners == {heir} and {h["state"] for h in found["hosts"]} == {"up", "gone"}

    status_when(url, tmp_path, all_moved)

    shown = status(url, tmp_path).stdout
    assert "Durability local: survives kill -9 of anything" in shown
    assert "gone" in shown
    assert f"/{first}" in shown


def test_watching_goes_on_while_the_store_is_away(
    redis_server: RedisServer, servers: list[Server], tmp_path: Path
) -> None:
    server = Server(tmp_path, "--store", redis_server.url, "--partitions", "1")
    servers.append(server.wait_until_ready())
    watching = subprocess.Popen(
        [*ACTORFLOW, "cluster", "status", "--watch", "--json"],
        cwd=tmp_path,
        env=environment(ACTORFLOW_STORE=redis_server.url),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["partitions"]
        redis_server.kill()
        while "partitions" in (away := json.loads(watching.stdout.readline())):
            pass
        assert "Redis" in away["problems"][0]
        redis_server.start()
        while "partitions" not in json.loads(watching.stdout.readline()):
            pass
        watching.send_signal(signal.SIGINT)
        assert watching.wait(DEADLINE_S) == 0
    finally:
        watching.kill()
        watching.communicate()
