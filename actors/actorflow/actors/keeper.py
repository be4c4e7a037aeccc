"""Keeps a host alive in the eyes of the others: its heartbeat and its leases.

All of it happens beside the host's event loop, in a thread with a loop of its own, so that user
code which blocks the one loop does not cost the host its partitions. When the host's loop is silent
for too long its partitions are given up: they do no work there. Nothing of this is about safety,
which is the fence in every commit.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from actorflow.actors.errors import FencedOutError, NotOwnerError, StoreUnavailableError
from actorflow.actors.pulse import LeaseBook, LoopState, Pulse, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from actorflow.actors.clock import StoreClock
    from actorflow.actors.errors import ActorflowError
    from actorflow.actors.ports import Lease, PartitionStore
    from actorflow.actors.transport import Lifeline, Member, Membership

    Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]

_log = logging.getLogger(__name__)

LOOK_S = 0.25
"""Pause between two looks at the host's loop, and between two of its beats."""

BEAT_S = 0.5
"""Pause between two heartbeats that the other hosts see."""

CLOCK_S = 2.0
"""Pause between two questions for the store's time."""

RETRY_S = 1.0
"""Pause before the thread begins again after something went wrong that nobody expected."""

FRAMES_MAX = 6
"""Lines of the stack that are shown of whoever blocks the loop."""


class Ears(Protocol):
    """What the host wants to hear; called on its event loop."""

    def heard(self, members: Sequence[Member]) -> None:
        """A heartbeat has reached the store, which knows these hosts."""
        ...

    def unheard(self, error: StoreUnavailableError) -> None:
        """A heartbeat or renewal has not reached the store, or nobody knows."""
        ...

    def lease_lost(self, lease: Lease, error: ActorflowError) -> None:
        """A lease is not ours any more."""
        ...


class Keeper:
    """Decides what to do next, with `pulse.py`, and does it over a `Lifeline`.

    Create it on the host's event loop and thread; `run` may be awaited on another.
    """

    def __init__(
        self,
        host: str,
        pulse: Pulse,
        ears: Ears,
        *,
        ttl_ms: int,
        info: bytes,
        clock: StoreClock | None,
    ) -> None:
        self._host = host
        self._pulse = pulse
        pulse.seen_beats = 0
        self._renewals_fail = False
        self._ears = ears
        self._ttl_ms = ttl_ms
        self._info = info
        self._clock = clock
        self._host_loop = asyncio.get_running_loop()
        self._host_thread = threading.get_ident()
        self._watchdog = Watchdog(ttl_ms / 1e3)
        self._book = LeaseBook(ttl_ms / 1e3)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._beat_at_s = self._ask_at_s = self._renew_at_s = 0.0
        self._given_up = self._said_silent = False

    async def run(self, line: Lifeline) -> None:
        """Keep the host alive over an open line until cancelled."""
        loop = asyncio.get_running_loop()
        self._under_way.clear()
        async with asyncio.TaskGroup() as group:
            while True:
                self._look(line, group, loop.time())
                await asyncio.sleep(LOOK_S)  # noqa: TID251 -- the rhythm of looks

    def _look(self, line: Lifeline, group: asyncio.TaskGroup, now_s: float) -> None:
        def begin(
            name: str, step: Callable[[Lifeline, float], Coroutine[None, None, None]]
        ) -> None:
            last = self._under_way.get(name)
            if last is None or last.done():
                self._under_way[name] = group.create_task(step(line, now_s), name=name)

        state = self._watchdog.look(now_s, self._pulse.beats)
        if self._watchdog.may_speak(now_s):
            self._name_who_blocks()
        if state is LoopState.SILENT:
            if not self._given_up:
                begin("give-up", self._give_up)
            return
        self._given_up = self._said_silent = False
        if now_s >= self._beat_at_s:
            self._beat_at_s = now_s + BEAT_S
            begin("heartbeat", self._beat)
        if self._book.due(self._pulse.leases, now_s) and now_s >= self._renew_at_s:
            begin("leases", self._renew)

    async def _beat(self, line: Lifeline, now_s: float) -> None:
        beats = self._pulse.beats
        try:
            if self._clock is not None and now_s >= self._ask_at_s:
                self._ask_at_s = now_s + CLOCK_S
                store_ns = await line.time_ns()
                if store_ns is not None:
                    self._clock.told(store_ns)
            members = await line.beat(self._host, self._info)
        except StoreUnavailableError as error:
            self._tell(self._ears.unheard, error)
            return
        if not self._renewals_fail:
            self._pulse.seen_beats = beats
        if self._watchdog.state is LoopState.ALIVE:  # else they would only pile up
            self._tell(self._ears.heard, members)

    async def _renew(self, line: Lifeline, now_s: float) -> None:
        leases = self._book.due(self._pulse.leases, now_s)
        renewals = (self._renew_one(line, lease, now_s) for lease in leases)
        problems = [problem for problem in await asyncio.gather(*renewals) if problem]
        self._renewals_fail = bool(problems)
        if problems:
            self._renew_at_s = now_s + BEAT_S
            self._tell(self._ears.unheard, problems[0])

    async def _renew_one(
        self, line: Lifeline, lease: Lease, now_s: float
    ) -> StoreUnavailableError | None:
        """Return why it was not possible, None when there was an answer."""
        try:
            renewed = await line.renew(lease, ttl_ms=self._ttl_ms)
        except StoreUnavailableError as error:
            return error
        self._book.renewed(lease, now_s)
        if not renewed:
            gone = FencedOutError(
                f"partition {lease.partition} has another owner, or its store lost commits; retry"
            )
            self._tell(self._ears.lease_lost, lease, gone)
        return None

    async def _give_up(self, line: Lifeline, _: float) -> None:
        """Let others take the partitions at once; the host's loop may come back or not."""
        leases = self._pulse.leases
        silent_s = round(self._watchdog.silent_s, 1)
        if not self._said_silent:
            self._said_silent = True
            _log.error(
                "the event loop is silent; its partitions are given up",
                extra={"seconds": silent_s, "partitions": len(leases)},
            )
        try:
            await line.leave(self._host)
            await asyncio.gather(*map(line.release, leases))
        except StoreUnavailableError as error:
            self._tell(self._ears.unheard, error)
            return
        self._given_up = True
        for lease in leases:
            gone = NotOwnerError(
                f"partition {lease.partition} was given up: the event loop of this host was "
                f"blocked for {silent_s:g} s; retry"
            )
            self._tell(self._ears.lease_lost, lease, gone)

    def troubled(self, error: StoreUnavailableError) -> None:
        """There is no lifeline for now."""
        self._tell(self._ears.unheard, error)

    def _tell(self, listener: Callable[..., None], *news: object) -> None:
        try:
            self._host_loop.call_soon_threadsafe(listener, *news)
        except RuntimeError:  # the loop is closed: nobody listens any more
            _log.debug("the host is gone")

    def _name_who_blocks(self) -> None:
        task = asyncio.current_task(self._host_loop)
        who = self._pulse.doing or (task.get_name() if task is not None else "unknown")
        _log.warning(
            "the event loop is blocked and serves nobody; move blocking code to an activity "
            "written with `def`, or to a thread",
            extra={
                "held_by": str(who),
                "seconds": round(self._watchdog.silent_s, 1),
                "stack": _stack_of(self._host_thread),
            },
        )


