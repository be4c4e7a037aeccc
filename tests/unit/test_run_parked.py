"""`why` names the messages for an instance that are delivered no more, and their way back."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from actorflow.actors import ActorId
from actorflow.actors import Limits as ActorLimits
from actorflow.actors.clock import SystemIds
from actorflow.actors.ports import MessageRow
from actorflow.actors.store.sqlite import SqliteStore
from actorflow.workflow import Registry, WaitReason, WorkflowContext, WorkflowEngine
from actorflow.workflow.fsck import Fsck
from actorflow.workflow.offline import OfflineStore
from actorflow.workflow.requests import INSTANCE, RESULT

pytestmark = pytest.mark.asyncio

TWO_TRIES = ActorLimits(message_attempts=2, retry_first_s=0.001)


def app_of() -> Registry:
    app = Registry()

    @app.workflow
    async def waits(ctx: WorkflowContext) -> None:
        await ctx.wait_for_external_event("go")

    return app


def engine_on(path: Path) -> WorkflowEngine:
    return WorkflowEngine(SqliteStore(path), app_of(), actor_limits=TWO_TRIES)


async def start_and_send(path: Path, message: MessageRow) -> None:
    async with engine_on(path) as engine:
        await engine.start("waits", instance_id="a")
        await engine.start("waits", instance_id="b")
    store = SqliteStore(path)
    await store.open()
    async with OfflineStore(store, 1, SystemIds()) as owned:
        await owned.commit(0, put_messages=(message._replace(id=owned.next_message_id(0)),))
    await store.close()


def parked(reasons: Sequence[WaitReason]) -> list[str]:
    return [reason.detail for reason in reasons if reason.kind == "parked"]


async def test_one_that_was_parked_by_an_earlier_owner(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    target = ActorId(INSTANCE, "a")
    await start_and_send(path, MessageRow(0, target, "go_on", b"", None, "Bug: no luck"))
    async with engine_on(path) as engine:
        (detail,) = parked(await engine.why("a"))
        assert "'go_on'" in detail
        assert "Bug: no luck" in detail
        assert "actorflow fsck --unpark-instance a`" in detail
        assert parked(await engine.why("b")) == []
        assert "event" in [reason.kind for reason in await engine.why("a")]
        await engine.terminate("a")
        assert not await engine.why("a")


async def test_one_that_fails_here_and_is_brought_back(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    target = ActorId(INSTANCE, "a")
    await start_and_send(path, MessageRow(0, target, RESULT, b"not to be read"))
    async with engine_on(path) as engine, asyncio.timeout(120):
        while not (found := parked(await engine.why("a"))):  # noqa: ASYNC110 -- nobody is told
            await asyncio.sleep(0)
        assert "'result' failed too often and is kept, not delivered: History" in found[0]
    store = SqliteStore(path)
    await store.open()
    async with OfflineStore(store, 1, SystemIds()) as owned:
        check = Fsck(store, 1)
        await check.repair(await check.check(), owned, unpark=True)
    await store.close()
    async with engine_on(path) as engine, asyncio.timeout(120):
        while not parked(await engine.why("a")):  # noqa: ASYNC110 -- delivered, and failed again
            await asyncio.sleep(0)
