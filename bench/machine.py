"""Probes of the machine, to stand beside every figure: a figure without them says little."""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path


def processor_ms() -> float:
    """Return the best time of a fixed piece of Python, in milliseconds. Lower is faster."""
    return round(min(_fixed_work_s() for _ in range(5)) * 1e3, 2)


def _fixed_work_s() -> float:
    begun_s = time.perf_counter()
    found: dict[int, str] = {}
    for n in range(20_000):
        found[n % 1_000] = str(n)
    return time.perf_counter() - begun_s


def disk_sync_ms(directory: Path, *, writes: int = 100) -> float:
    """Return the median time of appending 4 KiB and syncing the data, in milliseconds."""
    spent_s = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(writes):
            begun_s = time.perf_counter()
            os.write(file.fileno(), bytes(4_096))
            os.fdatasync(file.fileno())
            spent_s.append(time.perf_counter() - begun_s)
    return round(sorted(spent_s)[writes // 2] * 1e3, 3)


async def loop_ping_us(*, pings: int = 5_000) -> float:
    """Return the mean time of one round through the event loop: a future and `call_soon`."""
    loop = asyncio.get_running_loop()
    begun_s = time.perf_counter()
    for _ in range(pings):
        answer: asyncio.Future[None] = loop.create_future()
        loop.call_soon(answer.set_result, None)
        await answer
    return round((time.perf_counter() - begun_s) / pings * 1e6, 2)


def identity() -> dict[str, object]:
    """Return what does not change during a run: commit, versions, machine."""
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def load() -> float:
    """Return the load average of the last minute: above 0.3 before a run, others are at work."""
    return round(os.getloadavg()[0], 2)


def _commit() -> str:
    root = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
