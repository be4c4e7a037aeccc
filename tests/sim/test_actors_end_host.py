"""P09: methods of actors that end the process, by call, by message and by reminder."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import Actor, ActorId, ActorSystem
from actorflow.actors.caution import CAUTION_S
from actorflow.actors.errors import EndsHostError, UnavailableError
from actorflow.actors.marks import CONVICTION, MARK
from actorflow.actors.store.memory import MemoryStore
from tests.sim.faulty_store import Gate
from tests.sim.host import HostDiedError, kill_actors
from tests.sim.loop import SimClock, SimIds, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from actorflow.actors.ports import MessageRow

SEEDS = range(6)
RESTART_S = 1.0


class Site:
    """A host of actors that is started again whenever it ends."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        self.clock = SimClock(loop)
        self.memory = MemoryStore(clock=self.clock)
        self.ids = SimIds(seed)
        self.crashes = 0
        self.is_mended = False
        self.gate: Gate
        self.system: ActorSystem | None = None
        self._died = asyncio.Event()
        self.types = _types(self)

    def end(self) -> None:
        """End the host."""
        self.gate.shut()
        self._died.set()

    async def exit(self) -> None:
        """End the process and do not return, as `os._exit` does; unless the code is mended."""
        if not self.is_mended:
            self.end()
            await asyncio.get_running_loop().create_future()

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Run hosts, one after the other; the last one ends in good order."""
        task = asyncio.ensure_future(self._supervise())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _supervise(self) -> None:
        while True:
            self._died.clear()
            self.gate = Gate(self.memory)
            self.gate.delay_s = 0.002
            system = ActorSystem(self.gate, self.types, clock=self.clock, ids=self.ids)
            starts = asyncio.ensure_future(system.start())
            death = asyncio.ensure_future(self._died.wait())
            try:
                await asyncio.wait({starts, death}, return_when=asyncio.FIRST_COMPLETED)
                self.system = system
                await death
            except asyncio.CancelledError:
                await system.stop()
                raise
            finally:
                self.system = None
                starts.cancel()
                death.cancel()
                await asyncio.gather(starts, death, return_exceptions=True)
            self.crashes += 1
            await kill_actors(system, HostDiedError("the connection was reset"))
            await asyncio.sleep(RESTART_S)

    async def call(self, key: str, method: str, *, kind: str = "Cell") -> object:
        """Call an actor until somebody answers."""
        while True:
            if self.system is not None:
                with contextlib.suppress(UnavailableError):
                    return await self.system.actor(kind, key).call(method)
            await asyncio.sleep(0.2)

    def rows(self) -> list[MessageRow]:
        return list(self.memory._partitions[0].messages.values())


def _types(site: Site) -> list[type[Actor]]:
    class Cell(Actor):
        async def add(self) -> int:
            self.state["count"] = self.state.get("count", 0) + 1
            return int(self.state["count"])

        async def count(self) -> int:
            return int(self.state.get("count", 0))

        async def tell(self) -> None:
            self.send(ActorId("Guilty", "x"), "ends_at_once")
            for number in range(10):
                self.send(ActorId("Cell", f"told-{number}"), "add")

    class Guilty(Actor):
        async def ends_at_once(self) -> str:
            await site.exit()
            return "mended"

        async def ends_later(self) -> str:
            await asyncio.sleep(0.5)
            await site.exit()
            return "mended"

        async def wake_up_soon(self) -> None:
            await self.reminders.set("soon", due=timedelta(seconds=1))

        async def on_reminder(self, _name: str, _data: object) -> None:
            await site.exit()
            self.state["rang"] = True

        async def rang(self) -> bool:
            return bool(self.state.get("rang"))

    return [Cell, Guilty]


async def work(site: Site, key: str) -> None:
    """Call an actor now and then: it loses nothing, whatever becomes of the hosts."""
    for number in range(30):
        count = await site.call(key, "add")
        assert isinstance(count, int)
        assert count > number  # more when nobody heard of it
        await asyncio.sleep(0.2)


async def mend(site: Site) -> None:
    """Let convicted actors run again, as `fsck --repair --unpark` does."""
    messages = site.memory._partitions[0].messages
    for row in list(messages.values()):
        messages[row.id] = row._replace(parked="")
    site.is_mended = True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", ["ends_at_once", "ends_later"])
def test_a_call_that_ends_its_host_is_refused_in_the_end(seed: int, method: str) -> None:
    async def main(loop: SimLoop) -> None:
        site = Site(loop, seed)
        async with site.at_work():
            others = [asyncio.ensure_future(work(site, f"c-{number}")) for number in range(5)]
            with pytest.raises(EndsHostError, match=r"hosts were lost while Guilty/x .*unpark"):
                await site.call("x", method, kind="Guilty")
            assert site.crashes == 5
            await asyncio.gather(*others)
            assert site.crashes == 5
            assert [row.method for row in site.rows()] == [CONVICTION]
        await mend(site)
        async with site.at_work():
            assert await site.call("x", method, kind="Guilty") == "mended"
        assert site.rows() == []

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_message_that_ends_its_host_is_parked(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        site = Site(loop, seed)
        async with site.at_work():
            await site.call("c", "tell")
            others = [asyncio.ensure_future(work(site, f"c-{number}")) for number in range(5)]
            while not any(row.method == CONVICTION for row in site.rows()):  # noqa: ASYNC110 -- nobody is told
                await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            crashes = site.crashes
            assert crashes in (4, 5)  # at first, nothing of it was stored
            assert sorted(row.method for row in site.rows() if row.method != MARK) == [
                CONVICTION,
                "ends_at_once",
            ]
            await asyncio.gather(*others)
            for number in range(10):
                assert await site.call(f"told-{number}", "count") == 1
            assert site.crashes == crashes
        await mend(site)
        async with site.at_work():
            while site.rows():  # noqa: ASYNC110 -- nobody is told
                await asyncio.sleep(0.1)
        assert site.crashes == crashes

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reminder_that_ends_its_host_rings_no_more_and_is_kept(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        site = Site(loop, seed)
        async with site.at_work():
            others = [asyncio.ensure_future(work(site, f"c-{number}")) for number in range(5)]
            await site.call("x", "wake_up_soon", kind="Guilty")
            await asyncio.gather(*others)
            await asyncio.sleep(60)
            assert site.crashes == 4
            assert [row.method for row in site.rows()] == [CONVICTION]
            with pytest.raises(EndsHostError):
                await site.call("x", "rang", kind="Guilty")
        await mend(site)
        async with site.at_work():
            await asyncio.sleep(1)
            assert await site.call("x", "rang", kind="Guilty") is True
        assert site.crashes == 4

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_hosts_that_stop_in_good_order_leave_no_mark(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        site = Site(loop, seed)
        for _ in range(3):
            async with site.at_work():
                others = [asyncio.ensure_future(work(site, f"c-{number}")) for number in range(5)]
                for _ in range(4):
                    await asyncio.sleep(0.5 + RESTART_S)
                    site.end()
                await asyncio.sleep(0.5 + RESTART_S)
                for other in others:
                    other.cancel()
                await asyncio.gather(*others, return_exceptions=True)
            assert site.rows() == []

    simulate(seed, main)


def test_one_lost_host_makes_nobody_cautious() -> None:
    async def main(loop: SimLoop) -> None:
        site = Site(loop, 1)
        async with site.at_work():
            for crashes, is_cautious in enumerate([False, False, True, False]):
                assert site.crashes == min(crashes, 2)
                assert await site.call("c", "add")
                assert site.system is not None
                roster = site.system._partitions[0].roster
                assert (roster.enter != roster.enqueue) is is_cautious
                if crashes < 2:
                    site.end()
                await asyncio.sleep(2 * CAUTION_S)
        assert site.rows() == []

    simulate(1, main)
