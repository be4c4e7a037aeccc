"""Actors as authors write them: methods, arguments, state, and mistakes that are pointed out."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from datetime import timedelta

import pytest

from actorflow.actors import Actor, ActorId, ActorSystem
from actorflow.actors.address import checked_actor_id
from actorflow.actors.errors import ActorCallError, InvalidActorIdError, UsageError
from actorflow.actors.store.memory import MemoryStore
from tests.sim.stage import Stage, on_stage


@dataclass
class Item:
    name: str
    price: float
    tags: list[str]


class Shelf(Actor):
    """Uses most of what an author has."""

    async def on_activate(self) -> None:
        self.state.setdefault("items", {})
        self.volatile = 0

    async def put(self, item: Item) -> int:
        self.state["items"][item.name] = item.price
        return len(self.state["items"])

    async def cheapest(self) -> Item | None:
        items = self.state["items"]
        if not items:
            return None
        name = min(items, key=items.__getitem__)
        return Item(name, items[name], [])

    async def put_default(self, item: Item | None = None) -> bool:
        return item is None

    async def clear(self) -> None:
        del self.state["items"]
        assert "items" not in self.state
        assert self.state.get("items") is None
        with pytest.raises(KeyError):
            self.state["items"]
        with pytest.raises(KeyError):
            del self.state["items"]

    async def exit(self) -> None:
        self.state["x"] = 1
        sys.exit("no actor ends the process")

    async def replace(self) -> list[str]:
        self.state["a"] = 1
        del self.state["a"]
        self.state["a"] = 2
        self.state["b"] = None
        return sorted(self.state)

    async def names(self) -> list[str]:
        return sorted(self.state)

    async def wrong_name(self) -> None:
        self.state[3] = "x"  # type: ignore[index]  # the mistake under test

    async def name_without_utf8(self) -> None:
        self.state["\ud800"] = "x"

    async def remind_without_utf8(self) -> None:
        await self.reminders.set("\ud800", due=timedelta(seconds=1))

    async def cancel_without_utf8(self) -> None:
        await self.reminders.cancel("\ud800")

    async def send_without_utf8(self) -> None:
        self.send(ActorId("Shelf", "\ud800"), "names")

    async def send_method_without_utf8(self) -> None:
        self.send(ActorId("Shelf", "2"), "\ud800")

    async def call_without_utf8(self) -> None:
        await self.call(ActorId("Shelf", "\ud800"), "put_default")

    async def send_to_a_text(self) -> None:
        self.send("Shelf/2", "names")  # type: ignore[arg-type]  # the mistake under test

    async def send_to_a_number(self) -> None:
        self.send(ActorId("Shelf", 2), "names")  # type: ignore[arg-type]  # the mistake under test

    async def shows_nothing(self) -> None:
        raise UnshowableError

    async def not_json(self) -> None:
        self.state["x"] = object()

    async def count(self) -> int:
        self.volatile += 1
        return self.volatile

    async def ask_item(self, key: str) -> str:
        item = await self.call(ActorId("Shelf", key), "cheapest", returns=Item)
        assert isinstance(item, Item)
        return item.name

    async def remind(self) -> None:
        await self.reminders.set("r", due=timedelta(seconds=1), period=timedelta(0))

    async def remind_without_handler(self) -> None:
        await self.reminders.set("r", due=timedelta(seconds=1))


ONE = ActorId("Shelf", "1")
PEN = b'{"name": "pen", "price": 1.5, "tags": []}'


def test_arguments_and_answers_have_types() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Shelf) as system:
            assert await system.call(ONE, "cheapest") == b"null"
            assert await system.call(ONE, "put", PEN) == b"1"
            assert json.loads(await system.call(ONE, "cheapest"))["name"] == "pen"
            assert await system.call(ONE, "put_default") == b"true"
            assert await system.call(ActorId("Shelf", "2"), "ask_item", b'"1"') == b'"pen"'
            with pytest.raises((ActorCallError, UsageError), match="price"):
                await system.call(ONE, "put", b'{"name": "pen"}')

    on_stage(main)


def test_state_is_what_differs_at_the_end_of_the_turn() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Shelf) as system:
            await system.call(ONE, "put", PEN)
            commits = len(stage.store.commits)
            await system.call(ONE, "cheapest")
            await system.call(ONE, "put", PEN)
            assert len(stage.store.commits) == commits
            assert await system.call(ONE, "replace") == b'["a","b","items"]'
            await system.call(ONE, "clear")
        async with stage.system(Shelf) as system:
            assert await system.call(ONE, "names") == b'["a","b","items"]'  # on_activate sets it
            assert await system.call(ONE, "cheapest") == b"null"

    on_stage(main)


def test_reading_creates_nothing() -> None:
    async def main(stage: Stage) -> None:
        class Reader(Actor):
            async def look(self) -> int:
                return len(self.state)

        async with stage.system(Reader) as system:
            assert await system.call(ActorId("Reader", "r"), "look") == b"0"
        assert await stage.memory.load(0, [ActorId("Reader", "r")], with_log=False) == [None]

    on_stage(main)


class UnshowableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "method",
    [
        "name_without_utf8",
        "remind_without_utf8",
        "cancel_without_utf8",
        "send_without_utf8",
        "send_method_without_utf8",
        "call_without_utf8",
        "send_to_a_text",
        "send_to_a_number",
        "shows_nothing",
    ],
)
def test_one_actors_mistake_costs_nobody_else(method: str) -> None:
    """A commit that the store refuses would drop the work of all."""

    async def main(stage: Stage) -> None:
        async with stage.system(Shelf) as system:
            good = asyncio.ensure_future(system.call(ActorId("Shelf", "2"), "put", PEN))
            with pytest.raises((ActorCallError, UsageError)):
                await system.call(ONE, method, timeout_s=5)
            with pytest.raises(InvalidActorIdError):
                await system.call(ActorId("Shelf", "\ud800"), "put", PEN)
            assert await good == b"1"
            assert system.problems() == []
            assert await system.call(ONE, "names", timeout_s=5) == b'["items"]'

    on_stage(main)


@pytest.mark.parametrize("method", ["wrong_name", "not_json", "remind", "exit"])
def test_mistakes_in_a_turn_are_its_error_and_leave_nothing(method: str) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Shelf) as system:
            await system.call(ONE, "put", PEN)
            with pytest.raises((ActorCallError, UsageError)):
                await system.call(ONE, method)
            assert await system.call(ONE, "names") == b'["items"]'

    on_stage(main)


def test_attributes_are_gone_after_a_turn_that_raised() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Shelf) as system:
            assert await system.call(ONE, "count") == b"1"
            assert await system.call(ONE, "count") == b"2"
            with pytest.raises((ActorCallError, UsageError)):
                await system.call(ONE, "not_json")
            assert await system.call(ONE, "count") == b"1"

    on_stage(main)


def test_a_reminder_without_a_handler_says_so_and_hurts_nobody() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Shelf) as system:
            await system.call(ONE, "remind_without_handler")
            await asyncio.sleep(30)
            assert await system.call(ONE, "count") == b"1"
            assert system.counters.failed_turns >= 5

    on_stage(main)


def test_shapes_that_cannot_be_called_are_refused_when_registered() -> None:
    class TwoArguments(Actor):
        async def put(self, name: str, price: float) -> None: ...

    class Same(Actor):
        actor_type = "Shelf"

    for types in ([TwoArguments], [Shelf, Same], [int]):
        with pytest.raises(UsageError):
            ActorSystem(MemoryStore(), types)  # type: ignore[arg-type]  # one is no actor at all


def test_a_system_that_is_not_started_says_so() -> None:
    async def main(stage: Stage) -> None:
        system = ActorSystem(stage.store, [Shelf], clock=stage.clock)
        with pytest.raises(UsageError, match="not started"):
            await system.call(ONE, "count")

    on_stage(main)


@pytest.mark.parametrize("key", ["", "a\nb", "\x7f", "x" * 1_025, "\ud800", "ü" * 513])
def test_ids_that_cannot_be_addresses(key: str) -> None:
    with pytest.raises(InvalidActorIdError):
        checked_actor_id("Shelf", key)
    with pytest.raises(InvalidActorIdError):
        checked_actor_id(key, "x")


@pytest.mark.parametrize("key", ["a|b", "☃", "a b", "x" * 1_024, "ü" * 512, "../..", "'"])
def test_ids_of_any_other_kind_are_fine(key: str) -> None:
    assert checked_actor_id("Shelf", key) == ActorId("Shelf", key)
