"""Who has the process for itself, while it is found out who ends the hosts."""

from __future__ import annotations

import asyncio

SETTLE_S = 1.0
"""Activities wait so long at least: for the turns of partitions that come a little later."""

LOOK_S = 0.1
"""Pause between looks whether all turns were tried."""


class Alone(asyncio.Lock):
    """Held while one suspect runs, be it a turn (see `caution.Caution`) or an activity. One a
    process.

    `turns` counts those that are still to be tried, in all partitions: they come before activities.
    """

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self._settled_s = 0.0

    def partition_came(self, now_s: float) -> None:
        """A partition whose turns are suspects is at work from now on, in the loop's time."""
        self._settled_s = now_s + SETTLE_S

    def has_turns(self, now_s: float) -> bool:
        """Whether turns are to be tried first."""
        return self.turns > 0 or now_s < self._settled_s
