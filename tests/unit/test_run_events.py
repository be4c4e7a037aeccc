"""External events and timers as workflow code sees them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actorflow.workflow.actions import CancelTimer, Complete, CreateTimer
from actorflow.workflow.context import WorkflowContext
from actorflow.workflow.events import NEVER_NS, EventRaised, Status, TimerOrigin
from tests.corpus.driving import SECOND_NS, START_NS, drive

FIRST_NS = START_NS + SECOND_NS
"""Time of the first fact."""


async def one_event(ctx: WorkflowContext) -> object:
    """Wait for one event."""
    return await ctx.wait_for_external_event("Approve")


def test_a_wait_without_time_out_is_recorded_as_a_timer_that_never_fires() -> None:
    driven = drive(one_event)
    origin = TimerOrigin(kind="event", ref="Approve")
    assert driven.start() == [CreateTimer(id=1, fire_at_ns=NEVER_NS, origin=origin)]


@pytest.mark.parametrize("name", ["Approve", "APPROVE", "approve"])
def test_names_match_without_case(name: str) -> None:
    driven = drive(one_event)
    driven.start()
    driven.raise_event(name, {"by": "me"})
    assert driven.end.result == '{"by":"me"}'


def test_an_event_before_the_wait_is_kept_and_needs_no_timer() -> None:
    async def late(ctx: WorkflowContext) -> list[Any]:
        await ctx.call_activity("work")
        return [await ctx.wait_for_external_event("e"), await ctx.wait_for_external_event("e")]

    driven = drive(late)
    driven.start()
    assert driven.raise_event("e", 1) == driven.raise_event("E", 2) == []
    assert driven.run.buffered_event_count == 2
    driven.complete(1)
    assert driven.asked(CreateTimer) == []
    assert driven.end.result == "[1,2]"


def test_an_event_may_come_before_the_start() -> None:
    driven = drive(one_event)
    driven.feed(EventRaised(name="approve", input="5"))
    driven.start()
    assert driven.end.result == "5"


def test_waits_of_one_name_are_served_in_their_order() -> None:
    async def two(ctx: WorkflowContext) -> list[Any]:
        first, second = ctx.wait_for_external_event("e"), ctx.wait_for_external_event("e")
        return [await second, await first]

    driven = drive(two)
    driven.start()
    driven.raise_event("e", "one")
    driven.raise_event("e", "two")
    assert driven.end.result == '["two","one"]'


@pytest.mark.parametrize("text", [None, "", "null"])
def test_an_event_without_payload_gives_none(text: str | None) -> None:
    driven = drive(one_event)
    driven.start()
    driven.feed(EventRaised(name="approve", input=text))
    assert (driven.end.status, driven.end.result) == (Status.COMPLETED, None)


def test_an_event_is_converted_to_the_type_asked_for() -> None:
    async def typed(ctx: WorkflowContext) -> str:
        when = await ctx.wait_for_external_event("e", type=datetime)
        return type(when).__name__

    driven = drive(typed)
    driven.start()
    driven.raise_event("e", "2026-01-01T00:00:00Z")
    assert driven.end.result == '"datetime"'


async def with_timeout(ctx: WorkflowContext) -> object:
    """Wait for an event with a time-out, then for something else."""
    try:
        result = await ctx.wait_for_external_event("e", timeout=timedelta(minutes=1))
    except TimeoutError as error:
        result = str(error)
    await ctx.call_activity("work")
    return result


def test_a_time_out_raises_in_the_workflow_and_later_events_are_kept() -> None:
    driven = drive(with_timeout)
    (timer,) = driven.start()
    assert isinstance(timer, CreateTimer)
    assert timer.fire_at_ns == FIRST_NS + 60 * SECOND_NS
    driven.fire(1)
    driven.raise_event("e", 1)
    assert driven.run.buffered_event_count == 1
    driven.complete(2)
    assert driven.end.result == "\"no event 'e' came in time\""


def test_an_event_in_time_cancels_the_timer() -> None:
    driven = drive(with_timeout)
    driven.start()
    assert CancelTimer(timer_id=1) in driven.raise_event("e", 1)
    assert driven.fire(1) == []
    driven.complete(2)
    assert driven.end.result == "1"


@pytest.mark.parametrize(
    ("when", "due_ns"),
    [
        (30, FIRST_NS + 30 * SECOND_NS),
        (0.5, FIRST_NS + SECOND_NS // 2),
        (timedelta(hours=1), FIRST_NS + 3_600 * SECOND_NS),
        (-5, FIRST_NS),
        (datetime(2030, 1, 1, tzinfo=UTC), 1_893_456_000 * SECOND_NS),
        (datetime(2030, 1, 1), 1_893_456_000 * SECOND_NS),  # noqa: DTZ001 -- read as UTC
        (datetime(1999, 1, 1, tzinfo=UTC), FIRST_NS),
    ],
)
def test_a_timer_is_due_at_or_after(when: datetime | timedelta | float, due_ns: int) -> None:
    async def sleeper(ctx: WorkflowContext) -> None:
        await ctx.create_timer(when)

    driven = drive(sleeper)
    assert driven.start() == [CreateTimer(id=1, fire_at_ns=due_ns)]
    (end,) = driven.fire(1)
    assert isinstance(end, Complete)


@pytest.mark.parametrize("when", [float("nan"), float("inf"), 1e30, "tomorrow", None])
def test_a_due_time_that_is_none_is_refused(when: Any) -> None:
    async def sleeper(ctx: WorkflowContext) -> None:
        await ctx.sleep(when)

    driven = drive(sleeper)
    driven.start()
    assert driven.end.failure is not None
    assert driven.end.failure.error_type == "InvalidRequestError"
    assert "the timer's due time must be" in driven.end.failure.message


def test_sending_is_recorded_and_goes_out_even_when_the_code_ends() -> None:
    async def sender(ctx: WorkflowContext) -> None:
        ctx.send_event("other", "hello", [1])
        ctx.call_activity("nobody sees the result")

    driven = drive(sender)
    sent, end = driven.start()
    assert (sent.id, sent.name, sent.input) == (1, "hello", "[1]")  # type: ignore[union-attr]  # compared
    assert isinstance(end, Complete)
    assert end.id == 3
