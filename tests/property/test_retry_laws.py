"""Delays grow, stay within their bounds, and end."""

from hypothesis import given
from hypothesis import strategies as st

from actorflow.workflow.retry import DELAY_MAX_NS, DELAY_MIN_NS, RetryPolicy, next_delay_ns

seconds = st.floats(min_value=1e-9, max_value=1e9)
policies = st.builds(
    RetryPolicy,
    first_retry_interval=seconds,
    max_number_of_attempts=st.integers(min_value=1, max_value=50),
    backoff_coefficient=st.floats(min_value=1.0, max_value=1e6),
    max_retry_interval=st.none() | seconds,
    retry_timeout=st.none() | seconds,
)


@given(policies)
def test_delays_never_shrink_and_stay_within_bounds(policy: RetryPolicy) -> None:
    elapsed_ns, last_ns = 0, 0
    for attempt in range(1, policy.max_number_of_attempts):
        delay_ns = next_delay_ns(policy, attempt=attempt, elapsed_ns=elapsed_ns)
        if delay_ns is None:
            assert policy.retry_timeout is not None
            return
        assert last_ns <= delay_ns
        assert DELAY_MIN_NS <= delay_ns <= DELAY_MAX_NS
        elapsed_ns, last_ns = elapsed_ns + delay_ns, delay_ns
    last = policy.max_number_of_attempts
    assert next_delay_ns(policy, attempt=last, elapsed_ns=elapsed_ns) is None


@given(policies, st.integers(min_value=1, max_value=50), st.integers(min_value=0, max_value=10**20))
def test_no_attempt_begins_after_the_timeout(
    policy: RetryPolicy, attempt: int, elapsed_ns: int
) -> None:
    delay_ns = next_delay_ns(policy, attempt=attempt, elapsed_ns=elapsed_ns)
    if delay_ns is not None and policy.retry_timeout is not None:
        assert isinstance(policy.retry_timeout, float)
        assert elapsed_ns + delay_ns <= round(policy.retry_timeout * 1_000_000_000)
