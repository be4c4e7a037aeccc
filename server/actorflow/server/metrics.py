"""Prometheus metrics: the engine's numbers, read when somebody asks, and a count of requests.

A request costs one dictionary update. Labels are route templates and statuses, never ids or names.
"""

import dataclasses
from collections.abc import Iterator

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
    "parked_messages": "Messages that failed too often; kept, delivered no more.",
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
    "pending_deliveries": "Durable messages given to workers and not completed.",
    "pending_outbox": "Messages to other partitions that are not acknowledged.",
    "running_activities": "Activities that run now.",
    "waiting_activities": "Activities that wait for a free place or a worker.",
    "instances_without_worker": "Instances that wait for a worker with their code.",
    "connected_workers": "Workers; the code of this process counts as one.",
}
"""What each number of the engine means; docs/operations.md says what to do about it."""


class Metrics(Collector):
    """Everything at `/metrics`."""

    def __init__(self, engine: EngineApi) -> None:
        self._engine = engine
        self._requests: dict[tuple[Route | None, int], int] = {}
        self._rpcs: dict[tuple[str, str], int] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def count(self, route: Route | None, status: int) -> None:
        """Count one answered request."""
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1

    def count_rpc(self, method: str, code: str) -> None:
        """Count one ended gRPC call. `method` is one that we serve, or "unknown"."""
        key = (method, code)
        self._rpcs[key] = self._rpcs.get(key, 0) + 1

    def exposition(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as they are now."""
        yield from self._engine_metrics()
        requests = CounterMetricFamily(
            "actorflow_http_requests",
            "Answered HTTP requests.",
            labels=("method", "route", "status"),
        )
        for (route, status), count in self._requests.items():
            method, path = (route.method, route.path) if route else ("", "unknown")
            requests.add_metric((method, path, str(status)), count)
        yield requests
        rpcs = CounterMetricFamily(
            "actorflow_grpc_requests", "Ended gRPC calls.", labels=("method", "code")
        )
        for labels, count in self._rpcs.items():
            rpcs.add_metric(labels, count)
        yield rpcs

    def _engine_metrics(self) -> Iterator[Metric]:
        """Yield a metric for each of the engine's numbers: `counters`, `gauges`, other gauges."""
        stats = dataclasses.asdict(self._engine.stats())
        counters: dict[str, int] = stats.pop("counters")
        gauges: dict[str, int] = {**stats.pop("gauges"), **stats}
        for name, value in counters.items():
            yield CounterMetricFamily(f"actorflow_{name}", HELP.get(name, ""), value=value)
        for name, value in gauges.items():
            yield GaugeMetricFamily(f"actorflow_{name}", HELP.get(name, ""), value=value)
