"""A corpus of workflow shapes, as authors write them. The laws of replay hold for all of them."""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from actorflow.workflow.context import ActivityContext, WorkflowContext
from actorflow.workflow.errors import TaskFailedError
from actorflow.workflow.registry import Registry
from actorflow.workflow.retry import RetryPolicy
from actorflow.workflow.task import DurableTask

shapes = Registry()

Steps = Generator[DurableTask[Any], Any, Any]


@dataclass
class Order:
    """What is bought, and for how much."""

    item: str
    cost: float = 10.0


@shapes.activity
async def work(ctx: ActivityContext, value: Any = None) -> Any:
    """Do something; never run by these tests."""
    return value


@shapes.activity
def undo(ctx: ActivityContext, value: Any = None) -> None:
    """Take it back; never run by these tests."""


@shapes.workflow
async def chain(ctx: WorkflowContext, length: int = 3) -> list[Any]:
    """One activity after the other."""
    return [await ctx.call_activity(work, input=step) for step in range(length)]


@shapes.workflow
def chain_of_yields(ctx: WorkflowContext, length: int = 3) -> Steps:
    """`chain` as a generator."""
    results = []
    for step in range(length):
        result = yield ctx.call_activity(work, input=step)
        results.append(result)
    return results


@shapes.workflow
async def fan_out(ctx: WorkflowContext, width: int = 4) -> Any:
    """Many activities at once, then one over all results."""
    results = await ctx.when_all([ctx.call_activity(work, input=n) for n in range(width)])
    return await ctx.call_activity(work, input=results)


@shapes.workflow
def fan_out_of_yields(ctx: WorkflowContext, width: int = 4) -> Steps:
    """`fan_out` as a generator."""
    results = yield ctx.when_all([ctx.call_activity(work, input=n) for n in range(width)])
    total = yield ctx.call_activity(work, input=results)
    return total


@shapes.workflow
async def race(ctx: WorkflowContext) -> list[Any]:
    """An event against a timer, in a loop, with work in between."""
    stop = ctx.wait_for_external_event("stop")
    rounds: list[Any] = []
    while len(rounds) < 3:
        pause = ctx.create_timer(60)
        winner = await ctx.when_any([stop, pause])
        if winner is stop:
            return [*rounds, stop.result()]
        rounds.append(await ctx.call_activity(work, input=len(rounds)))
    return rounds


@shapes.workflow
async def approval(ctx: WorkflowContext, order: Order | None = None) -> str:
    """Wait for an event with a time-out."""
    ctx.set_custom_status("waiting")
    try:
        approved = await ctx.wait_for_external_event("Approval", timeout=timedelta(days=1))
    except TimeoutError:
        return "timed out"
    ctx.set_custom_status({"approved": approved})
    return "approved" if approved else "refused"


@shapes.workflow
async def saga(ctx: WorkflowContext) -> str:
    """Undo what was done, in reverse order, when a later step fails."""
    undo_inputs: list[str] = []
    try:
        for step in ("hotel", "flight", "car"):
            await ctx.call_activity(work, input=step)
            undo_inputs.append(step)
    except TaskFailedError as error:
        for step in reversed(undo_inputs):
            await ctx.call_activity(undo, input=step)
        return f"undone: {error.details.message}"
    return "booked"


@shapes.workflow
async def retried(ctx: WorkflowContext) -> Any:
    """An activity and a child with retries, and a time-out around another activity."""
    policy = RetryPolicy(first_retry_interval=1, max_number_of_attempts=3, backoff_coefficient=2)
    first = await ctx.call_activity(work, retry_policy=policy)
    try:
        second = await ctx.call_child_workflow(chain, retry_policy=policy)
    except TaskFailedError:
        second = None
    try:
        third = await ctx.call_activity(work, timeout=5)
    except (TimeoutError, TaskFailedError) as error:
        third = type(error).__name__
    return [first, second, third]


@shapes.workflow
async def parent(ctx: WorkflowContext) -> list[Any]:
    """Two children, one with an id of its own; a detached one and a message besides."""
    ctx.start_detached(chain, input=1)
    children = [
        ctx.call_child_workflow(chain, input=2),
        ctx.call_child_workflow("fan_out", instance_id="my-child"),
    ]
    ctx.send_event("somebody", "Hello", {"from": ctx.instance_id})
    return list(await ctx.gather(*children))


@shapes.workflow
async def eternal(ctx: WorkflowContext, seen: int = 0) -> None:
    """Count two events a round, then continue as new with what is left."""
    for _ in range(2):
        await ctx.wait_for_external_event("count")
        seen += 1
    ctx.continue_as_new(seen)


@shapes.workflow
async def events(ctx: WorkflowContext) -> list[Any]:
    """Waits for the same and for other names, at once and one after the other."""
    first = ctx.wait_for_external_event("A")
    second = ctx.wait_for_external_event("a", timeout=600)
    other = await ctx.wait_for_external_event("b")
    await ctx.call_activity(work)
    late = await ctx.wait_for_external_event("B")
    try:
        pair = [await first, await second]
    except TimeoutError:
        pair = ["late"]
    return [other, late, *pair]


@shapes.workflow
async def queue(ctx: WorkflowContext) -> None:
    """Work off events of one name, in pairs, as they come, after some have gathered."""
    await ctx.call_activity(work)
    for _ in range(3):
        pair = ctx.wait_for_external_event("a"), ctx.wait_for_external_event("A")
        seen = [await pair[0], await pair[1]]
        ctx.set_custom_status(seen)  # replay does not compare inputs, but this shows them
        await ctx.call_activity(work, input=seen)


@shapes.workflow
async def deterministic(ctx: WorkflowContext) -> list[Any]:
    """Everything random or clock-like that the context gives, as inputs of activities."""
    told: list[Any] = []
    for _ in range(3):
        told += [str(ctx.uuid()), ctx.random().random(), ctx.now().isoformat()]
        await ctx.call_activity(work, input=told)
        await ctx.sleep(ctx.random().randint(1, 9))
    return told


@shapes.workflow
async def clean_up(ctx: WorkflowContext) -> str:
    """Waits in a `finally`, nested combinations, and a cancelled timer."""
    guard = ctx.create_timer(3_600)
    try:
        pair = ctx.when_all([ctx.call_activity(work, input="x"), ctx.call_activity(work)])
        winner = await ctx.when_any([pair, guard])
        if winner is guard:
            return "guarded"
        await ctx.call_activity(work, input="y")
    finally:
        guard.cancel()
        await ctx.call_activity(undo)
    return "done"
