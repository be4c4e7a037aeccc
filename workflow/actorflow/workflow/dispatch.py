"""Gives durable work to whoever can do it: code of this process first, else remote workers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import msgspec

from actorflow.actors import ActorId
from actorflow.workflow.requests import (
    HERE,
    REMOTE,
    WORKER_READY,
    WorkerWanted,
    WorkItem,
    instance_type,
    unpack,
)
from actorflow.workflow.streams import ACTIVITIES, Work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.actors import Delivery
    from actorflow.actors.completion import DeliveryKey
    from actorflow.workflow.activity import ActivityRunner
    from actorflow.workflow.permits import Permits
    from actorflow.workflow.registry import Registry
    from actorflow.workflow.workers import WorkerPool

_log = logging.getLogger(__name__)

MENTIONS_MAX = 100
"""Names that nobody has of which the log speaks: anybody may invent more."""

_NAMES_SHOWN = 10
_WORKFLOW = "workflow"
_ACTIVITY = "activity"


class Dispatcher:
    """Implements the worker types `requests.ACTIVITY` and `requests.WORKER`.

    Code that is registered here goes before remote workers. A name that it does not have is left to
    them, and waits for one, however many of them come and go. Only where none can ever come does it
    fail when it is asked for: there is nobody to wait for.

    Args:
        is_open: whether remote workers can connect, to this host or to another.
    """

    def __init__(  # noqa: PLR0913 -- what it ties together
        self,
        host_id: str,
        app_id: str,
        registry: Registry,
        runner: ActivityRunner,
        pool: WorkerPool,
        permits: Permits,
        *,
        is_open: bool,
    ) -> None:
        self._host_id = host_id
        self._app_id = app_id
        self._registry = registry
        self._runner = runner
        self._pool = pool
        self._permits = permits
        self._is_open = is_open
        self._missed: set[tuple[str, str]] = set()
        self._held: dict[DeliveryKey, tuple[WorkerWanted, Delivery]] = {}

    @property
    def has_code(self) -> bool:
        """Whether any code is registered in this process."""
        return not self._registry.is_empty

    @property
    def held_count(self) -> int:
        """Instances whose code was here once and is not, or does not fit."""
        return len(self._held)

    def waiting(self) -> Iterator[tuple[ActorId, Delivery]]:
        """What nobody has, of this host's partitions, with the instance that has asked for it."""
        self._held = {key: held for key, held in self._held.items() if not held[1].is_void}
        for wanted, delivery in self._held.values():
            yield _asker(wanted, delivery), delivery
        for work in self._pool.works():
            if work.holder is None and work.delivery is not None and not work.is_void:
                yield _asker(work.request, work.delivery), work.delivery

    def completed(self, key: DeliveryKey) -> None:
        """Somebody has ended a request of this host's partitions."""
        self._held.pop(key, None)

    def takes_workflow(self, app_id: str, name: str, *, has_begun: bool) -> bool:
        """See `host.ExecutionHost.takes`."""
        return app_id == self._app_id and (
            self._registry.workflow_named(name) is not None
            or (self._is_alone() and (has_begun or not self._is_open))
        )

    def _takes_activity(self, item: WorkItem) -> bool:
        if item.app_id != self._app_id:
            return False
        if self._registry.activity_named(item.name) is not None:
            return True
        is_ours = item.asker_type == instance_type(self._app_id)
        has_asked = is_ours and self._registry.workflow_named(item.workflow_name) is not None
        return has_asked and self._is_alone() and not self._is_open

    def _is_alone(self) -> bool:
        return self.has_code and not self._pool.serves(self._app_id)

    def why_waiting(self, app_id: str, instance_id: str, task_id: int, name: str) -> str:
        """See `host.ExecutionHost`."""
        reason = self._pool.why_waiting(app_id, instance_id, task_id)
        if app_id != self._app_id or not self.has_code:
            return reason
        kind = _WORKFLOW if task_id < 0 else _ACTIVITY
        if self._has(kind, name):
            return ""
        names = _listed(self._names(kind))
        return (
            reason and f"{reason}, and the code of this host has no {kind} {name!r}, only {names}"
        )

    def _names(self, kind: str) -> list[str]:
        registry = self._registry
        return registry.workflow_names() if kind == _WORKFLOW else registry.activity_names()

    def _has(self, kind: str, name: str) -> bool:
        registry = self._registry
        find = registry.workflow_named if kind == _WORKFLOW else registry.activity_named
        return find(name) is not None

    def _mention(self, kind: str, app_id: str, name: str) -> None:
        """Log a name that this process, which has code, lacks, once: it may be misspelt."""
        if app_id != self._app_id or self._has(kind, name):
            return
        missed = (kind, name)
        is_new = missed not in self._missed and len(self._missed) < MENTIONS_MAX
        if is_new and not self._pool.serves(app_id):
            self._missed.add(missed)
            extra = {"name_wanted": name, "names_here": _listed(self._names(kind))}
            _log.warning("nobody has this %s; it waits for a worker that has", kind, extra=extra)

    def deliver_activity(self, delivery: Delivery) -> None:
        """See `actors.WorkerType`."""
        item = _request(WorkItem, delivery)
        if item is None:
            return
        has_code = not self._registry.is_empty
        if has_code and self._takes_activity(item):
            if self._permits.limit(ACTIVITIES, item.name):
                work = Work(delivery.key, item, delivery=delivery)
                self._permits.enter(work, lambda: self._runner.take(delivery, item))
            else:
                self._runner.take(delivery, item)
            return
        if has_code:
            self._mention(_ACTIVITY, item.app_id, item.name)
        self._pool.put(Work(delivery.key, item, delivery=delivery))

    def deliver_wanted(self, delivery: Delivery) -> None:
        """See `actors.WorkerType`."""
        wanted = _request(WorkerWanted, delivery)
        if wanted is None:
            return
        is_ours = wanted.app_id == self._app_id and wanted.who != REMOTE
        if is_ours and self._registry.workflow_named(wanted.name) is not None:
            if wanted.host == self._host_id:
                self._held[delivery.key] = (wanted, delivery)
                return
            ready = (_asker(wanted, delivery), WORKER_READY, wanted.execution_id.encode())
            delivery.complete([ready])
        elif wanted.who == HERE:
            self._held[delivery.key] = (wanted, delivery)
        else:
            if not self._registry.is_empty:
                self._mention(_WORKFLOW, wanted.app_id, wanted.name)
            is_known = wanted.stalled and wanted.host == self._host_id
            work = Work(delivery.key, wanted, delivery=delivery)
            self._pool.put(work, is_known_to_stall=is_known)


def _listed(names: list[str]) -> str:
    """Return names for a reader, not more than fit into a line."""
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN]) or "none"
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def _asker(request: WorkItem | WorkerWanted, delivery: Delivery) -> ActorId:
    if isinstance(request, WorkItem):
        return ActorId(request.asker_type, request.instance_id)
    return ActorId(instance_type(request.app_id), delivery.message.target.key)


_R = TypeVar("_R", WorkItem, WorkerWanted)


def _request(kind: type[_R], delivery: Delivery) -> _R | None:
    """Decode a request; None, and a word in the log, for one that cannot be read."""
    try:
        return unpack(kind, delivery.message.payload)
    except msgspec.MsgspecError as error:
        extra = {"target": str(delivery.message.target), "error": str(error)}
        _log.error("request for work cannot be read; its bytes are kept", extra=extra)
        return None
