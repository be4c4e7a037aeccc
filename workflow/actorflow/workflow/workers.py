"""Gives durable work to remote workers: to those connected here, and through other hosts to theirs.

Work is a durable message of this host's partitions. A worker's answer ends it, wherever the answer
arrives and whoever owns the partition by then; the first one that is committed counts. So to give
the same work twice, after a worker was lost, is always safe.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING

from actorflow.actors import ActorId
from actorflow.actors.errors import ActorflowError, StoppingError
from actorflow.actors.outage import level_of
from actorflow.workflow.answers import Answers
from actorflow.workflow.apps import Apps
from actorflow.workflow.lending import Lending
from actorflow.workflow.lost_workers import give_again
from actorflow.workflow.remote import PAYLOAD_SIZE_EXCEEDED
from actorflow.workflow.requests import (
    TURN,
    WORKER_READY,
    TurnDone,
    WorkerWanted,
    WorkItem,
    instance_type,
    pack,
)
from actorflow.workflow.streams import ITEMS_MAX, TURNS, Key, WorkerStream, Works
from actorflow.workflow.turns import Turns
from actorflow.workflow.worker_log import WorkerLog
from actorflow.workflow.workitem import TurnItem, activity_item

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors import ActorSystem
    from actorflow.workflow.events import HistoryEvent
    from actorflow.workflow.permits import Concurrency, Permits
    from actorflow.workflow.streams import Item, Work
_log = logging.getLogger(__name__)

GRACE_S = 2.0
"""A lost worker has so long to come back and answer before others get what it held."""

RETRY_S = 0.5
"""Pause before the store is asked again for what a worker is to be shown."""


class _App:
    """The work of one app: what waits, what waits for workers yet to connect, and its workers."""

    __slots__ = ("behind", "parked", "streams", "waiting")

    def __init__(self) -> None:
        self.behind: list[Work] = []  # what could be mistaken for something that a worker has
        self.waiting: deque[Work] = deque()
        self.parked: list[Work] = []
        self.streams: list[WorkerStream] = []


class WorkerPool:
    """The remote workers of one host, and the work that they have or wait for.

    Concurrency: everything runs on the event loop.
    """

    def __init__(
        self,
        actors: ActorSystem,
        permits: Permits,
        limits: Concurrency,
        *,
        app_id: str,
        now_ns: Callable[[], int],
    ) -> None:
        self._actors = actors
        self._permits = permits
        self._limits = limits
        self._turns = Turns(actors, now_ns)
        self._apps: defaultdict[str, _App] = defaultdict(_App)
        self._works = Works()
        self._answers = Answers(actors, app_id, ended=self.completed, failed=self._not_taken)
        self._serial = 0
        self._log = WorkerLog()
        self._news = asyncio.Event()
        self._lending = Lending(actors, self, app_id)
        self._is_stopping = self._is_stopped = False
        self.apps = Apps(actors)

    def start(self) -> None:
        """Begin to speak with other hosts, once the actor system runs."""
        self._lending.start()
        self._permits.start()

    def stop(self) -> None:
        """Give nothing to anybody any more: the host has stopped."""
        self._is_stopped = True
        self._lending.stop()
        self.close_streams()

    # ---- what others may know ------------------------------------------------------------------

    @property
    def waiting_count(self) -> int:
        """Pieces of work that nobody has."""
        return sum(work.holder is None for work in self._works.all())

    @property
    def late_count(self) -> int:
        """Answers that were not the first, or whose run was over."""
        return self._answers.late_count

    def stream_count(self, app_id: str) -> int:
        """Workers of an app that are connected here."""
        app = self._apps.get(app_id)
        return len(app.streams) if app is not None else 0

    def offers(self) -> dict[str, tuple[int, int, int]]:
        """See `lending.Pool`."""
        return {
            name: (len(app.streams), self._room(app), max(s.serial for s in app.streams))
            for name, app in self._apps.items()
            if app.streams
        }

    def _room(self, app: _App) -> int:
        return sum(stream.items_max - len(stream.given) for stream in app.streams)

    def serves(self, app_id: str) -> bool:
        """Whether a worker of the app is connected, to this host or another."""
        return bool(self.stream_count(app_id)) or self._lending.serves(app_id)

    def knows(self, app_id: str) -> bool:
        """Whether a host of the app, or a worker of it, is there besides what this host is."""
        return bool(self.stream_count(app_id)) or self._lending.knows(app_id)

    async def wait_for_stream(self, app_id: str, timeout_s: float) -> bool:
        """Wait until a worker of the app is connected; return whether one is."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self.serves(app_id):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def why_waiting(self, app_id: str, instance_id: str, task_id: int) -> str:
        """Say why no worker of an app has a turn (task id -1) or an activity of an instance; ""
        when one has it, as far as this host can tell."""
        if not self.serves(app_id):
            return f"no worker of app {app_id!r} is connected to any host"
        work = self._works.asked((app_id, instance_id, task_id))
        if work is None or work.holder is not None:
            return ""
        if work.is_stalled:
            return f"the workers of app {app_id!r} could not do it; it waits for another to connect"
        return f"the workers of app {app_id!r} have as much as they take"

    def room_came(self, app_id: str) -> None:
        """See `lending.Pool`."""
        self._news.set()
        if app_id in self._apps:
            self._pump(self._apps[app_id])

    # ---- work in -------------------------------------------------------------------------------

    def put(self, work: Work, *, is_known_to_stall: bool = False) -> None:
        """Take work that no code of this process can do.

        Args:
            is_known_to_stall: found out by this very host, which has seen all workers since.
        """
        known = self._works.get(work.key)
        if known is not None and self._goes_on(known, work):
            return
        self._works.put(work)
        if is_known_to_stall:
            self.park(work)
        else:
            self._admit(work)

    def _goes_on(self, known: Work, again: Work) -> bool:
        """Its partition has moved, maybe to this host: whoever has the work may go on."""
        known.delivery, known.lender = again.delivery, again.lender
        if isinstance(known.holder, WorkerStream) or (known.holder and not again.lender):
            return True
        self._permits.leave(known.key)
        self.drop(known)
        return False

    def _admit(self, work: Work) -> None:
        """Let work wait for a worker, as soon as the limits allow it."""
        # Of what was lent to this host, the owner has the permit.
        if work.lender or not self._permits.limit(work.kind, work.request.name):
            self._let_wait(work)
        else:
            self._permits.enter(work, partial(self._let_wait, work))

    def _let_wait(self, work: Work) -> None:
        app = self._apps[work.app_id]
        app.waiting.append(work)
        self._pump(app)

    def take_back(self, works: list[Work]) -> None:
        """What another host, or a stream, has not done waits again, before all that is newer."""
        for work in reversed(works):
            work.holder = None
            self._apps[work.app_id].waiting.appendleft(work)
        for app_id in dict.fromkeys(work.app_id for work in works):
            self._pump(self._apps[app_id])

    def find(self, key: Key) -> Work | None:
        """Return a piece of work that is here."""
        return self._works.get(key)

    def works(self) -> list[Work]:
        """Return all work that is here."""
        return self._works.all()

    def drop(self, work: Work) -> None:
        """Forget work, whoever has it: it is done, or another host's."""
        self.completed(work.key)

    def completed(self, key: Key) -> None:
        """Somebody has ended a piece of work: whoever had it has room again."""
        work = self._works.drop(key)
        if work is None:
            return
        self._answers.gone(work)
        app = self._apps[work.app_id]
        if isinstance(work.holder, WorkerStream):
            work.holder.given.pop(work.key, None)
            self._lending.room_here()
        elif work.holder is not None:
            self._lending.done(work)
        else:
            for queue in (app.waiting, app.parked, app.behind):
                if work in queue:
                    queue.remove(work)
        if work.lender:
            self._lending.forget(work)
        if app.behind:
            self._let_go(app, work)
        if app.waiting:
            self._pump(app)

    @staticmethod
    def _let_go(app: _App, work: Work) -> None:
        """What could have been mistaken for this work cannot be any more."""
        free = [other for other in app.behind if other.asked == work.asked]
        for other in free:
            app.behind.remove(other)
        app.waiting.extendleft(reversed(free))

    # ---- streams -------------------------------------------------------------------------------

    def connect(self, app_id: str, *, items_max: int = ITEMS_MAX) -> WorkerStream:
        """Return a new stream of work for a worker of an app. Whoever reads it closes it.

        Raises:
            StoppingError: the host stops.
        """
        if self._is_stopping:
            raise StoppingError("the host is stopping; connect to another one")
        self._serial += 1
        stream = WorkerStream(self, app_id, self._serial, items_max)
        self._apps[app_id].streams.append(stream)
        self._log.connected(app_id, stream.serial)
        self.apps.note_soon(app_id)
        self.try_parked(app_id)
        self._lending.announce()
        self._news.set()
        return stream

    def try_parked(self, app_id: str, newcomer: str = "") -> None:
        """A new worker is there, here or on another host: what stalled may go on."""
        app = self._apps.get(app_id)
        if app is None:
            return
        parked, app.parked = app.parked, []
        for work in parked:
            work.newcomer = newcomer
            self._admit(work)
        self._pump(app)

    def disconnect(self, stream: WorkerStream) -> None:
        """See `streams.StreamHost`."""
        self._apps[stream.app_id].streams.remove(stream)
        self._log.disconnected(stream.app_id, stream.serial, unanswered=len(stream.given))
        self._lending.announce()
        asyncio.get_running_loop().call_later(GRACE_S, self._give_back, stream)

    def close_streams(self) -> None:
        """End all streams: the host stops."""
        self._is_stopping = True
        for app in self._apps.values():
            for stream in list(app.streams):
                stream.close()

    def _give_back(self, stream: WorkerStream) -> None:
        held = [work for work in stream.given.values() if work.holder is stream]
        stream.given.clear()
        give_again(held, self.take_back, self._works.get)

    def refuse(self, stream: WorkerStream, item: Item, reason: str) -> None:
        """See `streams.StreamHost`."""
        instance_id = item.instance_id if isinstance(item, TurnItem) else item.request.instance_id
        key = item.token.key(instance_id)
        work = stream.given.pop(key, None)
        if work is None:
            return
        self._answers.gone(work)
        work.holder = None
        if work.lender:
            self.drop(work)
            self._lending.give_back(work, is_stalled=True)
        else:
            self.park(work)
        self._actors.spawn(self._stall(item, instance_id, reason), f"stall-{instance_id}")
        self._pump(self._apps[stream.app_id])

    async def _stall(self, item: Item, instance_id: str, reason: str) -> None:
        token = item.token
        done = TurnDone(token.execution_id, 0, 0, 0, stalled=(PAYLOAD_SIZE_EXCEEDED, reason))
        try:
            await self._actors.call(token.instance(instance_id), TURN, pack(done), repeatable=True)
        except ActorflowError as error:
            extra = {"instance_id": instance_id, "cause": str(error)}
            _log.warning("stall not recorded; it is met again with the next worker", extra=extra)

    def park(self, work: Work) -> None:
        """Let work wait for a worker yet to connect: those that were here cannot do it."""
        work.is_stalled = True
        self._apps[work.app_id].parked.append(work)
        self._permits.leave(work.key)  # others may go on while it cannot

    # ---- giving --------------------------------------------------------------------------------

    def _pump(self, app: _App) -> None:
        """Give what waits to whoever has room, oldest first."""
        while app.waiting and not self._is_stopped:
            work = app.waiting[0]
            if work.is_void:
                app.waiting.popleft()
                self._works.drop(work.key)  # the next owner of its partition gives it out
                self._let_go(app, work)
            elif self._answers.could_be_mistaken(work):
                app.behind.append(app.waiting.popleft())
            elif work.newcomer and self._lending.lend(work):
                app.waiting.popleft()
            elif (stream := self._best_stream(app, work)) is not None:
                app.waiting.popleft()
                self._give(work, stream)
            elif work.lender:
                app.waiting.popleft()
                self._works.drop(work.key)
                self._lending.give_back(work)
            elif self._lending.lend(work):
                app.waiting.popleft()
            else:
                break

    def _best_stream(self, app: _App, work: Work) -> WorkerStream | None:
        """Return the least busy stream with room; the newest one for what older ones cannot do."""
        most = self._limits.host_turns if work.kind == TURNS else self._limits.host_activities
        if most is not None and self._is_busy(work.kind, most):
            return None
        best: WorkerStream | None = None
        for stream in app.streams:  # from old to new
            if stream.has_room and (
                best is None or work.is_stalled or len(stream.given) < len(best.given)
            ):
                best = stream
        return best

    def _is_busy(self, kind: str, most: int) -> bool:
        streams = (stream for app in self._apps.values() for stream in app.streams)
        held = sum(work.kind == kind for stream in streams for work in stream.given.values())
        return held >= most

    def _give(self, work: Work, stream: WorkerStream) -> None:
        work.holder = stream
        stream.given[work.key] = work
        item: Item | None
        if isinstance(work.request, WorkItem):
            item = activity_item(work.key, work.request)
        else:
            # Answers without tokens find what was given last. That a second worker answers the turn
            # before, right after the first one, must not be taken for an answer to this one.
            is_guessed = self._answers.sends_no_tokens(work.app_id)
            item = None if is_guessed else self._turns.from_memory(work, work.request)
            if item is None:
                self._actors.spawn(self._give_turn(work, work.request, stream), "give-turn")
                return
            work.shown = item.token
        self._answers.given(work, item.token)
        stream.push(item)

    async def _give_turn(self, work: Work, wanted: WorkerWanted, stream: WorkerStream) -> None:
        """Show the worker the history and the facts, as committed by now."""
        try:
            item, exists = await self._turns.from_store(work, wanted)
            if item is None and self._has(stream, work):
                # It waits for nothing that a worker could do: it asks again when it does.
                instance = ActorId(instance_type(work.app_id), work.key.target.key)
                again = (instance, WORKER_READY, wanted.execution_id.encode())
                await self._actors.complete(work.key, [again] if exists else [])
                self.completed(work.key)
        except ActorflowError as error:
            extra = {"instance_id": work.key.target.key, "cause": str(error)}
            _log.log(level_of(error), "turn not given to a worker; tried again", extra=extra)
            await asyncio.sleep(RETRY_S)  # noqa: TID251 -- back-off
            if self._has(stream, work):
                del stream.given[work.key]
                self.take_back([work])
            return
        if item is not None and self._has(stream, work):
            work.shown = item.token
            self._answers.given(work, item.token)
            stream.push(item)

    def _has(self, stream: WorkerStream, work: Work) -> bool:
        """Whether the work is still to be done, and by that worker."""
        return self._works.get(work.key) is work and stream.given.get(work.key) is work

    # ---- answers -------------------------------------------------------------------------------

    async def finish_turn(self, app_id: str, instance_id: str, token: str, done: TurnDone) -> bool:
        """Take what a worker made of a turn; returns when it is committed.

        Args:
            app_id: of the worker.
            token: as sent with the item; "" from SDKs that do not send it back.
            done: only the worker's part counts; what the worker was shown is filled in here.

        Returns: False when it is late: somebody else's answer was first, or the run is over.

        Raises:
            UnavailableError: not committed, or unknown; the work is given out again.
        """
        return await self._answers.finish_turn(app_id, instance_id, token, done)

    async def finish_activity(
        self,
        instance_id: str,
        task_id: int,
        token: str,
        event: Callable[[str], HistoryEvent],
        *,
        app_id: str = "",
    ) -> bool:
        """Take the result of an activity, as `finish_turn`.

        Args:
            event: makes the fact for the instance from the task execution id.
            app_id: of the worker; "" is that of this host. Counts only without a token.
        """
        return await self._answers.finish_activity(app_id, instance_id, task_id, token, event)

    def _not_taken(self, key: Key) -> None:
        """Nobody knows what became of an answer: the work is given out again."""
        work = self._works.get(key)
        if work is not None and isinstance(work.holder, WorkerStream):
            work.holder.given.pop(key, None)
            self.take_back([work])
