"""Processes of a run: servers that write a ready file, and peers that speak JSON lines."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

ROOT = Path(__file__).resolve().parent.parent

READY_S = 30.0
"""How long a process may take until it listens."""

LINE_MAX_BYTES = 64 * 1024 * 1024
"""Longest line of a peer."""


def cpu_s(pid: int) -> float:
    """Return the processor time of a server in steps of 10 ms, its processes included."""
    parent = psutil.Process(pid)
    spent_s = 0.0
    for process in (parent, *parent.children()):
        times = process.cpu_times()
        spent_s += times.user + times.system
    return spent_s


async def _spawn(command: Sequence[str], environ: dict[str, str], **pipes: Any) -> Any:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        limit=LINE_MAX_BYTES,
        **pipes,
    )


@asynccontextmanager
async def server(
    name: str, command: Sequence[str], directory: Path, **environ: str
) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """Run a module that writes a ready file; yield its process id and that file; stop it at the
    end, waiting until it is gone."""
    ready = directory / f"{name}.ready"
    ready.unlink(missing_ok=True)
    process = await _spawn(
        [*command, "--ready-file", str(ready)],
        environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(READY_S):
            while not ready.exists():
                if process.returncode is not None:
                    _, complaint = await process.communicate()
                    raise RuntimeError(f"{name} did not start: {complaint.decode()}")
                await asyncio.sleep(0.02)
        yield process.pid, json.loads(ready.read_text())
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


class Peer:
    """A process that does what it is told: one JSON object a line in, one out."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid: int = process.pid

    async def ask(self, **order: Any) -> Any:
        """Send an order and return the answer.

        Raises:
            RuntimeError: the process has ended.
        """
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended at {order}; see its standard error")
        return json.loads(line)


@asynccontextmanager
async def peer(command: Sequence[str], **environ: str) -> AsyncIterator[Peer]:
    """Run a module as a peer; it ends when its standard input does."""
    pipe = asyncio.subprocess.PIPE
    process = await _spawn(command, environ, stdin=pipe, stdout=pipe)
    try:
        yield Peer(process)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(READY_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
