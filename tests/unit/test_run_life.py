"""The life of an execution: start, suspension, termination, failure, continue-as-new, closing."""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest

from actorflow.workflow.actions import (
    Complete,
    ScheduleTask,
)
from actorflow.workflow.context import WorkflowContext
from actorflow.workflow.events import Status
from actorflow.workflow.task import DurableTask
from tests.corpus.driving import SECOND_NS, drive


@dataclass
class Order:
    item: str


# Start and end.


def test_the_input_is_converted_to_its_annotation() -> None:
    async def flow(ctx: WorkflowContext, order: Order) -> str:
        return order.item

    driven = drive(flow)
    driven.start({"item": "clip"})
    assert driven.end == Complete(id=1, status=Status.COMPLETED, result='"clip"')
    assert driven.run.is_complete


@pytest.mark.parametrize(
    ("raw", "result"), [(None, '"none"'), ("", '"none"'), ("0", '"0"'), ("null", '"None"')]
)
def test_a_default_stands_for_an_absent_input(raw: str | None, result: str) -> None:
    async def flow(ctx: WorkflowContext, value: object = "none") -> str:
        return str(value)

    driven = drive(flow)
    driven.start(raw=raw)
    assert driven.end.result == result


def test_an_input_of_another_type_fails_and_says_what_was_expected() -> None:
    async def flow(ctx: WorkflowContext, order: Order) -> None:
        raise AssertionError

    driven = drive(flow)
    driven.start(raw="hello")
    failure = driven.end.failure
    assert failure is not None
    assert failure.error_type == "PayloadError"
    assert "input of workflow 'flow': expected Order, found hello" in failure.message


def test_the_start_that_comes_twice_starts_once() -> None:
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.call_activity("work")

    driven = drive(flow)
    driven.start()
    assert driven.start() == []
    assert driven.scheduled() == ["work"]


def test_nothing_is_heard_after_the_end() -> None:
    async def flow(ctx: WorkflowContext) -> None:
        return None

    driven = drive(flow)
    driven.start()
    assert driven.raise_event("e") == driven.terminate() == driven.resume() == []


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), asyncio.CancelledError()])
def test_whatever_escapes_the_code_fails_the_execution(error: BaseException) -> None:
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.call_activity("work")
        raise error

    driven = drive(flow)
    driven.start()
    driven.complete(1)
    failure = driven.end.failure
    assert driven.end.status is Status.FAILED
    assert failure is not None
    assert failure.error_type == type(error).__name__
    assert "raise error" in failure.stack


def test_a_keyboard_interrupt_is_not_the_workflows_failure() -> None:
    async def flow(ctx: WorkflowContext) -> None:
        raise KeyboardInterrupt

    driven = drive(flow)
    with pytest.raises(KeyboardInterrupt):
        driven.start()
    assert not driven.run.is_complete


def test_a_result_without_json_form_fails_the_execution() -> None:
    async def flow(ctx: WorkflowContext) -> object:
        return object()

    driven = drive(flow)
    driven.start()
    assert driven.end.failure is not None
    assert "result of workflow 'flow' of type object" in driven.end.failure.message


# Suspension and termination.


async def two_steps(ctx: WorkflowContext) -> list[Any]:
    """Two activities, then an event."""
    first = await ctx.call_activity("one")
    second = await ctx.call_activity("two")
    return [first, second, await ctx.wait_for_external_event("e")]


def test_facts_of_a_suspension_are_kept_and_given_in_order_at_resume() -> None:
    driven = drive(two_steps)
    driven.start()
    assert driven.suspend() == driven.complete(1, "a") == driven.raise_event("e", "x") == []
    assert driven.suspend() == []
    assert driven.scheduled() == ["one"]
    driven.resume()
    assert driven.scheduled() == ["one", "two"]
    driven.complete(2, "b")
    assert driven.end.result == '["a","b","x"]'


