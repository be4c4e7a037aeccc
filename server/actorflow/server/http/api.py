"""What the HTTP edge asks of the engine; `actorflow.workflow.engine.WorkflowEngine` does it all."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from actorflow.workflow.model import (
    History,
    Instance,
    InstanceFilter,
    InstancePage,
    PurgeResult,
    WaitReason,
)


class EngineApi(Protocol):
    """The raw-text API of the engine.

    More than seven methods, because it mirrors one class: splitting it would only hide that. Every
    method may raise UnavailableError and its kinds.
    """

    async def start(  # noqa: PLR0913 -- mirrors the engine
        self,
        name: str,
        *,
        instance_id: str = "",
        input: str | None = None,
        scheduled_start_ns: int | None = None,
        idempotency_key: str = "",
        unique: bool = False,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        trace_parent: str | None = None,
        trace_state: str | None = None,
        app_id: str = "",
    ) -> str:
        """Create an instance durably and return its id."""
        ...

    async def get(self, instance_id: str, *, app_id: str = "") -> Instance | None:
        """Return the instance as last committed."""
        ...

    async def wait_for_start(
        self,
        instance_id: str,
        *,
        timeout_s: float | None,
        may_appear: bool = False,
        app_id: str = "",
    ) -> Instance:
        """Return as soon as the first turn is committed. Raises TimeoutError."""
        ...

    async def wait_for_completion(
        self,
        instance_id: str,
        *,
        timeout_s: float | None,
        may_appear: bool = False,
        app_id: str = "",
    ) -> Instance:
        """Return as soon as the instance has ended. Raises TimeoutError."""
        ...

    async def raise_event(
        self,
        instance_id: str,
        name: str,
        input: str | None = None,
        *,
        event_id: str = "",
        app_id: str = "",
    ) -> None:
        """Give the instance an external event."""
        ...

    async def suspend(
        self, instance_id: str, reason: str | None = None, *, app_id: str = ""
    ) -> None:
        """Hold the instance."""
        ...

    async def resume(
        self, instance_id: str, reason: str | None = None, *, app_id: str = ""
    ) -> None:
        """Let the instance go on."""
        ...

    async def terminate(
        self,
        instance_id: str,
        output: str | None = None,
        *,
        recursive: bool = True,
        app_id: str = "",
    ) -> None:
        """End the instance."""
        ...

    async def purge(
        self,
        instance_id: str,
        *,
        recursive: bool = True,
        force: bool = False,
        app_id: str = "",
    ) -> PurgeResult:
        """Delete the instance for good."""
        ...

    async def list(
        self,
        filter: InstanceFilter = ...,
        *,
        limit: int = 100,
        after: str = "",
        app_id: str = "",
    ) -> InstancePage:
        """Return instances in order of id."""
        ...

    async def history(self, instance_id: str, *, app_id: str = "") -> History:
        """Return the committed history."""
        ...

    async def rerun(  # noqa: PLR0913 -- keyword-only options of one operation
        self,
        source_instance_id: str,
        event_id: int,
        *,
        new_instance_id: str = "",
        input: str | None = None,
        overwrite_input: bool = False,
        new_child_instance_id: str = "",
        app_id: str = "",
    ) -> str:
        """Start a new instance from an event of an ended one."""
        ...

    async def why(self, instance_id: str, *, app_id: str = "") -> Sequence[WaitReason]:
        """Return what an open instance waits for."""
        ...

    @property
    def app_id(self) -> str:
        """The app that is meant where a call names none."""
        ...

    def knows_app(self, app_id: str) -> bool:
        """Return whether a host or a worker is of the app."""
        ...

    def connected_workers(self) -> int:
        """Return how many workers could run something."""
        ...

    async def wait_for_worker(self, timeout_s: float) -> bool:
        """Return True as soon as a worker is connected, False after the time."""
        ...

    def problems(self) -> Sequence[str]:
        """Return why the engine cannot do its work; empty when it can."""
        ...

    def stats(self) -> Any:
        """Return a frozen dataclass of numbers."""
        ...
