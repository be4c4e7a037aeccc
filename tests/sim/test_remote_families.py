"""Children that are not: another instance has the id that a parent has asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from actorflow.workflow.errors import InstanceExistsError, NotTerminalError
from actorflow.workflow.events import ChildFailed, Status
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import WORKFLOWS, RemoteStand

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.fakes.remote_code import Ctx
    from tests.sim.remote import Code


def ships(ctx: Ctx, kind: str) -> Code:
    """One child of another app, with the id that an SDK gives it."""
    return (yield ctx.child(kind, 1, app_id="shipping"))


def on_stand(main: Callable[[RemoteStand], Coroutine[object, object, None]]) -> None:
    """Three apps; two of them use the same instance ids."""

    async def run(loop: SimLoop) -> None:
        stand = RemoteStand(loop, 1)
        await stand.world.start_host()
        for app_id in ("orders", "returns", "shipping"):
            stand.worker(app_id=app_id, workflows={**WORKFLOWS, "ships": ships})
        await main(stand)
        await stand.close(quiet=False)

    simulate(2, run)


async def two_parents(stand: RemoteStand) -> None:
    """Have the child `17:0001` of the one, and the failure of the other."""
    await stand.start("ships", "approval", "17", app_id="orders")
    await asyncio.sleep(5)
    await stand.start("ships", "approval", "17", app_id="returns")
    late = await stand.end_of("17", app_id="returns")
    assert late.status is Status.FAILED
    engine = stand.world.engine
    history = await engine.history("17", app_id="returns")
    (failed,) = [event for event in history.events if isinstance(event, ChildFailed)]
    assert failed.failure.error_type == "WorkflowInstanceAlreadyExists"


async def child(stand: RemoteStand) -> Status | None:
    found = await stand.world.engine.get("17:0001", app_id="shipping")
    return found.status if found is not None else None


@pytest.mark.parametrize("force", [False, True])
def test_a_purge_spares_what_only_has_the_id_of_a_child(force: bool) -> None:
    async def main(stand: RemoteStand) -> None:
        await two_parents(stand)
        engine = stand.world.engine
        assert (await engine.purge("17", force=force, app_id="returns")).deleted_count == 1
        assert await child(stand) is Status.RUNNING
        with pytest.raises(NotTerminalError):
            await engine.purge("17", app_id="orders")
        for number in range(2):
            await engine.raise_event("17:0001", "approve", str(number), app_id="shipping")
        await stand.end_of("17", app_id="orders")
        assert (await engine.purge("17", force=force, app_id="orders")).deleted_count == 2
        assert await child(stand) is None

    on_stand(main)


def test_an_id_is_free_while_another_instance_has_that_of_a_child() -> None:
    async def main(stand: RemoteStand) -> None:
        await two_parents(stand)
        await stand.world.engine.start("chain", instance_id="17", input="1", app_id="returns")
        assert (await stand.end_of("17", app_id="returns")).output == "8"
        await stand.world.engine.terminate("17", recursive=False, app_id="orders")
        with pytest.raises(InstanceExistsError, match="child workflow '17:0001'"):
            await stand.world.engine.start("chain", instance_id="17", app_id="orders")

    on_stand(main)


def test_a_termination_spares_what_only_has_the_id_of_a_child() -> None:
    async def main(stand: RemoteStand) -> None:
        await two_parents(stand)
        await stand.world.engine.terminate("17", app_id="returns")
        await asyncio.sleep(5)
        assert await child(stand) is Status.RUNNING
        await stand.world.engine.terminate("17", app_id="orders")
        await stand.world.engine.wait_for_completion("17:0001", timeout_s=60, app_id="shipping")
        assert await child(stand) is Status.TERMINATED

    on_stand(main)
