"""`when_all`, `when_any`, what they leave behind, and cancellation."""

from typing import Any

import pytest

from actorflow.workflow.actions import CancelTimer, CreateTimer, ScheduleTask
from actorflow.workflow.context import WorkflowContext
from actorflow.workflow.errors import InvalidRequestError, TaskCancelledError, TaskFailedError
from actorflow.workflow.events import NEVER_NS, Status
from actorflow.workflow.task import DurableTask, when_all, when_any
from tests.corpus.driving import DrivenRun, drive
from tests.corpus.shapes import shapes


def test_when_all_keeps_the_order_of_its_tasks() -> None:
    async def both(ctx: WorkflowContext) -> list[Any]:
        return await ctx.gather(ctx.call_activity("a"), ctx.call_activity("b"))

    driven = drive(both)
    driven.start()
    assert driven.complete(2, "b") == []
    driven.complete(1, "a")
    assert driven.end.result == '["a","b"]'


def test_when_all_of_nothing_is_done() -> None:
    async def none(ctx: WorkflowContext) -> list[Any]:
        nothing: list[DurableTask[int]] = []
        empty = await ctx.when_all(nothing)
        either = await ctx.when_any([when_all(nothing), ctx.create_timer(5)])
        return [empty, either.result()]

    driven = drive(none)
    driven.start()
    assert driven.end.result == "[[],[]]"


def test_when_all_fails_with_the_first_error() -> None:
    async def both(ctx: WorkflowContext) -> str:
        try:
            await when_all([ctx.call_activity("a"), ctx.call_activity("b")])
        except TaskFailedError as error:
            return error.details.message
        return ""

    driven = drive(both)
    driven.start()
    driven.fail(2, text="b broke")
    assert driven.end.result == '"b broke"'


def test_when_any_gives_the_winner_even_when_it_failed() -> None:
    async def either(ctx: WorkflowContext) -> list[Any]:
        first, second = ctx.call_activity("a"), ctx.call_activity("b")
        winner = await when_any([first, second])
        error = winner.exception()
        return [winner is second, winner.is_failed, winner.is_complete, type(error).__name__]

    driven = drive(either)
    driven.start()
    driven.fail(2)
    assert driven.end.result == '[true,true,true,"TaskFailedError"]'


def test_combinations_nest() -> None:
    async def nested(ctx: WorkflowContext) -> Any:
        pair = ctx.when_all([ctx.call_activity("a"), ctx.call_activity("b")])
        winner = await ctx.when_any([pair, ctx.create_timer(60)])
        return winner.result()

    driven = drive(nested)
    driven.start()
    driven.complete(1, 1)
    driven.complete(2, 2)
    assert driven.end.result == "[1,2]"


def test_one_task_may_be_awaited_many_times_and_stand_in_many_groups() -> None:
    async def again(ctx: WorkflowContext) -> list[Any]:
        task = ctx.call_activity("a")
        pair = await ctx.when_all([task, task])
        return [*pair, await task, (await ctx.when_any([task])).result()]

    driven = drive(again)
    driven.start()
    driven.complete(1, 7)
    assert driven.end.result == "[7,7,7,7]"


@pytest.mark.parametrize(
    ("combine", "problem"),
    [
        (lambda ctx: ctx.when_any([]), "at least one task"),
        (lambda ctx: ctx.when_all([1]), "found a int"),
        (lambda ctx: ctx.when_all(ctx.create_timer(1)), "takes a list of tasks"),
    ],
)
def test_a_wrong_combination_says_what_to_write(combine: Any, problem: str) -> None:
    async def wrong(ctx: WorkflowContext) -> None:
        await combine(ctx)

    driven = drive(wrong)
    driven.start()
    assert driven.end.failure is not None
    assert problem in driven.end.failure.message


