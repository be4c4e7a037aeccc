"""Activities and child workflows as code sees them: results, failures, retries, time-outs."""

from dataclasses import dataclass
from typing import Any

import pytest

from actorflow.actors.errors import PayloadError
from actorflow.workflow.actions import CancelTimer, CreateChild, CreateTimer, ScheduleTask
from actorflow.workflow.context import ActivityContext, WorkflowContext
from actorflow.workflow.errors import (
    ChildFailedError,
    NonRetriableError,
    TaskFailedError,
)
from actorflow.workflow.events import (
    ChildFailed,
    FailureDetails,
    Status,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)
from actorflow.workflow.limits import Limits
from actorflow.workflow.retry import RetryPolicy
from tests.corpus.driving import SECOND_NS, START_NS, DrivenRun, drive
from tests.corpus.shapes import shapes


@dataclass
class Receipt:
    number: int


async def pay(ctx: ActivityContext, amount: float) -> Receipt:
    """Never run here."""
    return Receipt(int(amount))


async def ship(ctx: ActivityContext) -> None:
    """Never run here."""


def test_an_activity_gives_its_result_converted_to_its_annotation() -> None:
    async def order(ctx: WorkflowContext) -> str:
        receipt = await ctx.call_activity(pay, input=3.5)
        return f"{type(receipt).__name__} {receipt.number}"

    driven = drive(order, pay)
    (action,) = driven.start()
    assert isinstance(action, ScheduleTask)
    assert (action.id, action.name, action.input) == (1, "pay", "3.5")
    driven.complete(1, {"number": 7})
    assert (driven.end.status, driven.end.result) == (Status.COMPLETED, '"Receipt 7"')


def test_an_activity_may_be_called_by_name_and_gives_plain_json() -> None:
    async def order(ctx: WorkflowContext) -> object:
        return await ctx.call_activity("elsewhere", input={"a": 1})

    driven = drive(order)
    (action,) = driven.start()
    assert isinstance(action, ScheduleTask)
    assert (action.name, action.input) == ("elsewhere", '{"a":1}')
    driven.complete(1, {"number": 7})
    assert driven.end.result == '{"number":7}'


def test_an_activity_of_another_registry_is_refused_with_the_mend() -> None:
    async def order(ctx: WorkflowContext) -> None:
        await ctx.call_activity(ship)

    driven = drive(order, pay)
    driven.start()
    failure = driven.end.failure
    assert failure is not None
    assert failure.error_type == "RegistrationError"
    assert "put @app.activity on it" in failure.message
    assert "Registered: pay" in failure.message


def test_a_result_of_another_type_is_an_error_at_the_await() -> None:
    async def order(ctx: WorkflowContext) -> str:
        try:
            await ctx.call_activity(pay, input=1)
        except PayloadError as error:
            return str(error)
        return ""

    driven = drive(order, pay)
    driven.start()
    driven.complete(1, {"number": "seven"})
    assert driven.end.result is not None
    assert "result of activity 'pay': expected Receipt" in driven.end.result


def test_a_failure_is_raised_at_the_await_with_its_details() -> None:
    async def order(ctx: WorkflowContext) -> str:
        with pytest.raises(TaskFailedError) as caught:
            await ctx.call_activity(pay, input=1)
        return f"{caught.value} / {caught.value.details.error_type}"

    driven = drive(order, pay)
    driven.start()
    driven.fail(1, "CardError", "no money")
    assert driven.end.result == "\"activity 'pay' failed: CardError: no money / CardError\""


def test_a_failure_that_nobody_catches_fails_the_workflow_with_its_cause() -> None:
    async def order(ctx: WorkflowContext) -> None:
        await ctx.call_activity(pay, input=1)

    driven = drive(order, pay)
    driven.start()
    driven.fail(1, "CardError", "no money")
    failure = driven.end.failure
    assert driven.end.status is Status.FAILED
    assert failure is not None
    assert failure.error_type == "TaskFailedError"
    assert failure.inner is not None
    assert (failure.inner.error_type, failure.inner.message) == ("CardError", "no money")
    assert "await ctx.call_activity(pay, input=1)" in failure.stack
    assert "replay.py" not in failure.stack.splitlines()[0]


