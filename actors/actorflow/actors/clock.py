"""Time and randomness. No other module of actors or workflow may ask the system for either."""

import random
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time. Durations and sleeps use the event loop's own clock instead."""

    def now_ns(self) -> int:
        """Return UTC nanoseconds since 1970."""
        ...


class IdSource(Protocol):
    """Unique and random values."""

    def uuid(self) -> str:
        """Return a random UUID (version 4): 36 lower-case characters."""
        ...

    def jitter(self) -> float:
        """Return a number from 0 inclusive to 1 exclusive, to spread retries."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """See `Clock`."""
        return time.time_ns()


class SystemIds:
    """The machine's randomness."""

    def uuid(self) -> str:
        """See `IdSource`."""
        return str(uuid.uuid4())

    def jitter(self) -> float:
        """See `IdSource`."""
        return random.random()  # noqa: S311 -- spreads retries, guards nothing
