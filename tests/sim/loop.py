"""Virtual time: an event loop that jumps from timer to timer, and the clock and ids that fit it.

A day of sleeping takes no time, and one seed always gives the same run. The ready callbacks of one
moment run in a seeded order, so that what relies on the order of tasks shows up.
"""

import asyncio
import heapq
import random
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START_NS = 1_700_000_000_000_000_000
"""Wall-clock time at loop time zero."""

CALLBACK_S = 1e-6
"""Virtual time that one callback takes: time goes on even in a program that never waits."""

COMPACT_AT = 1_000
"""Cancelled timers that may stay in the heap."""


class DeadlockError(Exception):
    """Nothing is ready and no timer is set: somebody waits for a wake-up that was lost."""


class SimLoop(asyncio.BaseEventLoop):
    """An event loop without sockets, on virtual time.

    Args:
        seed: of the order in which ready callbacks run. A quarter of all seeds keep asyncio's own
            order (first in, first out); the others choose among the oldest 2 to 32.

    `problems` collects everything that asyncio would only have logged: exceptions that nobody
    retrieved, tasks that were destroyed while pending, callbacks that raised.
    """

    # Private parts of asyncio that typeshed does not know; see the test that guards them.
    _ready: deque[Any]
    _scheduled: list[Any]
    _timer_cancelled_count: int

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._now_s = 0.0
        self._order = random.Random(f"order {seed}")
        self._width = self._order.choice((1, 2, 8, 32))
        self.callbacks = 0
        self.problems: list[str] = []
        self.set_exception_handler(self._note_problem)

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._now_s

    def stall(self, duration_s: float) -> None:
        """Let time pass while nothing runs, as when a callback blocks the loop."""
        self._now_s += duration_s

    def _note_problem(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.problems.append(f"{context.get('message')}: {error!r}")

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        self._drop_cancelled()
        if not ready:
            if not scheduled:
                raise DeadlockError(f"nothing is ready at {self._now_s:.6f} s and no timer is set")
            self._now_s = max(self._now_s, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._now_s:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            ready.append(timer)
        width = min(self._width, len(ready))
        index = self._order.randrange(width) if width > 1 else 0
        if index:
            ready.rotate(-index)
            handle = ready.popleft()
            ready.rotate(index)
        else:
            handle = ready.popleft()
        self.callbacks += 1
        self._now_s += CALLBACK_S
        if not handle._cancelled:
            handle._run()

    def _drop_cancelled(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False
        if self._timer_cancelled_count > COMPACT_AT:
            for timer in scheduled:
                if timer._cancelled:
                    timer._scheduled = False
            scheduled[:] = [timer for timer in scheduled if not timer._cancelled]
            heapq.heapify(scheduled)
            self._timer_cancelled_count = 0

    def _process_events(self, event_list: object) -> None:
        """Do nothing: there is no selector."""

    def _write_to_self(self) -> None:
        """Do nothing: there is nothing to wake up."""

    def run_in_executor(self, executor: object, func: object, *args: object) -> Any:
        """Refuse: a thread knows no virtual time. Simulated activities are `async def`."""
        raise RuntimeError("no threads in a simulation; write the activity as async def")


class SimClock:
    """Wall-clock time of one machine in the simulation: the loop's time, set wrong at will.

    Counts whole microseconds, as fine as floating-point arithmetic on milliseconds since 1970 can
    tell apart.
    """

    def __init__(self, loop: SimLoop, *, skew_s: float = 0.0) -> None:
        self._loop = loop
        self.skew_s = skew_s

    def now_ns(self) -> int:
        return START_NS + round((self._loop.time() + self.skew_s) * 1e6) * 1_000


class SimIds:
    """Ids and jitter that repeat with the seed."""

    def __init__(self, seed: object) -> None:
        self._random = random.Random(f"ids {seed}")

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def jitter(self) -> float:
        return self._random.random()


def simulate(seed: int, main: Callable[[SimLoop], Coroutine[Any, Any, T]]) -> T:
    """Run `main` to its end on a loop of its own and return its result.

    Raises:
        AssertionError: a task is left over, or asyncio had something to complain about.
        DeadlockError: see there.
    """
    loop = SimLoop(seed)
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(main(loop))
        left = [task.get_name() for task in asyncio.all_tasks(loop)]
        assert left == [], f"tasks are left over: {left}"
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        _end_everything(loop)
        asyncio.set_event_loop(None)
        loop.close()
    assert loop.problems == [], loop.problems
    return result


def _end_everything(loop: SimLoop) -> None:
    """Cancel what a failed simulation left, so that its own failure is what is reported."""
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()
