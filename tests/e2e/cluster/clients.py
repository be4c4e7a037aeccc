"""Clients of a cluster: they call any host, repeat what got no answer, and note what they saw."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp

from actorflow.actors.address import ActorId, partition_of
from actorflow.workflow.requests import INSTANCE
from tests.e2e.cluster.app import expected
from tests.e2e.cluster.hosts import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from tests.e2e.cluster.hosts import Site

ATTEMPT_S = 5.0
"""Time-out of one attempt; a frozen host answers nothing."""

PAUSE_S = 0.1
"""Pause before the next attempt."""

POLL_S = 0.25

GIVE_UP_S = 180.0
"""A call that was repeated for this long without success fails the test: on no machine does it take
so long that hosts go on."""

PURGES_AT_ONCE = 20

LATE_S = 90.0
"""How late an attempt may come that its client gave up."""

STARTS_PER_S = 12.0
"""Ledger workflows that all clients together start at most: about what a slow machine can do, as
each is examined in the end."""


class Caller:
    """Calls random hosts until one accepts.

    `statuses` counts the answers; `unanswered` the attempts without one, by error. `retries` and
    `slowest_s` are of calls that succeeded in the end.
    """

    def __init__(
        self,
        site: Site,
        *,
        keep_alive: bool = True,
        give_up_s: float = GIVE_UP_S,
        attempt_s: float = ATTEMPT_S,
    ) -> None:
        self._site = site
        self._give_up_s = give_up_s
        self._choose = random.Random()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=not keep_alive),
            timeout=aiohttp.ClientTimeout(total=attempt_s),
        )
        self.statuses: Counter[int] = Counter()
        self.unanswered: Counter[str] = Counter()
        self.without_retry_after = 0

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def start(self, workflow: str, instance_id: str, data: object = None) -> None:
        path = f"v1.0/workflows/dapr/{workflow}/start?instanceID={instance_id}"
        await self.ask("POST", path, data, key=f"start-{instance_id}")

    async def raise_event(
        self, instance_id: str, name: str, data: object, key: str, *, host: str = ""
    ) -> None:
        path = f"v1.0/workflows/dapr/{instance_id}/raiseEvent/{name}"
        await self.ask("POST", path, data, key, host=host)

    async def get(self, instance_id: str, *, host: str = "") -> dict[str, Any]:
        """Return the status from any host, or from the one with this URL."""
        return await self.ask("GET", f"v1.0/workflows/dapr/{instance_id}", host=host)

    async def purge(self, instance_ids: Iterable[str]) -> None:
        """Purge all of these that still exist, some at a time."""
        gate = asyncio.Semaphore(PURGES_AT_ONCE)

        async def one(instance_id: str) -> None:
            async with gate:
                path = f"v1.0/workflows/dapr/{instance_id}/purge"
                await self.ask("POST", path, {}, gone=True)

        await asyncio.gather(*map(one, instance_ids))

    async def until_status(self, instance_id: str, *statuses: str) -> dict[str, Any]:
        async with asyncio.timeout(self._give_up_s):
            while True:
                answer = await self.get(instance_id)
                if answer["runtimeStatus"] in statuses:
                    return answer
                await asyncio.sleep(POLL_S)

    async def ask(
        self,
        method: str,
        path: str,
        data: object = None,
        key: str = "",
        *,
        host: str = "",
        gone: bool = False,
    ) -> dict[str, Any]:
        """Call until it is accepted; any refusal but "retry" fails the test. With `gone` it may be
        that the instance does not exist any more."""
        headers = {"Idempotency-Key": key} if key else {}
        body = json.dumps(data) if method == "POST" else None
        last = ""
        try:
            async with asyncio.timeout(self._give_up_s):
                while True:
                    url = f"{host or self._choose.choice(self._site.urls)}/{path}"
                    status, last = await self._attempt(method, url, body, headers)
                    if status in (200, 202):
                        return dict(json.loads(last or "{}"))
                    if gone and status == 404:
                        return {}
                    assert status in (0, 429, 503), f"{method} {path}: {status} {last}"
                    await asyncio.sleep(PAUSE_S * self._choose.uniform(0.5, 1.5))
        except TimeoutError:
            raise AssertionError(f"{method} {path} in {self._give_up_s:g} s: {last}") from None

    async def _attempt(
        self, method: str, url: str, body: str | None, headers: dict[str, str]
    ) -> tuple[int, str]:
        try:
            async with self._session.request(method, url, data=body, headers=headers) as response:
                text = await response.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.unanswered[type(error).__name__] += 1
            return 0, repr(error)
        self.statuses[response.status] += 1
        if response.status == 503 and "Retry-After" not in response.headers:
            self.without_retry_after += 1
        return response.status, text


class Load:
    """Clients that run one ledger workflow after the other until there were enough.

    `accepted` is every start that was acknowledged, with its number.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        prefix: str = "ledger",
        starts_per_s: float = STARTS_PER_S,
        loses_tails: bool = False,
    ) -> None:
        self._caller = caller
        self._prefix = prefix
        self._starts_per_s = starts_per_s
        self._loses_tails = loses_tails
        self._ended: list[tuple[float, str]] = []
        self._next = 0
        self._next_at_s = 0.0
        self.accepted: dict[str, int] = {}
        self.finished = 0
        self.enough = asyncio.Event()

    async def client(self) -> None:
        while not self.enough.is_set():
            number, self._next = self._next, self._next + 1
            await self._take_turn()
            await self._run(number)
            ended_s = asyncio.get_running_loop().time()
            self._ended.append((ended_s, f"{self._prefix}-{number}"))
            self.finished += 1

    def take_ended(self) -> dict[str, int]:
        """Return those of `accepted` that have ended some time ago, and forget them. Until then an
        attempt to start them may be under way that its client gave up; purged, they would begin
        anew."""
        until_s = asyncio.get_running_loop().time() - LATE_S
        ended = [instance_id for ended_s, instance_id in self._ended if ended_s < until_s]
        self._ended = self._ended[len(ended) :]
        return {instance_id: self.accepted.pop(instance_id) for instance_id in ended}

    async def _take_turn(self) -> None:
        """Leave the machine some time for faults and checks."""
        now_s = asyncio.get_running_loop().time()
        self._next_at_s = max(now_s, self._next_at_s + 1 / self._starts_per_s)
        await asyncio.sleep(self._next_at_s - now_s)

    async def _run(self, number: int) -> None:
        instance_id = f"{self._prefix}-{number}"
        await self._caller.start("ledger", instance_id, number)
        self.accepted[instance_id] = number
        if number % 2:
            await asyncio.sleep(0.5)  # half of the events come early, half late
        await self._caller.raise_event(instance_id, "approve", number * 10, f"event-{instance_id}")
        reader = Reader(self._caller, instance_id, loses_tails=self._loses_tails)
        answer = await reader.until_ended()
        assert answer["runtimeStatus"] == "COMPLETED", answer
        output = json.loads(answer["properties"]["dapr.workflow.output"])
        assert output == expected(number, number * 10), answer


