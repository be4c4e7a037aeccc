"""The app of `test_ends_host.py`: one activity or workflow ends its process, others do their
work."""

import asyncio
import os

from actorflow.workflow import ActivityContext, ChildFailedError, Registry, WorkflowContext

app = Registry()


def _log(ctx: ActivityContext | WorkflowContext) -> None:
    line = f"{ctx.instance_id} {os.getpid()}\n"
    file = os.open(os.environ["ENDS_HOST_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@app.activity
def ends(ctx: ActivityContext) -> None:
    _log(ctx)
    os._exit(70)


@app.activity
async def works(ctx: ActivityContext, number: int) -> int:
    _log(ctx)
    await asyncio.sleep(0.05)
    return number + 1


@app.activity
async def rests(_: ActivityContext) -> None:
    await asyncio.sleep(0.05)


@app.workflow
async def poison(ctx: WorkflowContext) -> None:
    await ctx.call_activity(ends)


@app.workflow
async def count(ctx: WorkflowContext, steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await ctx.call_activity(works, input=number)
    return number


@app.workflow
async def poison_turn(ctx: WorkflowContext) -> None:
    await ctx.call_activity(rests)
    _log(ctx)
    os._exit(70)


@app.workflow
async def poison_start(ctx: WorkflowContext) -> None:
    _log(ctx)
    os._exit(70)


@app.workflow
async def parent(ctx: WorkflowContext) -> str:
    try:
        await ctx.call_child_workflow(poison_start, instance_id="poison")
    except ChildFailedError as error:
        return str(error)
    return ""
