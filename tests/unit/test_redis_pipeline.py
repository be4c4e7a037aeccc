"""The senders of a lane: they rest, are woken, may be cancelled, and are gone in the end."""

import asyncio
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.store.redis.client import PIPELINES_MAX, Lane, ServerClient
from actorflow.actors.store.redis.script import Script

pytestmark = pytest.mark.asyncio


def senders() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "redis-pipeline"]


def opened(server: FakeServer | None = None) -> ServerClient:
    return ServerClient(FakeAsyncRedis(server=server, protocol=2), "fakeredis", timeout_s=5)


async def test_calls_of_one_turn_share_a_sender_and_the_next_ones_find_it_again() -> None:
    client = opened()
    for _ in range(3):
        await asyncio.gather(*(client.ask(0, ("INCR", "n"), ("INCR", "n")) for _ in range(10)))
        assert len(senders()) == 1
    assert await client.ask(0, ("GET", "n")) == [b"60"]
    await client.close()
    assert senders() == []


@pytest.mark.parametrize("lane", ["reads", "commits"])
async def test_no_more_pipelines_than_allowed_are_under_way(lane: Lane) -> None:
    client, script = opened(), Script("never called", "", "")
    calls = []
    for _ in range(10):
        calls.append(asyncio.ensure_future(client.run(0, script, ("INCR", "n"), lane=lane)))
        await asyncio.sleep(0)
        assert len(senders()) <= PIPELINES_MAX[lane]
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 11))
    await client.close()


async def test_what_has_no_bytes_is_refused_alone() -> None:
    client = opened()
    good, bad, other = await asyncio.gather(
        client.ask(0, ("SET", "a", "1")),
        client.ask(0, ("SET", "a", "\ud800")),
        client.ask(0, ("GET", "a")),
        return_exceptions=True,
    )
    assert isinstance(bad, UnicodeError)
    assert (good, other) == ([b"OK"], [b"1"])
    await client.close()


async def test_call_after_all_senders_were_cancelled_is_sent() -> None:
    """As when a loop ends all its tasks, and one of them gives up its lease."""
    client = opened()
    await client.ask(0, ("SET", "a", "1"))
    for sender in senders():
        sender.cancel()
    assert await client.ask(0, ("GET", "a")) == [b"1"]
    await client.close()


async def test_what_waited_for_cancelled_senders_is_sent_by_new_ones() -> None:
    server = FakeServer()
    client, other = opened(server), opened(server)
    calls = []
    for key in "abcd":
        calls.append(asyncio.ensure_future(client.ask(0, ("BLPOP", key, "0"))))
        for _ in range(10):
            await asyncio.sleep(0)
    busy = senders()
    assert len(busy) == PIPELINES_MAX["reads"]
    for sender in busy:
        sender.cancel()
    await other.ask(0, ("RPUSH", "c", "1"), ("RPUSH", "d", "1"))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(answer, list) for answer in answers] == [False, False, True, True]
    await client.close()
    await other.close()


async def test_callers_of_a_cancelled_sender_hear_that_nobody_knows() -> None:
    client = opened()
    await client.ask(0, ("SET", "a", "1"))
    call = asyncio.ensure_future(client.ask(0, ("BLPOP", "none", "0")))
    for _ in range(10):  # until it is sent
        await asyncio.sleep(0)
    for sender in senders():
        sender.cancel()
    with pytest.raises(StoreUnavailableError) as caught:
        await call
    assert caught.value.written is None
    assert await client.ask(0, ("GET", "a")) == [b"1"]
    await client.close()


async def test_close_waits_for_answers() -> None:
    client = opened()
    call = asyncio.ensure_future(client.ask(0, ("SET", "a", "1")))
    await asyncio.sleep(0)
    await client.close()
    assert await call == [b"OK"]