def _stack_of(thread: int) -> str:
    """Return where a thread is, innermost first, in one line."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 -- the documented way
    lines: list[str] = []
    while frame is not None and len(lines) < FRAMES_MAX:
        code = frame.f_code
        lines.append(f"{code.co_name} ({code.co_filename}:{frame.f_lineno})")
        frame = frame.f_back
    return " < ".join(lines)


class KeeperHome(Protocol):
    """Where a keeper lives."""

    def start(self, keeper: Keeper, spawn: Spawn) -> None:
        """Let it run from now on. `spawn` makes a task on the host's own event loop."""
        ...

    async def stop(self) -> None:
        """End it and disconnect."""
        ...


class OnLoop:
    """On the host's own event loop: for simulation, where there are no threads."""

    def __init__(self, line: Lifeline) -> None:
        self._line = line
        self._task: asyncio.Task[None] | None = None

    def start(self, keeper: Keeper, spawn: Spawn) -> None:
        """See `KeeperHome`."""
        self._task = spawn(keeper.run(self._line), "keeper")

    async def stop(self) -> None:
        """See `KeeperHome`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class InThread:
    """In a thread with an event loop of its own; `connect` makes a lifeline for that loop."""

    def __init__(self, connect: Callable[[], Lifeline]) -> None:
        self._connect = connect
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._ended = threading.Event()

    def start(self, keeper: Keeper, spawn: Spawn) -> None:
        """See `KeeperHome`."""
        del spawn  # its tasks run on the host's loop
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=self._main, args=(keeper, self._loop), name="actorflow-keeper", daemon=True
        )
        thread.start()

    async def stop(self) -> None:
        """See `KeeperHome`."""
        if self._loop is None:
            return
        if not self._ended.is_set():
            try:
                self._loop.call_soon_threadsafe(self._cancel)
            except RuntimeError:
                _log.debug("the keeper has ended by itself")
        await asyncio.to_thread(self._ended.wait)

    def _main(self, keeper: Keeper, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._live(keeper))
        except asyncio.CancelledError:
            _log.debug("the keeper was stopped")
        finally:
            self._ended.set()

    def _cancel(self) -> None:
        self._stopping = True
        if self._task is not None:
            self._task.cancel()

    async def _live(self, keeper: Keeper) -> None:
        self._task = asyncio.current_task()
        while not self._stopping:
            line = self._connect()
            try:
                await line.open()
                await keeper.run(line)
            except StoreUnavailableError as error:
                keeper.troubled(error)
            except Exception:  # noqa: BLE001 -- the supervisor of the keeper: leases depend on it
                _log.critical("the keeper of leases failed; it begins again", exc_info=True)
            finally:
                await line.close()
            await asyncio.sleep(RETRY_S)  # noqa: TID251 -- back-off


class StoreLine:
    """A `Lifeline` over the store and the members of the host itself, on its own event loop."""

    def __init__(self, store: PartitionStore, membership: Membership) -> None:
        self.beat = membership.beat
        self.leave = membership.leave
        self.renew = store.renew
        self.release = partial(store.release, dead=True)

    async def open(self) -> None:
        """See `Lifeline`; both are open."""

    async def close(self) -> None:
        """See `Lifeline`; both go on."""

    async def time_ns(self) -> int | None:
        """See `Lifeline`."""
        return None
