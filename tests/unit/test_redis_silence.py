"""A wait for a server ends when it was silent for too long, and not before; in virtual time."""

import asyncio

import pytest

from actorflow.actors.store.redis.silence import Silence
from tests.sim.loop import SimLoop, simulate

LIMIT_S = 5.0


def test_silence_ends_a_wait_when_its_time_is_over() -> None:
    async def main(loop: SimLoop) -> None:
        silence = Silence(LIMIT_S)
        for _ in range(2):
            begun_s = loop.time()
            with pytest.raises(TimeoutError), silence:
                await loop.create_future()
            assert loop.time() - begun_s == pytest.approx(LIMIT_S, abs=0.001)
        silence.stop()
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    simulate(1, main)


def test_what_is_heard_prolongs_the_wait() -> None:
    async def main(loop: SimLoop) -> None:
        silence = Silence(LIMIT_S)
        with silence:
            for _ in range(4):
                await asyncio.sleep(0.9 * LIMIT_S)
                silence.heard()

        async def wait_for_more() -> None:
            with silence:
                await asyncio.sleep(0.5 * LIMIT_S)
                silence.heard()
                await loop.create_future()

        begun_s = loop.time()
        with pytest.raises(TimeoutError):
            await wait_for_more()
        assert loop.time() - begun_s == pytest.approx(1.5 * LIMIT_S, abs=0.001)

    simulate(1, main)


def test_pause_between_two_waits_is_no_silence() -> None:
    async def main(loop: SimLoop) -> None:
        silence = Silence(LIMIT_S)
        for pause_s in (0.5 * LIMIT_S, 3 * LIMIT_S, 0.9 * LIMIT_S):
            with silence:
                await asyncio.sleep(0.9 * LIMIT_S)
            await asyncio.sleep(pause_s)

    simulate(1, main)


def test_nobody_is_cancelled_by_a_timer_that_was_left_running() -> None:
    async def main(loop: SimLoop) -> None:
        async def wait() -> None:
            silence = Silence(LIMIT_S)
            with silence:
                await asyncio.sleep(0)
            await asyncio.sleep(4 * LIMIT_S)
            silence.stop()

        await loop.create_task(wait())

    simulate(1, main)


def test_cancellation_by_others_stays_one() -> None:
    async def main(loop: SimLoop) -> None:
        async def wait() -> None:
            with Silence(LIMIT_S):
                await loop.create_future()

        for delay_s in (0.1, LIMIT_S):  # the second in the moment of the time-out
            task = loop.create_task(wait())
            loop.call_later(delay_s, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task

    simulate(1, main)


def test_another_error_stays_what_it_is() -> None:
    async def main(loop: SimLoop) -> None:
        with pytest.raises(ConnectionError), Silence(LIMIT_S):
            raise ConnectionError

    simulate(1, main)
