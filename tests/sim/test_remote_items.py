"""What may happen to an instance while a worker has an item of it: one case each."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.workflow.actions import Complete, ScheduleTask
from actorflow.workflow.errors import InstanceStalledError
from actorflow.workflow.events import Status, TaskCompleted
from actorflow.workflow.requests import TurnDone
from actorflow.workflow.workitem import ActivityItem, TurnItem, token_text
from tests.fakes.remote_code import Replay
from tests.sim.invariants import stored_messages
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import WORKFLOWS, RemoteStand

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorflow.workflow import WorkflowEngine
    from actorflow.workflow.streams import WorkerStream

SOON_S = 30.0


class Hand:
    """A worker whose every step is the test's own."""

    def __init__(self, stand: RemoteStand, app_id: str = "default") -> None:
        self.stand = stand
        self.app_id = app_id
        self.stream: WorkerStream = self.engine.workers.connect(app_id)

    @property
    def engine(self) -> WorkflowEngine:
        return self.stand.world.engine

    def connect(self) -> None:
        """Connect again; the old stream ends."""
        self.stream.close()
        self.stream = self.engine.workers.connect(self.app_id)

    async def turn(self) -> TurnItem:
        async with asyncio.timeout(SOON_S):
            item = await self.stream.next()
        assert isinstance(item, TurnItem), item
        return item

    async def activity(self) -> ActivityItem:
        async with asyncio.timeout(SOON_S):
            item = await self.stream.next()
        assert isinstance(item, ActivityItem), item
        return item

    async def nothing(self) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON_S):
                await self.stream.next()

    async def do(self, item: TurnItem, name: str, token: str | None = None) -> bool:
        done = Replay(WORKFLOWS[name], item.instance_id).run(item.past_events, item.new_events)
        return await self.answer(item, done, token)

    async def answer(self, item: TurnItem, done: TurnDone, token: str | None = None) -> bool:
        text = token_text(item.token) if token is None else token
        return await self.engine.workers.finish_turn(self.app_id, item.instance_id, text, done)

    async def finish(self, item: ActivityItem, result: Any, token: str | None = None) -> bool:
        request = item.request
        text = token_text(item.token) if token is None else token
        return await self.engine.workers.finish_activity(
            request.instance_id,
            request.task_id,
            text,
            lambda id_: TaskCompleted(
                at_ns=0,
                task_id=request.task_id,
                result=json.dumps(result),
                task_execution_id=id_,
            ),
            app_id=self.app_id,
        )

    async def status(self, instance_id: str) -> Status:
        instance = await self.engine.get(instance_id, app_id=self.app_id)
        assert instance is not None
        return instance.status

    async def finish_chain(self, value: int, instance_id: str) -> None:
        """Do all that is left of a chain."""
        for _ in range(20):
            async with asyncio.timeout(SOON_S):
                item = await self.stream.next()
            if isinstance(item, TurnItem):
                await self.do(item, "chain")
            elif item is not None:
                await self.finish(item, json.loads(item.request.input or "") * 2)
            await asyncio.sleep(0.01)  # after restarts, a turn may be stored after its answer
            instance = await self.engine.get(instance_id, app_id=self.app_id)
            if instance is not None and instance.status.is_terminal:
                assert json.loads(instance.output or "") == value
                return
        raise AssertionError("the chain does not end")


def done(*actions: Any, **rest: Any) -> TurnDone:
    return TurnDone("", 0, 0, 0, tuple(actions), **rest)


def on_stand(
    main: Callable[[RemoteStand, Hand], Coroutine[object, object, None]], *, quiet: bool = True
) -> None:
    async def run(loop: SimLoop) -> None:
        stand = RemoteStand(loop)
        await stand.world.start_host()
        hand = Hand(stand)
        await main(stand, hand)
        hand.stream.close()
        await stand.close(quiet=quiet)

    simulate(2, run)


