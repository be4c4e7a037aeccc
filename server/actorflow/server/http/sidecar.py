"""Health, metadata, shutdown and metrics: what surrounds the workflow API."""

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from actorflow.actors.errors import ActorflowError
from actorflow.server.config import Settings
from actorflow.server.errors import WireError, invalid_request, own_error
from actorflow.server.http import openapi, respond
from actorflow.server.http.api import EngineApi
from actorflow.server.http.call import Call
from actorflow.server.http.routing import Route
from actorflow.server.http.waits import Waits
from actorflow.server.metrics import CONTENT_TYPE, Metrics

EXTENDED_MAX = 128
"""Entries that clients may add to the metadata."""

EXTENDED_VALUE_MAX_BYTES = 4_096


class SidecarHandlers:
    """Handlers of the routes that every Dapr sidecar has, of `/metrics` and of the API document."""

    def __init__(
        self,
        engine: EngineApi,
        settings: Settings,
        waits: Waits,
        metrics: Metrics,
        request_shutdown: Callable[[bool], None],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._waits = waits
        self._metrics = metrics
        self._request_shutdown = request_shutdown
        self._extended: dict[str, str] = {}

    def routes(self) -> list[Route]:
        """Return the routes; the two health checks alone need no token."""

        def route(method: str, path: str, handler: Any, *, is_public: bool = False) -> Route:
            return Route(
                method=method, path=path, handler=handler, errors=_error, is_public=is_public
            )

        routes = [
            route("GET", "/v1.0/healthz", self.health, is_public=True),
            route("GET", "/v1.0/healthz/outbound", self.outbound_health, is_public=True),
            route("GET", "/v1.0/metadata", self.metadata),
            route("PUT", "/v1.0/metadata/{key}", self.put_metadata),
            route("POST", "/v1.0/shutdown", self.shutdown),
            route("GET", "/actorflow/v1/openapi.json", self.openapi),
        ]
        if self._settings.metrics:
            routes.append(route("GET", "/metrics", self.metrics))
        return routes

    async def health(self, call: Call) -> web.Response:
        """Say whether workflow calls can be served."""
        problems = self._problems()
        if problems:
            raise WireError(
                500, "ERR_HEALTH_NOT_READY", f"dapr is not ready: [{' '.join(problems)}]"
            )
        if "appid" in call.query and call.first("appid") != self._settings.app_id:
            raise WireError(500, "ERR_HEALTH_APPID_NOT_MATCH", "dapr app-id does not match")
        return respond.empty()

    async def outbound_health(self, _: Call) -> web.Response:
        """Say whether calls can be served; SDKs wait for this one."""
        if self._problems():
            raise WireError(500, "ERR_OUTBOUND_HEALTH_NOT_READY", "dapr outbound is not ready")
        return respond.empty()

    async def metadata(self, _: Call) -> web.Response:
        """Describe this process in Dapr's words."""
        ready = not self._problems()
        shown: dict[str, Any] = {
            "id": self._settings.app_id,
            "runtimeVersion": openapi.product_version(),
            "extended": {
                "daprRuntimeVersion": openapi.product_version(),
                "durability": self._settings.durability_level,
                **self._extended,
            },
            "actorRuntime": {
                "runtimeStatus": "RUNNING" if ready else "INITIALIZING",
                "hostReady": ready,
                "placement": "placement: connected" if ready else "placement: disconnected",
            },
        }
        workers = self._engine.connected_workers()
        if workers:
            shown["workflows"] = {"connectedWorkers": workers}
        return respond.json(shown)

    async def put_metadata(self, call: Call) -> web.Response:
        """Add a text to the metadata of this process; it is forgotten at exit."""
        value = await call.text()
        key = call.values[0]
        if max(len(key.encode()), len(value.encode())) > EXTENDED_VALUE_MAX_BYTES:
            raise invalid_request(
                f"a metadata key and value may have {EXTENDED_VALUE_MAX_BYTES} bytes each"
            )
        if key not in self._extended and len(self._extended) >= EXTENDED_MAX:
            raise invalid_request(f"the metadata already holds {EXTENDED_MAX} entries")
        self._extended[key] = value
        return respond.empty()

    async def shutdown(self, call: Call) -> web.Response:
        """Ask the process to end: in order, or with `dapr-force-shutdown: true` at once."""
        force = call.request.headers.get("dapr-force-shutdown", "").lower() == "true"
        self._request_shutdown(force)
        return respond.empty()

    async def metrics(self, _: Call) -> web.Response:
        """Show the metrics in Prometheus' text format."""
        response = respond.json_bytes(self._metrics.exposition())
        response.headers["Content-Type"] = CONTENT_TYPE
        return response

    async def openapi(self, _: Call) -> web.Response:
        """Show the OpenAPI document of everything served here."""
        return respond.json_bytes(openapi.document_bytes())

    def _problems(self) -> Sequence[str]:
        if self._waits.is_stopping:
            return ["stopping"]
        return self._engine.problems()


def _error(_: Call, error: ActorflowError) -> WireError:
    return own_error("", error)
