"""The app of `test_kill_nine.py`: each activity leaves a line in a log that is not the engine's."""

import asyncio
import os

from actorflow.workflow import ActivityContext, Registry, WorkflowContext

app = Registry()

EVENTS = 3


def _log(ctx: ActivityContext) -> None:
    line = f"{ctx.instance_id} {ctx.activity_name} {ctx.task_execution_id} {os.getpid()}\n"
    file = os.open(os.environ["KILL_NINE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@app.activity
async def add(ctx: ActivityContext, number: int) -> int:
    _log(ctx)
    await asyncio.sleep(0.01)
    return number + 1


@app.activity
def double(ctx: ActivityContext, number: int) -> int:
    _log(ctx)
    return number * 2


@app.workflow
async def part(ctx: WorkflowContext, number: int) -> int:
    await ctx.create_timer(0.02)
    return await ctx.call_activity(double, input=number)


@app.workflow
async def load(ctx: WorkflowContext, number: int) -> list[int]:
    first = await ctx.call_activity(add, input=number)
    total = await ctx.call_child_workflow(part, input=first)
    events = []
    for _ in range(EVENTS):
        events.append(await ctx.wait_for_external_event("go", type=int))
        total = await ctx.call_activity(add, input=total)
    return [total, *events]


def expected(number: int) -> list[int]:
    """Return what `load` must answer, with events 0, 1 and 2."""
    return [(number + 1) * 2 + EVENTS, *range(EVENTS)]
