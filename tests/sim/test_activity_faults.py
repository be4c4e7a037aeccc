"""What activities can do to the engine: raise anything, hang, be cancelled, run while it stops."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from actorflow.actors import ActorId, Message
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import (
    ActivityContext,
    Registry,
    WorkflowClient,
    WorkflowContext,
    WorkflowEngine,
    WorkflowFailedError,
)
from actorflow.workflow.events import Status, TaskFailed
from actorflow.workflow.requests import ACTIVITY, WORKER
from tests.sim.host import World
from tests.sim.loop import SimClock, SimLoop, simulate


class Halt(BaseException):
    """What libraries raise past `except Exception`."""


def registry() -> Registry:
    app = Registry()
    _register_troublemakers(app)
    _register_escapees(app)

    @app.activity
    def naps(_: ActivityContext, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @app.activity
    async def rests(_: ActivityContext, seconds: float) -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError as error:
            raise RuntimeError("cancelled, and made something else of it") from error
        return seconds

    @app.workflow
    async def call(ctx: WorkflowContext, name: str) -> object:
        return await ctx.call_activity(name)

    @app.workflow
    async def chain(ctx: WorkflowContext, length: int) -> float:
        total = 0.0
        for number in range(length):
            total += await ctx.call_activity((naps, rests)[number % 2], input=0.002)
        return total

    return app


def _register_escapees(app: Registry) -> None:
    @app.activity
    async def cancels_itself(_: ActivityContext) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(10)

    @app.activity
    async def halts(_: ActivityContext) -> None:
        raise Halt

    @app.activity
    def halts_in_thread(_: ActivityContext) -> None:
        raise Halt

    @app.activity
    def interrupts_in_thread(_: ActivityContext) -> None:
        raise KeyboardInterrupt


def _register_troublemakers(app: Registry) -> None:
    @app.activity
    async def cancelled(_: ActivityContext) -> None:
        raise asyncio.CancelledError

    @app.activity
    async def awaits_cancelled(_: ActivityContext) -> None:
        task = asyncio.ensure_future(asyncio.sleep(10))
        task.cancel()
        await task

    @app.activity
    async def exits(_: ActivityContext) -> None:
        sys.exit("bye")

    @app.activity
    def exits_in_thread(_: ActivityContext) -> None:
        sys.exit("bye")

    @app.activity
    def stops_iteration(_: ActivityContext) -> object:
        return next(iter(()))

    @app.activity
    async def answers_with_an_object(_: ActivityContext) -> object:
        return object()


@pytest.mark.parametrize(
    ("activity", "error_type"),
    [
        ("cancelled", "CancelledError"),
        ("awaits_cancelled", "CancelledError"),
        ("exits", "SystemExit"),
        ("exits_in_thread", "SystemExit"),
        ("cancels_itself", "CancelledError"),
        ("halts", "Halt"),
        ("halts_in_thread", "Halt"),
        ("interrupts_in_thread", "RuntimeError"),
        ("stops_iteration", "RuntimeError"),
        ("answers_with_an_object", "PayloadError"),
    ],
)
def test_whatever_an_activity_raises_is_its_result(activity: str, error_type: str) -> None:
    async def main() -> None:
        async with WorkflowEngine(MemoryStore(), registry()) as engine:
            client = WorkflowClient(engine)
            instance_id = await client.start("call", activity)
            with pytest.raises(WorkflowFailedError, match="TaskFailedError"):
                await client.result(instance_id, timeout_s=120)
            history = await engine.history(instance_id)
            (failed,) = [e for e in history.events if isinstance(e, TaskFailed)]
            assert failed.failure.error_type == error_type

    asyncio.run(main())


@pytest.mark.parametrize("drain_s", [0.0, 0.003])
def test_activities_that_a_stop_interrupts_run_again_and_are_not_failed(drain_s: float) -> None:
    """Neither a cancelled body nor a pool that is shut down is a result."""

    async def main() -> None:
        store, app = MemoryStore(), registry()
        async with WorkflowEngine(store, app) as engine:
            ids = [await WorkflowClient(engine).start("chain", 60) for _ in range(10)]
            await engine.shut_down(drain_s=drain_s)
        for _ in range(3):
            engine = WorkflowEngine(store, app)
            await engine.start_up()
            await asyncio.wait([asyncio.ensure_future(engine.wait_for_worker(1))], timeout=0.05)
            await engine.shut_down(drain_s=drain_s)
        async with WorkflowEngine(store, app) as engine:
            for instance_id in ids:
                total = await WorkflowClient(engine).result(instance_id, timeout_s=250)
                assert total == pytest.approx(0.12)

    asyncio.run(main())


@pytest.mark.parametrize("row", [ACTIVITY, WORKER])
def test_a_row_that_cannot_be_decoded_stops_nobody_else(row: str) -> None:
    """The engine starts, others finish, and the raw bytes stay."""

    async def main(loop: SimLoop) -> None:
        store = MemoryStore(clock=SimClock(loop))
        world = World(loop, store, registry(), seed=1)
        await world.start_host()
        client = WorkflowClient(world.engine)
        poisoned = await client.start("call", "nobody")
        await client._engine.wait_for_completion(poisoned, timeout_s=5)
        part = world.engine.actors._partitions[0]
        part._sending.send(part._batch, Message(ActorId(row, poisoned), "run", b"\xff not JSON"), 0)
        part._batch.turns += 1
        part._schedule_drain()
        await asyncio.sleep(1)
        await world.kill_host()
        await world.start_host()
        client = WorkflowClient(world.engine)
        other = await client.start("call", "cancelled")
        instance = await world.engine.wait_for_completion(other, timeout_s=60)
        assert instance.status is Status.FAILED
        await world.stop_hosts()
        (row_kept,) = (await store.recover(0, horizon_ms=2**60)).messages
        assert row_kept.payload == b"\xff not JSON"

    simulate(1, main)


def test_no_activity_body_outlives_a_stop() -> None:
    async def main(loop: SimLoop) -> None:
        store, app = MemoryStore(clock=SimClock(loop)), registry()
        world = World(loop, store, app, seed=1)
        await world.start_host()
        client = WorkflowClient(world.engine)

        @app.workflow
        async def forever(ctx: WorkflowContext) -> None:
            while True:
                await ctx.call_activity("rests", input=0.01)

        for _ in range(20):
            await client.start("forever")
        await asyncio.sleep(1)
        await world.engine.shut_down(drain_s=0.5)
        assert world.engine.stats().running_activities == 0

    simulate(5, main)
