"""Health, metadata, shutdown and metrics: what surrounds the workflow API."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from actorflow.actors.errors import ActorflowError
from actorflow.server.config import Settings, redact_url
from actorflow.server.errors import WireError, own_error
from actorflow.server.http import openapi, respond
from actorflow.server.http.call import Call
from actorflow.server.http.routing import Route
from actorflow.server.metadata import ProcessMetadata
from actorflow.server.metrics import CONTENT_TYPE, Metrics
from actorflow.server.options import SURVIVES


class SidecarHandlers:
    """Handlers of the routes that every Dapr sidecar has, of `/metrics` and of the API document."""

    def __init__(
        self,
        settings: Settings,
        metadata: ProcessMetadata,
        metrics: Metrics,
        request_shutdown: Callable[[bool], None],
    ) -> None:
        self._settings = settings
        self._metadata = metadata
        self._metrics = metrics
        self._request_shutdown = request_shutdown

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
            route("GET", "/actorflow/v1/health", self.own_health),
            route("GET", "/actorflow/v1/openapi.json", self.openapi),
        ]
        if self._settings.metrics:
            routes.append(route("GET", "/metrics", self.metrics))
        return routes

    async def health(self, call: Call) -> web.Response:
        """Say whether workflow calls can be served."""
        problems = self._metadata.problems()
        if problems:
            raise WireError(
                500, "ERR_HEALTH_NOT_READY", f"dapr is not ready: [{' '.join(problems)}]"
            )
        if "appid" in call.query and call.first("appid") != self._settings.app_id:
            raise WireError(500, "ERR_HEALTH_APPID_NOT_MATCH", "dapr app-id does not match")
        return respond.empty()

    async def outbound_health(self, _: Call) -> web.Response:
        """Say whether calls can be served; SDKs wait for this one."""
        if self._metadata.problems():
            raise WireError(500, "ERR_OUTBOUND_HEALTH_NOT_READY", "dapr outbound is not ready")
        return respond.empty()

    async def own_health(self, _: Call) -> web.Response:
        """Say what is wrong, if anything, and what the store promises; 503 when calls cannot be
        served."""
        problems = [redact_url(problem) for problem in self._metadata.problems()]
        level = self._settings.durability_level
        shown = {
            "healthy": not problems,
            "problems": problems,
            "appID": self._settings.app_id,
            "version": self._metadata.version,
            "store": str(self._settings.store),
            "durability": {"level": level, "survives": SURVIVES[level]},
            "processes": self._settings.processes,
            "connectedWorkers": self._metadata.connected_workers,
        }
        return respond.json(shown, 503 if problems else 200)

    async def metadata(self, _: Call) -> web.Response:
        """Describe this process in Dapr's words."""
        ready = not self._metadata.problems()
        shown: dict[str, Any] = {
            "id": self._settings.app_id,
            "runtimeVersion": self._metadata.version,
            "extended": self._metadata.extended,
            "actorRuntime": {
                "runtimeStatus": "RUNNING" if ready else "INITIALIZING",
                "hostReady": ready,
                "placement": "placement: connected" if ready else "placement: disconnected",
            },
        }
        workers = self._metadata.connected_workers
        if workers:
            shown["workflows"] = {"connectedWorkers": workers}
        return respond.json(shown)

    async def put_metadata(self, call: Call) -> web.Response:
        """Add a text to the metadata of this process; it is forgotten at exit."""
        value = await call.text()
        self._metadata.put(call.values[0], value)
        return respond.empty()

    async def shutdown(self, call: Call) -> web.Response:
        """Ask the process to end: in order, or with `dapr-force-shutdown: true` at once."""
        force = call.request.headers.get("dapr-force-shutdown", "").lower() == "true"
        self._request_shutdown(force)
        return respond.empty()

    async def metrics(self, _: Call) -> web.Response:
        """Show the metrics in Prometheus' text format."""
        response = respond.json_bytes(await self._metrics.exposition())
        response.headers["Content-Type"] = CONTENT_TYPE
        return response

    async def openapi(self, _: Call) -> web.Response:
        """Show the OpenAPI document of everything served here."""
        return respond.json_bytes(openapi.document_bytes())


def _error(_: Call, error: ActorflowError) -> WireError:
    return own_error("", error)