@pytest.mark.parametrize(
    "fact",
    [
        TaskCompleted(task_id=99, result="1"),
        TaskCompleted(task_id=1, result="1", task_execution_id="of-another-execution"),
        TaskFailed(task_id=99, failure=FailureDetails(error_type="E", message="")),
        ChildFailed(task_id=1, failure=FailureDetails(error_type="E", message="")),
        TimerFired(timer_id=1),
    ],
)
def test_a_completion_of_nothing_pending_is_ignored(fact: TaskCompleted) -> None:
    async def order(ctx: WorkflowContext) -> object:
        return await ctx.call_activity("work")

    driven = drive(order)
    driven.start()
    assert driven.feed(fact) == []
    driven.complete(1, "real")
    assert driven.end.result == '"real"'


def test_a_completion_comes_once() -> None:
    async def order(ctx: WorkflowContext) -> list[Any]:
        return [await ctx.call_activity("work"), await ctx.call_activity("work")]

    driven = drive(order)
    driven.start()
    driven.complete(1, "first")
    assert driven.complete(1, "again") == []
    driven.complete(2, "second")
    assert driven.end.result == '["first","second"]'


def test_the_task_execution_id_is_a_uuid_that_replay_repeats() -> None:
    async def order(ctx: WorkflowContext) -> None:
        await ctx.call_activity("work")
        await ctx.call_activity("work")

    driven, again = drive(order), drive(order)
    for each in (driven, again):
        each.start()
        each.complete(1)
    ids = [action.task_execution_id for action in driven.asked(ScheduleTask)]
    assert ids == [action.task_execution_id for action in again.asked(ScheduleTask)]
    assert len(set(ids)) == 2
    assert all(len(text) == 36 and text[14] == "5" for text in ids)


# Retries.

POLICY = RetryPolicy(
    first_retry_interval=2,
    max_number_of_attempts=3,
    backoff_coefficient=3,
    non_retriable=("Fatal",),
)


async def retrying(ctx: WorkflowContext) -> object:
    """Call one activity with retries."""
    return await ctx.call_activity("work", input="in", retry_policy=POLICY)


def test_a_retry_is_a_timer_and_the_same_call_under_a_new_id() -> None:
    driven = drive(retrying)
    (first,) = driven.start()
    assert isinstance(first, ScheduleTask)

    (timer,) = driven.fail(1)
    assert isinstance(timer, CreateTimer)
    assert timer.fire_at_ns == driven.now_ns + 2 * SECOND_NS
    assert (timer.origin.kind, timer.origin.ref) == ("activity_retry", first.task_execution_id)

    (second,) = driven.fire(timer.id)
    assert second == ScheduleTask(
        id=3, name="work", input='"in"', task_execution_id=first.task_execution_id
    )
    (timer,) = driven.fail(3)
    assert isinstance(timer, CreateTimer)
    assert timer.fire_at_ns == driven.now_ns + 6 * SECOND_NS
    driven.fire(timer.id)
    driven.complete(5, "at last")
    assert driven.end.result == '"at last"'


def test_the_last_attempt_fails_the_call() -> None:
    driven = drive(retrying)
    driven.start()
    for task_id, timer_id in ((1, 2), (3, 4)):
        driven.fail(task_id)
        driven.fire(timer_id)
    driven.fail(5)
    assert driven.end.status is Status.FAILED
    assert len(driven.asked(ScheduleTask)) == 3


@pytest.mark.parametrize(
    "failure",
    [
        FailureDetails(error_type="Fatal", message=""),
        FailureDetails(error_type="app.errors.Fatal", message=""),
        FailureDetails(error_type="Other", message="", non_retriable=True),
    ],
)
def test_some_failures_are_not_retried(failure: FailureDetails) -> None:
    driven = drive(retrying)
    driven.start()
    driven.feed(TaskFailed(at_ns=driven.now_ns, task_id=1, failure=failure))
    assert driven.end.status is Status.FAILED


