"""A stream whose reader takes nothing is given up; one that is read slowly is not."""

import asyncio
from typing import Any

import pytest

from actorflow.server.grpc import gate
from actorflow.server.grpc import messages as pb
from actorflow.server.grpc.gate import Rpc, RpcStream
from actorflow.server.grpc.status import Code, RpcError
from tests.fakes.grpc_orders import orders

pytestmark = pytest.mark.asyncio

LIMIT_S = 1.5


class ScriptedContext:
    """Writes take as long as they are told to; the last one for ever."""

    def __init__(self, *spent_s: float) -> None:
        self._spent_s = list(spent_s)
        self.written = 0
        self.is_stuck = asyncio.Event()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    async def write(self, _: bytes) -> None:
        if not self._spent_s:
            self.is_stuck.set()
            await asyncio.Event().wait()
        await asyncio.sleep(self._spent_s.pop(0))
        self.written += 1


async def _endless(_: Any, call: RpcStream) -> None:
    while True:
        await call.write(b"item")


ENDLESS = Rpc("/bench/Endless", pb.Empty, _endless, is_public=True, is_stream=True)


async def test_a_stream_that_is_not_read_ends_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "WRITE_S", LIMIT_S)
    context = ScriptedContext(*[LIMIT_S / 5] * 6)
    async with orders() as site:
        with pytest.raises(RpcError) as failure:
            await site.server.gate._run_stream(ENDLESS, b"", context)
    assert failure.value.code is Code.DEADLINE_EXCEEDED
    assert context.written == 6  # together they took longer than the limit


async def test_a_cancelled_stream_is_no_late_one() -> None:
    context = ScriptedContext(0)
    async with orders() as site:
        running = asyncio.create_task(site.server.gate._run_stream(ENDLESS, b"", context))
        await context.is_stuck.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
