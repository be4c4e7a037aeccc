"""Answers that are held back: what ends them, and what their callers then are."""

from __future__ import annotations

import asyncio

import pytest

from actorflow.actors.errors import OverloadedError
from actorflow.server.http.waits import InterruptedWaitError, Waits

pytestmark = pytest.mark.asyncio


async def forever() -> str:
    await asyncio.Event().wait()
    return "never"


async def at_once() -> str:
    return "at once"


async def begun(waits: Waits, count: int) -> None:
    """Return when so many waits are under way."""
    while waits.count < count:  # noqa: ASYNC110 -- a few rounds of the loop
        await asyncio.sleep(0)


async def test_result_is_returned_and_the_place_is_free_again() -> None:
    waits = Waits(1)
    for _ in range(2):
        assert await waits.until_stop(at_once()) == "at once"
    assert waits.count == 0


async def test_stop_ends_the_waits_of_all_doors_and_leaves_their_tasks_alive() -> None:
    waits = Waits()
    beside = waits.beside(5)

    async def client(door: Waits) -> str:
        with pytest.raises(InterruptedWaitError):
            await door.until_stop(forever())
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # a task that is still to be cancelled would not come past this
        return "answered"

    clients = [asyncio.create_task(client(door)) for door in (waits, beside)]
    await begun(waits, 1)
    await begun(beside, 1)
    waits.stop()
    assert await asyncio.gather(*clients) == ["answered", "answered"]
    assert waits.count == beside.count == 0


async def test_while_stopping_only_what_need_not_wait_is_answered() -> None:
    waits = Waits()
    waits.stop()
    assert await waits.until_stop(at_once()) == "at once"
    with pytest.raises(InterruptedWaitError):
        await waits.until_stop(forever())


async def test_client_that_goes_ends_its_own_wait() -> None:
    waits = Waits()
    gone = asyncio.get_running_loop().create_future()
    client = asyncio.create_task(waits.until_stop(forever(), gone))
    other = asyncio.create_task(waits.until_stop(forever()))
    await begun(waits, 2)
    gone.set_result(None)
    with pytest.raises(InterruptedWaitError):
        await client
    assert waits.count == 1
    other.cancel()
    await asyncio.wait([other])


async def test_client_that_goes_later_cancels_nothing() -> None:
    waits = Waits()
    gone = asyncio.get_running_loop().create_future()
    assert await waits.until_stop(at_once(), gone) == "at once"
    gone.set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.mark.parametrize("is_stopped_too", [False, True])
async def test_cancellation_from_elsewhere_goes_on_as_such(is_stopped_too: bool) -> None:
    waits = Waits()
    client = asyncio.create_task(waits.until_stop(forever()))
    await begun(waits, 1)
    client.cancel()
    if is_stopped_too:
        waits.stop()
    with pytest.raises(asyncio.CancelledError):
        await client
    assert waits.count == 0


async def test_error_of_the_work_is_its_result() -> None:
    async def fail() -> None:
        raise ValueError("no")

    waits = Waits()
    with pytest.raises(ValueError, match="no"):
        await waits.until_stop(fail())
    assert waits.count == 0


async def test_time_limit_ends_only_what_takes_longer() -> None:
    waits = Waits()
    assert await waits.until_stop(at_once(), timeout_s=0) == "at once"
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # it would be cancelled here
    with pytest.raises(InterruptedWaitError):
        await waits.until_stop(forever(), timeout_s=0)
    assert waits.count == 0


async def test_no_more_than_the_limit() -> None:
    waits = Waits(1)
    first = asyncio.create_task(waits.until_stop(forever()))
    await begun(waits, 1)
    with pytest.raises(OverloadedError):
        await waits.until_stop(at_once())
    first.cancel()
    await asyncio.wait([first])
