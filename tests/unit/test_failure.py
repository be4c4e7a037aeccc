"""From an exception to failure details: bounded, encodable text."""

import pytest

from actorflow.workflow.codec import decode_event, encode_event
from actorflow.workflow.errors import NonRetriableError, TaskFailedError
from actorflow.workflow.events import ExecutionCompleted, FailureDetails, Status
from actorflow.workflow.failure import INNER_DEPTH_MAX, failure_from
from actorflow.workflow.limits import Limits


def raised(error: BaseException) -> BaseException:
    """Return the error with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_type_message_and_stack_are_text() -> None:
    details = failure_from(raised(ValueError("bad")))
    assert (details.error_type, details.message, details.inner) == ("ValueError", "bad", None)
    assert "in raised" in details.stack


def test_causes_are_kept_to_a_depth() -> None:
    error: Exception = ValueError("root")
    for level in range(20):
        outer = ValueError(str(level))
        outer.__cause__ = error
        error = outer
    details: FailureDetails | None = failure_from(error)
    depth = 0
    while details is not None:
        details, depth = details.inner, depth + 1
    assert depth == INNER_DEPTH_MAX + 1


def test_the_failure_of_a_task_is_the_inner_one() -> None:
    inner = FailureDetails(error_type="E", message="m")
    assert failure_from(TaskFailedError("t", inner)).inner is inner


@pytest.mark.parametrize(
    ("error", "expected"), [(NonRetriableError("x"), True), (OSError(), False)]
)
def test_some_errors_forbid_a_retry(error: Exception, expected: bool) -> None:
    assert failure_from(error).non_retriable is expected


def test_long_texts_are_cut() -> None:
    limits = Limits(stack_chars_max=30, message_chars_max=5)
    details = failure_from(raised(ValueError("123456789")), limits=limits)
    assert details.message == "12345"
    assert len(details.stack) == 33
    assert details.stack.startswith("...")


def test_a_text_that_is_not_unicode_can_still_be_stored() -> None:
    details = failure_from(ValueError("\ud800"))
    assert details.message == "\\ud800"
    event = ExecutionCompleted(status=Status.FAILED, failure=details)
    assert decode_event(encode_event(event)) == event


def test_an_error_that_cannot_show_itself_is_described() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    details = failure_from(BrokenError())
    assert (details.error_type, details.message) == (
        "BrokenError",
        "(its text cannot be shown: RuntimeError)",
    )


def test_frames_can_be_left_out() -> None:
    error = raised(ValueError())
    assert failure_from(error, skip_file=__file__).stack == ""
    assert failure_from(error, skip_frames=9).stack == ""
