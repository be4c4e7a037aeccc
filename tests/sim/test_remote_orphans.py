"""I13: a purge leaves no key, also when no worker ever comes back for what was asked of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from actorflow.actors.errors import CorruptError
from actorflow.workflow import Registry, WorkflowContext
from actorflow.workflow.errors import InstanceNotFoundError
from actorflow.workflow.orphans import INSTANCES_MAX, SWEEP_S
from tests.sim.invariants import stored_messages
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import RemoteStand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors import ActorId, ActorRecord


@pytest.mark.parametrize("hosts", [1, 3])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["steady", "restarted"])
def test_requests_of_purged_instances_are_dropped_and_those_of_others_wait(
    hosts: int, is_restarted: bool
) -> None:
    """A turn, an activity, and a fan-out that is spread over all partitions."""

    async def main(loop: SimLoop) -> None:
        stand = RemoteStand(loop, 1, partition_count=8 if hosts > 1 else 0)
        for _ in range(hosts):
            await stand.world.start_host()
        worker = stand.worker(activities={"double": lambda _: asyncio.sleep(3_600)})
        for kind, given in (("chain", 3), ("fan", 40)):
            for number in range(2):
                await stand.start(kind, given, f"{kind}-{number}")
        await asyncio.sleep(10)
        await stand.kill_worker(worker)
        for number in range(2):
            await stand.start("chain", 1, f"new-{number}")
        await asyncio.sleep(10)
        assert len(stored_messages(stand.memory)) == 2 * (1 + 40 + 1)
        if is_restarted:
            await stand.world.kill_host()
            await stand.world.start_host()
        for kind in ("chain", "fan", "new"):
            await stand.world.engine.purge(f"{kind}-0", force=True)
        await asyncio.sleep(10 * SWEEP_S)
        assert len(stored_messages(stand.memory)) == 1 + 40 + 1
        stand.worker()
        outputs = [(await stand.end_of(name)).output for name in ("chain-1", "fan-1", "new-1")]
        assert outputs == ["24", "1560", "8"]
        await stand.close()

    simulate(2, main)


@pytest.mark.parametrize("partition_count", [0, 8])
def test_requests_for_code_that_is_gone_are_dropped_too(
    partition_count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of all partitions, of which each counts its messages from 1; and it is said once."""
    caplog.set_level(logging.INFO, "actorflow.workflow.orphans")
    app = Registry()

    @app.workflow
    async def local(ctx: WorkflowContext) -> None:
        await ctx.wait_for_external_event("go")

    async def main(loop: SimLoop) -> None:
        stand = RemoteStand(loop, 1, partition_count=partition_count)
        stand.world.registry = app
        await stand.world.start_host()
        purged = [f"purged-{number}" for number in range(20)]
        for name in ("kept", *purged):
            await stand.world.engine.start("local", instance_id=name)
        stand.world.registry = Registry()
        await stand.world.kill_host()
        await stand.world.start_host()
        for name in ("kept", *purged):
            await stand.raise_event(name, "go", 0, "0")
        await asyncio.sleep(10)
        assert stand.world.engine.stats().instances_without_worker == 21
        for name in purged:
            await stand.world.engine.purge(name, force=True)
        await asyncio.sleep(5 * SWEEP_S)
        assert [row.target.key for row in stored_messages(stand.memory)] == ["kept"]
        assert stand.world.engine.stats().instances_without_worker == 1
        assert len([r for r in caplog.records if "is gone" in r.getMessage()]) == 20
        stand.world.registry = app
        await stand.world.kill_host()
        await stand.world.start_host()
        await stand.end_of("kept")
        await stand.close()

    simulate(2, main)


def test_an_instance_that_cannot_be_read_does_not_end_the_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is there, and so are its requests; those of others are dropped all the same."""

    async def main(loop: SimLoop) -> None:
        stand = RemoteStand(loop, 1)
        await stand.world.start_host()
        for name in ("damaged", "kept", "first", "second"):
            await stand.start("chain", 3, name)
        load = stand.memory.load

        async def load_damaged(
            partition: int, actors: Sequence[ActorId], *, with_log: bool
        ) -> list[ActorRecord | None]:
            if any(actor.key == "damaged" for actor in actors):
                raise CorruptError("the log of damaged cannot be read")
            return await load(partition, actors, with_log=with_log)

        monkeypatch.setattr(stand.memory, "load", load_damaged)
        for name in ("first", "second"):
            await stand.world.engine.purge(name, force=True)
            await asyncio.sleep(2 * SWEEP_S)
        left = [row.target.key for row in stored_messages(stand.memory)]
        assert left == ["damaged", "kept"]
        monkeypatch.undo()
        await stand.close(quiet=False)

    simulate(2, main)


def test_a_backlog_is_gone_through_in_turns() -> None:
    async def main(loop: SimLoop) -> None:
        stand = RemoteStand(loop, 1)
        await stand.world.start_host()
        names = [f"c-{number}" for number in range(3 * INSTANCES_MAX)]
        for name in names:
            await stand.start("chain", 1, name)
        for name in names[1::2]:
            await stand.world.engine.purge(name, force=True)
        await asyncio.sleep(12 * SWEEP_S)
        assert [row.target.key for row in stored_messages(stand.memory)] == names[::2]
        for name in names[1::2]:
            with pytest.raises(InstanceNotFoundError):
                await stand.world.engine.why(name)
        stand.worker()
        await stand.end_of(names[-2])
        await stand.close(quiet=False)

    simulate(2, main)
