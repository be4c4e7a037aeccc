"""Errors of the workflow layer, in the families of `actorflow.actors.errors`."""

from actorflow.actors.errors import ActorflowError, CorruptError, UsageError, way_out
from actorflow.workflow.events import FailureDetails


class InstanceNotFoundError(UsageError):
    """There is no instance with this id. The text is literal: SDKs look for it."""

    code = "INSTANCE_NOT_FOUND"

    def __init__(self, instance_id: str) -> None:
        super().__init__("no such instance exists")
        self.instance_id = instance_id


class InstanceExistsError(UsageError):
    """The id is taken by an instance that has not ended (by any, if uniqueness was asked for)."""

    code = "INSTANCE_EXISTS"

    def __init__(self, instance_id: str, reason: str = "") -> None:
        super().__init__(reason or f"an active workflow with ID '{instance_id}' already exists")
        self.instance_id = instance_id


class ChildrenUncheckedError(UsageError):
    """A start takes the place of an instance with children. Never seen by users: the engine looks
    whether they have ended, and starts again."""

    code = "CHILDREN_UNCHECKED"

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"whether the children of '{instance_id}' have ended is not known")
        self.instance_id = instance_id


class NotTerminalError(UsageError):
    """The operation needs an instance that has ended."""

    code = "NOT_TERMINAL"

    def __init__(self, instance_id: str, text: str = "orchestration has not yet completed") -> None:
        super().__init__(text)
        self.instance_id = instance_id


class InstanceStalledError(UsageError):
    """The instance takes no events until it is repaired."""

    code = "INSTANCE_STALLED"

    def __init__(self, instance_id: str, text: str = "workflow is stalled") -> None:
        super().__init__(text)
        self.instance_id = instance_id


class InstanceEndsHostError(InstanceStalledError):
    """Hosts ended while an instance of this id ran: it is not started."""

    code = "INSTANCE_ENDS_HOST"

    def __init__(self, instance_id: str, reason: str) -> None:
        super().__init__(
            instance_id, f"workflow '{instance_id}' is not run: {reason}. {way_out(instance_id)}"
        )


class IdempotencyConflictError(UsageError):
    """The same idempotency key came with another request."""

    code = "IDEMPOTENCY_CONFLICT"


class InvalidRequestError(UsageError):
    """An argument cannot be used; the text names it and what is allowed."""

    code = "INVALID_REQUEST"


class HistoryEventNotFoundError(UsageError):
    """Rerun: the history has no such event, or one that cannot be run again."""

    code = "HISTORY_EVENT_NOT_FOUND"


class RegistrationError(UsageError):
    """A workflow or activity cannot be registered as it is."""

    code = "REGISTRATION"


class NonDeterminismError(ActorflowError):
    """The code asked for something else than its history says. The instance stalls, repairable."""

    code = "NON_DETERMINISM"


class ForeignAwaitError(ActorflowError):
    """Workflow code awaited something that is not durable."""

    code = "FOREIGN_AWAIT"


class HistoryCorruptError(CorruptError):
    """A stored event cannot be decoded; its bytes are kept."""

    code = "HISTORY_CORRUPT"


class WorkflowFailedError(ActorflowError):
    """Raised to a caller who waited for an instance that failed or was terminated."""

    code = "WORKFLOW_FAILED"

    def __init__(self, instance_id: str, error_type: str, message: str) -> None:
        super().__init__(f"{instance_id}: {error_type}: {message}")
        self.instance_id = instance_id
        self.error_type = error_type
        self.error_message = message


class NonRetriableError(ActorflowError):
    """For activities and child workflows to raise: no retry policy tries again after it."""

    code = "NON_RETRIABLE"


class TaskFailedError(ActorflowError):
    """Raised at the await of an activity that failed for good; `details` say why."""

    code = "TASK_FAILED"

    def __init__(self, text: str, details: FailureDetails) -> None:
        super().__init__(text)
        self.details = details


class ChildFailedError(TaskFailedError):
    """Raised at the await of a child workflow that failed or was terminated."""

    code = "CHILD_FAILED"


class TaskCancelledError(ActorflowError):
    """Raised at the await of a task that the workflow's own code cancelled."""

    code = "TASK_CANCELLED"
