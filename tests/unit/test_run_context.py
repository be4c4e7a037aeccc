"""The context: its answers are the same in every replay, and it refuses what cannot work."""

import logging
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from actorflow.workflow.actions import (
    CreateChild,
    CreateDetached,
    CreateTimer,
)
from actorflow.workflow.context import WorkflowContext
from actorflow.workflow.events import EventRaised, ExecutionResumed
from actorflow.workflow.replay import WorkflowRun
from actorflow.workflow.task import DurableTask
from tests.corpus.driving import EXECUTION_ID, SECOND_NS, START_NS, DrivenRun, drive


@dataclass
class Order:
    item: str


async def two_steps(ctx: WorkflowContext) -> list[Any]:
    """Two activities, then an event."""
    first = await ctx.call_activity("one")
    second = await ctx.call_activity("two")
    return [first, second, await ctx.wait_for_external_event("e")]


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
