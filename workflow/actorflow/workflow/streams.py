"""The connection of one remote worker, seen from the engine: what it was given and has not done."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from actorflow.actors.completion import DeliveryKey
from actorflow.workflow.requests import WorkItem

if TYPE_CHECKING:
    from actorflow.actors import Delivery
    from actorflow.workflow.requests import WorkerWanted
    from actorflow.workflow.workitem import ActivityItem, TurnItem, TurnToken

    Item = TurnItem | ActivityItem

Key = DeliveryKey
"""What a piece of work is known by on all hosts."""

Asked = tuple[str, str, int]
"""What an answer without a token names: app of the worker, instance, task id (-1 for a turn)."""

TURNS = "workflow"
ACTIVITIES = "activity"

ITEMS_MAX = 100
"""Items that a worker may hold unanswered. The JavaScript SDK drops what comes beyond 110."""


class Work:
    """One durable request for work, on its way to somebody who can do it.

    `holder` has it: a stream of this host, the id of another host, or nobody. `lender` is the host
    that has lent it to this one; our own has a `delivery` instead. `is_stalled` says that workers
    which were connected so far cannot do it; `newcomer` is the host where another one has connected
    since. `shown` is what a worker of this host was last shown of a turn. `losses` counts the
    workers of this host that were lost while they had it. `asked`: see `Asked`.
    """

    __slots__ = (
        "app_id",
        "asked",
        "delivery",
        "holder",
        "is_stalled",
        "key",
        "kind",
        "lender",
        "losses",
        "newcomer",
        "request",
        "shown",
    )

    def __init__(
        self,
        key: Key,
        request: WorkItem | WorkerWanted,
        *,
        delivery: Delivery | None = None,
        lender: str = "",
    ) -> None:
        self.delivery = delivery
        self.request = request
        self.app_id = request.app_id
        if isinstance(request, WorkItem):
            self.kind, self.is_stalled = ACTIVITIES, False
            instance_id, task_id = request.instance_id, request.task_id
        else:
            self.kind, self.is_stalled = TURNS, request.stalled
            instance_id, task_id = key.target.key, -1
        self.asked: Asked = (request.app_id, instance_id, task_id)
        self.key = key
        self.lender = lender
        self.holder: WorkerStream | str | None = None
        self.newcomer = ""
        self.losses = 0
        self.shown: TurnToken | None = None

    @property
    def is_void(self) -> bool:
        """Whether the partition has another owner by now, who gives the work out himself."""
        return self.delivery is not None and self.delivery.is_void


class Works:
    """All work that a host knows, by its key, and by what was asked for: the newest, if that was
    asked for again."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Work] = {}
        self._by_asked: dict[Asked, Work] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def put(self, work: Work) -> None:
        """Add work, or replace that of the same key."""
        self._by_key[work.key] = work
        self._by_asked[work.asked] = work

    def drop(self, key: Key) -> Work | None:
        """Remove and return the work of a key; harmless when there is none."""
        work = self._by_key.pop(key, None)
        if work is not None and self._by_asked.get(work.asked) is work:
            del self._by_asked[work.asked]
        return work

    def get(self, key: Key) -> Work | None:
        """Return the work of a key."""
        return self._by_key.get(key)

    def asked(self, what: Asked) -> Work | None:
        """Return the work that was asked for."""
        return self._by_asked.get(what)

    def all(self) -> list[Work]:
        """Return all work, oldest first."""
        return list(self._by_key.values())


class StreamHost(Protocol):
    """What a stream asks of the dispatcher that it belongs to."""

    def disconnect(self, stream: WorkerStream) -> None:
        """Give back what the stream holds, after a grace in which its worker may come back."""
        ...

    def refuse(self, stream: WorkerStream, item: Item, reason: str) -> None:
        """The item cannot be sent to this worker: its instance stalls."""
        ...


class WorkerStream:
    """A worker that is connected to this host; made by `WorkerPool.connect`.

    `serial` grows with each connection. The worker gets no more than `items_max` items that it has
    not answered, so a slow one stops receiving while others go on.

    Concurrency: one reader; everything on the event loop.
    """

    def __init__(self, host: StreamHost, app_id: str, serial: int, items_max: int) -> None:
        self.app_id = app_id
        self.serial = serial
        self.items_max = items_max
        self.given: dict[Key, Work] = {}
        self.is_closed = False
        self._host = host
        self._items: deque[Item] = deque()
        self._reader: asyncio.Future[None] | None = None

    @property
    def has_room(self) -> bool:
        """Whether the worker may get another item."""
        return not self.is_closed and len(self.given) < self.items_max

    def push(self, item: Item) -> None:
        """Put an item behind those that wait to be sent."""
        self._items.append(item)
        self._wake_reader()

    async def next(self) -> Item | None:
        """Return the next item to send, waiting for one; None when the stream is to end."""
        while not self._items:
            if self.is_closed:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._items.popleft()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def refuse(self, item: Item, reason: str) -> None:
        """Say that an item got from `next` cannot be sent: its instance stalls with the reason
        PAYLOAD_SIZE_EXCEEDED, and no other one is touched."""
        self._host.refuse(self, item, reason)

    def close(self) -> None:
        """End the stream; harmless when it has ended. What the worker holds goes to others after a
        short grace, and its answers stay welcome."""
        if not self.is_closed:
            self.is_closed = True
            self._items.clear()
            self._wake_reader()
            self._host.disconnect(self)
