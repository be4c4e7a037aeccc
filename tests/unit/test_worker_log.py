"""Workers that come and go: a few lines each minute, however many they are."""

import asyncio
import logging

import pytest

from actorflow.workflow.worker_log import LINES_MAX, PERIOD_S, WorkerLog
from tests.sim.loop import SimLoop, simulate


def test_a_worker_that_flaps_is_told_of_a_few_times_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "actorflow.workflow.worker_log")

    def levels() -> dict[str, int]:
        found = [record.levelname for record in caplog.records]
        caplog.clear()
        return {level: found.count(level) for level in sorted(set(found))}

    async def main(loop: SimLoop) -> None:
        log = WorkerLog()
        for serial in range(50):
            log.connected("orders", serial)
            log.disconnected("orders", serial, unanswered=1)
            await asyncio.sleep(1)
        assert levels() == {"DEBUG": 100 - LINES_MAX, "INFO": LINES_MAX, "WARNING": 1}
        log.connected("billing", 51)
        assert levels() == {"INFO": 1}, "each app by itself"
        await asyncio.sleep(PERIOD_S)
        log.connected("orders", 52)
        (record,) = caplog.records
        assert record.levelname == "INFO"
        assert vars(record)["not_shown_before"] == 100 - LINES_MAX
        assert vars(record)["worker"] == 52

    simulate(1, main)
