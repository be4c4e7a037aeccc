"""A Redis of the benchmark's own: started on a free port, with its files beside the case's."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from tests.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MISSING = "--store redis needs redis-server in PATH; on Debian: apt-get install redis-server"


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server."""

    port: int
    pid: int

    def url(self, namespace: str) -> str:
        """Return the URL of a store of its own in this server."""
        return f"redis://127.0.0.1:{self.port}/0?namespace={namespace}"

    def cpu_s(self) -> float:
        """Return the processor time that the server has used, in steps of 10 ms."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


def is_there() -> bool:
    """Whether a server could be started."""
    return shutil.which("redis-server") is not None


@contextmanager
def redis_server(directory: Path, *, syncs: bool) -> Iterator[RedisServer]:
    """Run a server with an append-only file that is synced every second, or with `syncs` before
    each answer."""
    assert is_there(), MISSING
    settings = {"appendfsync": "always" if syncs else "everysec"}
    with Server("redis", directory / "redis", settings) as server:
        yield RedisServer(server.port, server.pid)
