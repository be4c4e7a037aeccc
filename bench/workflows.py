"""The workflows that are measured: as little work of their own as possible."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from actorflow.workflow import ActivityContext, Registry, WorkflowContext

if TYPE_CHECKING:
    from pathlib import Path

app = Registry()

lateness_s: list[float] = []
"""How late each `sleeper` of this process went on after its timer was due."""

stamps_s: list[float] = []
"""When each `stamp` of this process ran."""

_ticks: list[int] = []


def write_ticks_to(file: Path) -> None:
    """Let the activity `tick` of this process write to a file, which survives the process."""
    _ticks[:] = [os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)]


@app.activity
async def tick(ctx: ActivityContext, _: None) -> None:
    """Note that the instance moves on."""
    os.write(_ticks[0], f"{ctx.instance_id} {time.time()}\n".encode())


@app.activity
async def stamp(_: ActivityContext, __: None) -> None:
    """Note the time."""
    stamps_s.append(time.perf_counter())


@app.activity
async def say(_: ActivityContext, name: str) -> str:
    """Answer at once."""
    return f"Hello {name}"


@app.workflow
async def hello(ctx: WorkflowContext, name: str) -> str:
    """One activity."""
    return await ctx.call_activity(say, input=name)


@app.workflow
async def chain(ctx: WorkflowContext, length: int) -> str:
    """Activities one after another, each with the result before."""
    text = "chain"
    for _ in range(length):
        text = (await ctx.call_activity(say, input=text))[:40]
    return text


@app.workflow
async def fanout(ctx: WorkflowContext, width: int) -> int:
    """Activities at once."""
    results = await ctx.when_all([ctx.call_activity(say, input=str(n)) for n in range(width)])
    return len(results)


@app.workflow
async def approval(ctx: WorkflowContext, _: str) -> str:
    """Wait for one event and end."""
    return str(await ctx.wait_for_external_event("approve"))


@app.workflow
async def sleeper(ctx: WorkflowContext, due_s: float) -> None:
    """Sleep until a time in seconds since 1970, and note how late it is then."""
    await ctx.create_timer(datetime.fromtimestamp(due_s, UTC))
    lateness_s.append(time.time() - due_s)


@app.workflow
async def listener(ctx: WorkflowContext, _: str) -> None:
    """Take events for ever."""
    while True:
        await ctx.wait_for_external_event("tick")


@app.workflow
async def long_chain(ctx: WorkflowContext, length: int) -> None:
    """A chain that does not end: it waits for an event that never comes."""
    for _ in range(length):
        await ctx.call_activity(say, input="again")
    await ctx.wait_for_external_event("never")


@app.workflow
async def steps(ctx: WorkflowContext, count: int) -> None:
    """Durable steps one after another."""
    for _ in range(count):
        await ctx.call_activity(stamp)


@app.workflow
async def ticker(ctx: WorkflowContext, rounds: list[float]) -> None:
    """Move on once a period: `[rounds, period_s]`."""
    count, period_s = rounds
    for _ in range(int(count)):
        await ctx.create_timer(period_s)
        await ctx.call_activity(tick)