def test_a_late_result_of_a_failed_attempt_is_ignored() -> None:
    driven = drive(retrying)
    driven.start()
    driven.fail(1)
    assert driven.complete(1, "late") == []
    assert driven.complete(2, "of a timer") == []


def test_no_attempt_begins_after_the_retry_timeout() -> None:
    policy = RetryPolicy(first_retry_interval=4, max_number_of_attempts=99, retry_timeout=10)

    async def order(ctx: WorkflowContext) -> object:
        return await ctx.call_activity("work", retry_policy=policy)

    driven = drive(order)
    driven.start()  # asked for at 0 s
    driven.fail(1)  # at 1 s, again at 5
    driven.fire(2)  # at 6 s
    driven.fail(3)  # at 7 s, again at 11: too late
    assert driven.end.status is Status.FAILED


def test_a_child_is_retried_under_the_same_instance_id() -> None:
    async def order(ctx: WorkflowContext) -> object:
        return await ctx.call_child_workflow("child", retry_policy=POLICY)

    driven = drive(order)
    (first,) = driven.start()
    assert isinstance(first, CreateChild)
    assert first.instance_id == "order-1:0001"
    (timer,) = driven.fail_child(1)
    assert isinstance(timer, CreateTimer)
    assert (timer.origin.kind, timer.origin.ref) == ("child_retry", "order-1:0001")
    (second,) = driven.fire(timer.id)
    assert isinstance(second, CreateChild)
    assert (second.id, second.instance_id) == (3, "order-1:0001")
    driven.complete_child(3, "grown up")
    assert driven.end.result == '"grown up"'


def test_attempts_keep_the_id_that_history_has() -> None:
    # A rerun copies history under a new execution id, from which other ids would be derived.
    driven = drive(retrying)
    driven.start()
    start = driven.history[0]
    assert start.__struct_fields__
    driven.history[0] = type(start)(
        **{**{f: getattr(start, f) for f in start.__struct_fields__}, "execution_id": "copy"}
    )
    original = driven.asked(ScheduleTask)[0].task_execution_id
    run = driven.rebuilt()
    failure = FailureDetails(error_type="E", message="")
    fact = TaskFailed(at_ns=driven.now_ns, task_id=1, failure=failure, task_execution_id=original)
    (timer,) = run.feed(fact)
    assert isinstance(timer, CreateTimer)
    (again,) = run.feed(TimerFired(at_ns=timer.fire_at_ns, timer_id=timer.id))
    assert isinstance(again, ScheduleTask)
    assert again.task_execution_id == original


# Children.


def test_a_failed_child_raises_its_own_kind_of_task_error() -> None:
    async def order(ctx: WorkflowContext) -> str:
        with pytest.raises(ChildFailedError) as caught:
            await ctx.call_child_workflow("child", instance_id="c-1")
        return str(caught.value)

    driven = drive(order)
    driven.start()
    driven.fail_child(1, "fell")
    assert driven.end.result == "\"child workflow 'child' (c-1) failed: ValueError: fell\""


# Time-outs of calls.


async def in_time(ctx: WorkflowContext) -> str:
    """Call one activity with a time-out."""
    try:
        return str(await ctx.call_activity("work", timeout=30))
    except TimeoutError as error:
        return str(error)


def test_a_call_in_time_cancels_its_timer() -> None:
    driven = drive(in_time)
    _, timer = driven.start()
    assert isinstance(timer, CreateTimer)
    assert timer.fire_at_ns == START_NS + 31 * SECOND_NS
    driven.complete(1, "ok")
    assert driven.end.result == '"ok"'


def test_a_call_that_is_late_raises_and_its_result_is_ignored() -> None:
    async def order(ctx: WorkflowContext) -> str:
        text = await in_time(ctx)
        await ctx.call_activity("more")
        return text

    driven = drive(order)
    driven.start()
    driven.fire(2)
    assert driven.complete(1, "late") == []
    driven.complete(3)
    assert driven.end.result == "\"activity 'work' brought no result in time\""


