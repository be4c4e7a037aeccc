"""Every bound of the actor runtime, with its unit and its reason."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one runtime. A refused call names the limit and leaves nothing behind."""

    payload_bytes: int = 4 * 1024 * 1024
    """One message payload, state value or log entry; the body limit of the HTTP edge is the
    same."""

    mailbox_messages: int = 1_000
    """Calls that wait for one actor; the next one from outside is refused as overloaded."""

    mailbox_bytes: int = 8 * 1024 * 1024
    """Payload bytes that wait for one actor."""

    partition_bytes: int = 64 * 1024 * 1024
    """Payload bytes of uncommitted work in one partition before calls from outside are refused."""

    batch_turns: int = 256
    """Turns in one commit. More gains no throughput on any store and makes the first ones wait."""

    batch_bytes: int = 1024 * 1024
    """Payload bytes in one commit, one oversized turn aside."""

    chain_depth: int = 8
    """Messages that may follow from each other inside one batch, so that two actors which answer
    each other cannot hold a batch open."""

    call_depth: int = 32
    """Actors that may wait for each other in one chain of calls."""

    message_attempts: int = 5
    """Turns that may fail on one durable message before it is parked."""

    lost_hosts_max: int = 3
    """Hosts that are lost with an actor, the last one while nothing else was tried, before its code
    is not run again; 3 at least. See `caution.py`."""

    retry_first_s: float = 0.05
    """Pause after the first failed turn; doubles up to `retry_max_s`."""

    retry_max_s: float = 60.0
    """Longest pause between attempts of a failing turn."""

    idle_ttl_s: float = 60.0
    """An actor without work for this long is evicted from memory."""

    memory_budget_bytes: int = 512 * 1024 * 1024
    """Approximate memory of live actors; above it the longest idle are evicted first."""

    reminder_window_s: float = 300.0
    """How far ahead reminders are kept in memory; later ones are only in the store."""

    call_timeout_s: float = 30.0
    """How long a call from outside waits for its answer unless it says otherwise."""

    store_retry_max_s: float = 1.0
    """Longest pause before an unanswered commit is sent again."""


def limits_for(store: object) -> Limits:
    """Return the default limits, with commits no larger than the store likes them.

    A store that blocks others while it applies a commit says so by `batch_turns` and `batch_bytes`.
    """
    usual = Limits()
    return replace(
        usual,
        batch_turns=min(usual.batch_turns, getattr(store, "batch_turns", usual.batch_turns)),
        batch_bytes=min(usual.batch_bytes, getattr(store, "batch_bytes", usual.batch_bytes)),
    )


ACTIVATION_OVERHEAD_BYTES = 2_048
"""What a live actor costs besides its payload, for the memory budget. Measured: `bench/
idle-10k`."""
