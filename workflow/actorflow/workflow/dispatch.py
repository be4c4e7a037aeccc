"""Holds the requests of instances that wait for somebody who can run their code.

Each is a durable message, so that a restart finds them again: a request that another run of the
engine made is answered at once, since the code may be there now.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from actorflow.actors import ActorId
from actorflow.workflow.requests import INSTANCE, WORKER_READY, WorkerWanted, unpack

if TYPE_CHECKING:
    from actorflow.actors import Delivery


_log = logging.getLogger(__name__)


class WorkerWaitingRoom:
    """Implements the worker type `requests.WORKER` for in-process workers."""

    def __init__(self, host_id: str, *, has_workers: bool) -> None:
        self._host_id = host_id
        self._has_workers = has_workers
        self._held: dict[int, tuple[WorkerWanted, Delivery]] = {}

    @property
    def held_count(self) -> int:
        """Instances that wait for a worker."""
        return len(self._held)

    def deliver(self, delivery: Delivery) -> None:
        """See `actors.WorkerType`."""
        try:
            wanted = unpack(WorkerWanted, delivery.message.payload)
        except msgspec.MsgspecError as error:
            _log.error(
                "request for a worker cannot be read; its bytes are kept",
                extra={"instance_id": delivery.message.target.key, "error": str(error)},
            )
            return
        if self._has_workers and wanted.host != self._host_id:
            _answer(delivery)
        else:
            self._held[delivery.message.id] = (wanted, delivery)


def _answer(delivery: Delivery) -> None:
    delivery.complete([(ActorId(INSTANCE, delivery.message.target.key), WORKER_READY, b"")])
