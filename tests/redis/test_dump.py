"""`fsck` on a dump of a cluster that goes on running: a server of its own has loaded it."""

import asyncio
import shutil
from pathlib import Path

from click.testing import CliRunner

from actorflow.actors.cluster import Cluster
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.post import RedisPost
from actorflow.server.cli import cli
from actorflow.workflow import Registry, WorkflowContext, WorkflowEngine
from tests.servers import Server

PARTITIONS = 4
LIMIT_S = 240

app = Registry()


@app.workflow
async def waits(ctx: WorkflowContext, _: object = None) -> None:
    """Wait for an event."""
    await ctx.wait_for_external_event("go")


async def dumped(server: Server) -> Path:
    """Return the dump of a store in which a host is at work."""
    store = RedisStore(server.url, partition_count=PARTITIONS)
    post = RedisPost(store)
    cluster = Cluster(post, post)
    async with (
        asyncio.timeout(LIMIT_S),
        WorkflowEngine(store, app, cluster=cluster, partition_count=PARTITIONS) as engine,
    ):
        for number in range(3):
            await engine.start("waits", instance_id=f"i{number}")
        await asyncio.to_thread(server.do, "SAVE")
        await engine.start("waits", instance_id="later")
    return server.directory / "dump.rdb"


def check(server: Server) -> tuple[int, str]:
    """Run `actorflow fsck` on a server."""
    result = CliRunner().invoke(cli, ["fsck", "--store", server.url])
    return result.exit_code, result.stdout


def test_a_dump_is_checked_and_not_changed(any_server: Server, tmp_path: Path) -> None:
    any_server.do("FLUSHALL")
    dump = asyncio.run(dumped(any_server))
    copy = Server(any_server.kind, tmp_path / "copy", {"appendonly": "no"})
    copy.directory.mkdir()
    shutil.copy(dump, copy.directory)
    with copy:
        before = sorted(copy.do("KEYS", "*"))
        code, text = check(copy)
        assert code == 0, text
        assert "3 instances (3 open)" in text
        assert sorted(copy.do("KEYS", "*")) == before
        (history,) = [key for key in before if b"i1" in key and copy.do("TYPE", key) == b"list"]
        copy.do("LPOP", history)
        code, text = check(copy)
        assert code == 1, text
