"""Requests for work whose instance is gone: purged while no worker for them was connected.

A worker would find out, as its answer is for nobody. Where none ever comes, this does.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from actorflow.actors.errors import CorruptError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.actors import ActorId, ActorSystem, Delivery

_log = logging.getLogger(__name__)

SWEEP_S = 60.0
"""Pause between two looks."""

INSTANCES_MAX = 50
"""Instances that are read at a look: a large backlog is gone through in turns."""


class Orphans:
    """Ends what waits for nobody.

    Args:
        waiting: says what is given to nobody, with the instance that has asked for it.

    Concurrency: on the event loop.
    """

    def __init__(
        self, actors: ActorSystem, waiting: Callable[[], Iterable[tuple[ActorId, Delivery]]]
    ) -> None:
        self._actors = actors
        self._waiting = waiting
        self._place = 0

    def start(self) -> None:
        """Begin to look."""
        self._actors.spawn(self._keep_looking(), "orphans")

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)  # noqa: TID251 -- the rhythm of looks
            try:
                await self._look()
            except UnavailableError:
                continue  # whoever needs the store says so

    async def _look(self) -> None:
        by_instance: dict[ActorId, list[Delivery]] = {}
        for instance, delivery in self._waiting():
            by_instance.setdefault(instance, []).append(delivery)
        instances = list(by_instance)
        if self._place >= len(instances):
            self._place = 0
        some = instances[self._place : self._place + INSTANCES_MAX]
        self._place += INSTANCES_MAX
        if not some:
            return
        # INVARIANT: a request is committed with or after its instance. So one that has none now
        # will never have one: another instance of that id asks anew.
        for instance in await self._gone(some):
            extra = {"instance_id": instance.key, "requests": len(by_instance[instance])}
            _log.info("requests of an instance that is gone are dropped", extra=extra)
            for delivery in by_instance[instance]:
                delivery.complete([])

    async def _gone(self, instances: list[ActorId]) -> list[ActorId]:
        """Return those of which nothing is stored. What cannot be read is there."""
        try:
            records = await self._actors.read(instances)
        except CorruptError:
            if len(instances) == 1:
                return []
            return [gone for one in instances for gone in await self._gone([one])]
        return [one for one, record in zip(instances, records, strict=True) if record is None]
