"""The door of a partition: what is refused before anything of it is kept."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from actorflow.actors.errors import (
    NotOwnerError,
    OverloadedError,
    StoppingError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from actorflow.actors.activation import Activation
    from actorflow.actors.address import ActorId
    from actorflow.actors.environment import Environment


class PartitionState(StrEnum):
    """What the partition does with calls."""

    CLOSED = "closed"  # not owned: refuses
    OPEN = "open"
    DRAINING = "draining"  # finishes what it has, refuses calls from outside


class Door:
    """Checks a call from outside against the state and the bounds of a partition."""

    def __init__(self, partition: int, env: Environment) -> None:
        self._partition = partition
        self._env = env

    def check(
        self,
        target: ActorId,
        state: PartitionState,
        trouble: str,
        activation: Activation | None,
        waiting_bytes: int,
    ) -> None:
        """Raise the error that the caller gets, if any.

        Raises:
            NotOwnerError, StoppingError, StoreUnavailableError: nobody can be served now.
            OverloadedError: the actor's mailbox or the partition is full.
        """
        if state is PartitionState.DRAINING:
            raise StoppingError("the host is stopping and takes no new calls; retry elsewhere")
        if state is PartitionState.CLOSED:
            raise NotOwnerError(f"partition {self._partition} is not served here now; retry")
        if trouble:
            raise StoreUnavailableError(
                f"the store does not take commits now: {trouble}", written=False
            )
        limits = self._env.limits
        if activation is not None and activation.mailbox is not None:
            if len(activation.mailbox) >= limits.mailbox_messages:
                raise self._overloaded(f"the mailbox of {target}", limits.mailbox_messages)
            if activation.mailbox_bytes >= limits.mailbox_bytes:
                raise self._overloaded(f"the mailbox (bytes) of {target}", limits.mailbox_bytes)
        if waiting_bytes >= limits.partition_bytes:
            raise self._overloaded(f"partition {self._partition} (bytes)", limits.partition_bytes)

    def _overloaded(self, queue: str, limit: int) -> OverloadedError:
        self._env.counters.overloads += 1
        return OverloadedError(queue, limit)
