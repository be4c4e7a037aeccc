"""The app of the cluster tests: the ledger workload. Each activity tells a side log when it began
and when it ended; that log belongs to the test and not to the engine."""

import asyncio
import os
import time

from actorflow.workflow import ActivityContext, Registry, WorkflowContext

app = Registry()

PAUSE_S = 0.2
WORK_S = 0.02
HOLD_POLL_S = 0.02
TICKS = 50


def _log(ctx: ActivityContext, mark: str) -> None:
    at_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000  # one clock for all processes
    line = f"{at_us} {mark} {ctx.instance_id} {ctx.task_execution_id} {os.getpid()}\n"
    file = os.open(os.environ["LEDGER_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@app.activity
async def post(ctx: ActivityContext, amount: int) -> int:
    _log(ctx, "began")
    await asyncio.sleep(WORK_S)
    _log(ctx, "ended")
    return amount + 1


@app.activity
def settle(ctx: ActivityContext, amount: int) -> int:
    _log(ctx, "began")
    time.sleep(WORK_S)
    _log(ctx, "ended")
    return amount + 1


@app.activity
async def hold(_: ActivityContext, place: str) -> str:
    """Block the event loop of the host, as careless code does, until there is a file `place`.free;
    another attempt does not. What `place`.held says is the process."""
    try:
        mark = os.open(f"{place}.held", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return "let go"
    os.write(mark, str(os.getpid()).encode())
    os.close(mark)
    while not os.access(f"{place}.free", os.F_OK):
        time.sleep(HOLD_POLL_S)  # noqa: ASYNC251 -- this is the fault
    return "held"


@app.workflow
async def holder(ctx: WorkflowContext, place: str) -> str:
    return await ctx.call_activity(hold, input=place)


@app.workflow
async def entries(ctx: WorkflowContext, amount: int) -> list[int]:
    first = await ctx.call_activity(post, input=amount * 2 - 1)
    second = await ctx.call_activity(post, input=amount * 2 + 2)
    return [first, second]


@app.workflow
async def ledger(ctx: WorkflowContext, amount: int) -> list[int]:
    ctx.set_custom_status(1)  # each reader checks that it never sees this number fall
    opened = await ctx.call_activity(post, input=amount)
    ctx.set_custom_status(2)
    await ctx.create_timer(PAUSE_S)
    ctx.set_custom_status(3)
    total = sum(await ctx.call_child_workflow(entries, input=opened))
    ctx.set_custom_status(4)
    event = await ctx.wait_for_external_event("approve", type=int)
    ctx.set_custom_status(5)
    end = await ctx.call_activity(settle, input=total + event - 1)
    ctx.set_custom_status(6)
    return [opened, total, event, end]


def expected(amount: int, event: int) -> list[int]:
    """Return what `ledger` must answer: the pure model."""
    opened = amount + 1
    total = opened * 2 + opened * 2 + 3
    return [opened, total, event, total + event]


@app.workflow
async def probe(ctx: WorkflowContext, taken: int | None = None) -> None:
    """Takes ticks for ever; whoever gets one accepted knows that its partition is at work."""
    count = taken or 0
    ctx.set_custom_status(count)
    for _ in range(TICKS):
        await ctx.wait_for_external_event("tick")
        count += 1
        ctx.set_custom_status(count)
    ctx.continue_as_new(count)


@app.workflow
async def leaf(ctx: WorkflowContext, _input: object = None) -> None:
    await ctx.wait_for_external_event("never")


@app.workflow
async def tree(ctx: WorkflowContext, children: int) -> None:
    await ctx.gather(*(ctx.call_child_workflow(leaf, input=i) for i in range(children)))


@app.workflow
async def parked(ctx: WorkflowContext, _input: object = None) -> int:
    return await ctx.wait_for_external_event("go", type=int)
