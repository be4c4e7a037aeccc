"""PURE. Retry policies: from the number of attempts made to the delay before the next, or none.

Delays carry no jitter: replay must compute the same ones.
"""

from dataclasses import dataclass
from datetime import timedelta

from actorflow.workflow.duration import duration_ns
from actorflow.workflow.errors import InvalidRequestError
from actorflow.workflow.events import FailureDetails

DELAY_MIN_NS = 10_000_000
"""Shortest delay before a retry: 10 ms, so that no policy can spin."""

DELAY_MAX_NS = 366 * 24 * 3_600 * 1_000_000_000
"""Longest delay before a retry: 366 days, whatever the backoff grows to."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often a failed activity or child workflow is tried again.

    Lengths of time are timedeltas or seconds.

    first_retry_interval: delay before the second attempt.
    max_number_of_attempts: all attempts, the first included; 1 means no retry.
    backoff_coefficient: factor, at least 1, from each delay to the next.
    max_retry_interval: longest delay, None for no bound but `DELAY_MAX_NS`.
    retry_timeout: no attempt begins later than this after the first one was asked for.
    non_retriable: exception classes or their names that end it at once. Compared by name with the
        failure's type, so that a subclass has to be named itself.

    Raises:
        InvalidRequestError: a value is out of its range.
    """

    first_retry_interval: timedelta | float
    max_number_of_attempts: int
    backoff_coefficient: float = 1.0
    max_retry_interval: timedelta | float | None = None
    retry_timeout: timedelta | float | None = None
    non_retriable: tuple[type[BaseException] | str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_number_of_attempts < 1:
            raise _invalid("max_number_of_attempts", self.max_number_of_attempts, "at least 1")
        if not 1.0 <= self.backoff_coefficient < float("inf"):
            raise _invalid("backoff_coefficient", self.backoff_coefficient, "at least 1, finite")
        for name in ("first_retry_interval", "max_retry_interval", "retry_timeout"):
            value = getattr(self, name)
            if value is not None and duration_ns(value, name) <= 0:
                raise _invalid(name, value, "longer than 0")


def next_delay_ns(policy: RetryPolicy, *, attempt: int, elapsed_ns: int) -> int | None:
    """Return the delay before the next attempt in nanoseconds, None when there is to be none.

    Args:
        attempt: number of the attempt that has just failed, from 1.
        elapsed_ns: time since the first attempt was asked for.
    """
    if attempt >= policy.max_number_of_attempts:
        return None
    delay_ns = _backed_off_ns(policy, attempt)
    if policy.retry_timeout is not None:
        timeout_ns = duration_ns(policy.retry_timeout, "retry_timeout")
        if elapsed_ns + delay_ns > timeout_ns:
            return None
    return delay_ns


def is_retriable(policy: RetryPolicy, failure: FailureDetails) -> bool:
    """Return whether the policy allows another attempt after this failure."""
    if failure.non_retriable:
        return False
    simple_name = failure.error_type.rpartition(".")[2]
    for barrier in policy.non_retriable:
        name = barrier if isinstance(barrier, str) else barrier.__name__
        if name in (failure.error_type, simple_name):
            return False
    return True


def _backed_off_ns(policy: RetryPolicy, attempt: int) -> int:
    first_ns = duration_ns(policy.first_retry_interval, "first_retry_interval")
    longest_ns = DELAY_MAX_NS
    if policy.max_retry_interval is not None:
        longest_ns = min(longest_ns, duration_ns(policy.max_retry_interval, "max_retry_interval"))
    try:
        wanted_ns = first_ns * policy.backoff_coefficient ** (attempt - 1)
    except OverflowError:
        wanted_ns = float("inf")
    return max(DELAY_MIN_NS, int(min(wanted_ns, longest_ns)))


def _invalid(name: str, value: object, allowed: str) -> InvalidRequestError:
    return InvalidRequestError(f"retry policy: {name} must be {allowed}, found {value!r}")