async def restarted(stand: RemoteStand, hand: Hand) -> None:
    await stand.world.kill_host()
    await stand.world.start_host()
    hand.connect()


# ---- answers -------------------------------------------------------------------------------------


def test_old_token_is_good_after_a_restart_once() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("chain", 1, "c")
        turn = await hand.turn()
        await restarted(stand, hand)
        assert await hand.do(turn, "chain")
        assert not await hand.do(turn, "chain")
        activity = await hand.activity()
        await restarted(stand, hand)
        assert await hand.finish(activity, 2)
        assert not await hand.finish(activity, 3)
        await hand.finish_chain(8, "c")

    on_stand(main)


def test_answer_within_grace_and_after_it() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("chain", 1, "c")
        turn = await hand.turn()
        hand.stream.close()
        hand.connect()
        await asyncio.sleep(1)
        assert await hand.do(turn, "chain")
        activity = await hand.activity()
        hand.stream.close()
        hand.connect()
        again = await hand.activity()  # the grace is over
        assert again.token == activity.token
        assert await hand.finish(activity, 2)
        assert not await hand.finish(again, 2)
        await hand.finish_chain(8, "c")

    on_stand(main)


def test_turn_given_again_shows_the_same_facts() -> None:
    """An answer without a token must fit, whichever of two workers it comes from."""

    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("approval", 1, "a")
        first = await hand.turn()
        await stand.raise_event("a", "approve", 0, "0")
        hand.stream.close()
        hand.connect()
        again = await hand.turn()
        assert again.new_events == first.new_events
        assert await hand.do(first, "approval", token="")
        assert not await hand.do(again, "approval", token="")
        following = await hand.turn()
        await hand.do(following, "approval")
        await hand.finish(await hand.activity(), 2)
        await stand.raise_event("a", "approve", 1, "1")
        while await hand.status("a") is not Status.COMPLETED:
            await hand.do(await hand.turn(), "approval")

    on_stand(main)


@pytest.mark.parametrize(
    "token", ["nonsense", "[]", '["t",1]', '["a",1,"workflow","x",1,"",false]']
)
def test_answers_with_tokens_that_nobody_has_made(token: str) -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("chain", 1, "c")
        turn = await hand.turn()
        assert not await hand.do(turn, "chain", token=token)
        assert await hand.do(turn, "chain")
        activity = await hand.activity()
        assert not await hand.finish(activity, 2, token=token)
        await hand.finish(activity, 2)
        await hand.finish_chain(8, "c")

    on_stand(main)


def test_token_of_another_instance_ends_nothing() -> None:
    """A token names target and row: a row that is somebody else's by now is not touched."""

    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("chain", 1, "c")
        await stand.start("chain", 2, "d")
        turns = [await hand.turn(), await hand.turn()]
        mixed = token_text(turns[0].token)
        assert not await hand.engine.workers.finish_turn("default", "d", mixed, done())
        assert await hand.do(turns[0], "chain")
        assert await hand.do(turns[1], "chain")
        for _ in range(2):
            await hand.finish(await hand.activity(), 1)
        for name in ("c", "d"):
            await stand.world.engine.terminate(name)
        hand.connect()
        await asyncio.sleep(5)

    on_stand(main)


# ---- ends while an item is out -------------------------------------------------------------------


def test_terminated_while_a_worker_has_the_turn() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("chain", 1, "c")
        turn = await hand.turn()
        await stand.world.engine.terminate("c", '"enough"')
        assert await hand.status("c") is Status.TERMINATED
        await hand.do(turn, "chain")
        assert await hand.status("c") is Status.TERMINATED
        await hand.nothing()

    on_stand(main)


def test_purged_while_a_worker_has_the_activity() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("chain", 1, "c")
        await hand.do(await hand.turn(), "chain")
        activity = await hand.activity()
        await stand.world.engine.purge("c", force=True)
        await hand.finish(activity, 2)
        assert await stand.world.engine.get("c") is None
        await asyncio.sleep(1)
        assert stored_messages(stand.memory) == []

    on_stand(main)


