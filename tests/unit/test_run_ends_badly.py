"""What workflow code must not wait for, and what happens to code that is let go."""

import asyncio
import gc
from collections.abc import Callable, Generator
from typing import Any

import pytest

from actorflow.workflow.context import WorkflowContext
from actorflow.workflow.events import Status
from actorflow.workflow.replay import WorkflowRun
from actorflow.workflow.task import DurableTask
from tests.corpus.driving import drive


async def two_steps(ctx: WorkflowContext) -> list[Any]:
    """Two activities, then an event."""
    first = await ctx.call_activity("one")
    second = await ctx.call_activity("two")
    return [first, second, await ctx.wait_for_external_event("e")]


# What the code may not wait for.


async def sleeps(ctx: WorkflowContext) -> None:
    await asyncio.sleep(10)


async def sleeps_zero(ctx: WorkflowContext) -> None:
    await asyncio.sleep(0)


async def waits_for_a_future(ctx: WorkflowContext) -> None:
    await asyncio.get_running_loop().create_future()


async def gathers(ctx: WorkflowContext) -> None:
    await asyncio.gather(ctx.call_activity("a"), ctx.call_activity("b"))


async def swallows(ctx: WorkflowContext) -> None:
    while True:
        try:
            await asyncio.sleep(10)
        except BaseException:  # noqa: BLE001 -- the worst an author can do
            continue


@pytest.mark.parametrize(
    ("flow", "named"),
    [
        (sleeps, "awaited sleep (<Future pending"),
        (sleeps_zero, "awaited sleep"),
        (waits_for_a_future, "awaited a future (<Future pending"),
        (gathers, "_GatheringFuture"),
    ],
)
@pytest.mark.asyncio
async def test_a_foreign_await_fails_and_says_what_to_use(
    flow: Callable[[WorkflowContext], object], named: str
) -> None:
    driven = drive(flow)
    driven.start()
    failure = driven.end.failure
    assert driven.end.status is Status.FAILED
    assert failure is not None
    assert failure.error_type == "ForeignAwaitError"
    assert "ctx.create_timer(...) for asyncio.sleep" in failure.message
    assert named in failure.message
    assert flow.__name__ in failure.stack
    await asyncio.sleep(0)  # what asyncio still had to do goes without a complaint
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.asyncio
async def test_code_that_swallows_the_refusal_fails_all_the_same() -> None:
    driven = drive(swallows)
    driven.start()
    assert driven.end.failure is not None
    assert driven.end.failure.error_type == "ForeignAwaitError"
    del driven
    gc.collect()


@pytest.mark.parametrize(
    ("yielded", "named"), [(None, "yielded None"), ([1], "yielded [1]"), ("x" * 200, "a str")]
)
def test_a_generator_that_yields_no_task_fails_and_says_what_to_yield(
    yielded: object, named: str
) -> None:
    def flow(ctx: WorkflowContext) -> Generator[Any, Any, None]:
        yield yielded

    driven = drive(flow)
    driven.start()
    failure = driven.end.failure
    assert failure is not None
    assert named in failure.message
    assert "yield only durable tasks" in failure.message


# Closing.


def test_closing_runs_finally_blocks_unheard(caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []

    async def flow(ctx: WorkflowContext) -> None:
        try:
            try:
                await ctx.call_activity("work")
                steps.append("went on")
            finally:
                steps.append("inner")
                ctx.logger.error("never heard")
                await ctx.call_activity("unlock")
        finally:
            steps.append("outer")
            await ctx.call_activity("unlock")
            steps.append("went on")

    driven = drive(flow)
    driven.start()
    driven.run.close()
    driven.run.close()
    assert steps == ["inner", "outer"]
    assert caplog.records == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_code_that_will_not_end_is_let_go() -> None:
    async def flow(ctx: WorkflowContext) -> None:
        while True:
            try:
                await ctx.call_activity("work")
            except BaseException:  # noqa: BLE001 -- the worst an author can do
                continue

    driven = drive(flow)
    driven.start()
    driven.terminate()
    assert driven.end.status is Status.TERMINATED
    del driven
    gc.collect()


def test_an_error_in_a_finally_of_closed_code_reaches_nobody() -> None:
    async def flow(ctx: WorkflowContext) -> None:
        try:
            await ctx.call_activity("work")
        finally:
            raise ValueError

    driven = drive(flow)
    driven.start()
    driven.run.close()


def test_a_dropped_run_is_freed_at_once() -> None:
    driven = drive(two_steps)
    driven.start()
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(each, DurableTask) for each in gc.get_objects())
        driven.run = WorkflowRun(driven.definition, "other")
        assert sum(isinstance(each, DurableTask) for each in gc.get_objects()) == before - 1
    finally:
        gc.enable()
