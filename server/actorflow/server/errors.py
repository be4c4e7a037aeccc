"""The one table: what the engine refuses, in the codes, statuses and texts of the wire.

Codes and texts under `/v1.0` are those of Dapr 1.18 (pkg/messages/predefined.go); where we differ,
the row says why. Under `/actorflow/v1` statuses follow HTTP.
"""

from typing import NamedTuple

from actorflow.actors.errors import (
    ActorflowError,
    ContentionError,
    InvalidActorIdError,
    LimitExceededError,
    OverloadedError,
    StoppingError,
    UnavailableError,
    UsageError,
)
from actorflow.server.config import redact_url
from actorflow.workflow.errors import (
    HistoryEventNotFoundError,
    IdempotencyConflictError,
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStalledError,
    NotTerminalError,
)


class WireError(Exception):
    """An answer that is not a success. `retry_after_s` becomes the Retry-After header."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: float = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class Operation(NamedTuple):
    """One of Dapr's workflow operations: its code, and its text around a subject and a cause."""

    name: str
    code: str
    text: str


START = Operation("start", "ERR_START_WORKFLOW", "error starting workflow '{}': {}")
GET = Operation("get", "ERR_GET_WORKFLOW", "error while getting workflow info on instance '{}': {}")
RAISE = Operation("raise", "ERR_RAISE_EVENT_WORKFLOW", "error raising event on workflow '{}': {}")
PAUSE = Operation("pause", "ERR_PAUSE_WORKFLOW", "error pausing workflow {}: {}")
RESUME = Operation("resume", "ERR_RESUME_WORKFLOW", "error resuming workflow {}: {}")
TERMINATE = Operation("terminate", "ERR_TERMINATE_WORKFLOW", "error terminating workflow '{}': {}")
PURGE = Operation("purge", "ERR_PURGE_WORKFLOW", "error purging workflow {}: {}")

NOT_FOUND = "ERR_INSTANCE_ID_NOT_FOUND"
RUNTIME_CLOSED = "ERR_ACTOR_RUNTIME_CLOSED"

_FOUND_MISSING_EARLY = frozenset({GET, TERMINATE, PURGE})
"""Operations that look for the instance first, and so know how to say 404."""

_OWN: dict[type[ActorflowError], tuple[int, str]] = {
    InstanceNotFoundError: (404, NOT_FOUND),
    InstanceExistsError: (409, "ERR_INSTANCE_EXISTS"),
    NotTerminalError: (409, "ERR_INSTANCE_NOT_TERMINAL"),
    InstanceStalledError: (409, "ERR_INSTANCE_STALLED"),
    IdempotencyConflictError: (409, "ERR_IDEMPOTENCY_CONFLICT"),
    HistoryEventNotFoundError: (404, "ERR_HISTORY_EVENT_NOT_FOUND"),
    LimitExceededError: (400, "ERR_LIMIT_EXCEEDED"),
    UsageError: (400, "ERR_INVALID_REQUEST"),
    OverloadedError: (429, "ERR_OVERLOADED"),
    UnavailableError: (503, "ERR_UNAVAILABLE"),
    ContentionError: (503, "ERR_UNAVAILABLE"),
    ActorflowError: (500, "ERR_ENGINE"),
}
"""The nearest base class decides."""


def invalid_request(problem: str) -> WireError:
    """Return the answer to an argument that cannot be used, under our own prefix."""
    return WireError(400, "ERR_INVALID_REQUEST", problem)


def malformed(problem: str) -> WireError:
    """Return the answer to a body that cannot be read as what it must be."""
    return WireError(400, "ERR_MALFORMED_REQUEST", f"failed deserializing HTTP body: {problem}")


def instance_not_found(instance_id: str) -> WireError:
    """Return the 404 for an instance."""
    text = f"unable to find workflow with the provided instance ID: {instance_id}"
    return WireError(404, NOT_FOUND, text)


def runtime_closed() -> WireError:
    """Return the answer of a server that is stopping."""
    return WireError(503, RUNTIME_CLOSED, "actor runtime is closed", UnavailableError.retry_after_s)


def own_error(instance_id: str, error: ActorflowError) -> WireError:
    """Translate for routes under our own prefix."""
    # No instance can have an id that the runtime cannot address.
    if isinstance(error, (InstanceNotFoundError, InvalidActorIdError)):
        return instance_not_found(instance_id)
    if isinstance(error, StoppingError):
        return runtime_closed()
    status, code = _own_row(error)
    return WireError(status, code, redact_url(str(error)), _retry_after_s(error))


def dapr_error(
    operation: Operation,
    subject: str,
    error: ActorflowError,
    *,
    event_name: str = "",
    strict_status: bool = False,
) -> WireError:
    """Translate for the Dapr routes.

    Args:
        operation: what was asked for.
        subject: the workflow name for start, else the instance id.
        error: what the engine said.
        event_name: of raise.
        strict_status: 409 and 404 where Dapr answers 500.
    """
    if isinstance(error, InvalidActorIdError):
        error = InstanceNotFoundError(subject)
    if isinstance(error, InstanceNotFoundError) and (
        strict_status or operation in _FOUND_MISSING_EARLY
    ):
        return instance_not_found(subject)
    if isinstance(error, StoppingError):
        return runtime_closed()
    own_status, own_code = _own_row(error)
    if isinstance(error, IdempotencyConflictError):
        return WireError(own_status, own_code, str(error))
    if own_status == 400:
        return WireError(400, "ERR_MALFORMED_REQUEST", str(error))
    cause = _cause(operation, subject, event_name, error)
    text = operation.text.format(subject, redact_url(cause))
    # Dapr says 500 for all; we tell "retry later" from "never", as the store's failures do.
    status = own_status if own_status in (429, 503) else 500
    if strict_status and isinstance(error, (InstanceExistsError, NotTerminalError)):
        status = 409
    return WireError(status, operation.code, text, _retry_after_s(error))


def _cause(operation: Operation, subject: str, event_name: str, error: ActorflowError) -> str:
    """Rebuild the chain of prefixes that Dapr's layers put before the cause."""
    if operation is START and isinstance(error, InstanceExistsError):
        return (
            "unable to start workflow: failed to start workflow: "
            f"rpc error: code = AlreadyExists desc = {error}"
        )
    if operation is RAISE:
        return (
            f"failed to raise event {event_name} on workflow {subject}: "
            f"failed to raise event: {error}"
        )
    if operation is PAUSE:
        return f"failed to pause workflow {subject}: failed to suspend workflow: {error}"
    if operation is RESUME:
        return f"failed to resume workflow {subject}: failed to resume workflow: {error}"
    if operation is PURGE:  # the capital P is Dapr's
        return f"failed to Purge workflow {subject}: failed to purge workflow state: {error}"
    return str(error)


def _own_row(error: ActorflowError) -> tuple[int, str]:
    return next(_OWN[base] for base in type(error).__mro__ if base in _OWN)


def _retry_after_s(error: ActorflowError) -> float:
    if isinstance(error, UnavailableError):
        return error.retry_after_s
    return UnavailableError.retry_after_s if isinstance(error, ContentionError) else 0