def test_a_call_that_ends_in_a_later_step_cancels_its_timer() -> None:
    async def order(ctx: WorkflowContext) -> None:
        await ctx.call_activity("work", timeout=30)
        await ctx.call_activity("more")

    driven = drive(order)
    driven.start()
    assert CancelTimer(timer_id=2) in driven.complete(1)
    assert driven.feed(TimerFired(at_ns=driven.now_ns, timer_id=2)) == []


# Bounds.


@pytest.mark.parametrize("instance_id", ["a\nb", "a" * 1_025, "\u0085"])
def test_ids_that_no_client_could_use_are_refused(instance_id: str) -> None:
    """Nobody could look at such an instance, end it or purge it."""

    async def child(ctx: WorkflowContext) -> None:
        await ctx.call_child_workflow("other", instance_id=instance_id)

    async def detached(ctx: WorkflowContext) -> None:
        ctx.start_detached("other", instance_id=instance_id)

    for flow in (child, detached):
        driven = drive(flow)
        driven.start()
        failure = driven.end.failure
        assert failure is not None
        assert failure.error_type == "InvalidRequestError"
        assert "instance id" in failure.message


def test_a_child_id_that_grew_too_long_is_refused() -> None:
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.call_child_workflow("other")

    driven = DrivenRun(drive(flow).definition, instance_id="p" * 1_024)
    driven.start()
    failure = driven.end.failure
    assert failure is not None
    assert "is longer than 1024 bytes" in failure.message


def test_the_cap_of_actions_names_the_limit() -> None:
    async def order(ctx: WorkflowContext) -> None:
        for _ in range(11):
            ctx.call_activity("work")

    limits = Limits(actions_per_step_max=10)
    driven = DrivenRun(drive(order).definition, limits=limits)
    driven.start()
    failure = driven.end.failure
    assert failure is not None
    assert failure.error_type == "LimitExceededError"
    assert "actions_per_step_max" in failure.message
    assert "limited to 10, found 11" in failure.message


def test_the_cap_of_actions_counts_from_one_wait_to_the_next() -> None:
    async def order(ctx: WorkflowContext) -> None:
        for _ in range(3):
            await ctx.when_all([ctx.call_activity("work") for _ in range(2)])

    driven = DrivenRun(drive(order).definition, limits=Limits(actions_per_step_max=2))
    driven.start()
    for task_id in range(1, 7):
        driven.complete(task_id)
    assert driven.end.status is Status.COMPLETED


def test_a_payload_over_the_limit_is_refused_with_its_name() -> None:
    async def order(ctx: WorkflowContext) -> None:
        await ctx.call_activity("work", input="ä" * 60)

    driven = DrivenRun(drive(order).definition, limits=Limits(payload_bytes_max=100))
    driven.start()
    failure = driven.end.failure
    assert failure is not None
    assert failure.error_type == "LimitExceededError"
    assert "'work' in bytes (payload_bytes_max) is limited to 100, found 122" in failure.message


def test_a_result_over_the_limit_is_refused_with_its_name() -> None:
    async def order(ctx: WorkflowContext) -> str:
        return "ä" * 60

    driven = DrivenRun(drive(order).definition, limits=Limits(payload_bytes_max=100))
    driven.start()
    failure = driven.end.failure
    assert failure is not None
    assert failure.error_type == "LimitExceededError"
    assert "result of workflow 'order' in bytes (payload_bytes_max)" in failure.message


def test_non_retriable_errors_say_so_in_their_details() -> None:
    async def order(ctx: WorkflowContext) -> None:
        raise NonRetriableError("never again")

    driven = drive(order)
    driven.start()
    assert driven.end.failure is not None
    assert driven.end.failure.non_retriable


def test_a_saga_undoes_in_reverse_order() -> None:
    definition = shapes.workflow_named("saga")
    assert definition is not None
    driven = DrivenRun(definition)
    driven.start()
    driven.complete(1)
    driven.complete(2)
    driven.fail(3, text="no car left")
    driven.complete(4)
    driven.complete(5)
    asked = [(action.name, action.input) for action in driven.asked(ScheduleTask)]
    assert asked[3:] == [("undo", '"flight"'), ("undo", '"hotel"')]
    assert driven.end.result == '"undone: no car left"'
