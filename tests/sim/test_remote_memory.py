"""A turn is shown from the memory of its host where that holds what is committed, else from the
store: nobody can tell the difference."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import WorkflowEngine
from actorflow.workflow.actions import Complete, ScheduleTask
from actorflow.workflow.events import ExecutionStarted, Status, TurnStarted
from actorflow.workflow.workitem import TurnItem
from tests.sim.loop import SimClock, SimLoop, simulate
from tests.sim.scripted_store import ScriptedStore
from tests.sim.test_remote_items import SOON_S, Hand, done, on_stand, restarted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors import ActorId, ActorRecord
    from actorflow.workflow.events import HistoryEvent
    from tests.sim.remote import RemoteStand


class ReadCounter:
    """Counts the reads of histories by the engine of a stand."""

    def __init__(self, stand: RemoteStand) -> None:
        self.count = 0
        actors = stand.world.engine.actors
        read = actors.read

        async def counted(
            actors: Sequence[ActorId], *, with_log: bool = False
        ) -> list[ActorRecord | None]:
            self.count += with_log
            return await read(actors, with_log=with_log)

        actors.read = counted  # type: ignore[method-assign]  # counts, and changes nothing


def inputs_of(events: Sequence[HistoryEvent]) -> list[str | None]:
    """Return the inputs of the starts among events."""
    return [event.input for event in events if isinstance(event, ExecutionStarted)]


async def shown_turn(stand: RemoteStand, hand: Hand) -> TurnItem:
    """Return the next turn, seen to be what is committed."""
    before = stand.shown.checked
    turn = await hand.turn()
    stand.shown.check(turn)
    assert stand.shown.checked == before + 1
    return turn


async def walk_chain(stand: RemoteStand, hand: Hand, value: int) -> None:
    """Do the first turn of a chain and its first activity."""
    await hand.do(await shown_turn(stand, hand), "chain")
    await hand.finish(await hand.activity(), value)


def test_turns_of_a_live_instance_read_no_store() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        reads = ReadCounter(stand)
        await stand.start("chain", 1, "c")
        for value in (2, 4, 8):
            await walk_chain(stand, hand, value)
        await hand.do(await shown_turn(stand, hand), "chain")
        assert reads.count == 0
        assert await hand.status("c") is Status.COMPLETED

    on_stand(main)


def test_after_a_restart_the_memory_is_what_the_store_said() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("chain", 1, "c")
        await walk_chain(stand, hand, 2)
        await restarted(stand, hand)
        await walk_chain(stand, hand, 4)
        await walk_chain(stand, hand, 8)
        await hand.do(await shown_turn(stand, hand), "chain")
        assert await hand.status("c") is Status.COMPLETED

    on_stand(main)


def test_next_execution_begins_with_an_empty_history() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("collect", {"got": [], "want": 3}, "c")
        for number in range(3):
            await stand.raise_event("c", "n", number, str(number))
        for _ in range(2):
            await hand.do(await shown_turn(stand, hand), "collect")
        await hand.finish(await hand.activity(), 2)
        before = await shown_turn(stand, hand)
        assert before.past_events
        await hand.do(before, "collect")
        after = await shown_turn(stand, hand)
        assert len(after.past_events) == 0
        assert after.execution_id != before.execution_id
        (text,) = inputs_of(after.new_events)
        assert json.loads(text or "") == {"got": [0, 1], "want": 3}
        # What was shown of the old execution is still that: its log was not written over.
        assert json.loads(inputs_of(before.past_events)[0] or "") == {"got": [], "want": 3}
        await hand.do(after, "collect")
        await stand.end_of("c")

    on_stand(main)


@pytest.mark.parametrize("is_purged", [False, True])
def test_id_that_is_used_again_shows_nothing_of_the_run_before(is_purged: bool) -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        call, end = ScheduleTask(id=1, name="double"), Complete(id=2, status=Status.COMPLETED)
        await stand.start("chain", 1, "c")
        await hand.answer(await shown_turn(stand, hand), done(call))
        await hand.finish(await hand.activity(), 1)
        await hand.answer(await shown_turn(stand, hand), done(end))
        if is_purged:
            await stand.world.engine.purge("c")
        await stand.world.engine.start("chain", instance_id="c", input="5")
        turn = await shown_turn(stand, hand)
        assert len(turn.past_events) == 0
        assert inputs_of(turn.new_events) == ["5"]
        await hand.answer(turn, done(call))
        await hand.finish(await hand.activity(), 1)
        again = await shown_turn(stand, hand)
        assert inputs_of(again.past_events) == ["5"]
        await hand.answer(again, done(end))

    on_stand(main)


def test_facts_that_are_not_committed_are_not_shown() -> None:
    async def main(loop: SimLoop) -> None:
        store = ScriptedStore(MemoryStore(clock=SimClock(loop)))
        async with WorkflowEngine(store, clock=SimClock(loop)) as engine:
            await engine.start("approval", instance_id="a", input="1")
            store.hold("commit")
            raised = loop.create_task(engine.raise_event("a", "approve", "0"))
            await asyncio.sleep(1)
            stream = engine.workers.connect("default")
            async with asyncio.timeout(SOON_S):
                turn = await stream.next()
            assert isinstance(turn, TurnItem)
            assert [type(event) for event in turn.new_events] == [TurnStarted, ExecutionStarted]
            store.let_go("commit")
            await raised
            stream.close()

    simulate(3, main)
