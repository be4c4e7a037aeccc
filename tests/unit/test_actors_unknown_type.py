"""A program that lost an actor type keeps what is stored for it, and serves the rest."""

import asyncio
from datetime import timedelta

import pytest

from actorflow.actors import Actor, ActorId, ActorSystem
from actorflow.actors.store.memory import MemoryStore

pytestmark = pytest.mark.asyncio


class Sender(Actor):
    """Sends to a type that a later program does not have."""

    async def greet(self) -> None:
        self.send(ActorId("Listener", "l"), "hear")

    async def ping(self) -> str:
        return "pong"


class Listener(Actor):
    """Hears greetings, and reminds itself."""

    async def hear(self) -> None:
        self.state["heard"] = self.state.get("heard", 0) + 1
        await asyncio.Event().wait()  # the host stops before this turn ends

    async def remember(self) -> None:
        await self.reminders.set("soon", due=timedelta(seconds=0))

    async def on_reminder(self, name: str, data: object) -> None:
        self.state["reminded"] = True
        await asyncio.Event().wait()


class LaterListener(Listener):
    """The type as a later program has it again."""

    actor_type = "Listener"

    async def hear(self) -> None:
        self.state["heard"] = self.state.get("heard", 0) + 1

    async def on_reminder(self, name: str, data: object) -> None:
        self.state["reminded"] = True

    async def seen(self) -> list[object]:
        return [self.state.get("heard", 0), self.state.get("reminded", False)]


async def test_rows_of_an_unknown_type_wait_and_hurt_nobody() -> None:
    store = MemoryStore()
    async with ActorSystem(store, [Sender, Listener]) as system:
        await system.actor(Listener, "l").call("remember")
        await system.actor(Sender, "s").call("greet")
        await system.stop(drain_s=0)
    async with ActorSystem(store, [Sender]) as system:
        assert await system.actor(Sender, "s").call("ping") == "pong"
        waiting = await store.recover(0, horizon_ms=2**60)
        assert len(waiting.messages) >= 1
        assert len(waiting.reminders) == 1
    async with ActorSystem(store, [Sender, LaterListener]) as system:
        listener = system.actor(LaterListener, "l")
        while (await listener.call("seen"))[1] is False:  # noqa: ASYNC110 -- each call is a turn
            await asyncio.sleep(0)
        heard, reminded = await listener.call("seen")
        assert heard == 1
        assert reminded is True
