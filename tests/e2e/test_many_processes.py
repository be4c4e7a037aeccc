"""`actorflow serve --processes N --store redis://...`, and moving between Redis and SQLite."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.test_cli_serve import (
    ACTORFLOW,
    DEADLINE_S,
    EXAMPLE,
    PAPERCLIPS,
    Server,
    actorflow,
    environment,
)
from tests.servers import Server as RedisServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    settings = {"appendonly": "yes", "appendfsync": "everysec"}
    with RedisServer("redis", tmp_path_factory.mktemp("redis"), settings) as server:
        yield server


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    redis_server.client().flushall()
    return redis_server.url


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


def children(server: Server) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(server.process.pid).children()
    return found


def fsck(url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return actorflow("fsck", "--store", url, *arguments, cwd=folder)


def order(server: Server, name: str) -> None:
    done = server.cli("start", "OrderProcessingWorkflow", "--id", name, "--input", PAPERCLIPS)
    assert done.returncode == 0, done.stderr


def test_work_goes_on_when_one_of_three_processes_is_killed(
    url: str, servers: list[Server], tmp_path: Path
) -> None:
    arguments = ("--store", url, "--processes", "3", "--app", str(EXAMPLE), "--partitions", "8")
    server = Server(tmp_path, *arguments, STEP_SECONDS="0.3", ACTORFLOW_LOG_LEVEL="error")
    servers.append(server.wait_until_ready())
    before = {child.pid for child in children(server)}
    assert len(before) == 3
    names = [f"order-{n}" for n in range(6)]
    for name in names:
        order(server, name)
    os.kill(min(before), signal.SIGKILL)
    for name in names:
        shown = server.json("wait", name, "--timeout", str(DEADLINE_S))
        assert shown["status"] == "COMPLETED"
    line = server.err.wait_for("will be started again")
    assert re.search(r"child=\d code=-9", line), line
    end_s = time.monotonic() + DEADLINE_S
    while len(children(server)) < 3:
        assert time.monotonic() < end_s
        time.sleep(0.05)
    ready = json.loads((tmp_path / "ready").read_text())
    assert (ready["pid"], ready["urls"]) == (server.process.pid, [server.url])
    live = fsck(url, tmp_path, "--app", str(EXAMPLE))
    assert live.returncode == 0, live.stdout + live.stderr
    assert server.end() == 0
    assert not (tmp_path / "ready").exists()
    stopped = fsck(url, tmp_path)
    assert stopped.returncode == 0, stopped.stdout
    assert "6 instances (0 open)" in stopped.stdout


def test_running_instances_move_from_redis_to_sqlite_and_back(
    url: str, servers: list[Server], tmp_path: Path
) -> None:
    server = Server(tmp_path, "--store", url, "--app", str(EXAMPLE))
    servers.append(server.wait_until_ready())
    cars = '{"Name": "Cars", "TotalCost": 15000, "Quantity": 1}'
    done = server.cli("start", "OrderProcessingWorkflow", "--id", "order-1", "--input", cars)
    assert done.returncode == 0, done.stderr
    server.wait_until_history_has("order-1", "TimerCreated")
    order(server, "order-2")
    assert server.json("wait", "order-2")["status"] == "COMPLETED"
    refused = actorflow("export", "--store", url, "moved.jsonl", cwd=tmp_path)
    assert refused.returncode == 1
    assert "stop all hosts first" in refused.stderr
    assert not (tmp_path / "moved.jsonl").exists()
    assert server.end() == 0

    for source, target in ((url, "sqlite:///new.db"), ("sqlite:///new.db", url)):
        moved = actorflow("export", "--store", source, "moved.jsonl", cwd=tmp_path)
        assert moved.returncode == 0, moved.stderr
        if target == url:
            wipe(url)
            (tmp_path / "actorflow.cluster").unlink()  # another cluster, on purpose
        done = actorflow("import", "moved.jsonl", "--store", target, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Imported 2 instances" in done.stderr
        checked = fsck(target, tmp_path)
        assert checked.returncode == 0, checked.stdout

    again = Server(tmp_path, "--store", url, "--app", str(EXAMPLE))
    servers.append(again.wait_until_ready())
    assert again.cli("raise", "order-1", "approval", "--input", "true").returncode == 0
    assert again.json("wait", "order-1")["status"] == "COMPLETED"
    assert again.end() == 0


def wipe(url: str) -> None:
    import redis  # noqa: PLC0415 -- this one test empties a server

    with redis.Redis.from_url(url) as client:
        client.flushall()


def test_what_the_store_refuses_is_said_once(
    redis_server: RedisServer, url: str, servers: list[Server], tmp_path: Path
) -> None:
    client = redis_server.client()
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        server = Server(tmp_path, "--store", url, "--processes", "3")
        assert server.wait() == 1
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()
    assert sum("maxmemory-policy noeviction" in line for line in server.err.all) == 1
    server = Server(tmp_path, "--store", "redis://127.0.0.1:1")
    assert server.wait() == 1
    assert any("check that Redis runs" in line for line in server.err.all)


def test_metrics_are_those_of_all_processes(
    url: str, servers: list[Server], tmp_path: Path
) -> None:
    server = Server(tmp_path, "--store", url, "--processes", "3", "--partitions", "4")
    servers.append(server.wait_until_ready())
    processes = set()
    for _ in range(8):  # new connections, so that several processes are asked
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=DEADLINE_S) as answer:
            text = answer.read().decode()
        assert "actorflow_processes 3.0" in text
        processes = set(re.findall(r'^actorflow_turns_total{process="(\d)"}', text, re.MULTILINE))
        assert processes == {"1", "2", "3"}
    asked = re.findall(r'requests_total{.*process="(\d)",route="/metrics".* (\d+)', text)
    assert 7 <= sum(int(float(count)) for _, count in asked) <= 8
    assert server.end() == 0


def test_a_second_signal_leaves_at_once(url: str, servers: list[Server], tmp_path: Path) -> None:
    app = tmp_path / "slow.py"
    app.write_text(
        "import time\n"
        "from actorflow.workflow import ActivityContext, Registry, WorkflowContext\n"
        "app = Registry()\n\n"
        "@app.activity\n"
        "async def holds(_: ActivityContext) -> None:\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n\n"
        "@app.workflow\n"
        "async def slow(ctx: WorkflowContext) -> None:\n"
        "    await ctx.call_activity(holds)\n"
    )
    arguments = ("--app", str(app), "--partitions", "4", "--graceful-shutdown-seconds", "600")
    server = Server(tmp_path, "--store", url, "--processes", "2", *arguments)
    servers.append(server.wait_until_ready())
    pids = [child.pid for child in children(server)]
    environ = environment(ACTORFLOW_URL=server.url)
    with subprocess.Popen([*ACTORFLOW, "workflow", "start", "slow"], env=environ) as starting:
        server.out.wait_for("held")  # maybe by the process that would answer
        starting.kill()
    server.process.send_signal(signal.SIGINT)
    server.err.wait_for("Stopping (SIGINT)")
    assert server.end(signal.SIGINT) == 128 + signal.SIGINT
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert sum("Left at once" in line for line in server.err.all) == 1


def test_a_port_that_is_taken_is_refused(url: str, servers: list[Server], tmp_path: Path) -> None:
    first = Server(tmp_path, "--store", url, "--processes", "2")
    servers.append(first.wait_until_ready())
    port = first.url.rpartition(":")[2]
    second = Server(tmp_path, "--store", url, "--processes", "2", "--http-port", port)
    assert second.wait() == 1
    assert any("Address already in use" in line for line in second.err.all)
    assert first.end() == 0