class Reader:
    """Reads one instance from host after host: what it sees never goes back (I10), unless the store
    `loses_tails`: what it had written and not acknowledged may have been seen."""

    def __init__(self, caller: Caller, instance_id: str, *, loses_tails: bool = False) -> None:
        self._caller = caller
        self._loses_tails = loses_tails
        self._instance_id = instance_id
        self._seen: tuple[int, int, str] = (-1, -1, "")

    async def until_ended(self) -> dict[str, Any]:
        pause_s = POLL_S
        while True:
            answer = await self._caller.get(self._instance_id)
            self.saw(answer)
            if answer["runtimeStatus"] not in ("RUNNING", "PENDING"):
                return answer
            await asyncio.sleep(pause_s)
            pause_s = min(2.0, pause_s * 1.2)

    def saw(self, answer: dict[str, Any]) -> None:
        rank = {"PENDING": 0, "RUNNING": 1}.get(answer["runtimeStatus"], 2)
        step = json.loads(answer["properties"].get("dapr.workflow.custom_status") or "0")
        now = (rank, step, answer["lastUpdatedAt"])
        is_back = now[:2] < self._seen[:2] and not self._loses_tails
        assert not is_back, f"{self._instance_id}: {now} after {self._seen}"
        self._seen = now


class Probes:
    """One workflow a partition that takes ticks: shows when every partition is at work again."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._ids = _one_a_partition()
        self._ticks = 0

    async def start(self) -> None:
        await asyncio.gather(*(self._caller.start("probe", i) for i in self._ids))

    async def time_to_accept_s(self) -> float:
        """Return how long it takes until every partition has accepted a call that begins now."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await asyncio.gather(*map(self.tick, self._ids))
        return loop.time() - began_s

    async def tick(self, instance_id: str, *, host: str = "") -> None:
        self._ticks += 1
        key = f"tick-{self._ticks}"
        await self._caller.raise_event(instance_id, "tick", None, key, host=host)

    async def tick_all(self, *, host: str) -> None:
        """Tick each partition by way of one host."""
        await asyncio.gather(*(self.tick(i, host=host) for i in self._ids))

    async def watch(self, enough: asyncio.Event, every_s: float) -> list[float]:
        """Tick all partitions without pause; return how long each call took, with its retries."""
        loop = asyncio.get_running_loop()
        took_s: list[float] = []

        async def one(instance_id: str) -> None:
            while not enough.is_set():
                began_s = loop.time()
                await self.tick(instance_id)
                took_s.append(loop.time() - began_s)
                await asyncio.sleep(every_s)

        await asyncio.gather(*map(one, self._ids))
        return took_s

    async def stop(self) -> None:
        paths = [f"v1.0/workflows/dapr/{i}/terminate" for i in self._ids]
        await asyncio.gather(*(self._caller.ask("POST", path, {}) for path in paths))


def _one_a_partition() -> list[str]:
    found: dict[int, str] = {}
    number = 0
    while len(found) < PARTITIONS:
        name = f"probe-{number}"
        found.setdefault(partition_of(ActorId(INSTANCE, name), PARTITIONS), name)
        number += 1
    return list(found.values())


def percentile(values: list[float], part: float) -> float:
    """Return the value that `part` of all do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
