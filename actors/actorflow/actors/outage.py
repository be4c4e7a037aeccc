"""What a person hears of a store that does not answer: one line when that begins, one a minute
while it lasts, one when it is over. And of partitions that were lost: one line for many.

Whatever talks to the store tells this of its failures, and nothing to the log.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from actorflow.actors.errors import (
    ActorflowError,
    ContentionError,
    StoreFullError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_log = logging.getLogger(__name__)

CALM_S = 3.0
"""An outage is over when all was well for this long: what comes and goes is one outage."""

LOOK_S = 1.0
"""Pause between two looks whether it is over."""

REMIND_S = 60.0
"""Pause between two lines about the same outage."""

GATHER_S = 0.5
"""Partitions that are lost within this time are named in one line."""

NAMED_MAX = 8
"""Partitions that a line names."""


class Outage:
    """One a runtime. Concurrency: its event loop."""

    def __init__(self) -> None:
        self._failing: set[Hashable] = set()
        self._cause = ""
        self._kinds: set[type[Exception]] = set()
        self._began_s: float | None = None
        self._failed_s = self._well_s = self._told_s = 0.0
        self._partitions_lost = self._letters_lost = 0
        self._lost: dict[int, str] = {}
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}

    def failed(self, error: Exception, what: Hashable = None) -> None:
        """The store did not answer, or refused for now.

        Args:
            what: goes on being in trouble until `answered`; None for what failed and is done with.
        """
        now_s = asyncio.get_running_loop().time()
        self._failed_s = now_s
        self._cause = str(error) or type(error).__name__
        if what is not None:
            self._failing.add(what)
        if self._began_s is None:
            self._began_s = self._told_s = now_s
            self._kinds = {type(error)}
            self._partitions_lost = self._letters_lost = 0
            _log.warning(
                "the store does not answer; new calls hear 503 until it does, accepted work waits "
                "and then goes on; see that it runs, can be reached and takes writes",
                extra={"cause": self._cause},
            )
            self._call_later(LOOK_S, self._look)
        elif type(error) not in self._kinds:  # another trouble: its data are lost, it is full
            self._kinds.add(type(error))
            self._remind(now_s, self._began_s)

    def answered(self, what: Hashable) -> None:
        """What was in trouble is not any more, or is not ours any more."""
        if what in self._failing:
            self._failing.discard(what)
            self._well_s = asyncio.get_running_loop().time()

    def letters_lost(self, count: int, error: Exception) -> None:
        """Letters to other hosts were not sent, or nobody knows."""
        self.failed(error)
        self._letters_lost += count

    def partition_lost(self, partition: int, error: Exception) -> None:
        """The store refused a commit or a lease, so all memory of a partition was dropped."""
        if isinstance(error, StoreFullError):
            return  # it reads itself again, now and then, until there is room: see `room.py`
        self._partitions_lost += 1
        if not self._lost:
            self._call_later(GATHER_S, self._tell_lost)
        self._lost[partition] = str(error)

    def close(self) -> None:
        """Say what is still to be said, and no more."""
        for timer in self._timers.values():
            timer.cancel()
        if self._lost:
            self._tell_lost()

    def _call_later(self, delay_s: float, step: Callable[[], None]) -> None:
        self._timers[step] = asyncio.get_running_loop().call_later(delay_s, step)

    def _look(self) -> None:
        assert self._began_s is not None, "looks last as long as an outage"
        now_s = asyncio.get_running_loop().time()
        lasted_s = max(self._failed_s, self._well_s) - self._began_s
        if not self._failing and now_s - self._failed_s >= CALM_S:
            self._began_s = None
            _log.warning(
                "the store answers again; what waited goes on",
                extra={
                    "seconds": round(lasted_s, 1),
                    "partitions_lost": self._partitions_lost,
                    "letters_lost": self._letters_lost,
                },
            )
            return
        if now_s - self._told_s >= REMIND_S:
            self._remind(now_s, self._began_s)
        self._call_later(LOOK_S, self._look)

    def _remind(self, now_s: float, began_s: float) -> None:
        self._told_s = now_s
        _log.warning(
            "the store still does not answer",
            extra={"seconds": round(now_s - began_s), "cause": self._cause},
        )

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, {}
        _log.error(
            "partitions lost; their callers are told to retry, and their work goes on at whoever "
            "owns them next",
            extra={
                "count": len(lost),
                "partitions": sorted(lost)[:NAMED_MAX],
                "cause": next(iter(lost.values())),
            },
        )


def level_of(error: ActorflowError) -> int:
    """Return the level at which to tell of an attempt that failed and is made again: it is noise
    where the store is away or a partition moves, which is told once for all."""
    passes = isinstance(error, (UnavailableError, ContentionError))
    return logging.DEBUG if passes else logging.WARNING
