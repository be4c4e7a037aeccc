"""Starts from outside are refused while what waits for workers fills memory; nothing else is."""

import asyncio
import gc

import pytest

from actorflow.actors.errors import OverloadedError
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import ActivityContext, Registry, WorkflowContext, WorkflowEngine
from actorflow.workflow.events import Status
from actorflow.workflow.overload import LOOK_AGAIN_NS, Backlog

LIMIT_S = 120


def test_an_answer_is_used_for_a_while() -> None:
    now_ns, pending = [0], [0]
    backlog = Backlog(lambda: {"pending_bytes": pending[0]}, lambda: now_ns[0], 100)
    now_ns[0] = 10**9
    assert backlog.refusal() is None
    pending[0] = 100
    assert backlog.refusal() is None
    now_ns[0] += LOOK_AGAIN_NS
    refusal = backlog.refusal()
    assert isinstance(refusal, OverloadedError)
    assert refusal.retry_after_s > 0
    pending[0] = 99
    now_ns[0] -= 10**8  # the clock was set back
    assert backlog.refusal() is None


class Shop:
    """An application whose activity waits for a gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.app = Registry()

        @self.app.activity
        async def held(_: ActivityContext, blob: str) -> int:
            await self.gate.wait()
            return len(blob)

        @self.app.workflow
        async def child(ctx: WorkflowContext, blob: str) -> int:
            size: int = await ctx.call_activity(held, input=blob)
            return size

        @self.app.workflow
        async def parent(ctx: WorkflowContext, blob: str) -> int:
            await ctx.wait_for_external_event("go")
            size: int = await ctx.call_child_workflow(child, input=blob)
            return size

        self.engine = WorkflowEngine(MemoryStore(), self.app, pending_bytes_max=4_000)

    async def start_until_refused(self) -> list[str]:
        started: list[str] = []
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    started.append(await self.engine.start("child", input='"' + "x" * 1_000 + '"'))
                except OverloadedError:
                    return started

    async def start_until_taken(self) -> str:
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    return await self.engine.start("child", input='"y"')
                except OverloadedError:
                    await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_only_starts_from_outside_are_refused_and_only_until_it_is_done() -> None:
    shop = Shop()
    async with shop.engine as engine:
        waiting = await engine.start("parent", input='"x"')
        started = await shop.start_until_refused()
        await engine.raise_event(waiting, "go")
        await engine.terminate(started[0])
        assert (await engine.wait_for_completion(started[0], timeout_s=LIMIT_S)).status is (
            Status.TERMINATED
        )
        assert engine.stats().counters["overloads"] == 1
        assert engine.stats().gauges["pending_bytes"] > 4_000
        shop.gate.set()
        for instance_id in (waiting, *started[1:]):
            ended = await engine.wait_for_completion(instance_id, timeout_s=LIMIT_S)
            assert ended.status is Status.COMPLETED
        last = await shop.start_until_taken()
        await engine.wait_for_completion(last, timeout_s=LIMIT_S)
        assert engine.stats().gauges["pending_bytes"] == 0


def _overloads() -> int:
    """Other tests keep some, as parameters."""
    return sum(isinstance(found, OverloadedError) for found in gc.get_objects())


@pytest.mark.asyncio
async def test_refused_payloads_are_freed_without_the_collector() -> None:
    shop = Shop()
    async with shop.engine as engine:
        await shop.start_until_refused()
        gc.collect()
        before = _overloads()
        gc.disable()
        try:
            for _ in range(20):
                with pytest.raises(OverloadedError):
                    await engine.start("child", input='"y"')
            assert _overloads() <= before + 1, "of the last one pytest knows"
        finally:
            gc.enable()
        shop.gate.set()
