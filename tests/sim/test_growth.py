"""S16: histories that grow to their limit, and fan-outs of a thousand."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import Limits as ActorLimits
from actorflow.actors.errors import LimitExceededError
from actorflow.workflow import ActivityContext, Registry, WorkflowContext
from actorflow.workflow.errors import InstanceStalledError
from actorflow.workflow.events import Status
from actorflow.workflow.limits import Limits
from tests.sim.cluster import ClusterScene
from tests.sim.faulty_store import Faults
from tests.sim.invariants import check_quiet, stored_instances
from tests.sim.loop import SimLoop, simulate
from tests.sim.stand import Stand

if TYPE_CHECKING:
    from actorflow.actors.ports import Commit, CommitResult

FAN = 1_000
SIPS = 50
TURNS = 64
BYTES = 256 * 1024
"""What one commit holds on Redis; see docs/adr/0007."""

SLOW = Faults(delay=1.0, delay_max_s=0.2)
"""So that much is waiting when a commit begins."""

RESULT_CHARS = 4_000


def growing_app() -> Registry:
    app = Registry()

    @app.activity
    async def work(_: ActivityContext, number: int) -> str:
        await asyncio.sleep(0.01)
        return f"{number:0{RESULT_CHARS}}"

    @app.workflow
    async def fan(ctx: WorkflowContext, width: int) -> int:
        results = await ctx.when_all([ctx.call_activity(work, input=n) for n in range(width)])
        return sum(map(int, results))

    @app.workflow
    async def sips(ctx: WorkflowContext, wanted: int) -> int:
        taken = 0
        while taken < wanted:
            await ctx.wait_for_external_event("sip")
            taken += 1
        return taken

    return app


class Sizes:
    """Sees every commit on its way to a store."""

    def __init__(self, scene: ClusterScene) -> None:
        self._commit = scene.store.commit
        scene.store.commit = self._watch  # type: ignore[method-assign]  # a spy
        self.most_bytes = 0
        self.commits = 0

    async def _watch(self, commit: Commit) -> CommitResult:
        payloads = [row.payload for row in commit.put_messages]
        payloads += [entry.payload for entry in commit.put_outbox]
        payloads += [entry for write in commit.actors for entry in write.log_append]
        self.most_bytes = max(self.most_bytes, sum(map(len, payloads)))
        self.commits += 1
        return await self._commit(commit)


async def sip_until_refused(stand: Stand) -> int:
    """Raise events until one is refused; return how many were accepted."""
    for number in range(SIPS):
        try:
            await stand.raise_event("s", "sip", None, f"sip-{number}")
        except (InstanceStalledError, LimitExceededError):
            return number
    return SIPS


async def assert_at_its_limit(stand: Stand, instance_id: str) -> None:
    """It is shown as stalled, with the reason."""
    found = await stand.world.engine.get(instance_id)
    assert found is not None
    assert found.status is Status.STALLED, found
    assert "more than 40 events" in found.stalled_reason
    reasons = await stand.world.engine.why(instance_id)
    assert any("more than 40 events" in reason.detail for reason in reasons), reasons


def test_s16_a_fan_out_of_a_thousand_keeps_commits_small() -> None:
    """On three hosts, eight partitions: all results come, each once, and no commit exceeds its
    caps."""

    async def main(loop: SimLoop) -> None:
        scene = ClusterScene(loop, 1, faults=SLOW, check_each=500)
        sizes = Sizes(scene)
        world = scene.world
        world.registry = growing_app()
        world.actor_limits = ActorLimits(batch_turns=TURNS, batch_bytes=BYTES)
        await scene.start(3)
        await world.ask(lambda e: e.start("fan", instance_id="fan", input=str(FAN)))
        ended = await world.ask(lambda e: e.wait_for_completion("fan", timeout_s=600))
        assert json.loads(ended.output or "") == FAN * (FAN - 1) // 2
        # One turn that is too large alone, the one that asks for all, may exceed the cap.
        assert sizes.most_bytes < 2 * BYTES
        assert sizes.commits >= FAN * RESULT_CHARS / BYTES
        await scene.heal()
        check_quiet(scene.inner)

    simulate(1, main)


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_s16_a_history_at_its_limit_stalls_and_goes_on_when_it_is_raised(restart: bool) -> None:
    """Events that were accepted are kept; more are refused with the limit's name; nothing spins."""

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, growing_app())
        stand.world.limits = Limits(history_events_warn=20, history_events_max=40)
        await stand.world.start_host()
        await stand.start("sips", SIPS, instance_id="s")
        assert await sip_until_refused(stand) < SIPS
        if restart:
            await stand.restart()  # it is tried once more
            assert await sip_until_refused(stand) < SIPS
        stalled = await stand.world.engine.get("s")
        assert stalled is not None
        assert stalled.status is Status.STALLED
        reasons = await stand.world.engine.why("s")
        assert any("more than 40 events" in reason.detail for reason in reasons), reasons
        commits = len(stand.store.audit.applied)
        await asyncio.sleep(3_600)
        assert len(stand.store.audit.applied) == commits
        ((stored),) = stored_instances(stand.memory)
        assert len(stored.history) <= 50
        await stand.restart()
        await assert_at_its_limit(stand, "s")
        stand.world.limits = Limits()
        await stand.restart()
        assert await sip_until_refused(stand) == SIPS
        ended = await stand.end_of("s")
        assert json.loads(ended.output or "") == SIPS
        await stand.close()
        check_quiet(stand.memory)

    simulate(1, main)


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_s16_a_history_that_grows_by_itself_stalls_visibly_in_the_turn_that_is_too_many(
    restart: bool,
) -> None:
    """Nothing comes any more that could tell that it is stalled: the last turn must."""

    async def main(loop: SimLoop) -> None:
        app = growing_app()

        @app.workflow
        async def asks(ctx: WorkflowContext, _: None) -> str:
            await ctx.create_timer(1)
            for number in range(45):
                ctx.call_activity("work", input=number)
            return str(await ctx.wait_for_external_event("never"))

        stand = Stand(loop, app)
        stand.world.limits = Limits(history_events_warn=20, history_events_max=40)
        await stand.world.start_host()
        await stand.start("asks", None, instance_id="a")
        await asyncio.sleep(0.9)
        before = await stand.world.engine.get("a")
        assert before is not None
        assert before.status is Status.RUNNING
        await asyncio.sleep(0.105)  # the timer has fired, no activity has ended
        await assert_at_its_limit(stand, "a")
        if restart:
            await stand.restart()
            await assert_at_its_limit(stand, "a")
        await asyncio.sleep(60)
        await assert_at_its_limit(stand, "a")
        stand.world.limits = Limits()
        await stand.restart()
        await asyncio.sleep(1)
        after = await stand.world.engine.get("a")
        assert after is not None
        assert (after.status, after.stalled_reason) == (Status.RUNNING, "")
        await stand.raise_event("a", "never", "x", "once")
        assert (await stand.end_of("a")).output == '"x"'
        await stand.close()
        check_quiet(stand.memory)

    simulate(1, main)
