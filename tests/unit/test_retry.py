"""Retry policies: which delays follow which attempts."""

from datetime import timedelta
from typing import Any

import pytest

from actorflow.workflow.errors import InvalidRequestError
from actorflow.workflow.events import FailureDetails
from actorflow.workflow.retry import (
    DELAY_MAX_NS,
    DELAY_MIN_NS,
    RetryPolicy,
    is_retriable,
    next_delay_ns,
)

SECOND_NS = 1_000_000_000


def delays(policy: RetryPolicy) -> list[float | None]:
    """Return the delays in seconds after attempts 1 to 5, as if attempts took no time."""
    elapsed_ns, found = 0, []
    for attempt in range(1, 6):
        delay_ns = next_delay_ns(policy, attempt=attempt, elapsed_ns=elapsed_ns)
        found.append(None if delay_ns is None else delay_ns / SECOND_NS)
        elapsed_ns += delay_ns or 0
    return found


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy(1, 1), [None, None, None, None, None]),
        (RetryPolicy(1, 3), [1, 1, None, None, None]),
        (RetryPolicy(timedelta(seconds=2), 9, 2.0), [2, 4, 8, 16, 32]),
        (RetryPolicy(2, 9, 2.0, max_retry_interval=5), [2, 4, 5, 5, 5]),
        (RetryPolicy(2, 9, 2.0, retry_timeout=14), [2, 4, 8, None, None]),
        (RetryPolicy(0.001, 9), [0.01] * 5),
    ],
)
def test_delays(policy: RetryPolicy, expected: list[float | None]) -> None:
    assert delays(policy) == expected


def test_a_delay_that_overflows_is_the_longest_one() -> None:
    policy = RetryPolicy(1, 10_000, 10.0)
    assert next_delay_ns(policy, attempt=9_999, elapsed_ns=0) == DELAY_MAX_NS
    assert next_delay_ns(RetryPolicy(1e-9, 5), attempt=1, elapsed_ns=0) == DELAY_MIN_NS


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"max_number_of_attempts": 0}, "max_number_of_attempts must be at least 1"),
        ({"backoff_coefficient": 0.5}, "backoff_coefficient must be at least 1"),
        ({"backoff_coefficient": float("nan")}, "backoff_coefficient"),
        ({"first_retry_interval": 0}, "first_retry_interval must be longer than 0"),
        ({"first_retry_interval": "1s"}, "first_retry_interval must be a timedelta"),
        ({"max_retry_interval": timedelta(0)}, "max_retry_interval"),
        ({"retry_timeout": -1}, "retry_timeout"),
    ],
)
def test_impossible_policies_are_refused(values: dict[str, Any], named: str) -> None:
    arguments = {"first_retry_interval": 1, "max_number_of_attempts": 2, **values}
    with pytest.raises(InvalidRequestError, match=named):
        RetryPolicy(**arguments)


@pytest.mark.parametrize(
    ("error_type", "expected"),
    [("ValueError", False), ("builtins.ValueError", False), ("KeyError", True), ("Card", False)],
)
def test_what_is_not_retried_is_matched_by_name(error_type: str, expected: bool) -> None:
    policy = RetryPolicy(1, 2, non_retriable=(ValueError, "Card"))
    assert is_retriable(policy, FailureDetails(error_type=error_type, message="")) is expected
