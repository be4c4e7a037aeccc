"""P14, and P13 between a primary and its replica: at the level `replicated` an answer is given only
when the replica has what it stands for, so a fail-over loses nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster.audit import NO_REWRITE
from tests.e2e.cluster.stand import Stand, under_load
from tests.proxy import Proxy
from tests.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

ROUNDS = 5
STALL_S = 0.5
"""How long before the end of a primary its replica hears nothing any more."""

HELD_S = 2.0
"""How long is looked whether answers are held back."""

REPL_TIMEOUT_S = 5
LONG_REPL_TIMEOUT_S = 300

REPLICATED = {
    **NO_REWRITE,
    "min-replicas-to-write": "1",
    "repl-timeout": str(REPL_TIMEOUT_S),
    "repl-ping-replica-period": "1",
}


class Pair:
    """A primary and its replica, which hears it through a proxy."""

    def __init__(self, folder: Path, link: Proxy) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self.link = link
        self.servers = 0
        self.primary = self._new_server()
        self.replica = self._new_server()

    def _new_server(self) -> Server:
        self.servers += 1
        server = Server("redis", self._folder / f"redis{self.servers}", REPLICATED)
        server.start()
        self._stack.callback(server.kill)
        return server

    def close(self) -> None:
        self._stack.close()

    async def notice_after(self, timeout_s: int) -> None:
        """Let both notice after so many seconds that they do not hear each other."""
        for server in (self.primary, self.replica):
            await asyncio.to_thread(server.do, "CONFIG", "SET", "repl-timeout", timeout_s)

    async def join(self) -> None:
        """Let the replica follow the primary; returns when it does."""
        self.link.lead_to(self.primary.port)
        await asyncio.to_thread(self.replica.do, "REPLICAOF", "127.0.0.1", self.link.port)
        await self.primary.reaches(Server.has_good_replica)

    async def fail_over(self, stand: Stand) -> None:
        """The primary dies with a tail that its replica has not got, and the replica follows it
        at its address. A new replica comes."""
        self.link.down.clear()
        await asyncio.sleep(STALL_S)
        await asyncio.to_thread(self.primary.kill)
        self.link.cut()
        self.link.down.set()
        await asyncio.to_thread(self.replica.do, "REPLICAOF", "NO", "ONE")
        self.primary = stand.site.redis = self.replica
        for proxy in stand.site.proxies:
            proxy.lead_to(self.primary.port)
            proxy.cut()
        self.replica = await asyncio.to_thread(self._new_server)
        await self.join()


@contextlib.asynccontextmanager
async def replicated(folder: Path) -> AsyncIterator[tuple[Pair, Stand]]:
    """Run a cluster under load whose store is replicated."""
    async with Proxy(0) as link:
        pair = Pair(folder, link)
        try:
            await pair.join()
            async with under_load(
                folder,
                proxied=True,
                redis=pair.primary,
                arguments=("--durability", "replicated"),
                loses_tails=True,
            ) as stand:
                yield pair, stand
        finally:
            pair.close()


@pytest.mark.asyncio
async def test_no_acknowledged_start_is_lost_when_a_replica_is_promoted(tmp_path: Path) -> None:
    async with replicated(tmp_path) as (pair, stand):
        for _ in range(ROUNDS):
            await asyncio.sleep(1)
            before = len(stand.load.accepted)
            await pair.fail_over(stand)
            await stand.recover()
            await stand.until_accepted(before + 1)


@pytest.mark.asyncio
async def test_a_replica_that_is_half_open_holds_answers_back_until_it_is_noticed(
    tmp_path: Path,
) -> None:
    async with replicated(tmp_path) as (pair, stand):
        await asyncio.sleep(1)
        await pair.notice_after(LONG_REPL_TIMEOUT_S)
        pair.link.silence()
        recovering = asyncio.create_task(stand.recover())
        await asyncio.sleep(HELD_S)
        assert not recovering.done(), "answered without the replica"
        await pair.notice_after(REPL_TIMEOUT_S)
        await recovering
