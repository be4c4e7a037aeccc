"""A parked message is delivered once more on a cluster that goes on running."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from actorflow.actors import ActorId
from actorflow.actors.address import partition_of
from actorflow.actors.clock import SystemIds
from actorflow.actors.cluster import Cluster
from actorflow.actors.errors import UsageError
from actorflow.actors.ports import MessageRow
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.post import RedisPost
from actorflow.actors.store.redis.status import cluster_status
from actorflow.server.cli import cli
from actorflow.workflow import Registry, WorkflowContext, WorkflowEngine
from actorflow.workflow.events import Status
from actorflow.workflow.offline import OfflineStore
from actorflow.workflow.requests import GO_ON, INSTANCE
from actorflow.workflow.unpark import Wanted, unpark
from tests.servers import Server

pytestmark = pytest.mark.asyncio

PARTITIONS = 4
IDS = [f"i{number}" for number in range(8)]
LIMIT_S = 240


def app() -> Registry:
    app = Registry()

    @app.workflow
    async def waits(ctx: WorkflowContext, _: object = None) -> int:
        return await ctx.wait_for_external_event("go", type=int)

    return app


def engine_on(url: str) -> WorkflowEngine:
    store = RedisStore(url, partition_count=PARTITIONS)
    post = RedisPost(store)
    return WorkflowEngine(store, app(), cluster=Cluster(post, post), partition_count=PARTITIONS)


async def prepare(url: str) -> RedisStore:
    """Start instances, stop, and park two messages for each."""
    async with asyncio.timeout(LIMIT_S), engine_on(url) as engine:
        for instance_id in IDS:
            await engine.start("waits", instance_id=instance_id)
    store = RedisStore(url, durability="memory")
    await store.open()
    async with OfflineStore(store, PARTITIONS, SystemIds()) as owned:
        for instance_id in IDS * 2:
            target = ActorId(INSTANCE, instance_id)
            partition = owned.partition_of(target)
            row = MessageRow(owned.next_message_id(partition), target, GO_ON, b"")
            await owned.commit(partition, put_messages=(row._replace(parked="Bug: no luck"),))
    return store


async def parked(store: RedisStore) -> dict[str, list[int]]:
    """Return the ids of parked messages by instance; all others are gone."""
    found: dict[str, list[int]] = {instance_id: [] for instance_id in IDS}
    for partition in range(PARTITIONS):
        for row in (await store.recover(partition, horizon_ms=0)).messages:
            if row.parked:
                found[row.target.key].append(row.id)
    return found


async def epochs(store: RedisStore) -> list[int]:
    return [partition.epoch for partition in (await cluster_status(store)).partitions]


async def waiting_rows(store: RedisStore) -> int:
    recoveries = [await store.recover(p, horizon_ms=0) for p in range(PARTITIONS)]
    return sum(not row.parked for recovery in recoveries for row in recovery.messages)


async def test_one_instance_or_one_message_while_hosts_run(any_server: Server) -> None:
    any_server.do("FLUSHALL")
    store = await prepare(any_server.url)
    try:
        async with (
            asyncio.timeout(LIMIT_S),
            engine_on(any_server.url) as one,
            engine_on(any_server.url) as other,
        ):
            while not all(p.owner for p in (await cluster_status(store)).partitions):  # noqa: ASYNC110 -- it tells nobody
                await asyncio.sleep(0.05)
            before = await parked(store)
            assert {len(rows) for rows in before.values()} == {2}
            owners = await epochs(store)
            assert await unpark(store, PARTITIONS, SystemIds(), Wanted("nobody")) == []
            with pytest.raises(UsageError, match="no partition 4"):
                await unpark(store, PARTITIONS, SystemIds(), Wanted("", 4, 1))
            home = partition_of(ActorId(INSTANCE, "i1"), PARTITIONS)
            first, second = before["i1"]
            found = await unpark(store, PARTITIONS, SystemIds(), Wanted("", home, first))
            assert [(at, row.id) for at, row in found] == [(home, first)]
            others = [epoch for index, epoch in enumerate(owners) if index != home]
            now = await epochs(store)
            assert [epoch for index, epoch in enumerate(now) if index != home] == others
            assert (await parked(store))["i1"] == [second]
            found = await unpark(store, PARTITIONS, SystemIds(), Wanted("i0"))
            assert sorted(row.id for _, row in found) == sorted(before["i0"])
            while await waiting_rows(store):  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0.05)
            assert await parked(store) == before | {"i0": [], "i1": [second]}
            for instance_id in IDS:
                await one.raise_event(instance_id, "go", "5", event_id="once")
                ended = await other.wait_for_completion(instance_id, timeout_s=120)
                assert (ended.status, ended.output) == (Status.COMPLETED, "5")
    finally:
        await store.close()


async def test_on_the_command_line(any_server: Server, tmp_path: Path) -> None:
    any_server.do("FLUSHALL")
    store = await prepare(any_server.url)
    before = await parked(store)
    await store.close()

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["fsck", "--store", any_server.url, *arguments])
        return result.exit_code, result.stdout

    home = str(partition_of(ActorId(INSTANCE, "i2"), PARTITIONS))
    code, text = await asyncio.to_thread(run, "--unpark-instance", "i1")
    assert code == 0
    assert text.count("delivered once more") == 2
    assert "for i1 (was parked: Bug: no luck)" in text
    one = str(before["i2"][0])
    code, text = await asyncio.to_thread(run, "--unpark-message", home, one, "--json")
    assert code == 0
    (row,) = json.loads(text)["unparked"]
    assert (row["partition"], row["message"]) == (int(home), int(one))
    assert (await asyncio.to_thread(run, "--unpark-message", home, one))[0] == 1, "it is not parked"
    assert (await asyncio.to_thread(run, "--unpark-instance", "i1", "--repair"))[0] == 2
