"""Replay compares what the code asks for with its history, and says what differs."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from actorflow.workflow.context import WorkflowContext
from actorflow.workflow.errors import NonDeterminismError, TaskFailedError
from actorflow.workflow.events import (
    ExecutionCompleted,
    ExecutionStalled,
    HistoryEvent,
    Status,
    TaskScheduled,
    TurnStarted,
)
from actorflow.workflow.replay import WorkflowRun
from actorflow.workflow.retry import RetryPolicy
from tests.corpus.driving import DrivenRun, drive

Flow = Callable[[WorkflowContext], Any]


async def original(ctx: WorkflowContext) -> None:
    """One of everything, one after the other."""
    await ctx.call_activity("pay")
    await ctx.create_timer(5)
    await ctx.call_child_workflow("ship")
    ctx.send_event("other", "paid")
    ctx.start_detached("audit")
    await ctx.wait_for_external_event("received")


def lived() -> DrivenRun:
    """Return a run of `original` that waits for its event."""
    driven = drive(original)
    driven.start()
    driven.complete(1)
    driven.fire(2)
    driven.complete_child(3)
    return driven


async def other_name(ctx: WorkflowContext) -> None:
    await ctx.call_activity("charge")


async def other_kind(ctx: WorkflowContext) -> None:
    await ctx.create_timer(5)


async def one_more(ctx: WorkflowContext) -> None:
    ctx.call_activity("log")
    await ctx.call_activity("pay")


async def more_at_once(ctx: WorkflowContext) -> None:
    await ctx.when_all([ctx.call_activity("pay"), ctx.call_activity("log")])


async def one_less(ctx: WorkflowContext) -> None:
    await ctx.call_activity("pay")
    await ctx.create_timer(5)
    await ctx.call_child_workflow("ship")
    await ctx.wait_for_external_event("received")


async def other_event(ctx: WorkflowContext) -> None:
    await ctx.call_activity("pay")
    await ctx.create_timer(5)
    await ctx.call_child_workflow("ship")
    ctx.send_event("other", "paid")
    ctx.start_detached("audit")
    await ctx.wait_for_external_event("refused")


async def timer_for_event(ctx: WorkflowContext) -> None:
    await ctx.call_activity("pay")
    await ctx.wait_for_external_event("received", timeout=5)


async def ends(ctx: WorkflowContext) -> None:
    await ctx.call_activity("pay")


async def raises(ctx: WorkflowContext) -> None:
    await ctx.call_activity("pay")
    raise KeyError("gone")


@pytest.mark.parametrize(
    ("changed", "history", "code"),
    [
        (
            other_name,
            "event 1 the history has activity 'pay' (id 1)",
            "call activity 'charge' (id 1)",
        ),
        (other_kind, "has activity 'pay' (id 1)", "create a timer (id 1)"),
        (one_more, "has activity 'pay' (id 1)", "call activity 'log' (id 1)"),
        (more_at_once, "goes on with TaskCompleted", "call activity 'log' (id 2)"),
        (one_less, "has sent event 'paid' (id 4)", "create a wait for event 'received' (id 4)"),
        (
            other_event,
            "has a wait for event 'received' (id 6)",
            "create a wait for event 'refused' (id 6)",
        ),
        (timer_for_event, "has a timer (id 2)", "create a wait for event 'received' (id 2)"),
        (ends, "has a timer (id 2)", "end as COMPLETED (id 2)"),
        (raises, "has a timer (id 2)", "end as FAILED: KeyError: 'gone' (id 2)"),
    ],
)
def test_changed_code_is_named_on_both_sides(changed: Flow, history: str, code: str) -> None:
    run = WorkflowRun(drive(changed).definition, "order-1")
    with pytest.raises(NonDeterminismError) as caught:
        run.replay(lived().history)
    text = str(caught.value)
    assert changed.__name__ in text
    assert "'order-1'" in text
    assert history in text
    assert f"the code asked to {code}" in text
    assert "register the new code under another name" in text


def test_code_that_asks_for_less_is_named() -> None:
    async def less(ctx: WorkflowContext) -> None:
        await ctx.call_activity("pay")

    driven = lived()
    extra = TaskScheduled(event_id=2, name="extra")
    driven.history.insert(2, extra)
    with pytest.raises(NonDeterminismError, match=r"'extra'.*the code asked for nothing more"):
        WorkflowRun(drive(less).definition, "order-1").replay(driven.history)


def test_code_that_asks_for_more_at_the_end_is_named() -> None:
    driven = lived()
    del driven.history[-1]
    with pytest.raises(NonDeterminismError, match="the history ends, but the code asked to create"):
        driven.rebuilt()


def test_another_id_is_a_difference() -> None:
    driven = drive(original)
    driven.start()
    driven.history[1] = msgspec.structs.replace(driven.history[1], event_id=7)
    with pytest.raises(NonDeterminismError, match="event 7"):
        driven.rebuilt()


@pytest.mark.parametrize("event", [TurnStarted(), ExecutionStalled(reason="PATCH_MISMATCH")])
def test_events_about_the_turn_say_nothing_about_the_code(event: HistoryEvent) -> None:
    driven = lived()
    history = [entry for each in driven.history for entry in (event, each)]
    WorkflowRun(driven.definition, "order-1").replay(history)


@pytest.mark.parametrize(("status", "agrees"), [(Status.COMPLETED, True), (Status.FAILED, False)])
def test_the_end_is_compared_by_status(status: Status, agrees: bool) -> None:
    driven = drive(ends)
    driven.start()
    driven.complete(1)
    driven.history[-1] = ExecutionCompleted(event_id=-1, status=status)
    if agrees:
        assert driven.rebuilt().is_complete
        return
    with pytest.raises(NonDeterminismError, match=r"history ends as FAILED, but .* COMPLETED"):
        driven.rebuilt()


def test_a_replayed_run_goes_on_where_the_live_one_was() -> None:
    driven = lived()
    driven.run.close()
    driven.run = driven.rebuilt()
    driven.raise_event("received")
    assert driven.end.status is Status.COMPLETED
    assert driven.end.id == 7


def test_a_replay_that_failed_can_be_closed() -> None:
    run = WorkflowRun(drive(other_name).definition, "order-1")
    with pytest.raises(NonDeterminismError):
        run.replay(lived().history)
    run.close()


async def with_child(ctx: WorkflowContext) -> None:
    await ctx.call_child_workflow("ship")


async def with_sent(ctx: WorkflowContext) -> None:
    ctx.send_event("other", "paid")
    await ctx.create_timer(1)


async def with_detached(ctx: WorkflowContext) -> None:
    ctx.start_detached("audit")
    await ctx.create_timer(1)


async def with_retry(ctx: WorkflowContext) -> None:
    policy = RetryPolicy(first_retry_interval=1, max_number_of_attempts=2)
    await ctx.call_activity("pay", retry_policy=policy)


async def with_child_retry(ctx: WorkflowContext) -> None:
    policy = RetryPolicy(first_retry_interval=1, max_number_of_attempts=2)
    await ctx.call_child_workflow("pay", retry_policy=policy)


async def with_catch(ctx: WorkflowContext) -> None:
    with suppress(TaskFailedError):
        await ctx.call_activity("pay")
    await ctx.create_timer(1)


@pytest.mark.parametrize(
    ("first", "second", "history", "code"),
    [
        (with_child, with_sent, "has child workflow 'ship' (id 1)", "send event 'paid' (id 1)"),
        (with_sent, with_detached, "has sent event 'paid'", "start detached workflow 'audit'"),
        (with_detached, with_child, "has detached workflow 'audit'", "call child workflow 'ship'"),
        (with_retry, with_catch, "a timer before the retry of an activity", "create a timer"),
        (with_catch, with_retry, "has a timer (id 2)", "timer before the retry of an activity"),
        (with_child_retry, with_child, "has child workflow 'pay'", "call child workflow 'ship'"),
    ],
)
def test_each_kind_has_its_name(first: Flow, second: Flow, history: str, code: str) -> None:
    driven = drive(first)
    driven.start()
    driven.fail(1)
    driven.fail_child(1)
    with pytest.raises(NonDeterminismError) as caught:
        WorkflowRun(drive(second).definition, "order-1").replay(driven.history)
    assert history in str(caught.value)
    assert code in str(caught.value)


def test_an_end_that_the_code_has_not_reached_is_named() -> None:
    driven = drive(original)
    driven.start()
    driven.history.append(ExecutionCompleted(status=Status.COMPLETED))
    with pytest.raises(NonDeterminismError, match="ends as COMPLETED, but the code asked for not"):
        driven.rebuilt()
