"""The workflow engine on Redis: what the store kit shows, in one piece."""

import asyncio

import pytest

from actorflow.actors.clock import SystemClock
from actorflow.actors.store.redis import RedisStore
from actorflow.workflow import ActivityContext, Registry, WorkflowContext, WorkflowEngine
from actorflow.workflow.events import Status
from tests.redis.layout import check_keys
from tests.servers import Server

pytestmark = pytest.mark.asyncio

app = Registry()


@app.activity
async def greet(_: ActivityContext, name: str) -> str:
    return f"hello {name}"


@app.workflow
async def chain(context: WorkflowContext, steps: int) -> list[str]:
    return [await context.call_activity(greet, input=str(step)) for step in range(steps)]


@pytest.fixture
def url(any_server: Server) -> str:
    any_server.do("FLUSHALL")
    return any_server.url


async def test_chains_run_on_one_partition(any_server: Server, url: str) -> None:
    store = RedisStore(url, partition_count=1)
    async with WorkflowEngine(store, app) as engine:
        ids = [await engine.start("chain", input="5") for _ in range(20)]
        ended = await asyncio.gather(
            *(engine.wait_for_completion(instance, timeout_s=120) for instance in ids)
        )
        assert {instance.status for instance in ended} == {Status.COMPLETED}
        assert ended[0].output == '["hello 0","hello 1","hello 2","hello 3","hello 4"]'
        assert len((await engine.list(limit=100)).instances) == 20
        check_keys(any_server, store)
        for instance in ids:
            await engine.purge(instance)
    with any_server.client() as client:
        # I13: purge leaves nothing but the cluster itself.
        assert sorted(client.keys("*")) == [b"af:cluster", store.partitions[0].meta.encode()]


async def test_what_waits_goes_on_after_a_restart_of_engine_and_server(
    synced_server: Server,
) -> None:
    gate = Registry()

    @gate.workflow
    async def wait(context: WorkflowContext, _: None) -> str:
        answer: str = await context.wait_for_external_event("go")
        await context.create_timer(0.05)
        return answer

    async with WorkflowEngine(RedisStore(synced_server.url, partition_count=1), gate) as engine:
        instance = await engine.start("wait")
        await engine.wait_for_start(instance, timeout_s=120)
    synced_server.kill()
    synced_server.start()
    clock = SystemClock()
    async with WorkflowEngine(RedisStore(synced_server.url), gate, clock=clock) as engine:
        await engine.raise_event(instance, "go", '"on"')
        ended = await engine.wait_for_completion(instance, timeout_s=120)
        assert ended.output == '"on"'


async def test_engine_outlives_its_server(synced_server: Server) -> None:
    """P06 with one host: commits wait for Redis, and nobody starts anything again."""
    async with WorkflowEngine(RedisStore(synced_server.url, partition_count=1), app) as engine:
        ids = [await engine.start("chain", input="3") for _ in range(10)]
        synced_server.kill()
        await asyncio.sleep(0.1)
        await asyncio.to_thread(synced_server.start)
        for instance in ids:
            ended = await engine.wait_for_completion(instance, timeout_s=120)
            assert ended.status is Status.COMPLETED
