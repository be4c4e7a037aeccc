"""Time and randomness. No other module of actors or workflow may ask the system for either."""

import random
import time
import uuid
from collections.abc import Callable
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


class StoreClock:
    """The clock that all hosts of a store share, as far as this one knows it: what the store said
    last, and the time that has passed since. Until it has said anything, the host's own clock.

    It is behind by the time that the answer took, never ahead: timers are not early. The host's
    own clock may be wrong, and may jump.

    Args:
        steady_ns: a clock that nobody sets.

    Concurrency: any thread.
    """

    def __init__(
        self, own: Clock | None = None, steady_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._own = own or SystemClock()
        self._steady_ns = steady_ns
        self._ahead_ns: int | None = None

    def now_ns(self) -> int:
        """See `Clock`."""
        ahead_ns = self._ahead_ns
        return self._own.now_ns() if ahead_ns is None else self._steady_ns() + ahead_ns

    def told(self, store_ns: int) -> None:
        """The store has just said this."""
        self._ahead_ns = store_ns - self._steady_ns()


class SystemIds:
    """The machine's randomness."""

    def uuid(self) -> str:
        """See `IdSource`."""
        return str(uuid.uuid4())

    def jitter(self) -> float:
        """See `IdSource`."""
        return random.random()  # noqa: S311 -- spreads retries, guards nothing
