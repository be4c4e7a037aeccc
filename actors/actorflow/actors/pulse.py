"""PURE. When a host has lost its right to its leases: its event loop beats, somebody else counts.

A loop that user code holds for a moment must not cost the host its partitions, so leases are
renewed outside of it (`keeper.py`). A loop that is held for long must: its partitions do no work.
And a host whose heartbeats do not reach the store may have lost them without knowing.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.actors.ports import Lease

BLOCKED_S = 1.0
"""A loop that did not beat for this long is held by somebody, who is named in the log."""

SILENT_TTLS = 3.0
"""After so many times to live of a lease without a beat the partitions are given up."""

GAP_MAX_S = 1.0
"""What a pause between two looks counts at most. A process that was stopped as a whole saw nothing,
neither its own loop nor that others took its partitions."""

SEEN_S = 2.0
"""So long after a heartbeat no other host takes what this one has: less than
`placement.DEAD_AFTER_MS` by what an answer may need to get out."""

_BEATS_KEPT = 16
"""Beats whose time is remembered: at four a second, more than `SEEN_S` holds."""

WORD_EVERY_S = 10.0
"""Pause between two warnings about a blocked loop."""


class LoopState(StrEnum):
    """What the beats of an event loop say about it."""

    ALIVE = "alive"
    BLOCKED = "blocked"
    SILENT = "silent"


class Pulse:
    """What the event loop of a host says of itself, and what its keeper answers. Any thread may
    read.

    Only the loop writes `beats`, which counts how often it came by, `leases`, those of all
    partitions at work, and `doing`, the actor whose turn runs right now, if any. Only the keeper
    writes `seen_beats`: the count when it began the last heartbeat that the others can see; None
    where there is no keeper, since no other host could take anything.
    """

    __slots__ = ("_at_s", "beats", "doing", "leases", "seen_beats")

    def __init__(self) -> None:
        self._at_s = [-math.inf] * _BEATS_KEPT
        self.seen_beats: int | None = None
        self.beats = 0
        self.doing: object = None
        self.leases: tuple[Lease, ...] = ()

    def beat(self, now_s: float) -> None:
        """The loop comes by, at this time of its own clock."""
        self.beats += 1
        self._at_s[self.beats % _BEATS_KEPT] = now_s

    def is_seen(self, now_s: float) -> bool:
        """Whether the others saw this host alive a moment ago, so that what it has is its own."""
        seen = self.seen_beats
        if seen is None:
            return True
        return self.beats - seen < _BEATS_KEPT and now_s - self._at_s[seen % _BEATS_KEPT] < SEEN_S


class Watchdog:
    """Counts how long a loop has been silent, by the clock of who looks: the two need not share
    one. `silent_s` is the count in seconds."""

    def __init__(self, ttl_s: float) -> None:
        self._limit_s = SILENT_TTLS * ttl_s
        self._beats = -1
        self._looked_s = 0.0
        self._spoke_s: float | None = None
        self._spoke_at_beats = -1
        self.silent_s = 0.0
        self.state = LoopState.ALIVE

    def look(self, now_s: float, beats: int) -> LoopState:
        """Compare the count of beats with the last one; return and keep what it says."""
        gap_s = min(now_s - self._looked_s, GAP_MAX_S)
        self._looked_s = now_s
        if beats != self._beats:
            self._beats = beats
            self.silent_s = 0.0
        else:
            self.silent_s += gap_s
        if self.silent_s >= self._limit_s:
            self.state = LoopState.SILENT
        elif self.silent_s >= BLOCKED_S:
            self.state = LoopState.BLOCKED
        else:
            self.state = LoopState.ALIVE
        return self.state

    def may_speak(self, now_s: float) -> bool:
        """Whether to warn about the loop now: once while it is held, and not too often."""
        if self.state is LoopState.ALIVE or self._spoke_at_beats == self._beats:
            return False
        if self._spoke_s is not None and now_s - self._spoke_s < WORD_EVERY_S:
            return False
        self._spoke_s, self._spoke_at_beats = now_s, self._beats
        return True


class LeaseBook:
    """When each lease was renewed; one is due when a third of its time to live has passed."""

    def __init__(self, ttl_s: float) -> None:
        self._every_s = ttl_s / 3
        self._renewed_s: dict[Lease, float] = {}

    def due(self, leases: Iterable[Lease], now_s: float) -> list[Lease]:
        """Return which of these leases to renew now; others are forgotten. One that is new was
        acquired just now."""
        self._renewed_s = {lease: self._renewed_s.get(lease, now_s) for lease in leases}
        return [lease for lease, at_s in self._renewed_s.items() if now_s - at_s >= self._every_s]

    def renewed(self, lease: Lease, asked_s: float) -> None:
        """The store has extended a lease, asked at this time."""
        if lease in self._renewed_s:
            self._renewed_s[lease] = asked_s
