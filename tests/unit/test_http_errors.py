"""The table of errors: complete, and in the words of the wire."""

import pytest

from actorflow.actors.errors import (
    ActorflowError,
    CorruptError,
    InvalidActorIdError,
    InvariantError,
    LimitExceededError,
    NotOwnerError,
    OverloadedError,
    StoppingError,
    StoreUnavailableError,
)
from actorflow.server import errors
from actorflow.server.errors import Operation, dapr_error, own_error
from actorflow.server.http.openapi_schemas import ERROR_CODES
from actorflow.workflow.errors import (
    IdempotencyConflictError,
    InstanceExistsError,
    InstanceNotFoundError,
    InvalidRequestError,
    NotTerminalError,
)

OPERATIONS = [
    errors.START,
    errors.GET,
    errors.RAISE,
    errors.PAUSE,
    errors.RESUME,
    errors.TERMINATE,
    errors.PURGE,
]

ROWS = [
    (errors.GET, CorruptError("bad row"), 500, "ERR_GET_WORKFLOW"),
    (errors.GET, StoreUnavailableError("locked", written=False), 503, "ERR_GET_WORKFLOW"),
    (errors.START, OverloadedError("mailbox", 9), 429, "ERR_START_WORKFLOW"),
    (errors.START, NotOwnerError("moved"), 503, "ERR_START_WORKFLOW"),
    (errors.START, InvariantError("two owners"), 500, "ERR_START_WORKFLOW"),
    (errors.START, LimitExceededError("input", 1, 2), 400, "ERR_MALFORMED_REQUEST"),
    (errors.START, InvalidRequestError("no"), 400, "ERR_MALFORMED_REQUEST"),
    (errors.START, IdempotencyConflictError("other"), 409, "ERR_IDEMPOTENCY_CONFLICT"),
    (errors.START, StoppingError("bye"), 503, "ERR_ACTOR_RUNTIME_CLOSED"),
    (errors.GET, InvalidActorIdError("key", "\0", "is odd"), 404, "ERR_INSTANCE_ID_NOT_FOUND"),
    (errors.PAUSE, InvalidActorIdError("key", "\0", "is odd"), 500, "ERR_PAUSE_WORKFLOW"),
]


@pytest.mark.parametrize(("operation", "error", "status", "code"), ROWS)
def test_dapr_rows(operation: Operation, error: ActorflowError, status: int, code: str) -> None:
    answer = dapr_error(operation, "i-1", error, event_name="e")
    assert (answer.status, answer.code) == (status, code)
    assert bool(answer.retry_after_s) == (status in (429, 503))


def all_errors(base: type[ActorflowError] = ActorflowError) -> list[type[ActorflowError]]:
    return [base, *(leaf for child in base.__subclasses__() for leaf in all_errors(child))]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_an_answer(kind: type[ActorflowError]) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, "cause")
    answers = [own_error("i-1", error)]
    answers += [dapr_error(operation, "i-1", error, event_name="e") for operation in OPERATIONS]
    for answer in answers:
        assert answer.code in ERROR_CODES
        assert answer.status in {400, 404, 409, 429, 500, 503}
        assert answer.message


def test_only_conflicts_and_missing_instances_change_in_strict_mode() -> None:
    changed = set()
    for operation in OPERATIONS:
        for error in (
            InstanceNotFoundError("i-1"),
            InstanceExistsError("i-1"),
            NotTerminalError("i-1"),
            CorruptError("x"),
        ):
            loose = dapr_error(operation, "i-1", error, event_name="e")
            strict = dapr_error(operation, "i-1", error, event_name="e", strict_status=True)
            if loose.status != strict.status:
                changed.add((type(error), strict.status))
    assert changed == {
        (InstanceNotFoundError, 404),
        (InstanceExistsError, 409),
        (NotTerminalError, 409),
    }


def test_a_child_that_has_not_ended_is_named_as_dapr_does() -> None:
    error = NotTerminalError(
        "c", "failed to purge child workflow: orchestration has not yet completed"
    )
    assert dapr_error(errors.PURGE, "i-1", error).message == (
        "error purging workflow i-1: failed to Purge workflow i-1: failed to purge workflow state: "
        "failed to purge child workflow: orchestration has not yet completed"
    )


def test_passwords_stay_inside() -> None:
    error = StoreUnavailableError("redis://user:secret@host is away", written=None)
    for answer in (own_error("i-1", error), dapr_error(errors.GET, "i-1", error)):
        assert "secret" not in answer.message
