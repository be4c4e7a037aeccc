"""R08 with the engine: a full Redis refuses starts, lets work end, and heals by itself."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from actorflow.actors.cluster import Cluster
from actorflow.actors.errors import ContentionError, StoreFullError, UnavailableError
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.post import RedisPost
from actorflow.workflow import ActivityContext, Registry, WorkflowContext, WorkflowEngine
from actorflow.workflow.events import Status
from tests.servers import KINDS, Server

pytestmark = pytest.mark.asyncio

REFUSALS = 5
"""So many starts are refused, at least, while Redis is full."""

app = Registry()


@app.activity
async def double(_: ActivityContext, number: int) -> int:
    return 2 * number


@app.workflow
async def wait(context: WorkflowContext, _: None) -> int:
    number: int = await context.wait_for_external_event("go")
    for _step in range(3):
        number = await context.call_activity(double, input=number)
    return number


@app.workflow
async def child(context: WorkflowContext, _: None) -> str:
    return "grown"


@app.workflow
async def parent(context: WorkflowContext, _: None) -> str:
    await context.wait_for_external_event("go")
    answer: str = await context.call_child_workflow(child)
    return answer


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with Server(request.param, tmp_path / "server") as server:
        yield server


async def started(engine: WorkflowEngine, name: str, count: int) -> list[str]:
    """Start instances, again and again until each is accepted, and wait until they run."""
    ids = []
    for _ in range(count):
        while True:
            try:
                ids.append(await engine.start(name))
                break
            except (UnavailableError, ContentionError):
                await asyncio.sleep(0.05)
    for instance_id in ids:
        await engine.wait_for_start(instance_id, timeout_s=120)
    return ids


async def raised(engine: WorkflowEngine, instance_id: str) -> None:
    """Raise the event until it is accepted: a commit that was refused may have carried it."""
    while True:
        try:
            return await engine.raise_event(instance_id, "go", "5", event_id="once")
        except (UnavailableError, ContentionError):
            await asyncio.sleep(0.02)


async def refused(engine: WorkflowEngine) -> None:
    """A start is refused; while a partition is read again it says only that."""
    while True:
        with pytest.raises((UnavailableError, ContentionError)) as caught:
            await engine.start("wait")
        if "maxmemory" in str(caught.value):
            return
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("partitions", [1, 4])
async def test_r08_starts_are_refused_and_what_runs_ends(server: Server, partitions: int) -> None:
    store = RedisStore(server.url, partition_count=partitions)
    post = RedisPost(store)
    cluster = Cluster(post, post) if partitions > 1 else None
    async with WorkflowEngine(store, app, cluster=cluster, partition_count=partitions) as engine:
        running = await started(engine, "wait", 20)
        server.do("CONFIG", "SET", "maxmemory", "1")
        stop = asyncio.Event()
        refusals = 0

        async def knock() -> None:
            nonlocal refusals
            while not stop.is_set():
                with pytest.raises((UnavailableError, ContentionError)):
                    await engine.start("wait")
                refusals += 1
                await asyncio.sleep(0.005)

        async with asyncio.TaskGroup() as group:
            group.create_task(knock())
            async with asyncio.timeout(240):
                for instance_id in running:
                    await raised(engine, instance_id)
                for instance_id in running:
                    ended = await engine.wait_for_completion(instance_id, timeout_s=120)
                    assert (ended.status, ended.output) == (Status.COMPLETED, "40")
            while refusals < REFUSALS:  # noqa: ASYNC110 -- a number tells nobody
                await asyncio.sleep(0.005)
            stop.set()
        await refused(engine)
        for instance_id in running[:10]:
            await engine.purge(instance_id)
        server.do("CONFIG", "SET", "maxmemory", "0")
        async with asyncio.timeout(240):
            (again,) = await started(engine, "wait", 1)
            await raised(engine, again)
            assert (await engine.wait_for_completion(again, timeout_s=120)).output == "40"


async def test_r08_child_that_has_no_room_comes_later(server: Server) -> None:
    async with WorkflowEngine(RedisStore(server.url, partition_count=1), app) as engine:
        parents = await started(engine, "parent", 5)
        others = await started(engine, "wait", 5)
        server.do("CONFIG", "SET", "maxmemory", "1")
        async with asyncio.timeout(240):
            for instance_id in (*parents, *others):
                await raised(engine, instance_id)
            for instance_id in others:
                ended = await engine.wait_for_completion(instance_id, timeout_s=120)
                assert ended.status is Status.COMPLETED
        assert {(await engine.get(one)).status for one in parents} == {Status.RUNNING}  # type: ignore[union-attr]  # they exist
        server.do("CONFIG", "SET", "maxmemory", "0")
        for instance_id in parents:
            ended = await engine.wait_for_completion(instance_id, timeout_s=120)
            assert (ended.status, ended.output) == (Status.COMPLETED, '"grown"')


async def test_reason_reaches_callers(server: Server) -> None:
    async with WorkflowEngine(RedisStore(server.url, partition_count=1), app) as engine:
        await started(engine, "wait", 1)
        server.do("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreFullError, match="raise `maxmemory`") as caught:
            await engine.start("wait")
        assert caught.value.written is False
