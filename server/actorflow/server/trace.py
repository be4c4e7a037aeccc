"""The W3C trace context that a caller says in headers or metadata."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")


class Trace(NamedTuple):
    """`traceparent` and `tracestate`; None for what is absent or malformed."""

    parent: str | None = None
    state: str | None = None


def checked_trace(parent: str | None, states: Iterable[str] = ()) -> Trace:
    """Return what counts: what is malformed is as absent, as the standard says.

    Args:
        states: all values of `tracestate`; they make one list. Without a parent they mean nothing.
    """
    if not parent or not _PARENT.fullmatch(parent):
        return Trace()
    state = ",".join(states)
    return Trace(parent, state if _STATE.fullmatch(state) else None)
