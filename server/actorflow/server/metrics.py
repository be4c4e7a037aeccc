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


class Metrics(Collector):
    """Everything at `/metrics`."""

    def __init__(self, engine: EngineApi) -> None:
        self._engine = engine
        self._requests: dict[tuple[Route | None, int], int] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def count(self, route: Route | None, status: int) -> None:
        """Count one answered request."""
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1

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

    def _engine_metrics(self) -> Iterator[Metric]:
        """Yield a metric for each of the engine's numbers: `counters`, `gauges`, other gauges."""
        stats = dataclasses.asdict(self._engine.stats())
        counters: dict[str, int] = stats.pop("counters")
        gauges: dict[str, int] = {**stats.pop("gauges"), **stats}
        for name, value in counters.items():
            yield CounterMetricFamily(f"actorflow_{name}", _sentence(name), value=value)
        for name, value in gauges.items():
            yield GaugeMetricFamily(f"actorflow_{name}", _sentence(name), value=value)


def _sentence(name: str) -> str:
    return name.replace("_", " ").capitalize() + "."
