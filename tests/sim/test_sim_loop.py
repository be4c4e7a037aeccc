"""The simulator itself: virtual time, seeded order, and the failures that it must notice."""

import asyncio
import heapq
from typing import Any

import pytest

from tests.sim.loop import DeadlockError, SimClock, SimIds, SimLoop, simulate


def test_private_parts_of_asyncio_are_as_expected() -> None:
    """SimLoop replaces `_run_once`; this fails first when a Python release changes what it uses."""
    loop = SimLoop(1)
    try:
        handle = loop.call_soon(print)
        late = loop.call_later(2.0, print)
        soon = loop.call_later(1.0, print)
        assert list(loop._ready) == [handle]
        assert heapq.nsmallest(2, loop._scheduled) == [soon, late]
        timer: Any = soon
        assert (timer._when, timer._scheduled, timer._cancelled) == (1.0, True, False)
        soon.cancel()
        assert timer._cancelled
        assert loop._timer_cancelled_count == 1
        assert callable(timer._run)
    finally:
        loop.close()


def test_a_long_sleep_takes_no_time() -> None:
    async def main(loop: SimLoop) -> float:
        await asyncio.sleep(86_400 * 365)
        return loop.time()

    assert simulate(1, main) == pytest.approx(86_400 * 365)


def test_timers_fire_in_order_of_time() -> None:
    async def main(_: SimLoop) -> list[int]:
        fired: list[int] = []

        async def one(delay: int) -> None:
            await asyncio.sleep(delay)
            fired.append(delay)

        await asyncio.gather(*(one(delay) for delay in (5, 1, 3, 2, 4)))
        return fired

    for seed in range(8):
        assert simulate(seed, main) == [1, 2, 3, 4, 5]


def test_order_of_ready_tasks_depends_on_the_seed_alone() -> None:
    async def main(_: SimLoop) -> tuple[int, ...]:
        order: list[int] = []

        async def one(number: int) -> None:
            await asyncio.sleep(0)
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(10)))
        return tuple(order)

    runs = [simulate(seed, main) for seed in range(12)]
    assert runs == [simulate(seed, main) for seed in range(12)]
    assert len(set(runs)) > 6
    assert tuple(range(10)) in runs


def test_waiting_for_nobody_is_a_deadlock() -> None:
    async def main(loop: SimLoop) -> None:
        await loop.create_future()

    with pytest.raises(DeadlockError, match="no timer is set"):
        simulate(1, main)


def test_timeouts_work_in_virtual_time() -> None:
    async def main(loop: SimLoop) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await loop.create_future()
        return loop.time()

    assert simulate(3, main) == pytest.approx(30, abs=0.001)


def test_cancelled_timers_do_not_pile_up() -> None:
    async def main(loop: SimLoop) -> int:
        for _ in range(10_000):
            loop.call_later(1e6, print).cancel()
            await asyncio.sleep(0.001)
        return len(loop._scheduled)

    assert simulate(1, main) < 2_000


def test_a_task_left_over_is_an_error() -> None:
    async def main(loop: SimLoop) -> None:
        loop.create_task(asyncio.sleep(10), name="forgotten")

    with pytest.raises(AssertionError, match="forgotten"):
        simulate(1, main)


def test_an_exception_that_nobody_retrieves_is_an_error() -> None:
    async def main(loop: SimLoop) -> None:
        loop.call_soon(_divide, 1, 0)
        await asyncio.sleep(1)

    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        simulate(1, main)


def _divide(a: int, b: int) -> float:
    return a / b


def test_clock_follows_the_loop_and_can_be_wrong() -> None:
    async def main(loop: SimLoop) -> tuple[int, int]:
        right, wrong = SimClock(loop), SimClock(loop, skew_s=3_600)
        before_ns = right.now_ns()
        await asyncio.sleep(10)
        return right.now_ns() - before_ns, wrong.now_ns() - right.now_ns()

    passed_ns, skew_ns = simulate(1, main)
    assert passed_ns == pytest.approx(10e9, abs=1e6)
    assert skew_ns == pytest.approx(3_600e9, abs=1e6)


def test_ids_repeat_with_the_seed() -> None:
    assert SimIds(7).uuid() == SimIds(7).uuid()
    assert SimIds(7).uuid() != SimIds(8).uuid()
    assert 0 <= SimIds(7).jitter() < 1
