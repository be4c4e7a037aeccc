"""An actor that holds the event loop is named in the log."""

import asyncio
import logging

import pytest

from actorflow.actors import ActorId, ActorType, Effects, Message
from actorflow.actors.runtime import ActorSystem
from actorflow.actors.store.memory import MemoryStore
from tests.sim.loop import SimLoop, simulate


class Blocker:
    """Moves virtual time on inside a turn, as blocking code does with real time."""

    weight_bytes = 0

    def receive(self, effects: Effects, message: Message) -> bytes:
        """Hold the loop for the seconds that the payload says."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.stall(float(message.payload))
        return b""

    def close(self) -> None:
        """Nothing to let go."""


def hold_for(seconds: float) -> None:
    """Run one turn that holds the loop."""

    async def main(_: SimLoop) -> None:
        blocker = ActorType("Blocker", lambda actor_id, record, services: Blocker())
        async with ActorSystem(MemoryStore(), [blocker]) as system:
            await system.call(ActorId("Blocker", "b"), "hold", str(seconds).encode())

    simulate(1, main)


def test_slow_turn_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        hold_for(2.5)
    (record,) = [entry for entry in caplog.records if "held the event loop" in entry.message]
    assert vars(record)["actor"] == "Blocker/b"
    assert vars(record)["seconds"] == 2.5


def test_quick_turn_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        hold_for(0.5)
    assert "held the event loop" not in caplog.text
