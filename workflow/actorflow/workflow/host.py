"""What an instance asks of the engine that hosts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors import ActorId
    from actorflow.actors.errors import OverloadedError
    from actorflow.workflow.limits import Limits
    from actorflow.workflow.registry import WorkflowDefinition
    from actorflow.workflow.retention import RetentionPolicy


class ExecutionHost(Protocol):
    """What an instance asks of the engine."""

    @property
    def host_id(self) -> str:
        """Unique to this run of the engine."""
        ...

    @property
    def has_others(self) -> bool:
        """Whether there are other hosts now."""
        ...

    def takes(self, app_id: str, name: str, *, has_begun: bool = False) -> bool:
        """Whether the code of this program decides what becomes of workflows of this name, if only
        by not having it; else remote workers do.

        Args:
            has_begun: the execution began in such code.
        """
        ...

    @property
    def limits(self) -> Limits:
        """Named limits of one instance."""
        ...

    @property
    def retention(self) -> RetentionPolicy:
        """How long ended instances are kept."""
        ...

    def definition(self, name: str) -> WorkflowDefinition | None:
        """Return the code of this name."""
        ...

    def parked(self, actor: ActorId) -> Sequence[tuple[str, str]]:
        """Return method and reason of the messages for an instance that are delivered no more."""
        ...

    def overload(self) -> OverloadedError | None:
        """Return why no new instance may come in from outside now, None when it may."""
        ...

    def why_waiting(self, app_id: str, instance_id: str, task_id: int, name: str) -> str:
        """Say why nobody has a turn (task id -1) or an activity of an instance; "" when somebody
        has it, as far as this host can tell."""
        ...

    def new_id(self) -> str:
        """Return a random UUID."""
        ...

    def now_ns(self) -> int:
        """Return UTC nanoseconds."""
        ...