def test_a_timer_left_behind_is_cancelled_when_the_code_waits_again() -> None:
    async def guarded(ctx: WorkflowContext) -> None:
        await ctx.when_any([ctx.call_activity("a"), ctx.create_timer(60)])
        await ctx.call_activity("b")

    driven = drive(guarded)
    driven.start()
    assert [type(a) for a in driven.complete(1)] == [ScheduleTask, CancelTimer]
    assert driven.fire(2) == []


def test_a_wait_left_behind_gives_its_event_to_the_next_wait() -> None:
    async def either(ctx: WorkflowContext) -> object:
        await ctx.when_any([ctx.call_activity("a"), ctx.wait_for_external_event("e")])
        await ctx.call_activity("b")
        return await ctx.wait_for_external_event("e")

    driven = drive(either)
    driven.start()
    assert CancelTimer(timer_id=2) in driven.complete(1)
    driven.raise_event("e", "kept")
    driven.complete(3)
    assert driven.end.result == '"kept"'


def test_a_wait_raced_again_at_once_is_not_recorded_again() -> None:
    async def loop(ctx: WorkflowContext) -> int:
        stop = ctx.wait_for_external_event("stop")
        rounds = 0
        while await ctx.when_any([stop, ctx.create_timer(60)]) is not stop:
            rounds += 1
        return rounds

    driven = drive(loop)
    driven.start()
    for timer_id in (2, 3, 4):
        driven.fire(timer_id)
    never = [timer for timer in driven.asked(CreateTimer) if timer.fire_at_ns == NEVER_NS]
    assert len(never) == 1
    driven.raise_event("stop")
    assert driven.end.result == "3"


@pytest.mark.parametrize("event_after", [0, 1, 2])
def test_a_wait_left_behind_comes_back_when_it_is_awaited_again(event_after: int) -> None:
    definition = shapes.workflow_named("race")
    assert definition is not None
    driven = DrivenRun(definition)
    driven.start()
    for count in range(3):
        if count == event_after:
            driven.raise_event("stop", "now")
            break
        pauses = [timer for timer in driven.asked(CreateTimer) if timer.fire_at_ns != NEVER_NS]
        driven.fire(pauses[-1].id)
        driven.complete(driven.asked(ScheduleTask)[-1].id, count)
    assert driven.end.result is not None
    assert driven.end.result.endswith('"now"]')


def test_a_task_left_behind_tells_whether_it_is_done() -> None:
    async def polling(ctx: WorkflowContext) -> list[bool]:
        cancelled = ctx.wait_for_external_event("cancel")
        pause = ctx.create_timer(4)
        await ctx.when_any([ctx.call_activity("a"), cancelled, pause])
        seen = [cancelled.is_done, pause.is_done]
        await ctx.call_activity("b")
        seen += [cancelled.is_done, pause.is_done]
        return seen

    driven = drive(polling)
    driven.start()
    driven.complete(3)
    driven.raise_event("cancel")
    driven.now_ns += 10**10
    driven.complete(4)
    assert driven.end.result == "[false,false,true,true]"


def test_a_cancelled_task_raises_and_stays_cancelled() -> None:
    async def cancelling(ctx: WorkflowContext) -> list[Any]:
        tasks = [ctx.create_timer(9), ctx.wait_for_external_event("e"), ctx.call_activity("a")]
        told: list[Any] = [task.cancel() for task in tasks]
        for task in tasks:
            try:
                await task
            except TaskCancelledError:
                told.append(task.cancel())
        await ctx.call_activity("b")
        return told

    driven = drive(cancelling)
    actions = driven.start()
    assert [a.timer_id for a in actions if isinstance(a, CancelTimer)] == [1, 2]
    assert driven.complete(3, "dropped") == []
    driven.raise_event("e")
    driven.complete(4)
    assert driven.end.result == "[true,true,true,false,false,false]"


def test_the_result_of_a_task_that_is_not_done_is_refused() -> None:
    async def early(ctx: WorkflowContext) -> object:
        return ctx.call_activity("a").result()

    driven = drive(early)
    driven.start()
    assert driven.end.failure is not None
    assert driven.end.failure.error_type == InvalidRequestError.__name__
    assert "await it first" in driven.end.failure.message


