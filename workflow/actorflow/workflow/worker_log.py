"""Tells people of workers that come and go: each one, unless they do it all the time."""

from __future__ import annotations

import asyncio
import logging

_log = logging.getLogger(__name__)

LINES_MAX = 10
"""Lines about the workers of one app in one period; the rest is told at the level `debug`."""

PERIOD_S = 60.0


class _Told:
    """What was told about one app since `since_s`."""

    __slots__ = ("lines", "since_s", "untold")

    def __init__(self, now_s: float) -> None:
        self.since_s = now_s
        self.lines = self.untold = 0


class WorkerLog:
    """One a host. Concurrency: its event loop."""

    def __init__(self) -> None:
        self._apps: dict[str, _Told] = {}

    def connected(self, app_id: str, worker: int) -> None:
        """A worker has opened its stream; `worker` is the stream's number."""
        self._tell("worker connected", app_id, {"worker": worker})

    def disconnected(self, app_id: str, worker: int, *, unanswered: int) -> None:
        """A stream has ended, with so many items that were not answered."""
        self._tell("worker disconnected", app_id, {"worker": worker, "unanswered": unanswered})

    def _tell(self, event: str, app_id: str, more: dict[str, int]) -> None:
        extra = {"app_id": app_id, **more}
        now_s = asyncio.get_running_loop().time()
        told = self._apps.setdefault(app_id, _Told(now_s))
        if now_s - told.since_s >= PERIOD_S:
            if told.untold:
                extra["not_shown_before"] = told.untold
            told = self._apps[app_id] = _Told(now_s)
        if told.lines < LINES_MAX:
            told.lines += 1
            _log.info(event, extra=extra)
            return
        if not told.untold:
            _log.warning(
                "workers of this app come and go all the time; see why they end, or who cuts their "
                "connections. For a while, each is told at the log level debug only",
                extra={"app_id": app_id},
            )
        told.untold += 1
        _log.debug(event, extra=extra)
