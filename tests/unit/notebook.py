"""An actor that shows what happens to it; many tests of the runtime use it."""

from __future__ import annotations

import asyncio
import json

from actorflow.actors import Actor, ActorId
from actorflow.actors.errors import (
    ActorCallError,
)

SEEDS = range(12)
"""Orders of tasks that tests of order run under."""


class Notebook(Actor):
    """Writes down what happens to it."""

    async def write(self, line: str) -> int:
        lines = self.state.setdefault("lines", [])
        lines.append(line)
        return len(lines)

    async def write_slowly(self, line: str) -> int:
        before = len(self.state.get("lines", []))
        await asyncio.sleep(1)
        assert len(self.state.get("lines", [])) == before, "another turn came between"
        return await self.write(line)

    async def write_and_raise(self, line: str) -> None:
        await self.write(line)
        self.send(ActorId("Notebook", "other"), "write", line)
        raise ValueError(line)

    async def lines(self) -> list[str]:
        return list(self.state.get("lines", []))

    async def tell(self, lines: list[str]) -> None:
        for line in lines:
            self.send(ActorId("Notebook", "heard"), "write", line)

    async def tell_slowly(self, line: str) -> None:
        await asyncio.sleep(0.5)
        self.send(ActorId("Notebook", "heard"), "write", line)

    async def hop(self, left: int) -> None:
        """Send a message along a chain of actors; the last one writes."""
        if left:
            self.send(ActorId("Notebook", f"hop-{left}"), "hop", left - 1)
        else:
            self.send(ActorId("Notebook", "heard"), "write", "hopped")

    async def hop_and_tell(self, left: int) -> None:
        self.send(ActorId("Notebook", "heard"), "write", f"before {left}")
        if left:
            self.send(self.id, "hop_and_tell", left - 1)

    async def ask(self, chain: list[str]) -> str:
        if not chain:
            return self.id.key
        answer = await self.call(ActorId("Notebook", chain[0]), "ask", chain[1:], timeout_s=5)
        return f"{self.id.key}>{answer}"

    async def ask_raising(self, key: str) -> str:
        await self.write("asked")
        try:
            await self.call(ActorId("Notebook", key), "write_and_raise", "no")
        except ActorCallError as error:
            return f"{error.error_type}: {error.error_message}"
        return "unreachable"

    async def cancel_myself(self) -> None:
        task = asyncio.ensure_future(asyncio.sleep(10))
        task.cancel()
        await task

    async def big(self) -> None:
        self.state["big"] = "x" * 5_000_000


def book(key: str) -> ActorId:
    return ActorId("Notebook", key)


ANN = book("ann")


async def lines_of(system: object, key: str) -> list[str]:
    return list(json.loads(await system.call(book(key), "lines")))  # type: ignore[attr-defined]  # an ActorSystem
