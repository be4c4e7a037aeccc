"""A small stage for tests of the actors runtime: a loop, a scripted store and one system on it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from actorflow.actors import ActorSystem, Limits
from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.store.memory import MemoryStore
from tests.sim.loop import SimClock, SimIds, SimLoop, simulate
from tests.sim.scripted_store import ScriptedStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from actorflow.actors import Actor
    from actorflow.actors.actor import ActorType, WorkerType

T = TypeVar("T")

FIFO_SEED = 2
"""A seed whose loop keeps asyncio's own order; see `tests/sim/loop.py`."""

NO_ANSWER = StoreUnavailableError("no answer", written=None)
REFUSED = StoreUnavailableError("refused", written=False)


class Stage:
    """What a test of the runtime works with."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.clock = SimClock(loop)
        self.memory = MemoryStore(clock=self.clock)
        self.store = ScriptedStore(self.memory)

    @asynccontextmanager
    async def system(
        self,
        *types: type[Actor] | ActorType | WorkerType,
        limits: Limits | None = None,
        seed: int = 1,
    ) -> AsyncIterator[ActorSystem]:
        """Run a system with these types; stopped gracefully in the end."""
        system = ActorSystem(
            self.store, types, clock=self.clock, ids=SimIds(seed), limits=limits or Limits()
        )
        async with system:
            yield system

    async def settle(self) -> None:
        """Let everything run that is ready now, and what follows from it."""
        await asyncio.sleep(0.001)


def on_stage(main: Callable[[Stage], Coroutine[object, object, T]], *, seed: int = FIFO_SEED) -> T:
    """Run a test on a stage of its own."""
    return simulate(seed, lambda loop: main(Stage(loop)))