def test_a_task_of_another_instance_is_refused() -> None:
    shared: list[DurableTask[Any]] = []

    async def lender(ctx: WorkflowContext) -> None:
        shared.append(ctx.call_activity("a"))
        await shared[0]

    async def borrower(ctx: WorkflowContext) -> None:
        await shared[0]

    first, second = drive(lender), drive(borrower)
    first.start()
    second.start()
    assert second.end.status is Status.FAILED
    assert second.end.failure is not None
    assert "of another instance" in second.end.failure.message
    first.complete(1)
    assert first.end.status is Status.COMPLETED


def test_nested_groups_left_behind_release_their_members() -> None:
    async def nested(ctx: WorkflowContext) -> Any:
        pair = ctx.when_all([ctx.create_timer(60), ctx.wait_for_external_event("e", timeout=90)])
        await ctx.when_any([ctx.call_activity("a"), pair])
        await ctx.call_activity("b")
        winner = await ctx.when_any([pair, ctx.create_timer(500)])
        return winner is pair

    driven = drive(nested)
    driven.start()
    cancelled = [a.timer_id for a in driven.complete(3) if isinstance(a, CancelTimer)]
    assert cancelled == [1, 2]
    driven.raise_event("e")
    armed = [a.id for a in driven.complete(4) if isinstance(a, CreateTimer)]
    assert len(armed) == 2  # the timer of the pair again, and the new one; the event was kept
    driven.fire(armed[1])
    assert driven.end.result == "true"


def test_a_wait_that_timed_out_while_it_was_left_behind_raises_when_awaited() -> None:
    async def late(ctx: WorkflowContext) -> str:
        wait = ctx.wait_for_external_event("e", timeout=2)
        await ctx.when_any([ctx.call_activity("a"), wait])
        await ctx.call_activity("b")
        try:
            await wait
        except TimeoutError as error:
            return str(error)
        return ""

    driven = drive(late)
    driven.start()
    driven.complete(2)
    driven.now_ns += 10**10
    driven.complete(3)
    assert driven.end.result == "\"no event 'e' came in time\""


def test_dapr_names_of_task_methods_work() -> None:
    async def named(ctx: WorkflowContext) -> list[Any]:
        task = ctx.call_activity("a")
        before = [task.is_complete, task.is_failed, task.get_exception()]
        await task
        return [*before, task.is_complete, task.get_result(), repr(task)]

    driven = drive(named)
    driven.start()
    driven.complete(1, 5)
    assert driven.end.result == "[false,false,null,true,5,\"<activity 'a'>\"]"


def test_texts_of_tasks_say_what_they_are() -> None:
    async def shown(ctx: WorkflowContext) -> list[str]:
        timer = ctx.create_timer(1)
        nothing: list[DurableTask[Any]] = []
        return [
            repr(timer),
            repr(ctx.call_child_workflow("c")),
            repr(ctx.when_all([timer])),
            repr(ctx.when_any([timer])),
            repr(ctx.when_all(nothing)),
        ]

    driven = drive(shown)
    driven.start()
    assert driven.end.result == (
        '["<timer>","<child \'c\'>","<when_all of 1 tasks>","<when_any of 1 tasks>",'
        '"<when_all of 0 tasks>"]'
    )


def test_tasks_of_two_instances_do_not_combine() -> None:
    shared: list[DurableTask[Any]] = []

    async def lender(ctx: WorkflowContext) -> None:
        shared.append(ctx.call_activity("a"))
        await shared[0]

    async def borrower(ctx: WorkflowContext) -> None:
        await ctx.when_all([shared[0], ctx.call_activity("b")])

    first, second = drive(lender), drive(borrower)
    first.start()
    second.start()
    assert second.end.failure is not None
    assert "tasks of different workflow instances" in second.end.failure.message
