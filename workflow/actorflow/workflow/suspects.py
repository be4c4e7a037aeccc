"""Runs the activities alone that may be what ends the hosts which run them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import msgspec

from actorflow.actors.alone import LOOK_S
from actorflow.workflow.events import FailureDetails
from actorflow.workflow.requests import pack
from actorflow.workflow.trial import ALONE_S, after_loss, begun, begun_alone, let_go

if TYPE_CHECKING:
    from actorflow.actors import Delivery
    from actorflow.workflow.requests import WorkItem
    from actorflow.workflow.trial import Trial

_log = logging.getLogger(__name__)

ENDS_HOST = "ActivityEndsHost"
"""Error type of an activity that is not run again."""


class Runner(Protocol):
    """What runs activities."""

    def begin(self, delivery: Delivery, item: WorkItem, trial: Trial | None) -> None:
        """Run an activity when there is a free place, with these marks."""
        ...

    def start(self, delivery: Delivery, item: WorkItem, trial: Trial) -> asyncio.Task[None]:
        """Run it at once."""
        ...

    def running(self) -> set[asyncio.Task[None]]:
        """Return what runs now."""
        ...

    def go_on(self) -> None:
        """Begin what waits: nothing runs alone any more."""
        ...

    def refuse(self, delivery: Delivery, item: WorkItem, failure: FailureDetails) -> None:
        """Do not run it: this is its result."""
        ...


class Suspects:
    """Decides about activities that were under way when a host was lost; see `trial.py`.

    `has_one` says that one of them has the process for itself: nothing else may begin. What ran
    before it goes on, but was given `ALONE_S` to end; while a suspect does, no other is convicted.

    Concurrency: on the event loop.
    """

    def __init__(self, runner: Runner, lost_hosts_max: int) -> None:
        self._runner = runner
        self._lost_hosts_max = lost_hosts_max
        self._queue: list[tuple[Delivery, WorkItem, Trial]] = []
        self._soon: list[tuple[Delivery, WorkItem, Trial]] = []
        self._most = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self.has_one = False

    def __len__(self) -> int:
        return len(self._queue) + len(self._soon)

    def take(self, delivery: Delivery, item: WorkItem) -> None:
        """Take an activity that was recovered from a lost host now, or at some time before."""
        known = item.trial
        if not delivery.abandoned:  # its host has given it up in good order
            again = msgspec.structs.replace(known, alone=False) if known and known.alone else None
            self._runner.begin(delivery, item, again)
            return
        trial = after_loss(known, delivery.abandoned)
        if trial.is_convicted:
            _log.error("activity ends its hosts; it is not run again", extra=_about(item, trial))
            self._runner.refuse(delivery, item, _ends_host(item.name, trial))
            return
        loop = asyncio.get_running_loop()
        if not trial.runs_alone:
            # Those that run alone come first, and may be recovered at the same time.
            if not self._soon:
                loop.call_soon(self._begin_soon)
            self._soon.append((delivery, item, begun(trial)))
            return
        self._queue.append((delivery, item, trial))
        self._most = max(self._most, len(self._queue))
        if self._task is None:
            self.has_one = True
            self._task = loop.create_task(self._try_all(), name="suspects")

    def note(self, task: asyncio.Task[None]) -> None:
        """A suspect is under way."""
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def close(self) -> None:
        """Begin no more of them."""
        self._is_closed = True
        self._queue.clear()
        self._soon.clear()

    def _begin_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if self._soon and self._soon[0][0].alone.has_turns(loop.time()):
            loop.call_later(LOOK_S, self._begin_soon)
            return
        soon, self._soon = self._soon, []
        for suspect in soon:
            self._runner.begin(*suspect)

    async def stop(self) -> None:
        """End at once."""
        self.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _try_all(self) -> None:
        while self._queue:
            first = min(self._queue, key=lambda suspect: suspect[2].rank)
            self._queue.remove(first)
            if not first[0].is_void:
                await self._try(*first)
        self.has_one, self._task = False, None
        self._runner.go_on()

    async def _try(self, delivery: Delivery, item: WorkItem, trial: Trial) -> None:
        self.has_one = True
        task = None
        loop = asyncio.get_running_loop()
        try:
            while delivery.alone.has_turns(loop.time()):  # noqa: ASYNC110 -- of many partitions
                await asyncio.sleep(LOOK_S)  # noqa: TID251 -- see its name
            if others := self._runner.running():
                await asyncio.wait(others, timeout=ALONE_S)
            async with delivery.alone:  # no turn is tried meanwhile either
                if not self._is_closed and not delivery.is_void:
                    trial, task = self._start(delivery, item, trial)
                    await asyncio.wait({task}, timeout=trial.alone_s)
        finally:
            self.has_one = False
            self._runner.go_on()
        if task is not None and not task.done():
            await delivery.amend(pack(msgspec.structs.replace(item, trial=let_go(trial))))

    def _start(
        self, delivery: Delivery, item: WorkItem, trial: Trial
    ) -> tuple[Trial, asyncio.Task[None]]:
        if self._under_way:
            trial = begun(trial)
        else:
            trial = begun_alone(trial, self._most, self._lost_hosts_max)
        _log.warning("activity runs alone: hosts ended while it ran", extra=_about(item, trial))
        return trial, self._runner.start(delivery, item, trial)


def _about(item: WorkItem, trial: Trial) -> dict[str, object]:
    return {"activity": item.name, "instance_id": item.instance_id, "lost_hosts": trial.lost}


def _ends_host(name: str, trial: Trial) -> FailureDetails:
    return FailureDetails(
        error_type=ENDS_HOST,
        message=f"activity {name!r} is not run again: {trial.lost} hosts were lost while it ran, "
        "the last one while it ran alone. It may end its process (os._exit, a crash in native "
        "code, too much memory) or block it. Look into the logs of the hosts, mend the activity "
        "and rerun the instance; or run it in a remote worker, which may end without its host",
        non_retriable=True,
    )
