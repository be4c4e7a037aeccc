"""Virtual actors without workflows: counters that remember, and an audit that hears of each change.

    python examples/counter_actor.py

Run it again and again: the counters go on where they were, whatever happened to the process.
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from actorflow.actors import Actor, ActorId, ActorSystem
from actorflow.actors.store.sqlite import SqliteStore

AUDIT = ActorId("Audit", "main")


class Counter(Actor):
    """One counter for each key."""

    async def add(self, by: int) -> int:
        """Add, tell the audit, and answer the new value: all of it durable, or none."""
        value: int = self.state.get("value", 0) + by
        self.state["value"] = value
        self.send(AUDIT, "record", {"counter": self.id.key, "by": by})
        await self.reminders.set("forget", due=timedelta(days=7))
        return value

    async def on_reminder(self, name: str, data: Any) -> None:
        """Nobody counted for a week: start from zero."""
        del self.state["value"]


class Audit(Actor):
    """Hears of every change exactly once, in the order of each counter."""

    async def record(self, change: dict[str, Any]) -> None:
        """Take note of one change."""
        self.state["changes"] = self.state.get("changes", 0) + 1

    async def changes(self) -> int:
        """Answer how many there were."""
        count: int = self.state.get("changes", 0)
        return count


async def main() -> None:
    """Count a little."""
    async with ActorSystem(SqliteStore(Path(".state/counters.db")), [Counter, Audit]) as system:
        for name in ("apples", "pears", "apples"):
            value = await system.actor(Counter, name).call("add", 2)
            print(f"{name}: {value}")
        changes = await system.actor(Audit, AUDIT.key).call("changes")
        print(f"changes so far: {changes}")


if __name__ == "__main__":
    asyncio.run(main())