@pytest.mark.parametrize("token", [None, ""], ids=["tokens", "no tokens"])
def test_id_used_again_while_a_worker_has_the_turn_of_the_run_before(token: str | None) -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("chain", 9, "warm-up")
        await hand.do(await hand.turn(), "chain", token)
        await hand.finish(await hand.activity(), 1, token)
        await stand.world.engine.terminate("warm-up")
        await asyncio.sleep(1)
        await hand.do(await hand.turn(), "chain", token)
        await stand.start("chain", 1, "c")
        old = await hand.turn()
        await stand.world.engine.terminate("c")
        await stand.world.engine.start("chain", instance_id="c", input="5")
        await asyncio.sleep(1)
        failed = Complete(id=1, status=Status.FAILED)
        await hand.answer(old, done(failed), token)
        assert await hand.status("c") is Status.PENDING
        new = await hand.turn()
        assert new.execution_id != old.execution_id
        await hand.do(new, "chain", token)
        assert await hand.status("c") is Status.RUNNING
        await hand.finish_chain(40, "c")

    on_stand(main)


@pytest.mark.parametrize("token", [None, ""], ids=["tokens", "no tokens"])
def test_late_result_of_the_execution_before(token: str | None) -> None:
    """Continue-as-new uses the same task ids again: S12."""

    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("x", 1, "c")
        call = ScheduleTask(id=1, name="double", input="1", task_execution_id="e")
        await hand.answer(await hand.turn(), done(call), token)
        old = await hand.activity()
        await stand.raise_event("c", "go", 0, "0")
        again = Complete(id=2, status=Status.CONTINUED_AS_NEW, result="2")
        await hand.answer(await hand.turn(), done(again), token)
        await hand.answer(await hand.turn(), done(call), token)
        if token is None:
            new = await hand.activity()
            await hand.finish(old, "old", token)
        else:  # one at a time, since nobody could tell the answers apart
            await hand.finish(old, "old", token)
            new = await hand.activity()
        assert new.request.execution_id != old.request.execution_id
        await hand.finish(new, "new", token)
        turn = await hand.turn()
        results = [event.result for event in turn.new_events if isinstance(event, TaskCompleted)]
        assert results == ['"new"']
        await hand.answer(turn, done(Complete(id=2, status=Status.COMPLETED)), token)

    on_stand(main)


def test_facts_that_come_while_a_worker_has_the_turn_are_in_the_next() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("approval", 1, "a")
        turn = await hand.turn()
        for number in range(2):
            await stand.raise_event("a", "approve", number, str(number))
        await hand.do(turn, "approval")
        following = await hand.turn()
        assert len(following.new_events) == 3
        assert following.new_events[0].at_ns >= max(e.at_ns for e in following.past_events)
        await hand.do(following, "approval")
        await hand.finish(await hand.activity(), 2)
        await hand.do(await hand.turn(), "approval")
        assert await hand.status("a") is Status.COMPLETED

    on_stand(main)


# ---- stalls --------------------------------------------------------------------------------------


def test_oversized_turn_stalls_its_instance_alone() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("chain", 1, "big")
        big = await hand.turn()
        await stand.start("chain", 1, "c")
        hand.stream.refuse(big, "5 MiB, the limit is 4 MiB")
        await hand.finish_chain(8, "c")
        instance = await hand.engine.get("big")
        assert instance is not None
        assert instance.status is Status.STALLED
        assert "PAYLOAD_SIZE_EXCEEDED" in instance.stalled_reason
        with pytest.raises(InstanceStalledError):
            await hand.engine.raise_event("big", "x")
        await hand.nothing()
        hand.connect()
        hand.stream.refuse(await hand.turn(), "5 MiB, the limit is 4 MiB")
        await asyncio.sleep(1)
        stalls = [type(e).__name__ for e in (await hand.engine.history("big")).events]
        assert stalls == ["ExecutionStalled"]
        hand.connect()
        await hand.finish_chain(8, "big")

    on_stand(main)


