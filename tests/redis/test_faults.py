"""R04 to R06, R15: connections that break and servers that hesitate lose and repeat nothing."""

import asyncio
import random
from contextlib import suppress

import pytest

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.ports import CommitResult
from actorflow.actors.store.redis import RedisStore
from tests.proxy import Proxy
from tests.redis.layout import check_keys
from tests.redis.load import Writer, answers_of
from tests.servers import Server

pytestmark = pytest.mark.asyncio


async def opened(port: int, *, timeout_s: float = 5.0) -> RedisStore:
    store = RedisStore(f"redis://127.0.0.1:{port}", partition_count=8, timeout_s=timeout_s)
    await store.open()
    return store


NOTICED_S = 1.0
"""How long is waited for an answer where none comes."""


async def test_r04_lost_answer_is_already_on_resend(store: RedisStore, any_server: Server) -> None:
    async with Proxy(any_server.port) as proxy:
        through = await opened(proxy.port, timeout_s=NOTICED_S)
        writer = Writer(through, 0)
        await writer.write(2)  # the second uses the other script
        proxy.swallow_down = True
        commit = writer.next_commit()
        for _ in range(2):
            with pytest.raises(StoreUnavailableError) as caught:
                await through.commit(commit)
            assert caught.value.written is None
        proxy.swallow_down = False
        assert await writer.send(commit) is CommitResult.ALREADY
        writer.done += 1
        await writer.write(1)
        await writer.check()
        await through.close()


async def test_r05_connections_cut_at_random_bytes(store: RedisStore, any_server: Server) -> None:
    chance = random.Random(5)
    async with Proxy(any_server.port) as proxy:
        through = await opened(proxy.port)
        writers = [Writer(through, partition) for partition in range(8)]
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(writer.write_until(stop)) for writer in writers]
            while proxy.cuts < 200 or answers_of(writers)[None] <= 100:
                if proxy.cut_after_bytes is None:
                    proxy.cut_after_bytes = chance.randrange(1, 6_000)
                await asyncio.sleep(0)
            # What was sent together is often lost together: lose answers too.
            while not answers_of(writers)[CommitResult.ALREADY]:
                proxy.cut_after_bytes = None
                proxy.swallow_down = True
                await asyncio.sleep(0.02)
                proxy.cut()
                proxy.swallow_down = False
                await asyncio.sleep(0.02)
            stop.set()
            await asyncio.gather(*tasks)
        for writer in writers:
            await writer.check()
        await through.close()
    assert check_keys(any_server, store) == 1 + 8 * (1 + 1 + 1 + 1)


async def test_r06_scripts_are_flushed_under_load(store: RedisStore, any_server: Server) -> None:
    writers = [Writer(store, partition) for partition in range(8)]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write_until(stop))
        for _ in range(20):
            await asyncio.sleep(0.03)
            await asyncio.to_thread(any_server.do, "SCRIPT", "FLUSH")
        stop.set()
    for writer in writers:
        await writer.check()
    answers = answers_of(writers)
    assert set(answers) == {CommitResult.OK}


async def test_r15_pause_reload_and_killed_clients(store: RedisStore, any_server: Server) -> None:
    writers = [Writer(store, partition) for partition in range(8)]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write_until(stop))
        for command in (
            ("CLIENT", "PAUSE", "300", "WRITE"),
            ("CLIENT", "KILL", "TYPE", "normal"),
            ("DEBUG", "RELOAD"),
            ("CLIENT", "KILL", "TYPE", "normal"),
        ):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(any_server.do, *command)
        await asyncio.sleep(0.4)
        while not answers_of(writers)[None]:  # until it has hit a commit
            await asyncio.to_thread(any_server.do, "CLIENT", "KILL", "TYPE", "normal")
        stop.set()
    for writer in writers:
        await writer.check()


async def test_r15_kill_and_restart_loses_nothing_acknowledged(synced_server: Server) -> None:
    """P06 at the level of the store: the same commit is sent until the server is back."""
    store = await opened(synced_server.port)
    writers = [Writer(store, partition) for partition in range(4)]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(writer.write_until(stop)) for writer in writers]
        for _ in range(2):
            await asyncio.sleep(0.1)
            synced_server.kill()
            await asyncio.sleep(0.05)
            await asyncio.to_thread(synced_server.start)
        await asyncio.sleep(0.1)
        stop.set()
        await asyncio.gather(*tasks)
    for writer in writers:
        await writer.check()
    answers = answers_of(writers)
    assert answers[None] + answers[False] > 0
    await store.close()


async def test_cancelled_commit_goes_on_and_harms_nobody(store: RedisStore) -> None:
    """S07 at the level of the store: CVE-2023-28859 was an answer that reached another caller."""
    writer, other = Writer(store, 0), Writer(store, 1)
    await writer.write(1)
    for i in range(50):
        commit = writer.next_commit()
        task = asyncio.create_task(store.commit(commit))
        for _ in range(i % 5):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await other.write(1)
        assert await writer.send(commit) in (CommitResult.OK, CommitResult.ALREADY)
        writer.done += 1
    await writer.check()
    await other.check()


async def test_p13_half_open_connection_is_noticed(store: RedisStore, any_server: Server) -> None:
    async with Proxy(any_server.port) as proxy:
        through = await opened(proxy.port, timeout_s=NOTICED_S)
        writers = [Writer(through, partition) for partition in range(4)]
        for writer in writers:
            await writer.write(1)
        proxy.up.clear()
        results = await asyncio.gather(
            *(through.commit(writer.next_commit()) for writer in writers), return_exceptions=True
        )
        assert all(
            isinstance(one, StoreUnavailableError) and one.written is None for one in results
        )
        proxy.up.set()
        for writer in writers:
            await writer.write(3)
            await writer.check()
        await through.close()
