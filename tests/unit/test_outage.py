"""What a person hears of a store that does not answer: little, and all that matters."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import Actor, ActorId
from actorflow.actors.errors import (
    ContentionError,
    CorruptError,
    FencedOutError,
    NotOwnerError,
    StoreFullError,
    StoreUnavailableError,
)
from actorflow.actors.outage import CALM_S, GATHER_S, LOOK_S, REMIND_S, Outage, level_of
from tests.sim.loop import simulate
from tests.sim.stage import Stage, on_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from tests.sim.loop import SimLoop

AWAY = StoreUnavailableError("Redis at cache:6379: connection refused", written=False)

Told = list[logging.LogRecord]


class Reader(logging.Handler):
    """Keeps what is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: Told = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record)


@pytest.fixture
def told() -> Iterator[Told]:
    log, reader = logging.getLogger("actorflow.actors.outage"), Reader()
    log.addHandler(reader)
    yield reader.told
    log.removeHandler(reader)


def run(main: Callable[[Outage], Coroutine[object, object, None]]) -> None:
    async def begin(loop: SimLoop) -> None:
        outage = Outage()
        await main(outage)
        outage.close()

    simulate(1, begin)


async def fail_for(outage: Outage, duration_s: float) -> None:
    """As a host does: a heartbeat, letters and a commit fail again and again."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + duration_s
    while loop.time() < until_s:
        outage.failed(AWAY, "heartbeat")
        outage.failed(AWAY, "partition 3")
        outage.letters_lost(2, AWAY)
        await asyncio.sleep(0.5)


def figures(record: logging.LogRecord, *names: str) -> list[object]:
    return [vars(record)[name] for name in names]


def test_it_is_told_when_it_begins_each_minute_and_when_it_is_over(told: Told) -> None:
    async def main(outage: Outage) -> None:
        await fail_for(outage, 150)
        outage.answered("heartbeat")
        await asyncio.sleep(5)
        assert len(told) == 3, "a commit still waits"
        outage.answered("partition 3")
        await asyncio.sleep(CALM_S + LOOK_S)

    run(main)
    assert [record.levelname for record in told] == ["WARNING"] * 4
    first, second, third, last = told
    assert "does not answer" in first.getMessage()
    assert "can be reached" in first.getMessage()
    assert figures(first, "cause") == [str(AWAY)]
    assert figures(second, "seconds") == [pytest.approx(REMIND_S, abs=2)]
    assert figures(third, "seconds") == [pytest.approx(2 * REMIND_S, abs=2)]
    assert "answers again" in last.getMessage()
    assert figures(last, "seconds", "letters_lost") == [pytest.approx(155, abs=1), 600]


def test_what_comes_and_goes_is_one_outage_and_the_next_one_is_another(told: Told) -> None:
    async def main(outage: Outage) -> None:
        for _ in range(10):
            outage.failed(AWAY, "heartbeat")
            await asyncio.sleep(CALM_S / 2)
            outage.answered("heartbeat")
            await asyncio.sleep(CALM_S / 2 - 0.1)
        await asyncio.sleep(CALM_S + LOOK_S)
        assert len(told) == 2
        outage.failed(AWAY)
        await asyncio.sleep(CALM_S + LOOK_S)

    run(main)
    assert len(told) == 4
    assert figures(told[3], "seconds", "letters_lost") == [0, 0]


def test_another_trouble_is_told_at_once(told: Told) -> None:
    async def main(outage: Outage) -> None:
        outage.failed(AWAY, "heartbeat")
        await asyncio.sleep(5)
        for _ in range(3):
            outage.failed(StoreFullError("no memory left", written=False), "heartbeat")

    run(main)
    assert len(told) == 2
    assert figures(told[1], "cause") == ["no memory left"]


def test_partitions_that_are_lost_together_are_one_line(told: Told) -> None:
    async def main(outage: Outage) -> None:
        for partition in range(23):
            outage.partition_lost(partition, FencedOutError("another owner"))
        await asyncio.sleep(2 * GATHER_S)
        outage.partition_lost(5, FencedOutError("again"))

    run(main)
    assert [record.levelname for record in told] == ["ERROR", "ERROR"]
    assert figures(told[0], "count", "partitions") == [23, [0, 1, 2, 3, 4, 5, 6, 7]]
    assert figures(told[1], "count", "cause") == [1, "again"], "told when the host stops"


def test_a_full_store_is_told_elsewhere(told: Told) -> None:
    async def main(outage: Outage) -> None:
        outage.partition_lost(1, StoreFullError("no memory left", written=False))
        await asyncio.sleep(2 * GATHER_S)

    run(main)
    assert told == []


def test_the_losses_of_an_outage_are_counted_at_its_end(told: Told) -> None:
    async def main(outage: Outage) -> None:
        outage.failed(AWAY, "heartbeat")
        for partition in range(3):
            outage.partition_lost(partition, FencedOutError("another owner"))
        outage.answered("heartbeat")
        await asyncio.sleep(CALM_S + 2 * LOOK_S)

    run(main)
    assert figures(told[-1], "partitions_lost") == [3]


def test_a_host_that_stops_says_no_more(told: Told) -> None:
    async def main(outage: Outage) -> None:
        outage.failed(AWAY, "heartbeat")
        outage.close()
        await asyncio.sleep(2 * REMIND_S)

    run(main)
    assert len(told) == 1


class Counter(Actor):
    async def add(self, amount: int) -> None:
        self.state["count"] = self.state.get("count", 0) + amount


@pytest.mark.parametrize("what", ["commit", "load"])
@pytest.mark.parametrize("is_late", [False, True])
def test_trouble_ends_with_the_ownership(what: str, is_late: bool) -> None:
    """A partition that others have by now is in no trouble here, also when an answer to what was
    asked for it comes later: else the host would call itself ill for ever."""

    async def main(stage: Stage) -> None:
        async with stage.system(Counter) as system:
            (partition,) = system._partitions
            stage.store.script(what, AWAY)
            stage.store.hold(what)
            call = asyncio.ensure_future(system.call(ActorId("Counter", "a"), "add", b"1"))
            await stage.settle()
            if not is_late:
                stage.store.let_go(what)
                while not partition.trouble:
                    await stage.settle()
            partition.close(NotOwnerError("moved"))
            if is_late:
                stage.store.let_go(what)
            await asyncio.sleep(1)
            assert isinstance(await asyncio.gather(call, return_exceptions=True), list)
            assert partition.trouble == ""
            assert system._outage._failing == set()

    on_stage(main)


def test_what_passes_by_itself_is_told_elsewhere() -> None:
    assert {level_of(error) for error in (AWAY, NotOwnerError(), ContentionError())} == {
        logging.DEBUG
    }
    assert level_of(CorruptError("a row")) == logging.WARNING
