"""Which apps a store has: those whose instances have an actor type of their own.

A store finds actors by their type. So that tools can find all instances, each such app has one
small actor, made before its first instance is started or its first worker gets work.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from actorflow.actors import ActorId, ActorType
from actorflow.actors.errors import ActorflowError
from actorflow.actors.outage import level_of
from actorflow.actors.ports import Query, Summary
from actorflow.workflow.requests import DEFAULT_APP, INSTANCE, instance_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.actors import ActorRecord, ActorServices, ActorSystem, Effects, Message
    from actorflow.actors.ports import Store

_log = logging.getLogger(__name__)

APP = "workflow.app"
"""Actor type; the key is the id of an app."""

NOTE = "note"

NOTED = Summary("", "", 0, 0, b"")
"""Summary of such an actor: it has nothing to say but its key."""

RETRY_S = 1.0
"""Pause before an app is noted again that could not be."""

PAGE = 500


class AppActor:
    """Implements `actors.TurnActor`: there once it has got a message."""

    __slots__ = ("_is_noted",)

    def __init__(self, _: ActorId, record: ActorRecord | None, __: ActorServices) -> None:
        self._is_noted = record is not None

    @property
    def weight_bytes(self) -> int:
        """See `actors.TurnActor`."""
        return 0

    def close(self) -> None:
        """See `actors.TurnActor`."""

    def receive(self, effects: Effects, _: Message) -> bytes:
        """See `actors.TurnActor`."""
        if not self._is_noted:
            self._is_noted = True
            effects.set_summary(NOTED)
        effects.retire_actor()
        return b""


APP_TYPE = ActorType(APP, AppActor)


class Apps:
    """What this host knows to be noted.

    Concurrency: on the event loop.
    """

    def __init__(self, actors: ActorSystem) -> None:
        self._actors = actors
        self._noted = {DEFAULT_APP}

    async def note(self, app_id: str) -> None:
        """See to it that the app is on record. Raises as `ActorSystem.call`."""
        if app_id not in self._noted:
            await self._actors.call(ActorId(APP, app_id), NOTE, repeatable=True)
            self._noted.add(app_id)

    def note_soon(self, app_id: str) -> None:
        """The same, not waiting for it."""
        if app_id not in self._noted:
            self._actors.spawn(self._keep_noting(app_id), f"note-app-{app_id}")

    async def _keep_noting(self, app_id: str) -> None:
        while True:
            try:
                await self.note(app_id)
            except ActorflowError as error:
                extra = {"app_id": app_id, "cause": str(error)}
                _log.log(level_of(error), "app not noted yet", extra=extra)
                await asyncio.sleep(RETRY_S)  # noqa: TID251 -- back-off
            else:
                return


async def instance_types(store: Store, seen: Iterable[str] = ()) -> list[str]:
    """Return the actor types of all instances of a store, that of the default app first.

    Args:
        seen: types of targets of messages that wait: their apps may not be on record yet.

    Raises StoreUnavailableError.
    """
    found = {name for name in seen if name.partition("@")[0] == INSTANCE}
    after = ""
    while True:
        page = await store.find(Query(APP, PAGE, after=after))
        found.update(instance_type(record.actor.key) for record in page)
        if len(page) < PAGE:
            return [INSTANCE, *sorted(found - {INSTANCE})]
        after = page[-1].actor.key
