"""From an exception of user code to failure details: text only, bounded, always encodable."""

import traceback

from actorflow.actors.errors import encodable, text_of
from actorflow.workflow.errors import NonRetriableError, TaskFailedError
from actorflow.workflow.events import FailureDetails
from actorflow.workflow.limits import DEFAULT_LIMITS, Limits

INNER_DEPTH_MAX = 8
"""Causes of causes that are kept."""


def failure_from(
    error: BaseException,
    *,
    skip_file: str = "",
    skip_frames: int = 0,
    limits: Limits = DEFAULT_LIMITS,
) -> FailureDetails:
    """Describe `error`: type name, message, stack text and its causes.

    Args:
        skip_file: outermost frames of this file are left out of the stack: the engine's own.
        skip_frames: this many of the outermost frames are left out, besides.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == skip_file:
        trace = trace.tb_next
    for _ in range(skip_frames):
        trace = trace.tb_next if trace is not None else None
    stack = "".join(traceback.format_tb(trace)) if trace is not None else ""
    return _details(error, _tail(stack, limits.stack_chars_max), limits, INNER_DEPTH_MAX)


def _details(error: BaseException, stack: str, limits: Limits, depth: int) -> FailureDetails:
    inner: FailureDetails | None = None
    cause = error.__cause__
    if isinstance(error, TaskFailedError):
        inner = error.details
    elif cause is not None and depth > 0:
        inner = _details(cause, "", limits, depth - 1)
    return FailureDetails(
        error_type=type(error).__name__,
        message=text_of(error)[: limits.message_chars_max],
        stack=encodable(stack),
        non_retriable=isinstance(error, NonRetriableError),
        inner=inner,
    )


def _tail(text: str, chars_max: int) -> str:
    # The innermost frames are the last ones, and the ones that help.
    return text if len(text) <= chars_max else "..." + text[-chars_max:]
