"""Prints a hash of every commit of a few simulated runs: `python -m tests.sim.trace 20`.

Two processes must print the same, whatever their hash seed: a run is a function of its seed.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from typing import TYPE_CHECKING

from actorflow.actors.store.memory import MemoryStore
from tests.sim.faulty_store import Faults, FaultyStore
from tests.sim.host import World
from tests.sim.ledger import Ledger
from tests.sim.loop import SimClock, SimLoop, simulate

if TYPE_CHECKING:
    from actorflow.actors.ports import Commit, CommitResult


class TracingStore(FaultyStore):
    """Hashes each commit that it is asked for, and each answer."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        faults = Faults(refuse=0.05, lose_reply=0.1, late=0.05, delay=0.3, reads=0.05)
        super().__init__(MemoryStore(clock=SimClock(loop)), seed, faults)
        self.hash = hashlib.sha256()

    async def commit(self, commit: Commit) -> CommitResult:
        self.hash.update(repr(commit).encode())
        result = await super().commit(commit)
        self.hash.update(result.encode())
        return result


def trace(seed: int) -> str:
    """Return the hash of one run: six clients, and a crash in the middle."""

    async def main(loop: SimLoop) -> str:
        store, ledger = TracingStore(loop, seed), Ledger(loop)
        world = World(loop, store, ledger.registry, seed=seed)
        await world.start_host()
        loop.call_later(1.0, world.hosts[0].died.set)
        run = loop.create_task(ledger.run_clients(world, 6))
        await world.hosts[0].died.wait()
        await world.kill_host()
        await world.start_host()
        await run
        await world.stop_hosts()
        await store.settle()
        return store.hash.hexdigest()

    return simulate(seed, main)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    for number in range(int(sys.argv[1])):
        print(number, trace(number))  # noqa: T201 -- this is what it is for
