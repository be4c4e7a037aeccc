"""A method that cancels its own task fails like any other, and its actor goes on."""

import asyncio

import pytest

from actorflow.actors import Actor, ActorSystem
from actorflow.actors.errors import ActorCallError
from actorflow.actors.store.memory import MemoryStore

pytestmark = pytest.mark.asyncio


class Quitter(Actor):
    """Gives up in the middle of a turn."""

    async def quit(self) -> None:
        self.state["half"] = True
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def kept(self) -> bool:
        return "half" in self.state


async def test_turn_that_cancels_itself_is_dropped() -> None:
    async with ActorSystem(MemoryStore(), [Quitter]) as system:
        quitter = system.actor(Quitter, "q")
        with pytest.raises(ActorCallError, match="cancelled"):
            await quitter.call("quit", timeout_s=120)
        assert await quitter.call("kept", timeout_s=120) is False
