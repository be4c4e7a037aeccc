"""Reminders: never early, not lost, not doubled; cancelled and replaced at awkward moments."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from actorflow.actors import Actor, ActorId, Limits
from actorflow.actors.errors import ActorCallError, UsageError
from actorflow.actors.ports import DueReminder, Reminder
from actorflow.actors.reminders import Armed, ReminderIndex, next_occurrence
from tests.sim.loop import START_NS
from tests.sim.scripted_store import after
from tests.sim.stage import NO_ANSWER, Stage, on_stage

START_MS = START_NS // 1_000_000
ANN = ActorId("Bell", "ann")


class Bell(Actor):
    async def set(self, due_s: float) -> None:
        await self.reminders.set("r", due=timedelta(seconds=due_s), data={"due": due_s})

    async def set_at(self, iso: str) -> None:
        await self.reminders.set("r", due=datetime.fromisoformat(iso))

    async def every(self, period_s: float) -> None:
        period = timedelta(seconds=period_s)
        await self.reminders.set("r", due=period, period=period)

    async def cancel(self) -> None:
        await self.reminders.cancel("r")

    async def set_and_raise(self) -> None:
        await self.set(1)
        raise ValueError("no")

    async def set_then_cancel(self) -> None:
        await self.set(1)
        await self.cancel()

    async def rings(self) -> list[float]:
        return list(self.state.get("rings", []))

    async def break_down(self, times: int) -> None:
        self.state["broken"] = times

    async def on_reminder(self, name: str, data: object) -> None:
        assert name == "r"
        global failures  # noqa: PLW0603 -- outlives the activation, as a broken disk would
        if failures > 0:
            failures -= 1
            raise ValueError("broken")
        rings = self.state.setdefault("rings", [])
        rings.append(self._host.services.clock.now_ns() / 1e9 - START_NS / 1e9)


failures = 0


async def rings_of(system: object, actor: ActorId = ANN) -> list[float]:
    return list(json.loads(await system.call(actor, "rings")))  # type: ignore[attr-defined]  # an ActorSystem


# ---- whole system --------------------------------------------------------------------------------


@pytest.mark.parametrize("due_s", [0.0, 0.001, 5.0, 299.0, 301.0, 450.0, 1_000.0])
def test_a_reminder_rings_once_and_never_early(due_s: float) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Bell) as system:
            await system.call(ANN, "set", json.dumps(due_s).encode())
            await asyncio.sleep(due_s + 1_000)
            (rang,) = await rings_of(system)
            assert due_s <= rang < due_s + 0.1
        assert (await stage.memory.recover(0, horizon_ms=2**60)).reminders == ()

    on_stage(main)


def test_a_reminder_that_was_due_while_nobody_was_up_rings_at_the_start() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Bell) as system:
            await system.call(ANN, "set", b"10")
        await asyncio.sleep(100)
        async with stage.system(Bell) as system:
            await asyncio.sleep(0.1)
            (rang,) = await rings_of(system)
            assert 100 <= rang < 100.2

    on_stage(main)


def test_a_reminder_in_the_past_rings_at_once_and_one_without_zone_is_refused() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Bell) as system:
            past = datetime.fromtimestamp(START_NS / 1e9 - 3_600, UTC).isoformat()
            await system.call(ANN, "set_at", json.dumps(past).encode())
            await asyncio.sleep(0.1)
            assert len(await rings_of(system)) == 1
            with pytest.raises(UsageError, match="time zone"):
                await system.call(ANN, "set_at", b'"2026-01-01T00:00:00"')

    on_stage(main)


def test_a_periodic_reminder_rings_on_its_beat_and_skips_what_it_missed() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Bell) as system:
            await system.call(ANN, "every", b"10")
            await asyncio.sleep(35)
            assert [round(rang) for rang in await rings_of(system)] == [10, 20, 30]
        await asyncio.sleep(100)
        async with stage.system(Bell) as system:
            await asyncio.sleep(17)
            rings = [round(rang) for rang in await rings_of(system)]
            assert rings == [10, 20, 30, 135, 140, 150]
            await system.call(ANN, "cancel")
            await asyncio.sleep(100)
            assert len(await rings_of(system)) == 6

    on_stage(main)


def test_a_turn_that_raises_sets_no_reminder() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Bell) as system:
            with pytest.raises(ActorCallError):
                await system.call(ANN, "set_and_raise")
            await system.call(ANN, "set_then_cancel")
            await asyncio.sleep(100)
            assert await rings_of(system) == []

    on_stage(main)


@pytest.mark.parametrize("change", ["cancel", "set"])
@pytest.mark.parametrize("lost_reply", [False, True])
def test_changing_a_reminder_while_its_own_commit_is_out(change: str, lost_reply: bool) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Bell) as system:
            await system.call(ANN, "rings")
            stage.store.hold("commit")
            if lost_reply:
                stage.store.script("commit", after(NO_ANSWER))
            calls = [asyncio.ensure_future(system.call(ANN, "set", b"2"))]
            await stage.settle()
            payload = b"50" if change == "set" else b""
            calls.append(asyncio.ensure_future(system.call(ANN, change, payload)))
            await stage.settle()
            stage.store.let_go("commit")
            await asyncio.gather(*calls)
            await asyncio.sleep(10)
            assert await rings_of(system) == []
            await asyncio.sleep(100)
            assert len(await rings_of(system)) == (change == "set")

    on_stage(main)


def test_changing_a_reminder_that_has_fired_and_waits_for_its_turn() -> None:
    """Its message is in the mailbox behind a turn that cancels it: it must not ring."""

    class SlowBell(Bell):
        actor_type = "Bell"

        async def cancel_slowly(self) -> None:
            await asyncio.sleep(5)
            await self.cancel()

    async def main(stage: Stage) -> None:
        async with stage.system(SlowBell) as system:
            await system.call(ANN, "set", b"1")
            await system.call(ANN, "cancel_slowly")
            await asyncio.sleep(10)
            assert await rings_of(system) == []

    on_stage(main)


def test_a_reminder_whose_turn_fails_rings_again_later() -> None:
    async def main(stage: Stage) -> None:
        global failures  # noqa: PLW0603 -- see Bell
        failures = 3
        async with stage.system(Bell) as system:
            await system.call(ANN, "set", b"1")
            await asyncio.sleep(10)
            assert len(await rings_of(system)) == 1

    on_stage(main)


def test_a_reminder_whose_turn_always_fails_does_not_shut_its_actor_off() -> None:
    async def main(stage: Stage) -> None:
        global failures  # noqa: PLW0603 -- see Bell
        failures = 1_000_000
        try:
            async with stage.system(Bell) as system:
                await system.call(ANN, "set", b"1")
                await asyncio.sleep(600)
                assert await rings_of(system) == []
                failures = 0
                await asyncio.sleep(200)
                assert len(await rings_of(system)) == 1
        finally:
            failures = 0

    on_stage(main)


def test_reminders_of_an_evicted_actor_ring() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Bell, limits=Limits(idle_ttl_s=0.0)) as system:
            await system.call(ANN, "set", b"30")
            await asyncio.sleep(20)
            assert system.gauges()["live_actors"] == 0
            await asyncio.sleep(20)
            assert len(await rings_of(system)) == 1

    on_stage(main)


def test_more_reminders_than_a_page_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from actorflow.actors import owner  # noqa: PLC0415 -- only its constant is of interest

    monkeypatch.setattr(owner, "WINDOW_PAGE", 5)

    async def main(stage: Stage) -> None:
        async with stage.system(Bell) as system:
            for number in range(60):
                due_s = 400 + (number % 3) * 20  # many in one millisecond
                await system.call(ActorId("Bell", str(number)), "set", str(due_s).encode())
            await asyncio.sleep(600)
            for number in range(60):
                assert len(await rings_of(system, ActorId("Bell", str(number)))) == 1

    on_stage(main)


@pytest.mark.parametrize("moment_s", [149.999, 150.0, 150.001])
def test_setting_and_cancelling_while_the_next_window_is_read(moment_s: float) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Bell) as system:
            bells = [ActorId("Bell", str(number)) for number in range(3)]
            for bell in bells:
                await system.call(bell, "set", b"400")
            await asyncio.sleep(moment_s - stage.loop.time())
            stage.store.hold("due")
            await asyncio.sleep(0.5)
            await system.call(bells[0], "cancel")
            await system.call(bells[1], "set", b"300")
            stage.store.let_go("due")
            await asyncio.sleep(1_000)
            rings = [[round(rang) for rang in await rings_of(system, bell)] for bell in bells]
            assert rings in ([[], [451], [400]], [[], [450], [400]])

    on_stage(main)


@pytest.mark.parametrize("skew_s", [3_600.0, -3_600.0, 30.0, -30.0])
def test_a_clock_that_jumps_makes_no_reminder_early_or_lost(skew_s: float) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Bell) as system:
            await system.call(ANN, "set", b"500")
            await asyncio.sleep(10)
            stage.clock.skew_s = skew_s
            await asyncio.sleep(500 + max(0.0, -skew_s) + 200)
            (rang,) = await rings_of(system)
            assert rang >= 500

    on_stage(main)


# ---- the index alone -----------------------------------------------------------------------------


class Index:
    """A reminder index and what it fired."""

    def __init__(self, stage: Stage, horizon_s: float = 300.0) -> None:
        self.fired: list[Armed] = []
        self.index = ReminderIndex(stage.loop, stage.clock, self.fired.append)
        self.index.widen(START_MS + int(horizon_s * 1_000))
        self.index.add((), last=True)

    def arm(self, number: int, due_ms: int, name: str = "r") -> Reminder:
        reminder = Reminder(name, START_MS + due_ms, 0, b"")
        self.index.arm(ANN, number, reminder)
        return reminder

    def due(self, number: int, due_ms: int) -> DueReminder:
        return DueReminder(ANN, number, Reminder("r", START_MS + due_ms, 0, b""))


def test_index_fires_in_order_and_only_what_is_armed() -> None:
    async def main(stage: Stage) -> None:
        index = Index(stage)
        for number, due_ms in ((1, 3_000), (2, 1_000), (3, 2_000), (4, 2_000)):
            index.arm(number, due_ms)
        index.index.disarm(4, "r")
        index.arm(2, 2_500)
        await asyncio.sleep(10)
        assert [armed.number for armed in index.fired] == [3, 2, 1]
        assert index.index.count == 3  # they stay until their turns commit
        index.index.clear()

    on_stage(main)


def test_index_forgets_all_of_a_deleted_actor_also_while_it_reads() -> None:
    async def main(stage: Stage) -> None:
        index = Index(stage)
        index.arm(1, 1_000, "a")
        index.arm(1, 2_000, "b")
        assert index.index.widen(START_MS + 900_000) == START_MS + 300_000
        index.index.disarm_all(1)
        index.index.add([index.due(1, 400_000), index.due(2, 400_000)], last=True)
        assert index.index.count == 1
        await asyncio.sleep(500)
        assert [armed.number for armed in index.fired] == [2]
        index.index.clear()

    on_stage(main)


def test_index_reads_again_from_where_a_failed_read_began() -> None:
    async def main(stage: Stage) -> None:
        index = Index(stage)
        assert index.index.widen(START_MS + 450_000) == START_MS + 300_000
        assert index.index.widen(START_MS + 460_000) == START_MS + 300_000
        index.index.add([index.due(1, 350_000)], last=False)
        assert index.index.widen(START_MS + 470_000) == START_MS + 300_000
        index.index.add([index.due(1, 350_000)], last=True)
        assert index.index.widen(START_MS + 600_000) == START_MS + 470_000
        index.index.clear()

    on_stage(main)


@pytest.mark.parametrize(
    ("due_ms", "period_ms", "now_ms", "following_ms"),
    [
        (1_000, 100, 1_000, 1_100),
        (1_000, 100, 1_099, 1_100),
        (1_000, 100, 1_100, 1_200),
        (1_000, 100, 9_999, 10_000),
        (1_000, 100, 500, 1_100),
    ],
)
def test_next_occurrence_is_on_the_beat_and_in_the_future(
    due_ms: int, period_ms: int, now_ms: int, following_ms: int
) -> None:
    reminder = Reminder("r", due_ms, period_ms, b"x")
    assert next_occurrence(reminder, now_ms) == reminder._replace(due_ms=following_ms)


def test_a_turn_that_fails_for_weeks_is_still_tried_again() -> None:
    """The pause doubles with each attempt, but not for ever: numbers have an end."""

    async def main(stage: Stage) -> None:
        global failures  # noqa: PLW0603 -- see Bell
        failures = 2_000
        async with stage.system(Bell) as system:
            await system.call(ANN, "set", b"1")
            await asyncio.sleep(2_100 * 60)
            assert len(await rings_of(system)) == 1

    on_stage(main)
