"""Prometheus metrics: the engine's numbers, read when somebody asks, and a count of requests.

A request costs one dictionary update. Labels are route templates and statuses, never ids or names;
and the number of the process, where several are behind one port.
"""

import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from actorflow.server.http.api import EngineApi
from actorflow.server.http.routing import Route

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HELP = {
    "turns": "Messages handled by actors.",
    "failed_turns": "Turns that raised; their effects were dropped.",
    "commits": "Commits that the store applied.",
    "commit_resends": "Commits sent again because the store had not answered.",
    "commits_already": "Commits that turned out to be applied when they were sent again.",
    "commits_fenced": "Commits that the store refused because it has another owner or lost data.",
    "commits_abandoned": "Commits given up with an unknown outcome, as the partition was lost.",
    "activations": "Actors brought into memory.",
    "evictions": "Actors that left memory because they were idle.",
    "parked_messages": "Messages that failed too often, and actors that ended their hosts; kept.",
    "reminders_fired": "Reminders that came due, durable timers among them.",
    "overloads": "Calls refused because a queue was full.",
    "link_gaps": "Letters between partitions that came before an earlier one.",
    "link_duplicates": "Letters between partitions that came again and were dropped.",
    "link_rewinds": "Requests of a receiving partition to send again from a gap on.",
    "link_resends": "Letters between partitions sent again because nobody had answered.",
    "link_alarms": "Signs that a store has lost data of another partition.",
    "live_actors": "Actors in memory.",
    "live_bytes": "Approximate memory of live actors.",
    "ready_actors": "Actors with a message to handle.",
    "queued_bytes": "Payload bytes that wait in mailboxes.",
    "armed_reminders": "Reminders due soon, and so kept in memory.",
    "pending_bytes": "Memory of what workers were given and have not completed, about.",
    "pending_deliveries": "Durable messages given to workers and not completed.",
    "pending_outbox": "Messages to other partitions that are not acknowledged.",
    "running_activities": "Activities that run now.",
    "waiting_activities": "Activities that wait for a free place or a worker.",
    "instances_without_worker": "Instances that wait for a worker with their code.",
    "processes": "Processes behind the port that have told their numbers.",
    "connected_workers": "Workers; the code of this process counts as one.",
}
"""What each number of the engine means; docs/operations.md says what to do about it."""


class Snapshot(msgspec.Struct, frozen=True):
    """All numbers of one process. `requests` are method, route, status and count; `rpcs`, calls of
    gRPC, method, code and count."""

    counters: dict[str, int]
    gauges: dict[str, int]
    requests: list[tuple[str, str, int, int]] = []
    rpcs: list[tuple[str, str, int]] = []


class Metrics:
    """Everything at `/metrics`.

    `all_processes` returns the snapshots of all processes behind the port, by number; None when
    this is the only one.
    """

    def __init__(self, engine: EngineApi) -> None:
        self._engine = engine
        self._requests: dict[tuple[Route | None, int], int] = {}
        self._rpcs: dict[str, Counter[str]] = {}
        self.all_processes: Callable[[], Awaitable[Mapping[str, Snapshot]]] | None = None

    def count(self, route: Route | None, status: int) -> None:
        """Count one answered request."""
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1

    def rpc_counts(self, method: str) -> Counter[str]:
        """Return where the ended calls of a gRPC method are counted, by the names of their codes.
        `method` is one that we serve, or "unknown"."""
        return self._rpcs.setdefault(method, Counter())

    def snapshot(self) -> Snapshot:
        """Return the numbers of this process as they are now."""
        stats = dataclasses.asdict(self._engine.stats())
        counters: dict[str, int] = stats.pop("counters")
        gauges: dict[str, int] = {**stats.pop("gauges"), **stats}
        requests = [
            (*((route.method, route.path) if route else ("", "unknown")), status, count)
            for (route, status), count in self._requests.items()
        ]
        rpcs = [
            (method, code, count)
            for method, counts in self._rpcs.items()
            for code, count in counts.items()
        ]
        return Snapshot(counters, gauges, requests, rpcs)

    async def exposition(self) -> bytes:
        """Return the text that Prometheus reads: of all processes, whichever of them is asked."""
        if self.all_processes is None:
            return exposition({"": self.snapshot()})
        return exposition(await self.all_processes())


def exposition(snapshots: Mapping[str, Snapshot]) -> bytes:
    """Return snapshots by number of process as a text; the number "" puts no label on them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(snapshots))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, snapshots: Mapping[str, Snapshot]) -> None:
        self._snapshots = snapshots
        self._labels = () if "" in snapshots else ("process",)

    def collect(self) -> Iterator[Metric]:
        """Yield a metric for each name that any process has."""
        snapshots = self._snapshots
        yield GaugeMetricFamily("actorflow_processes", HELP["processes"], value=len(snapshots))
        for name in _names(snapshot.counters for snapshot in snapshots.values()):
            counter = CounterMetricFamily(
                f"actorflow_{name}", HELP.get(name, ""), labels=self._labels
            )
            for number, snapshot in snapshots.items():
                if name in snapshot.counters:
                    counter.add_metric(self._of(number), snapshot.counters[name])
            yield counter
        for name in _names(snapshot.gauges for snapshot in snapshots.values()):
            gauge = GaugeMetricFamily(f"actorflow_{name}", HELP.get(name, ""), labels=self._labels)
            for number, snapshot in snapshots.items():
                if name in snapshot.gauges:
                    gauge.add_metric(self._of(number), snapshot.gauges[name])
            yield gauge
        yield self._requests()
        yield self._rpcs()

    def _requests(self) -> Metric:
        requests = CounterMetricFamily(
            "actorflow_http_requests",
            "Answered HTTP requests.",
            labels=(*self._labels, "method", "route", "status"),
        )
        for number, snapshot in self._snapshots.items():
            for method, path, status, count in snapshot.requests:
                requests.add_metric((*self._of(number), method, path, str(status)), count)
        return requests

    def _rpcs(self) -> Metric:
        rpcs = CounterMetricFamily(
            "actorflow_grpc_requests",
            "Ended gRPC calls.",
            labels=(*self._labels, "method", "code"),
        )
        for number, snapshot in self._snapshots.items():
            for method, code, count in snapshot.rpcs:
                rpcs.add_metric((*self._of(number), method, code), count)
        return rpcs

    def _of(self, number: str) -> tuple[str, ...]:
        return (number,) if self._labels else ()


def _names(members: Iterable[Mapping[str, int]]) -> list[str]:
    return list(dict.fromkeys(name for member in members for name in member))
