"""Rerun from an event, for instances that remote workers run: whole turns are copied."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.workflow.codec import decode_event
from actorflow.workflow.errors import HistoryEventNotFoundError, InvalidRequestError
from actorflow.workflow.events import (
    ChildCreated,
    EventRaised,
    Status,
    TaskCompleted,
    TaskScheduled,
    TimerCreated,
    TurnStarted,
)
from actorflow.workflow.workitem import ActivityItem
from tests.sim.invariants import check_history
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import WORKFLOWS, RemoteStand

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorflow.workflow.events import HistoryEvent
    from tests.fakes.remote_code import Ctx
    from tests.sim.remote import Code


def on_stand(main: Callable[[RemoteStand], Coroutine[object, object, None]]) -> None:
    async def run(loop: SimLoop) -> None:
        stand = RemoteStand(loop)
        await stand.world.start_host()
        await main(stand)
        await stand.close()

    simulate(2, run)


async def rerun(stand: RemoteStand, source: str, event_id: int, **options: Any) -> list[Any]:
    """Rerun, wait for the end, and return the history."""
    engine = stand.world.engine
    await engine.rerun(source, event_id, new_instance_id="again", **options)
    assert (await stand.end_of("again")).status is Status.COMPLETED
    history = (await engine.history("again")).events
    check_history(history)
    return list(history)


def of_kind(history: list[HistoryEvent], kind: type) -> list[Any]:
    return [event for event in history if isinstance(event, kind)]


@pytest.mark.parametrize("event_id", [1, 2, 3])
def test_activity_again_with_another_input(event_id: int) -> None:
    async def main(stand: RemoteStand) -> None:
        stand.worker()
        await stand.start("chain", 1, "c")
        await stand.end_of("c")
        ran = sum(stand.log.runs.values())
        history = await rerun(stand, "c", event_id, input="100", overwrite_input=True)
        assert sum(stand.log.runs.values()) == ran + 4 - event_id
        tasks = {event.event_id: event for event in of_kind(history, TaskScheduled)}
        assert tasks[event_id].rerun_of == "c"
        assert tasks[event_id].input == "100"
        assert [tasks[i].rerun_of for i in tasks if i != event_id] == ["", ""]
        instance = await stand.world.engine.get("again")
        assert instance is not None
        assert json.loads(instance.output or "") == 100 * 2 ** (4 - event_id)

    on_stand(main)


def test_new_input_outlives_restarts_and_lost_workers() -> None:
    async def main(stand: RemoteStand) -> None:
        worker = stand.worker()
        await stand.start("chain", 1, "c")
        await stand.end_of("c")
        await stand.kill_worker(worker)
        await stand.world.engine.rerun(
            "c", 2, new_instance_id="again", input="100", overwrite_input=True
        )
        await stand.world.kill_host()
        await stand.world.start_host()
        stand.worker()
        assert json.loads((await stand.end_of("again")).output or "") == 400
        history = (await stand.world.engine.history("again")).events
        assert [e.rerun_of for e in history if isinstance(e, TaskScheduled)] == ["", "c", ""]

    on_stand(main)


def test_unfinished_activities_before_are_driven_again() -> None:
    """A turn with many actions is done again as a whole; what other turns left open too."""

    def two(ctx: Ctx, _: Any) -> Code:
        slow = ctx.call("nap", 5)
        yield ctx.call("double", 1)
        quick = yield ctx.call("double", 2)
        return [quick, (yield slow)]

    async def main(stand: RemoteStand) -> None:
        stand.worker(workflows={"two": two})
        await stand.start("two", None, "t")
        await stand.end_of("t")
        before = Counter(stand.log.runs)
        history = await rerun(stand, "t", 3)
        assert sum((stand.log.runs - before).values()) == 2  # the nap, and what was asked for
        results = Counter(event.task_id for event in of_kind(history, TaskCompleted))
        assert results == {1: 1, 2: 1, 3: 1}

    on_stand(main)


def test_facts_of_the_turn_are_given_again() -> None:
    async def main(stand: RemoteStand) -> None:
        worker = stand.worker()
        await stand.start("approval", 5, "a")
        await stand.kill_worker(worker)
        for number in range(2):
            await stand.raise_event("a", "approve", number, str(number))
        stand.worker()
        await stand.end_of("a")
        history = await rerun(stand, "a", 2)
        assert [event.input for event in of_kind(history, EventRaised)] == ["0", "1"]
        turns = [i for i, event in enumerate(history) if isinstance(event, TurnStarted)]
        assert isinstance(history[turns[0] + 1 :][0], type(history[1]))

    on_stand(main)


def test_timer_again() -> None:
    def sleepy(ctx: Ctx, _: Any) -> Code:
        yield ctx.call("double", 1)
        yield ctx.timer(3)
        return "woke"

    async def main(stand: RemoteStand) -> None:
        stand.worker(workflows={"sleepy": sleepy})
        await stand.start("sleepy", None, "s")
        await stand.end_of("s")
        (timer,) = of_kind(await rerun(stand, "s", 2), TimerCreated)
        assert timer.rerun_of == "s"
        with pytest.raises(InvalidRequestError, match="cannot write input to timer event '2'"):
            await stand.world.engine.rerun("s", 2, input="1", overwrite_input=True)
        with pytest.raises(InvalidRequestError, match="event '1' is not a child workflow"):
            await stand.world.engine.rerun("s", 1, new_child_instance_id="x")

    on_stand(main)


def test_child_again_under_another_id() -> None:
    async def main(stand: RemoteStand) -> None:
        stand.worker(workflows=WORKFLOWS)
        await stand.start("parent", 2, "p")
        await stand.end_of("p")
        history = await rerun(stand, "p", 1, new_child_instance_id="other-child")
        first, second = of_kind(history, ChildCreated)
        assert (first.instance_id, first.rerun_of) == ("other-child", "p")
        assert (second.instance_id, second.rerun_of) == ("again:0003", "")
        child = await stand.world.engine.get("other-child")
        assert child is not None
        assert child.parent_instance_id == "again"

    on_stand(main)


def showing(ctx: Ctx, _: Any) -> Code:
    """Activities that are shown the history; the first one is open while the others run."""
    first = ctx.call("nap", 5, propagation="own")
    yield ctx.call("double", 1, propagation="own")
    yield ctx.call("double", 2, propagation="own")
    yield first


def test_what_activities_are_shown_begins_with_what_was_copied() -> None:
    async def main(stand: RemoteStand) -> None:
        worker = stand.worker(workflows={"showing": showing})
        await stand.start("showing", None, "s")
        await stand.end_of("s")
        history = await rerun(stand, "s", 3)
        seen = set()
        for item in worker.items:
            if isinstance(item, ActivityItem) and item.request.instance_id == "again":
                assert item.request.propagated is not None
                (chunk,) = item.request.propagated.chunks
                events = [decode_event(event) for event in chunk.events]
                seen.add(item.request.task_id)
                assert events == history[: len(events)]
                assert events[-1].event_id == item.request.task_id
        assert seen == {1, 3}

    on_stand(main)


@pytest.mark.parametrize("event_id", [0, -1, 4, 99])
def test_no_such_event(event_id: int) -> None:
    async def main(stand: RemoteStand) -> None:
        stand.worker()
        await stand.start("chain", 1, "c")
        await stand.end_of("c")
        with pytest.raises(
            HistoryEventNotFoundError, match=f"does not have history event with ID '{event_id}'"
        ):
            await stand.world.engine.rerun("c", event_id)

    on_stand(main)
