"""PURE. The named limits of the workflow layer, with their defaults, in one place."""

from dataclasses import dataclass, replace

from actorflow.actors.errors import LimitExceededError
from actorflow.actors.limits import Limits as ActorLimits
from actorflow.actors.limits import limits_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one instance may use. A limit that is reached gives an error that names it.

    actions_per_step_max: actions the code may ask for between two waits, and so for one fact.
    history_events_warn: at this length the engine warns once; use continue-as-new.
    history_events_max: an execution whose history is longer stalls. Bounds also what an execution
        keeps of raised events, which are a part of its history.
    payload_bytes_max: one input, result, event payload or custom status, in UTF-8 bytes.
    child_depth_max: levels of child workflows below a root.
    stack_chars_max: characters kept of the stack text of a failure.
    message_chars_max: characters kept of the message of a failure.
    lost_hosts_max: an activity of the host's own code that was under way in so many hosts that were
        lost, the last one while it ran alone, is not run again: see `trial.py`.
    """

    actions_per_step_max: int = 10_000
    history_events_warn: int = 10_000
    history_events_max: int = 50_000
    payload_bytes_max: int = 4 * 1024 * 1024
    child_depth_max: int = 32
    stack_chars_max: int = 8_192
    message_chars_max: int = 8_192
    lost_hosts_max: int = 3

    def why_too_long(self, history_length: int) -> str:
        """Return why an execution with a history of this length stalls; "" when it does not."""
        if history_length <= self.history_events_max:
            return ""
        return (
            f"the history has more than {self.history_events_max:,} events; use continue-as-new in "
            "the workflow's loop. Raise the limit to let this instance go on"
        )


ESCAPED_BYTES_MAX = 6
"""A byte of a text takes so many at most inside a message, which is JSON: a control character."""

MESSAGE_OVERHEAD_BYTES = 64 * 1024
"""Room for the names and ids of a message besides its payload."""

DEFAULT_LIMITS = Limits()
"""The limits used where none are given."""


def message_bytes_max(limits: Limits) -> int:
    """Return the size of the largest message that carries an allowed payload."""
    return ESCAPED_BYTES_MAX * limits.payload_bytes_max + MESSAGE_OVERHEAD_BYTES


def limits_of_actors(store: object, limits: Limits) -> ActorLimits:
    """Return the bounds of the actor runtime below instances with these limits."""
    return replace(
        limits_for(store),
        payload_bytes=message_bytes_max(limits),
        lost_hosts_max=limits.lost_hosts_max,
    )


def check_payload(text: str | None, what: str, limits: Limits) -> None:
    """Check the size of a payload. Raises LimitExceededError, naming `what`."""
    size_max = limits.payload_bytes_max
    # A character has at most four bytes: most texts need no second look.
    if text is not None and len(text) * 4 > size_max:
        size_bytes = len(text.encode())
        if size_bytes > size_max:
            limit = f"the {what} in bytes (payload_bytes_max)"
            raise LimitExceededError(limit, size_max, size_bytes)
