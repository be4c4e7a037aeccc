"""What an instance says that it waits for, when its code and its activities are elsewhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actorflow.workflow import ActivityContext, Registry, WorkflowContext
from actorflow.workflow.requests import TurnDone
from actorflow.workflow.workitem import TurnItem, token_text
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import RemoteStand

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

NO_WORKER = "no worker of app 'orders' is connected to any host"


def on_stand(
    main: Callable[[RemoteStand], Coroutine[object, object, None]], *, partitions: int = 0
) -> None:
    async def run(loop: SimLoop) -> None:
        stand = RemoteStand(loop, partition_count=partitions)
        await stand.world.start_host()
        await main(stand)
        await stand.close(quiet=False)

    simulate(2, run)


async def why(stand: RemoteStand, instance_id: str = "c") -> list[tuple[str, str]]:
    reasons = await stand.world.engine.why(instance_id, app_id="orders")
    return [(reason.kind, reason.detail) for reason in reasons]


def test_a_turn_without_a_worker() -> None:
    async def main(stand: RemoteStand) -> None:
        await stand.start("chain", 1, "c", app_id="orders")
        assert await why(stand) == [("worker", f"a worker for workflow 'chain': {NO_WORKER}")]
        stream = stand.world.engine.workers.connect("orders")
        await asyncio.sleep(1)
        assert await why(stand) == [("worker", "a worker has the turn of workflow 'chain'")]
        stream.close()
        assert (await why(stand))[0][1].endswith(NO_WORKER)

    on_stand(main)


def test_an_activity_without_a_worker() -> None:
    async def main(stand: RemoteStand) -> None:
        worker = stand.worker(app_id="orders")
        await stand.start("stubborn", 1, "c", app_id="orders")
        while not worker.items:  # noqa: ASYNC110 -- virtual time
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert await why(stand) == [("activity", "flaky")]
        await stand.kill_worker(worker)
        assert await why(stand) == [("activity", f"flaky: {NO_WORKER}")]
        stand.worker(app_id="orders")
        await stand.end_of("c", app_id="orders")
        assert await why(stand) == []

    on_stand(main)


def test_no_room() -> None:
    async def main(stand: RemoteStand) -> None:
        stream = stand.world.engine.workers.connect("orders", items_max=1)
        for name in ("a", "c"):
            await stand.start("chain", 1, name, app_id="orders")
        await asyncio.sleep(1)
        reason = (
            "a worker for workflow 'chain': the workers of app 'orders' have as much as they take"
        )
        assert await why(stand, "c") == [("worker", reason)]
        stream.close()

    on_stand(main)


def test_a_worker_at_another_host_counts() -> None:
    async def main(stand: RemoteStand) -> None:
        await stand.world.start_host()
        stream = stand.world.hosts[0].engine.workers.connect("orders")
        await asyncio.sleep(5)
        await stand.start("chain", 1, "c", app_id="orders")
        await asyncio.sleep(1)
        assert await why(stand) == [("worker", "a worker has the turn of workflow 'chain'")]
        stream.close()

    on_stand(main, partitions=8)


def test_a_stall_is_said_first_and_then_that_another_worker_is_needed() -> None:
    async def main(stand: RemoteStand) -> None:
        workers = stand.world.engine.workers
        stream = workers.connect("orders")
        await stand.start("chain", 1, "c", app_id="orders")
        turn = await stream.next()
        assert isinstance(turn, TurnItem)
        done = TurnDone("", 0, 0, 0, stalled=("VERSION_NOT_AVAILABLE", "no version 'v1'"))
        await workers.finish_turn("orders", "c", token_text(turn.token), done)
        stalled = ("stalled", "VERSION_NOT_AVAILABLE: no version 'v1'")
        another = (
            "a worker for workflow 'chain': the workers of app 'orders' could not do it; it waits "
            "for another to connect"
        )
        assert await why(stand) == [stalled, ("worker", another)]
        newer = workers.connect("orders")
        await asyncio.sleep(1)
        has_it = "a worker has the turn of workflow 'chain'"
        assert await why(stand) == [stalled, ("worker", has_it)]
        newer.close()
        stream.close()
        gone = f"a worker for workflow 'chain': {NO_WORKER}"
        assert await why(stand) == [stalled, ("worker", gone)]

    on_stand(main)


def test_remote_workers_cannot_help_what_began_in_the_code_of_a_host() -> None:
    app = Registry()

    @app.workflow
    async def local(ctx: WorkflowContext) -> None:
        await ctx.wait_for_external_event("go")

    async def main(stand: RemoteStand) -> None:
        stand.world.registry = app
        await stand.world.kill_host()
        await stand.world.start_host()
        await stand.world.engine.start("local", instance_id="c")
        stand.world.registry = Registry()
        await stand.world.kill_host()
        await stand.world.start_host()
        stream = stand.world.engine.workers.connect("default")
        await stand.raise_event("c", "go", 0, "0")
        await asyncio.sleep(1)
        (first, _) = await stand.world.engine.why("c")
        text = "a host with the code of workflow 'local': it began in one, and no remote worker can"
        assert (first.kind, first.detail) == ("worker", f"{text} go on with it")
        stream.close()

    on_stand(main)


def test_activities_of_this_process_need_no_worker() -> None:
    app = Registry()

    @app.activity
    async def slow(_: ActivityContext) -> None:
        await asyncio.sleep(10)

    @app.workflow
    async def calls(ctx: WorkflowContext) -> None:
        await ctx.call_activity(slow)

    async def main(stand: RemoteStand) -> None:
        stand.world.registry = app
        await stand.world.kill_host()
        await stand.world.start_host()
        await stand.world.engine.start("calls", instance_id="c")
        reasons = await stand.world.engine.why("c")
        assert [(reason.kind, reason.detail) for reason in reasons] == [("activity", "slow")]
        await stand.end_of("c")

    on_stand(main)