def test_oversized_activity_stalls_its_instance() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("chain", 1, "big")
        await hand.do(await hand.turn(), "chain")
        hand.stream.refuse(await hand.activity(), "5 MiB, the limit is 4 MiB")
        await asyncio.sleep(1)
        assert await hand.status("big") is Status.STALLED
        await restarted(stand, hand)
        await hand.finish_chain(8, "big")

    on_stand(main)


def test_version_not_available_waits_for_a_new_worker() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        stalled = done(stalled=("VERSION_NOT_AVAILABLE", "no version 'v1'"))
        await stand.start("chain", 1, "c")
        await hand.answer(await hand.turn(), stalled)
        assert await hand.status("c") is Status.STALLED
        await hand.nothing()
        (reason,) = [r for r in await hand.engine.why("c") if r.kind == "stalled"]
        assert "no version 'v1'" in reason.detail
        hand.connect()
        await hand.answer(await hand.turn(), stalled)
        await restarted(stand, hand)
        await hand.finish_chain(8, "c")

    on_stand(main)


def test_patches_that_do_not_fit() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        await stand.start("approval", 1, "a")
        timer = Replay(WORKFLOWS["approval"], "a").run
        turn = await hand.turn()
        await hand.answer(turn, done(*timer((), turn.new_events).actions, patches=("p", "q")))
        await stand.raise_event("a", "approve", 0, "0")
        await hand.answer(await hand.turn(), done(patches=("p",)))
        assert await hand.status("a") is Status.STALLED
        hand.connect()
        await hand.answer(await hand.turn(), done(patches=("q", "p")))
        assert await hand.status("a") is Status.STALLED
        hand.connect()
        ended = Complete(id=2, status=Status.COMPLETED)
        await hand.answer(await hand.turn(), done(ended, patches=("p", "q", "r")))
        assert await hand.status("a") is Status.COMPLETED

    on_stand(main)


# ---- apps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, ""], ids=["tokens", "no tokens"])
def test_two_apps_use_the_same_id(token: str | None) -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        other = Hand(stand, "orders")
        await stand.start("chain", 1, "c")
        await stand.start("chain", 5, "c", app_id="orders")
        turns = [await hand.turn(), await other.turn()]
        await hand.do(turns[0], "chain", token)
        await other.do(turns[1], "chain", token)
        activities = [await hand.activity(), await other.activity()]
        await hand.finish(activities[0], 2, token)
        await other.finish(activities[1], 10, token)
        await hand.finish_chain(8, "c")
        await other.finish_chain(40, "c")
        other.stream.close()

    on_stand(main)


def test_worker_of_one_app_cannot_end_a_turn_of_another() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        other = Hand(stand, "orders")
        await stand.start("chain", 1, "c")
        turn = await hand.turn()
        assert not await other.do(turn, "chain")
        await hand.do(turn, "chain")
        await hand.finish_chain(8, "c")
        other.stream.close()

    on_stand(main)


# ---- flow ----------------------------------------------------------------------------------------


def test_a_worker_gets_no_more_than_it_takes() -> None:
    async def main(stand: RemoteStand, hand: Hand) -> None:
        hand.stream.close()
        stream = stand.world.engine.workers.connect("default", items_max=3)
        for number in range(5):
            await stand.start("chain", 1, f"c-{number}")
        await asyncio.sleep(1)
        assert len(stream.given) == 3
        assert stand.world.engine.workers.waiting_count == 2
        for number in range(5):
            await stand.world.engine.terminate(f"c-{number}")
        stream.close()
        hand.connect()
        await asyncio.sleep(5)

    on_stand(main)
