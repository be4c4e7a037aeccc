"""What a worker is shown of a turn: what is committed, read from memory where that is all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actorflow.actors import ActorId
from actorflow.actors.errors import CorruptError
from actorflow.workflow.instance import InstanceActor
from actorflow.workflow.requests import instance_type
from actorflow.workflow.workitem import Asking, PastEvents, TurnItem, turn_item, turn_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors import ActorSystem
    from actorflow.workflow.execution import Execution
    from actorflow.workflow.requests import WorkerWanted
    from actorflow.workflow.streams import Work

_log = logging.getLogger(__name__)


class Turns:
    """Makes the items of requests for a worker. `now_ns` is UTC."""

    def __init__(self, actors: ActorSystem, now_ns: Callable[[], int]) -> None:
        self._actors = actors
        self._now_ns = now_ns

    def from_memory(self, work: Work, wanted: WorkerWanted) -> TurnItem | None:
        """Return the turn that a live instance of this host waits for; None when there is none, or
        it knows more than is committed: then the store says."""
        instance = _instance(work)
        live = self._actors.live(instance, settled=True)
        execution = live.execution if isinstance(live, InstanceActor) else None
        if execution is None:
            return None
        return _live_turn(instance, execution, self._asking(work, wanted))

    async def from_store(self, work: Work, wanted: WorkerWanted) -> tuple[TurnItem | None, bool]:
        """Return the turn, None when the instance waits for nothing that a worker could do, and
        whether it exists. Raises UnavailableError."""
        instance = _instance(work)
        try:
            (record,) = await self._actors.read([instance], with_log=True)
            if record is None:
                return None, False
            return turn_item(record, self._asking(work, wanted)), True
        except CorruptError as error:
            extra = {"instance_id": instance.key, "error": str(error)}
            _log.error("instance cannot be read; its bytes are kept", extra=extra)
            return None, True

    def _asking(self, work: Work, wanted: WorkerWanted) -> Asking:
        return Asking(work.key, wanted.execution_id, self._now_ns(), work.shown)


def _instance(work: Work) -> ActorId:
    return ActorId(instance_type(work.app_id), work.key.target.key)


def _live_turn(actor: ActorId, execution: Execution, asking: Asking) -> TurnItem | None:
    """Return the turn of an instance that knows nothing but what is committed; None also when its
    memory does not tell."""
    state, lineage = execution.state, execution.lineage
    history = lineage.history if lineage is not None else []
    length = state.history_length
    facts = list(execution.inbox)
    if not facts or len(history) != length or (state.started and not state.is_remote):
        return None
    present = execution.present_id
    if not present:
        return None
    past = PastEvents(history, length)
    return turn_of(actor, asking, present, past, facts, state.updated_at_ns, execution.received)
