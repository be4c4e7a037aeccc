"""Real hosts on a real Redis: processes that are killed, frozen, stopped and started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.cluster.audit import NO_REWRITE
from tests.proxy import Proxy
from tests.servers import Server, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

APP = Path(__file__).with_name("app.py")
PARTITIONS = 16
LEASE_S = 2.0
START_UP_S = 120.0
STOP_S = 120.0
LOG_TAIL_BYTES = 6_000


class Host:
    """One server process, started as often as wanted; each time it gets a new port. With a `front`
    its clients come through that proxy, at one address."""

    def __init__(self, name: str, folder: Path, store_url: str, *arguments: str) -> None:
        self.name = name
        self.folder = folder
        self.store_url = store_url
        self.url = ""
        self.front: Proxy | None = None
        self.starts = 0
        self.is_frozen = False
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self.starts += 1
        ready = self.folder / f"{self.name}.{self.starts}.ready"
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "actorflow.server", "serve", "--app", str(APP)),
                # Clients call the old port while it is down: nobody else may get it.
                *("--http-port", str(free_port()), "--grpc-port", "0"),
                *("--store", self.store_url, "--partitions", str(PARTITIONS)),
                *("--lease-seconds", str(LEASE_S), "--ready-file", str(ready)),
                *self._arguments,
                cwd=self.folder,
                env={**os.environ, "LEDGER_LOG": str(self.folder / "side.log")},
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(START_UP_S):
            while not ready.exists():
                assert self._process.returncode is None, self.tail()
                await asyncio.sleep(0.02)
        self.url = json.loads(ready.read_text())["urls"][0].rstrip("/")
        if self.front is not None:
            self.front.lead_to(int(self.url.rpartition(":")[2]))
            self.url = f"http://127.0.0.1:{self.front.port}"

    def freeze(self) -> None:
        """Stop it in mid-step, as a long pause of its machine does. `Site.urls` leaves it out."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        """Let it go on, as if nothing had happened."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self.is_frozen = False

    async def end(self, number: signal.Signals) -> int:
        """End it, and return its exit code. Its clients are not told."""
        assert self._process is not None
        self._process.send_signal(number)
        async with asyncio.timeout(STOP_S):
            code = await self._process.wait()
        self._process = None
        return code

    async def kill(self) -> None:
        """Kill it if it runs, frozen or not."""
        self.is_frozen = False
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    def tail(self) -> str:
        text = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        return f"--- {self.name}\n{text}"


class Site:
    """Hosts and their Redis. `urls` is where clients may call."""

    def __init__(self, redis: Server, hosts: list[Host], proxies: list[Proxy]) -> None:
        self.redis = redis
        self.hosts = hosts
        self.proxies = proxies

    @property
    def urls(self) -> list[str]:
        return [host.url for host in self.hosts if host.url and not host.is_frozen]

    @property
    def side_log(self) -> Path:
        return self.hosts[0].folder / "side.log"


@contextlib.asynccontextmanager
async def site(
    folder: Path,
    hosts: int = 3,
    *,
    proxied: bool = False,
    fronted: bool = False,
    settings: dict[str, str] | None = None,
    redis: Server | None = None,
    arguments: tuple[str, ...] = (),
) -> AsyncIterator[Site]:
    """Run hosts on a fresh Redis. Everything is killed at the end; after a failure the ends of the
    logs go to standard output.

    Args:
        proxied: each host reaches Redis through a proxy of its own.
        fronted: clients reach each host through a proxy of its own.
        settings: of Redis.
        redis: a server that runs already, instead of a new one.
        arguments: more of them for each host.
    """
    async with contextlib.AsyncExitStack() as stack:
        if redis is None:
            redis = Server("redis", folder / "redis", {**NO_REWRITE, **(settings or {})})
            await asyncio.to_thread(redis.start)
            stack.callback(redis.kill)
        proxies = [
            await stack.enter_async_context(Proxy(redis.port)) for _ in range(hosts * proxied)
        ]
        ports = [proxy.port for proxy in proxies] or [redis.port] * hosts
        all_hosts = [
            Host(f"host{number}", folder, f"redis://127.0.0.1:{port}", *arguments)
            for number, port in enumerate(ports)
        ]
        for host in all_hosts:
            if fronted:
                host.front = await stack.enter_async_context(Proxy(0))
            stack.push_async_callback(host.kill)
        await all_hosts[0].start()  # founds the store
        await asyncio.gather(*(host.start() for host in all_hosts[1:]))
        try:
            yield Site(redis, all_hosts, proxies)
        except BaseException:
            sys.stdout.write("\n".join(host.tail() for host in all_hosts))
            raise
