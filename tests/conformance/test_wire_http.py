"""The wire kit on the engines behind the HTTP edge: the fake one and the real one."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.wire_kit import WireKit, World
from tests.conformance.wire_worlds import EngineWorld, FakeWorld


@pytest.mark.asyncio
class TestFakeEngine(WireKit):
    """The fake: what the other tests of the edge rest on."""

    @pytest_asyncio.fixture
    async def world(self) -> AsyncIterator[World]:
        world = FakeWorld()
        await world.open()
        yield world
        await world.close()


@pytest.mark.asyncio
class TestRealEngine(WireKit):
    """The engine itself."""

    @pytest_asyncio.fixture
    async def world(self) -> AsyncIterator[World]:
        world = EngineWorld()
        await world.open()
        yield world
        await world.close()
