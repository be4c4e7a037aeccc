"""The life of an execution: start, suspension, termination, failure, continue-as-new, closing."""

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from actorflow.workflow.actions import (
    Complete,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleTask,
)
from actorflow.workflow.context import WorkflowContext
from actorflow.workflow.events import EventRaised, ExecutionResumed, Status
from actorflow.workflow.replay import WorkflowRun
from actorflow.workflow.task import DurableTask
from tests.corpus.driving import EXECUTION_ID, SECOND_NS, START_NS, DrivenRun, drive


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


# The context's deterministic answers.


def test_time_stands_at_the_fact_and_never_runs_back() -> None:
    seen: list[datetime] = []

    async def flow(ctx: WorkflowContext) -> None:
        seen.extend([ctx.now(), ctx.current_utc_datetime])
        await ctx.wait_for_external_event("e")
        seen.append(ctx.now())

    driven = drive(flow)
    driven.start()
    driven.feed(EventRaised(at_ns=START_NS, name="e"))  # a clock that stepped back
    started = datetime.fromtimestamp(START_NS / SECOND_NS + 1, UTC)
    assert seen == [started, started, started]


def test_random_and_uuid_repeat_in_replay_and_differ_between_executions() -> None:
    seen: list[Any] = []

    async def flow(ctx: WorkflowContext) -> None:
        seen.append((ctx.uuid(), ctx.uuid(), ctx.random().random(), ctx.random().random()))
        await ctx.call_activity("work")

    driven = drive(flow)
    driven.start()
    driven.rebuilt()
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 4
    assert seen[0][2] == random.Random(EXECUTION_ID).random()


def test_the_logger_speaks_once(caplog: pytest.LogCaptureFixture) -> None:
    replaying: list[bool] = []

    async def flow(ctx: WorkflowContext) -> None:
        ctx.logger.warning("step %d", 1, extra={"k": "v"})
        replaying.append(ctx.is_replaying)
        await ctx.call_activity("work")
        ctx.logger.warning("step %d", 2)
        replaying.append(ctx.is_replaying)

    driven = drive(flow)
    driven.start()
    run = driven.rebuilt()
    run.feed(driven.facts[0])
    driven.complete(1)
    assert [record.getMessage() for record in caplog.records] == ["step 1", "step 2"]
    assert replaying == [False, True, False]
    (first, _) = caplog.records
    assert first.name == "actorflow.workflows.flow"
    assert first.levelno == logging.WARNING
    assert (first.__dict__["instance_id"], first.__dict__["k"]) == ("order-1", "v")


def test_the_custom_status_is_kept_as_json() -> None:
    async def flow(ctx: WorkflowContext) -> None:
        ctx.set_custom_status({"step": 1})
        await ctx.call_activity("work")
        ctx.set_custom_status(None)

    driven = drive(flow)
    driven.start()
    assert driven.run.custom_status == driven.rebuilt().custom_status == '{"step":1}'
    driven.complete(1)
    assert driven.run.custom_status is None


def test_the_context_knows_its_instance() -> None:
    async def flow(ctx: WorkflowContext) -> list[str]:
        return [ctx.instance_id, ctx.execution_id, ctx.workflow_name]

    driven = drive(flow)
    driven.start()
    assert driven.end.result == f'["order-1","{EXECUTION_ID}","flow"]'


def test_detached_workflows_start_under_a_given_or_a_repeatable_id() -> None:
    async def helper(ctx: WorkflowContext) -> None:
        return None

    async def flow(ctx: WorkflowContext) -> list[str]:
        return [
            ctx.start_detached("other", instance_id="mine", input=1, start_at=60),
            ctx.start_detached("other"),
        ]

    driven, again = drive(flow, helper), drive(flow, helper)
    driven.start()
    again.start()
    first, second = driven.asked(CreateDetached)
    assert (first.instance_id, first.input) == ("mine", "1")
    assert first.scheduled_start_ns == START_NS + 61 * SECOND_NS
    assert second == again.asked(CreateDetached)[1]
    assert len(second.instance_id) == 36


@pytest.mark.parametrize(
    "ask",
    [
        lambda ctx: ctx.call_activity(""),
        lambda ctx: ctx.send_event("", "e"),
        lambda ctx: ctx.send_event("i", "\ud800"),
        lambda ctx: ctx.wait_for_external_event(None),
        lambda ctx: ctx.call_child_workflow("w", instance_id=""),
        lambda ctx: ctx.wait_for_external_event("e", timeout=datetime(2030, 1, 1, tzinfo=UTC)),
    ],
)
def test_names_that_cannot_be_used_are_refused(ask: Callable[[WorkflowContext], Any]) -> None:
    async def flow(ctx: WorkflowContext) -> None:
        await ask(ctx)

    driven = drive(flow)
    driven.start()
    assert driven.end.failure is not None
    assert driven.end.failure.error_type == "InvalidRequestError"


def test_a_child_by_function_gives_its_typed_result() -> None:
    async def parent(ctx: WorkflowContext) -> str:
        order = await ctx.call_child_workflow(child, input=Order("clip"))
        return type(order).__name__

    driven = drive(parent)
    registry = driven.definition.registry
    registry.workflow(child)
    (action,) = driven.start()
    assert action == CreateChild(
        id=1, name="child", instance_id="order-1:0001", input='{"item":"clip"}'
    )
    driven.complete_child(1, {"item": "pen"})
    assert driven.end.result == '"Order"'


async def child(ctx: WorkflowContext, order: Order) -> Order:
    """Give it back."""
    return order


def test_helper_coroutines_may_be_awaited() -> None:
    async def helper(ctx: WorkflowContext) -> Any:
        await ctx.create_timer(1)
        return await ctx.call_activity("work")

    async def flow(ctx: WorkflowContext) -> list[Any]:
        return [await helper(ctx), await helper(ctx)]

    driven = drive(flow)
    driven.start()
    driven.fire(1)
    driven.complete(2, "a")
    driven.fire(3)
    driven.complete(4, "b")
    assert driven.end.result == '["a","b"]'
    assert [timer.id for timer in driven.asked(CreateTimer)] == [1, 3]


def test_a_generator_receives_results_and_errors() -> None:
    def flow(ctx: WorkflowContext) -> Generator[DurableTask[Any], Any, list[Any]]:
        seen: list[Any] = []
        task = ctx.call_activity("a")
        seen.append((yield task))
        seen.append((yield task))
        try:
            yield ctx.call_activity("b")
        except Exception as error:  # noqa: BLE001 -- named below
            seen.append(type(error).__name__)
        return seen

    driven = drive(flow)
    driven.start()
    driven.complete(1, 5)
    driven.fail(2)
    assert driven.end.result == '[5,5,"TaskFailedError"]'


def test_a_resume_is_no_fact_for_the_code() -> None:
    run = WorkflowRun(drive(two_steps).definition, "i")
    assert run.feed(ExecutionResumed()) == []
    assert DrivenRun(drive(two_steps).definition).start() != []
