"""Refuses new work while workers are far behind: what waits for them is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.actors.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PENDING_BYTES_MAX = 64 * 1024 * 1024
"""Messages that workers have and have not done with, on one host, with `MESSAGE_OVERHEAD_BYTES` for
each. Above it, starts from outside are refused; whatever ends what is there goes on."""

LOOK_AGAIN_NS = 50_000_000
"""An answer is used for this long: adding up all partitions costs more than a start may."""


class Backlog:
    """`gauges` are those of the actor system."""

    def __init__(
        self, gauges: Callable[[], Mapping[str, int]], now_ns: Callable[[], int], limit_bytes: int
    ) -> None:
        self._gauges = gauges
        self._now_ns = now_ns
        self._limit_bytes = limit_bytes
        self._looked_ns = 0
        self._is_full = False

    def refusal(self) -> OverloadedError | None:
        """Return what a start from outside is told, None when it may come in."""
        now_ns = self._now_ns()
        if not 0 <= now_ns - self._looked_ns < LOOK_AGAIN_NS:
            self._looked_ns = now_ns
            self._is_full = self._gauges().get("pending_bytes", 0) >= self._limit_bytes
        if not self._is_full:
            return None
        return OverloadedError("the queue of activities (bytes)", self._limit_bytes)