def test_several_suspensions_need_one_resume() -> None:
    driven = drive(two_steps)
    driven.start()
    driven.suspend()
    driven.suspend()
    driven.complete(1)
    assert [type(action) for action in driven.resume()] == [ScheduleTask]


def test_a_resume_without_suspension_changes_nothing() -> None:
    driven = drive(two_steps)
    assert driven.resume() == []
    driven.start()
    assert driven.resume() == []
    driven.complete(1)
    assert driven.scheduled() == ["one", "two"]


def test_a_start_during_a_suspension_waits_for_the_resume() -> None:
    driven = drive(two_steps)
    driven.suspend()
    assert driven.start() == []
    driven.resume()
    assert driven.scheduled() == ["one"]


def test_time_after_a_suspension_is_the_time_of_the_resume() -> None:
    async def flow(ctx: WorkflowContext) -> float:
        await ctx.call_activity("work")
        return ctx.now().timestamp()

    driven = drive(flow)
    driven.start()
    driven.suspend()
    driven.complete(1)
    driven.resume()
    assert driven.end.result == str(driven.now_ns / SECOND_NS)


@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_termination_ends_at_once(suspended: bool, started: bool) -> None:
    driven = drive(two_steps)
    if started:
        driven.start()
    if suspended:
        driven.suspend()
    driven.terminate('"enough"')
    assert (driven.end.status, driven.end.result) == (Status.TERMINATED, '"enough"')
    assert driven.run.is_complete


# Continue-as-new.


async def eternal(ctx: WorkflowContext, seen: int) -> None:
    """Go on for ever."""
    try:
        await ctx.wait_for_external_event("go")
        ctx.continue_as_new(seen + 1)
    except Exception as error:
        raise AssertionError from error


def test_continue_as_new_carries_the_events_that_nobody_took() -> None:
    driven = drive(eternal)
    driven.start(1)
    driven.raise_event("x", 1)
    driven.raise_event("Y", 2)
    driven.raise_event("X", 3)
    driven.raise_event("go")
    assert (driven.end.status, driven.end.result) == (Status.CONTINUED_AS_NEW, "2")
    assert [(e.name, e.input) for e in driven.end.carried_events] == [
        ("x", "1"),
        ("Y", "2"),
        ("X", "3"),
    ]


def test_continue_as_new_may_drop_the_events() -> None:
    async def forgetful(ctx: WorkflowContext) -> None:
        await ctx.wait_for_external_event("go")
        ctx.continue_as_new(save_events=False)

    driven = drive(forgetful)
    driven.start()
    driven.raise_event("x", 1)
    driven.raise_event("go")
    assert (driven.end.result, driven.end.carried_events) == (None, ())


def test_events_kept_by_a_suspension_are_carried_too() -> None:
    driven = drive(eternal)
    driven.start(1)
    driven.suspend()
    for name in ("go", "x", "go"):
        driven.raise_event(name)
    driven.resume()
    assert [event.name for event in driven.end.carried_events] == ["x", "go"]


def test_code_may_wait_in_a_finally_while_it_continues_as_new() -> None:
    async def flow(ctx: WorkflowContext) -> None:
        try:
            ctx.continue_as_new("next")
        finally:
            await ctx.call_activity("unlock")

    driven = drive(flow)
    driven.start()
    assert driven.scheduled() == ["unlock"]
    driven.complete(1)
    assert (driven.end.status, driven.end.result) == (Status.CONTINUED_AS_NEW, '"next"')


def test_code_that_swallows_everything_still_continues_as_new() -> None:
    def flow(ctx: WorkflowContext) -> Generator[DurableTask[Any], Any, str]:
        try:
            yield ctx.call_activity("work")
            ctx.continue_as_new("next")
        except BaseException:  # noqa: BLE001 -- the worst an author can do
            return "swallowed"

    driven = drive(flow)
    driven.start()
    driven.complete(1)
    assert (driven.end.status, driven.end.result) == (Status.CONTINUED_AS_NEW, '"next"')
