"""A reference to one author's actor, for callers outside the actor system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.actors.values import from_json, to_json

if TYPE_CHECKING:
    from actorflow.actors.address import ActorId
    from actorflow.actors.runtime import ActorSystem


class ActorRef:
    """Calls one actor with JSON values. Get it from `ActorSystem.actor`; cheap, hold it or not."""

    __slots__ = ("_system", "id")

    def __init__(self, system: ActorSystem, actor_id: ActorId) -> None:
        self._system = system
        self.id = actor_id

    async def call(
        self,
        method: str,
        argument: object = None,
        *,
        returns: Any = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Call a method and return its answer, converted to type `returns` if given.

        Raises: as `ActorSystem.call`.
        """
        payload = to_json(argument)
        answer = await self._system.call(self.id, method, payload, timeout_s=timeout_s)
        return from_json(answer, returns)

    async def send(self, method: str, argument: object = None) -> None:
        """Send a message that takes effect exactly once; returns when it is durable."""
        await self._system.send(self.id, method, to_json(argument))
