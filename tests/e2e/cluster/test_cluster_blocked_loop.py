"""P04: code of a user blocks the event loop of a host: for a while it costs nothing but patience,
for too long it costs the host its partitions, and others go on with them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from actorflow.actors.pulse import SILENT_TTLS
from tests.e2e.cluster.hosts import LEASE_S, PARTITIONS
from tests.e2e.cluster.stand import Stand, under_load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.e2e.cluster.hosts import Site

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

SETTLED_S = 4.0
"""Without a move for so long, partitions are where they belong."""

LONG_LEASE_S = 6.0
"""A block that outlives one lease is far from three of them, also when a machine stretches it."""

STALLED_S = 1.5
"""A machine that stops this test for so long stops heartbeats too, and what others take then is
theirs by right."""

ROUNDS_MAX = 8
"""A machine that stops in each of so many rounds shows nothing."""

POLL_S = 0.05


class Standing(NamedTuple):
    """Who owns a partition, and until when by the clock of the store."""

    epoch: int
    host: str
    until_ms: int


def standings(site: Site) -> list[Standing]:
    """Return the present ownership of each partition."""
    with site.redis.client(decode_responses=True) as client:
        metas = list(client.scan_iter(match="*:meta", count=1_000))
        metas.sort(key=lambda meta: int(meta.partition("{")[2].partition(".")[0]))
        rows = [client.hmget(meta, "epoch", "owner", "until") for meta in metas]
    assert len(rows) == PARTITIONS
    return [
        Standing(int(epoch), owner.partition("/")[0], int(until_ms))
        for epoch, owner, until_ms in rows
    ]


def host_id_of(site: Site, pid: int) -> str:
    """Return how the store calls a process."""
    with site.redis.client() as client:
        (key,) = client.scan_iter(match="*:members", count=1_000)
        members = client.hgetall(key)
    (found,) = [name for name, says in members.items() if b'"pid":%d,' % pid in says]
    return str(found.decode())


def now_ms(site: Site) -> int:
    """Return the time of the store's clock."""
    with site.redis.client() as client:
        seconds, micros = client.time()
    return int(seconds * 1_000 + micros // 1_000)


async def settled(site: Site) -> list[Standing]:
    """Wait until partitions move no more."""
    last: list[int] = []
    while True:
        found = await asyncio.to_thread(standings, site)
        epochs = [standing.epoch for standing in found]
        if epochs == last:
            return found
        last = epochs
        await asyncio.sleep(SETTLED_S)


class Block:
    """An activity that blocks the loop of whichever host runs it, until `end`."""

    def __init__(self, stand: Stand, name: str) -> None:
        self._stand = stand
        self._name = name
        self._place = stand.site.side_log.with_name(name)
        self._log_sizes = {host.name: host.log.stat().st_size for host in stand.site.hosts}
        self.host = stand.site.hosts[0]
        self._starting: asyncio.Task[None] | None = None

    async def begin(self) -> str:
        """Block a loop and return how the store calls its host. Clients leave it out, as a load
        balancer does with one that does not answer."""
        # The host may block before it has answered.
        starting = self._stand.caller.start("holder", self._name, str(self._place))
        self._starting = asyncio.create_task(starting)
        held = self._place.with_suffix(".held")
        while not held.exists() or not held.read_text():  # noqa: ASYNC110 -- another process
            await asyncio.sleep(POLL_S)
        pid = int(held.read_text())
        (self.host,) = [host for host in self._stand.site.hosts if host.pid == pid]
        self.host.is_frozen = True
        return await asyncio.to_thread(host_id_of, self._stand.site, pid)

    async def until_logged(self, text: str) -> None:
        """Wait until the host has said something since this was made."""
        while text not in self.log():  # noqa: ASYNC110 -- a file tells nobody
            await asyncio.sleep(POLL_S)

    def end(self) -> None:
        """Let the loop go on."""
        self._place.with_suffix(".free").touch()
        self.host.is_frozen = False

    async def until_completed(self) -> None:
        """Wait until the activity is recorded."""
        assert self._starting is not None
        await self._starting
        await self._stand.caller.until_status(self._name, "COMPLETED")

    def log(self) -> str:
        """Return what the host has said since this was made."""
        text = self.host.log.read_bytes()[self._log_sizes[self.host.name] :]
        return text.decode(errors="replace")


@pytest.mark.asyncio
async def test_a_loop_that_is_blocked_for_long_loses_its_partitions_to_others(
    tmp_path: Path,
) -> None:
    async with under_load(tmp_path) as stand:
        before = await settled(stand.site)
        block = Block(stand, "holder")
        host_id = await block.begin()
        await block.until_logged("given up")
        await stand.recover()  # while it is still blocked
        after = await asyncio.to_thread(standings, stand.site)
        block.end()
        await stand.probes.tick_all(host=block.host.url)  # passes calls on, or has its share again
        await block.until_completed()
    lost = [i for i in range(PARTITIONS) if before[i].host == host_id]
    assert lost
    assert all(after[i].epoch != before[i].epoch for i in lost)
    log = block.log()
    assert "event loop is blocked" in log
    assert 'stack="hold (' in log
    given_up = re.search(r"partitions are given up.* seconds=([0-9.]+)", log)
    assert given_up is not None, log
    assert float(given_up[1]) >= SILENT_TTLS * LEASE_S
    others = [other.log.read_text() for other in stand.site.hosts if other is not block.host]
    assert not any("given up" in text for text in others)


@contextlib.asynccontextmanager
async def pauses() -> AsyncIterator[list[float]]:
    """Note meanwhile how long this process had to wait whenever it wanted to go on."""
    loop = asyncio.get_running_loop()
    found_s = [0.0]

    async def look() -> None:
        while True:
            began_s = loop.time()
            await asyncio.sleep(POLL_S)
            found_s.append(loop.time() - began_s)

    task = asyncio.create_task(look())
    try:
        yield found_s
    finally:
        task.cancel()


async def block_for_more_than_a_lease(stand: Stand, name: str) -> bool:
    """Show that it changes nothing of who owns what. The loop goes on when its leases would have
    ended had nobody renewed them. Returns False when the machine has shown nothing."""
    await settled(stand.site)
    block = Block(stand, name)
    async with pauses() as found_s:
        host_id = await block.begin()
        before = await asyncio.to_thread(standings, stand.site)
        mine = [i for i in range(PARTITIONS) if before[i].host == host_id]
        ended_ms = max((before[i].until_ms for i in mine), default=0)
        while await asyncio.to_thread(now_ms, stand.site) <= ended_ms:  # noqa: ASYNC110 -- a clock
            await asyncio.sleep(POLL_S)
        after = await asyncio.to_thread(standings, stand.site)
        block.end()
        await stand.recover()
    await block.until_completed()
    log = block.log()
    if max(found_s) >= STALLED_S:
        sys.stdout.write(f"the machine stopped for {max(found_s):.1f} s\n")
        return False
    assert mine
    assert [after[i].epoch for i in mine] == [before[i].epoch for i in mine]
    assert min(after[i].until_ms for i in mine) > ended_ms
    assert "event loop is blocked" in log
    assert "another owner" not in log
    assert "given up" not in log
    return True


@pytest.mark.asyncio
async def test_a_loop_that_is_blocked_for_less_than_three_leases_keeps_its_partitions(
    tmp_path: Path,
) -> None:
    leases = ("--lease-seconds", str(LONG_LEASE_S))
    shown = False
    async with under_load(tmp_path, clients=5, arguments=leases) as stand:
        for number in range(ROUNDS_MAX):
            shown = shown or await block_for_more_than_a_lease(stand, f"holder-{number}")
    if not shown:
        pytest.skip(f"this machine stops for more than {STALLED_S:g} s, again and again")
