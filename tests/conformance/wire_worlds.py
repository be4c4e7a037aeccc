"""Engines behind HTTP whose instances can be led into any status: a fake one and the real one."""

import asyncio
import time
from typing import Any

from actorflow.actors.store.memory import MemoryStore
from actorflow.server.app import HttpServer
from actorflow.server.config import Settings
from actorflow.workflow.context import ActivityContext, WorkflowContext
from actorflow.workflow.engine import WorkflowEngine
from actorflow.workflow.events import Status
from actorflow.workflow.registry import Registry
from tests.fakes.fake_engine import FakeEngine, failure

APP_ID = "shop-1"
SETTINGS = Settings(http_port=0, app_id=APP_ID, allowed_hosts=("*",))
YEAR_NS = 365 * 86_400 * 1_000_000_000


class FakeWorld:
    """A fake engine, whose instances move at once."""

    app_id = APP_ID

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.engine.app_id = APP_ID
        self._server = HttpServer(self.engine, SETTINGS)

    @property
    def url(self) -> str:
        return self._server.urls[0]

    async def open(self) -> None:
        await self._server.start_up()

    async def close(self) -> None:
        await self._server.shut_down(drain_s=1)

    async def bring(self, instance_id: str, status: Status) -> None:
        await self.engine.start("order", instance_id=instance_id, input='{"qty":3}')
        changes: dict[str, object] = {}
        if status is Status.COMPLETED:
            changes = {"output": '"done"'}
        elif status is Status.FAILED:
            changes = {"failure": failure(error_type="ValueError")}
        if status is not Status.PENDING:
            await self.engine.move(instance_id, status, **changes)


class EngineWorld:
    """The real engine on a store in memory."""

    app_id = APP_ID

    def __init__(self) -> None:
        self._store = MemoryStore()
        self.engine = WorkflowEngine(self._store, _registry(), app_id=APP_ID)
        self._server = HttpServer(self.engine, SETTINGS)

    @property
    def url(self) -> str:
        return self._server.urls[0]

    async def open(self) -> None:
        await self.engine.start_up()
        await self._server.start_up()

    async def close(self) -> None:
        await self._server.shut_down(drain_s=1)
        await self.engine.shut_down(drain_s=1)

    async def bring(self, instance_id: str, status: Status) -> None:
        later_ns = time.time_ns() + YEAR_NS if status is Status.PENDING else None
        await self.engine.start(
            "order", instance_id=instance_id, input='{"qty":3}', scheduled_start_ns=later_ns
        )
        if status is Status.PENDING:
            return
        await self.engine.wait_for_start(instance_id, timeout_s=120)
        match status:
            case Status.COMPLETED | Status.FAILED:
                await self.engine.raise_event(instance_id, "finish", f'"{status.value}"')
            case Status.TERMINATED:
                await self.engine.terminate(instance_id)
            case Status.SUSPENDED:
                await self.engine.suspend(instance_id)
            case Status.STALLED:
                await self._restart(_changed_registry())
                await self.engine.suspend(instance_id)  # any turn finds that the code differs
        await self._reach(instance_id, status)

    async def _reach(self, instance_id: str, status: Status) -> None:
        async with asyncio.timeout(120):
            while True:
                instance = await self.engine.get(instance_id)
                if instance is not None and instance.status is status:
                    return
                await asyncio.sleep(0.001)

    async def _restart(self, registry: Registry) -> None:
        await self.close()
        self.engine = WorkflowEngine(self._store, registry, app_id=APP_ID)
        self._server = HttpServer(self.engine, SETTINGS)
        await self.open()


def _registry() -> Registry:
    app = Registry()

    @app.activity
    async def check(ctx: ActivityContext, value: Any = None) -> None:
        """Do nothing."""

    @app.workflow
    async def order(ctx: WorkflowContext, value: Any = None) -> str:
        await ctx.call_activity(check)
        if await ctx.wait_for_external_event("finish") == "FAILED":
            raise ValueError("no stock")
        return "done"

    return app


def _changed_registry() -> Registry:
    """Return code that does not fit the histories of `_registry`."""
    app = Registry()

    @app.workflow
    async def order(ctx: WorkflowContext, value: Any = None) -> None:
        await ctx.sleep(9)

    return app
