"""Notices a server that is silent, with one timer for many waits."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class Silence:
    """Ends a wait of one task with TimeoutError when nothing was heard for too long.

    Made by the task itself, and entered for each wait. A timer a wait, which is what
    `asyncio.timeout` has, costs as much as packing a small commit; this one is left to run, and set
    again when it rings too early.

    Args:
        timeout_s: how long nothing may be heard.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._until_s = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    def heard(self) -> None:
        """Something came: wait on, as long as at first."""
        self._until_s = self._loop.time() + self._timeout_s

    def stop(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()

    def __enter__(self) -> None:
        self._is_over = False
        self.heard()
        if self._timer is None:
            self._timer = self._loop.call_at(self._until_s, self._look)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._until_s = math.inf
        if self._is_over and not self._task.uncancel() and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _look(self) -> None:
        self._timer = None
        if self._until_s <= self._loop.time():
            self._is_over = True
            self._task.cancel()
        elif self._until_s < math.inf:
            self._timer = self._loop.call_at(self._until_s, self._look)
