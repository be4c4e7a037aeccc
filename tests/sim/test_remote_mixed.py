"""Code of this process and remote workers side by side; several apps; stalls across hosts."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.workflow import ActivityContext, Registry, WorkflowContext
from actorflow.workflow.events import Status
from actorflow.workflow.requests import TurnDone
from actorflow.workflow.workitem import TurnItem, token_text
from tests.fakes.remote_code import All
from tests.sim.cluster import ClusterWorld
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import WORKFLOWS, RemoteStand

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorflow.workflow.streams import WorkerStream
    from tests.fakes.remote_code import Ctx
    from tests.sim.remote import Code


def on_stand(
    main: Callable[[RemoteStand], Coroutine[object, object, None]],
    *,
    app: Registry | None = None,
    partitions: int = 0,
    hosts: int = 1,
) -> None:
    async def run(loop: SimLoop) -> None:
        stand = RemoteStand(loop, partition_count=partitions)
        if app is not None:
            stand.world.registry = app
        for _ in range(hosts):
            await stand.world.start_host()
        if isinstance(stand.world, ClusterWorld):
            await stand.world.until(stand.world.is_balanced, poll_s=0.1)
        await main(stand)
        await stand.close()

    simulate(2, run)


def local_app() -> Registry:
    app = Registry()

    @app.activity
    async def triple(_: ActivityContext, value: int) -> int:
        return value * 3

    @app.workflow
    async def local(ctx: WorkflowContext, value: int) -> int:
        return int(await ctx.call_activity(triple, input=value))

    @app.workflow
    async def doubles(ctx: WorkflowContext, value: int) -> int:
        return int(await ctx.call_activity("double", input=value))

    @app.workflow
    async def has_child(ctx: WorkflowContext, value: int) -> int:
        return int(await ctx.call_child_workflow("chain", input=value))

    return app


# ---- code here and elsewhere ---------------------------------------------------------------------


def test_both_run_in_one_app() -> None:
    async def main(stand: RemoteStand) -> None:
        stand.worker()
        await stand.start("local", 5, "l")
        await stand.start("chain", 1, "c")
        assert (await stand.end_of("l")).output == "15"
        assert (await stand.end_of("c")).output == "8"

    on_stand(main, app=local_app())


def test_what_was_left_to_a_worker_does_not_fail_while_it_is_away() -> None:
    """Neither at a restart, nor when its activity is asked for in between."""

    async def main(stand: RemoteStand) -> None:
        stream = stand.world.engine.workers.connect("default")
        await stand.start("chain", 1, "c")
        await stand.start("approval", 1, "a")
        item = await stream.next()
        while isinstance(item, TurnItem) and item.instance_id != "c":
            item = await stream.next()
        assert isinstance(item, TurnItem)
        stream.close()
        await stand.raise_event("a", "approve", 0, "0")
        worker = stand.worker()
        await stand.kill_worker(worker)
        done = worker.turn(item)
        engine = stand.world.engine
        assert await engine.workers.finish_turn("default", "c", token_text(item.token), done)
        await asyncio.sleep(1)
        await stand.world.kill_host()
        await stand.world.start_host()
        await asyncio.sleep(1)
        await stand.raise_event("a", "approve", 1, "1")
        stand.worker()
        assert (await stand.end_of("c")).output == "8"
        assert json.loads((await stand.end_of("a")).output or "") == [0, 2, 1]

    on_stand(main, app=local_app())


NOBODY = "no worker of app 'default' is connected to any host, and the code of this host has no"
HERE = "'doubles', 'has_child', 'local'"
NO_CHAIN = f"a worker for workflow 'chain': {NOBODY} workflow 'chain', only {HERE}"


@pytest.mark.parametrize("partitions", [0, 8], ids=["one", "clustered"])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["steady", "restarted"])
def test_names_that_nobody_has_wait_for_a_worker_that_has(
    partitions: int, is_restarted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def reasons(stand: RemoteStand, instance_id: str) -> list[str]:
        return [reason.detail for reason in await stand.world.engine.why(instance_id)]

    async def main(stand: RemoteStand) -> None:
        for instance_id in ("c", "c-2"):
            await stand.start("chain", 1, instance_id)
        await stand.start("doubles", 4, "d")
        await stand.start("has_child", 2, "h")
        await asyncio.sleep(1)
        said = [(one.msg % one.args, one.__dict__["name_wanted"]) for one in caplog.records]
        assert sorted(said) == [
            ("nobody has this activity; it waits for a worker that has", "double"),
            ("nobody has this workflow; it waits for a worker that has", "chain"),
        ]
        if is_restarted:
            await stand.world.kill_host()
            await stand.world.start_host()
        await asyncio.sleep(60)
        found = await stand.world.engine.get("c")
        assert found is not None
        assert found.status is Status.PENDING
        assert await reasons(stand, "c") == [NO_CHAIN]
        assert await reasons(stand, "d") == [f"double: {NOBODY} activity 'double', only 'triple'"]
        assert await reasons(stand, "h:0001") == [NO_CHAIN]
        stand.worker()
        for instance_id, output in (("c", "8"), ("c-2", "8"), ("d", "8"), ("h", "16")):
            assert (await stand.end_of(instance_id)).output == output

    with caplog.at_level(logging.WARNING, "actorflow.workflow.dispatch"):
        on_stand(main, app=local_app(), partitions=partitions)


# ---- several apps --------------------------------------------------------------------------------


def across(ctx: Ctx, value: int) -> Code:
    """An activity and a child of another app, and a child of its own."""
    doubled = yield ctx.call("double", value, app_id="other")
    child = yield ctx.child("chain", doubled, app_id="other")
    own = yield ctx.child("chain", value)
    return [doubled, child, own]


def test_activities_and_children_of_another_app() -> None:
    async def main(stand: RemoteStand) -> None:
        here = stand.worker(app_id="default", workflows={**WORKFLOWS, "across": across})
        there = stand.worker(app_id="other")
        await stand.start("across", 1, "x")
        assert json.loads((await stand.end_of("x")).output or "") == [2, 16, 8]
        assert len([item for item in there.items if not isinstance(item, TurnItem)]) == 4
        assert len([item for item in here.items if not isinstance(item, TurnItem)]) == 3
        child = await stand.world.engine.get("x:0002", app_id="other")
        assert child is not None
        assert child.parent_instance_id == "x"
        assert await stand.world.engine.get("x:0002") is None

    on_stand(main, partitions=8, hosts=2)


# ---- hosts ---------------------------------------------------------------------------------------


async def stalls(stand: RemoteStand, stream: WorkerStream) -> None:
    """Answer one turn as a worker that does not have the version."""
    async with asyncio.timeout(30):
        item = await stream.next()
    assert isinstance(item, TurnItem)
    done = TurnDone("", 0, 0, 0, stalled=("VERSION_NOT_AVAILABLE", "no such version"))
    engine = stand.world.engine
    await engine.workers.finish_turn("default", item.instance_id, token_text(item.token), done)


def test_what_stalled_goes_to_the_new_worker_wherever_it_connects() -> None:
    async def main(stand: RemoteStand) -> None:
        engines = [host.engine for host in stand.world.hosts]
        old = [engine.workers.connect("default") for engine in engines[:2]]
        await asyncio.sleep(3)
        for number in range(12):
            await stand.start("chain", 1, f"c-{number}")

        async def answer(stream: WorkerStream) -> None:
            while True:
                await stalls(stand, stream)

        tasks = [asyncio.ensure_future(answer(stream)) for stream in old]
        await asyncio.sleep(10)
        for number in range(12):
            instance = await stand.world.engine.get(f"c-{number}")
            assert instance is not None
            assert instance.status is Status.STALLED
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        new = stand.worker(host=2)
        await asyncio.sleep(3)  # the old workers are still there
        assert {item.instance_id for item in new.items if isinstance(item, TurnItem)} == {
            f"c-{number}" for number in range(12)
        }
        for stream in old:
            stream.close()
        for number in range(12):
            assert (await stand.end_of(f"c-{number}")).output == "8"

    on_stand(main, partitions=8, hosts=3)


def test_what_stalled_is_tried_by_the_next_owner() -> None:
    """A capable worker may have connected before the partition came."""

    async def main(stand: RemoteStand) -> None:
        stream = stand.world.engine.workers.connect("default")
        await stand.start("chain", 1, "c")
        await stalls(stand, stream)
        stream.close()
        first = stand.world.hosts[0]
        await stand.world.start_host()
        stand.worker(host=-1)
        await asyncio.sleep(0.01)
        await stand.world.kill_host(first)
        assert (await stand.end_of("c")).output == "8"

    on_stand(main, partitions=8)


def test_answers_through_another_host_free_the_place() -> None:
    """Three times as many activities as a worker takes, all answered at the host that it is not
    connected to."""

    def wide(ctx: Ctx, width: int) -> Code:
        return len((yield All(ctx.call("double", number) for number in range(width))))

    async def main(stand: RemoteStand) -> None:
        hosts = stand.world.hosts
        worker: Any = stand.worker(host=0, workflows={"wide": wide}, items_max=10, answer=None)
        await asyncio.sleep(3)
        worker._reach = lambda: hosts[1].engine  # the stream stays where it is
        await stand.start("wide", 60, "w")
        began_s = stand.loop.time()
        assert (await stand.end_of("w")).output == "60"
        assert stand.loop.time() - began_s < 20
        stand.check_runs(faults=0)

    on_stand(main, partitions=8, hosts=2)
