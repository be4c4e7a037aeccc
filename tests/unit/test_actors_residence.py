"""Who is in memory: activation, eviction, the memory budget, volatile timers, unreadable actors."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import Actor, ActorId, ActorType, Limits
from actorflow.actors.errors import CorruptError, UnknownMethodError, UsageError
from actorflow.actors.runtime import HOUSEKEEPING_S
from tests.sim.stage import Stage, on_stage

if TYPE_CHECKING:
    from actorflow.actors import ActorRecord, ActorServices, Effects, Message

TTL_S = Limits().idle_ttl_s


class Room(Actor):
    """Counts its activations and what it was told."""

    async def on_activate(self) -> None:
        self.woken = self.state.get("woken", 0) + 1

    async def enter(self, name: str) -> int:
        self.state["woken"] = self.woken
        self.state["names"] = [*self.state.get("names", []), name]
        return len(self.state["names"])

    async def names(self) -> list[str]:
        return list(self.state.get("names", []))

    async def activations(self) -> int:
        return int(self.woken)

    async def fill(self, size: int) -> None:
        self.state["stuff"] = "x" * size

    async def enter_later(self, delay_s: float) -> None:
        delay = timedelta(seconds=delay_s)
        self.timer = self.timers.set("enter", delay=delay, argument="timer")

    async def never_mind(self) -> None:
        self.timer.cancel()
        self.timer.cancel()

    async def bad_timer(self) -> None:
        self.timers.set("no_such", delay=timedelta(seconds=1))

    async def leak(self) -> None:
        leaked.append(self)


leaked: list[Room] = []


def room(name: str) -> ActorId:
    return ActorId("Room", name)


ANN = room("ann")


def test_an_idle_actor_leaves_and_comes_back_as_it_was() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Room) as system:
            await system.call(ANN, "enter", b'"a"')
            await asyncio.sleep(TTL_S + 2 * HOUSEKEEPING_S)
            assert system.gauges()["live_actors"] == 0
            assert system.gauges()["live_bytes"] == 0
            assert system.counters.evictions == 1
            assert await system.call(ANN, "names") == b'["a"]'
            assert await system.call(ANN, "activations") == b"2"

    on_stage(main)


def test_an_actor_in_use_stays() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Room) as system:
            for _ in range(20):
                await system.call(ANN, "names")
                await asyncio.sleep(TTL_S / 2)
            assert system.counters.evictions == 0
            assert system.counters.activations == 1

    on_stage(main)


def test_above_the_memory_budget_the_longest_idle_leave_first() -> None:
    async def main(stage: Stage) -> None:
        limits = Limits(memory_budget_bytes=1_000_000)
        async with stage.system(Room, limits=limits) as system:
            for number in range(10):
                await system.call(room(str(number)), "fill", b"100000")
                await asyncio.sleep(0.01)
            await system.call(room("0"), "names")
            assert system.gauges()["live_bytes"] > 1_000_000
            await asyncio.sleep(HOUSEKEEPING_S)
            assert system.gauges()["live_bytes"] <= 1_000_000
            assert 0 < system.gauges()["live_actors"] < 10
            activations = system.counters.activations
            await system.call(room("0"), "names")
            await system.call(room("9"), "names")
            assert system.counters.activations == activations
            await system.call(room("1"), "names")
            assert system.counters.activations == activations + 1

    on_stage(main)


def test_an_actor_whose_turn_is_not_committed_stays_whatever_the_budget() -> None:
    async def main(stage: Stage) -> None:
        limits = Limits(memory_budget_bytes=0, idle_ttl_s=0.0)
        async with stage.system(Room, limits=limits) as system:
            stage.store.hold("commit")
            call = asyncio.ensure_future(system.call(ANN, "enter", b'"a"'))
            await asyncio.sleep(3 * HOUSEKEEPING_S)
            assert system.gauges()["live_actors"] == 1
            stage.store.let_go("commit")
            assert await call == b"1"
            await asyncio.sleep(2 * HOUSEKEEPING_S)
            assert system.gauges()["live_actors"] == 0

    on_stage(main)


def test_calls_during_activation_wait_for_one_read() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Room) as system:
            stage.store.hold("load")
            calls = [asyncio.ensure_future(system.call(ANN, "enter", b'"a"')) for _ in range(5)]
            await asyncio.sleep(1)
            stage.store.let_go("load")
            assert [await call for call in calls] == [b"1", b"2", b"3", b"4", b"5"]
            assert stage.store.calls["load"] == 1

    on_stage(main)


def test_actors_that_wake_at_once_share_reads() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Room) as system:
            calls = [system.call(room(str(number)), "names") for number in range(1_200)]
            await asyncio.gather(*calls)
            assert stage.store.calls["load"] <= 5

    on_stage(main)


# ---- volatile timers -----------------------------------------------------------------------------


def test_a_timer_calls_its_actor_once_and_keeps_it_in_memory() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Room) as system:
            await system.call(ANN, "enter_later", str(3 * TTL_S).encode())
            await asyncio.sleep(2 * TTL_S)
            assert system.gauges()["live_actors"] == 1
            await asyncio.sleep(2 * TTL_S)
            assert await system.call(ANN, "names") == b'["timer"]'
            await asyncio.sleep(2 * TTL_S)
            assert system.gauges()["live_actors"] == 0

    on_stage(main)


def test_a_cancelled_timer_does_nothing_and_keeps_nobody() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Room) as system:
            await system.call(ANN, "enter_later", b"600")
            await system.call(ANN, "never_mind")
            await asyncio.sleep(2 * TTL_S)
            assert system.gauges()["live_actors"] == 0
            await asyncio.sleep(600)
            assert await system.call(ANN, "names") == b"[]"

    on_stage(main)


def test_a_timer_is_lost_with_its_host() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Room) as system:
            await system.call(ANN, "enter_later", b"5")
        async with stage.system(Room) as system:
            await asyncio.sleep(10)
            assert await system.call(ANN, "names") == b"[]"

    on_stage(main)


def test_a_timer_for_a_method_that_is_not_there_is_refused() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Room) as system:
            with pytest.raises(UnknownMethodError):
                await system.call(ANN, "bad_timer")

    on_stage(main)


def test_state_cannot_be_changed_outside_a_turn() -> None:
    async def main(stage: Stage) -> None:
        leaked.clear()
        async with stage.system(Room) as system:
            await system.call(ANN, "leak")
            (actor,) = leaked
            with pytest.raises(UsageError, match="inside a turn"):
                actor.state["x"] = 1
            with pytest.raises(UsageError, match="inside a turn"):
                actor.send(ANN, "enter", "x")
            with pytest.raises(UsageError, match="inside a turn"):
                await actor.call(ANN, "names")
            with pytest.raises(UsageError, match="inside a turn"):
                await actor.reminders.cancel("r")
            assert await system.call(ANN, "names") == b"[]"
        leaked.clear()

    on_stage(main)


# ---- unreadable actors ---------------------------------------------------------------------------


class Fragile:
    """Cannot be activated while its stored value is bad."""

    weight_bytes = 0

    def __init__(self, record: ActorRecord | None) -> None:
        if record is not None and record.fields.get("v") == b"bad":
            raise CorruptError("the value is bad")

    def receive(self, effects: Effects, message: Message) -> bytes:
        effects.put_field("v", message.payload)
        return message.payload

    def close(self) -> None:
        pass


def fragile(_: ActorId, record: ActorRecord | None, __: ActorServices) -> Fragile:
    return Fragile(record)


def test_an_actor_that_cannot_be_activated_hurts_nobody_and_is_tried_again_later() -> None:
    async def main(stage: Stage) -> None:
        one, two = ActorId("fragile", "1"), ActorId("fragile", "2")
        async with stage.system(ActorType("fragile", fragile)) as system:
            await system.call(one, "set", b"bad")
        async with stage.system(ActorType("fragile", fragile)) as system:
            calls = [system.call(one, "set", b"x"), system.call(two, "set", b"y")]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(answers[0], CorruptError)
            assert answers[1] == b"y"
            with pytest.raises(CorruptError):
                await system.send(one, "set", b"kept")
            await stage.settle()
            (row,) = (await stage.memory.recover(0, horizon_ms=2**60)).messages
            assert (row.payload, row.parked) == (b"kept", "the value is bad")
            stored = stage.memory._partitions[0].actors[one]
            stored.fields["v"] = b"good"
            with pytest.raises(CorruptError):
                await system.call(one, "set", b"x")
            await asyncio.sleep(TTL_S + 2 * HOUSEKEEPING_S)
            assert await system.call(one, "set", b"x") == b"x"

    on_stage(main)
