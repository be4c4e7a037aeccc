"""The wire kit on the engines behind the HTTP edge."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from actorflow.server.app import HttpServer
from actorflow.server.config import Settings
from actorflow.workflow.events import Status
from tests.conformance.wire_kit import WireKit, World
from tests.fakes.fake_engine import FakeEngine, failure


class FakeWorld:
    """A fake engine, whose instances move at once."""

    app_id = "shop-1"

    def __init__(self, engine: FakeEngine, url: str) -> None:
        self.engine = engine
        self.url = url

    async def bring(self, instance_id: str, status: Status) -> None:
        await self.engine.start("order", instance_id=instance_id, input='{"qty":3}')
        changes: dict[str, object] = {}
        if status is Status.COMPLETED:
            changes = {"output": '"done"'}
        elif status is Status.FAILED:
            changes = {"failure": failure(error_type="ValueError")}
        if status is not Status.PENDING:
            await self.engine.move(instance_id, status, **changes)


@pytest.mark.asyncio
class TestFakeEngine(WireKit):
    """The fake: what the other tests of the edge rest on."""

    @pytest_asyncio.fixture
    async def world(self) -> AsyncIterator[World]:
        engine = FakeEngine()
        settings = Settings(http_port=0, app_id=FakeWorld.app_id, allowed_hosts=("*",))
        async with HttpServer(engine, settings) as server:
            yield FakeWorld(engine, server.urls[0])
