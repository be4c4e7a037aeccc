"""Reading instances, and waiting for what becomes of them: the part of the engine's API that
changes nothing."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from actorflow.actors.errors import CorruptError
from actorflow.workflow.errors import (
    InstanceExistsError,
    InstanceNotFoundError,
    InvalidRequestError,
)
from actorflow.workflow.events import Status
from actorflow.workflow.family import Family, family_of
from actorflow.workflow.instance import InstanceActor
from actorflow.workflow.model import History, Instance, InstanceFilter, InstancePage, WaitReason
from actorflow.workflow.naming import instance_actor, known_actor
from actorflow.workflow.records import (
    history_of,
    instance_of,
    listed_of,
    live_instance,
    query_of,
)
from actorflow.workflow.requests import WHY, instance_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors import ActorId, ActorRecord, ActorSystem
    from actorflow.actors.ports import Summary

REREAD_S = 5.0
"""A waiting client reads the store again this often, so that a lost notice cannot hang it."""

PAGE_MAX = 1_000
"""Most instances in one page of `list`."""

_decode_reasons = msgspec.json.Decoder(tuple[WaitReason, ...]).decode


class InstanceReader:
    """What a client can learn of instances. `app_id` is the app of those that are asked for without
    one; see `WorkflowEngine` for errors and concurrency."""

    app_id: str
    actors: ActorSystem

    # ---- reading -------------------------------------------------------------------------------

    async def get(self, instance_id: str, *, app_id: str = "") -> Instance | None:
        """Return the instance as last committed, None when there is none."""
        record = await self._record(instance_id, app_id)
        return instance_of(record) if record is not None else None

    async def history(self, instance_id: str, *, app_id: str = "") -> History:
        """Return the committed history of the present execution. Raises InstanceNotFoundError."""
        record = await self._record(instance_id, app_id, with_log=True)
        if record is None:
            raise InstanceNotFoundError(instance_id)
        return History(
            instance_id=instance_id,
            execution_id=instance_of(record).execution_id,
            events=tuple(history_of(record)),
        )

    async def list(
        self,
        filter: InstanceFilter | None = None,
        *,
        limit: int = 100,
        after: str = "",
        app_id: str = "",
    ) -> InstancePage:
        """Return instances in order of id, without input, output and failure.

        Args:
            limit: 1 to 1,000.
            after: the `next_after` of the page before.
        """
        if not 1 <= limit <= PAGE_MAX:
            raise InvalidRequestError(f"limit is 1 to {PAGE_MAX:,}, found {limit:,}")
        # One more than asked for, to see whether there is more.
        query = query_of(
            filter or InstanceFilter(),
            limit=min(limit + 1, PAGE_MAX),
            after=after,
            actor_type=instance_type(app_id or self.app_id),
        )
        records = await self.actors.find(query)
        page = records[:limit]
        return InstancePage(
            instances=tuple(listed_of(record) for record in page),
            # A page of the largest size cannot see further: the one after it may be empty.
            next_after=page[-1].actor.key if len(records) > min(limit, PAGE_MAX - 1) else None,
        )

    async def why(self, instance_id: str, *, app_id: str = "") -> Sequence[WaitReason]:
        """Return what an open instance waits for; empty when it has ended. One whose data cannot be
        read waits for its repair.

        Raises:
            InstanceNotFoundError: no such instance.
        """
        try:
            return _decode_reasons(await self._call(instance_id, WHY, app_id=app_id) or b"[]")
        except CorruptError as error:
            return [WaitReason(kind="parked", detail=str(error))]

    async def _record(
        self, instance_id: str, app_id: str = "", *, with_log: bool = False
    ) -> ActorRecord | None:
        try:
            actor = instance_actor(instance_id, app_id or self.app_id)
        except InvalidRequestError:
            return None  # no instance can have such an id
        return (await self.actors.read([actor], with_log=with_log))[0]

    # ---- waiting -------------------------------------------------------------------------------

    async def wait_for_start(
        self,
        instance_id: str,
        *,
        timeout_s: float | None,
        may_appear: bool = False,
        app_id: str = "",
    ) -> Instance:
        """Wait until the instance is no longer PENDING.

        Args:
            may_appear: wait also while there is no such instance.

        Raises:
            TimeoutError: not in time. InstanceNotFoundError: no such instance, or purged meanwhile,
                unless it may appear; or none can have such an id.
        """
        actor = known_actor(instance_id, app_id or self.app_id)
        return await self._wait(actor, _BEGUN, timeout_s, may_appear=may_appear)

    async def wait_for_completion(
        self,
        instance_id: str,
        *,
        timeout_s: float | None,
        may_appear: bool = False,
        app_id: str = "",
    ) -> Instance:
        """Wait until the instance has ended. As `wait_for_start`."""
        actor = known_actor(instance_id, app_id or self.app_id)
        return await self._wait(actor, _ENDED, timeout_s, may_appear=may_appear)

    async def _wait(
        self, actor: ActorId, phases: frozenset[str], timeout_s: float | None, *, may_appear: bool
    ) -> Instance:
        if timeout_s is None:
            return await self._reached(actor, phases, may_appear=may_appear)
        async with asyncio.timeout(timeout_s):
            return await self._reached(actor, phases, may_appear=may_appear)

    async def _reached(
        self, actor: ActorId, phases: frozenset[str], *, may_appear: bool
    ) -> Instance:
        with self.actors.watch(actor, phases, partial(self._look, actor)) as watch:
            if self._is_yet_to_reach(actor, phases):
                await watch.wait(REREAD_S)
            while True:
                if isinstance(watch.seen, Instance):
                    return watch.seen
                record = (await self.actors.read([actor]))[0]
                if record is not None and record.summary is not None:
                    if record.summary.phase in phases:
                        return instance_of(record)
                elif not may_appear:
                    raise InstanceNotFoundError(actor.key)
                await watch.wait(REREAD_S)

    def _look(self, actor: ActorId, summary: Summary) -> Instance | None:
        """Return the instance as it was just committed, from memory; None when that is not here."""
        live = self.actors.live(actor, settled=True)
        execution = live.execution if isinstance(live, InstanceActor) else None
        if execution is None:
            return None
        return live_instance(actor.key, summary, execution.state, execution.custom_status)

    def _is_yet_to_reach(self, actor: ActorId, phases: frozenset[str]) -> bool:
        """Whether the instance is live here and says so: what is committed is then no further."""
        live = self.actors.live(actor)
        execution = live.execution if isinstance(live, InstanceActor) else None
        return execution is not None and execution.status() not in phases

    async def _check_children_ended(self, actor: ActorId) -> None:
        """Raise InstanceExistsError when a descendant of an instance that has ended has not."""
        (record,) = await self.actors.read([actor], with_log=True)
        if record is not None:
            await self._check_family_ended(family_of(record), actor.key)

    async def _check_family_ended(self, family: Family, root: str) -> None:
        for child in family.children:
            (record,) = await self.actors.read([child], with_log=True)
            if record is None or not family.has(record):
                continue
            if not instance_of(record).status.is_terminal:
                raise InstanceExistsError(
                    root,
                    f"cannot recreate workflow with ID '{root}': child workflow '{child.key}': "
                    "orchestration has not yet completed",
                )
            await self._check_family_ended(family_of(record), root)

    async def _call(
        self, instance_id: str, method: str, payload: bytes = b"", *, app_id: str = ""
    ) -> bytes:
        actor = known_actor(instance_id, app_id or self.app_id)
        return await self.actors.call(actor, method, payload, repeatable=True)


_BEGUN = frozenset(status.value for status in Status if status is not Status.PENDING)
_ENDED = frozenset(status.value for status in Status if status.is_terminal)
