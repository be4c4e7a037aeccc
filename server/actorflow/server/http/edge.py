"""The way of every request: guards, route, parameters, handler, and any error as an answer."""

import logging
from collections.abc import Callable

from aiohttp import web

from actorflow.actors.errors import (
    ActorflowError,
    ContentionError,
    UnavailableError,
    UsageError,
)
from actorflow.server.config import Settings
from actorflow.server.errors import WireError
from actorflow.server.http import respond
from actorflow.server.http.api import EngineApi
from actorflow.server.http.call import Bodies, Call
from actorflow.server.http.guards import (
    SAFE_METHODS,
    HostGuard,
    OriginGuard,
    TokenGuard,
    check_custom,
)
from actorflow.server.http.instances import InstanceHandlers
from actorflow.server.http.paths import BadEscapeError, split_target, unescape
from actorflow.server.http.routing import Match, Route, Router
from actorflow.server.http.sidecar import SidecarHandlers
from actorflow.server.http.waits import Waits
from actorflow.server.http.workflows import WorkflowHandlers
from actorflow.server.metadata import ProcessMetadata
from actorflow.server.metrics import Metrics

UNKNOWN_ROUTE = WireError(
    404,
    "ERR_DIRECT_INVOKE",
    "failed getting app id either from the URL path or the header dapr-app-id",
)
"""Dapr takes every path that it does not know for a service invocation."""

TEXT_431 = "431 Request Header Fields Too Large"
_log = logging.getLogger(__name__)


class Edge:
    """Answers requests. One a process; it holds no state of instances."""

    def __init__(
        self, engine: EngineApi, settings: Settings, request_shutdown: Callable[[bool], None]
    ) -> None:
        self.waits = Waits()
        self.metrics = Metrics(engine)
        workflows = WorkflowHandlers(engine, settings, self.waits)
        self.metadata = ProcessMetadata(engine, settings, self.waits)
        sidecar = SidecarHandlers(settings, self.metadata, self.metrics, request_shutdown)
        instances = InstanceHandlers(engine, settings, self.waits)
        self.router = Router([*workflows.routes(), *sidecar.routes(), *instances.routes()])
        self._header_max_bytes = settings.read_buffer_bytes
        self._bodies = Bodies(settings.max_body_bytes)
        self._hosts = HostGuard(settings)
        self._origins = OriginGuard(settings.allowed_origins)
        self._answers_browsers = bool(settings.allowed_origins)
        self._tokens = TokenGuard(settings.api_tokens)

    def stop(self) -> None:
        """Refuse new workflow calls and end all long polls; running calls go on."""
        self.waits.stop()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Never raises, but for the cancellation of a lost connection."""
        match: Match | None = None
        try:
            if _header_bytes(request) > self._header_max_bytes:
                return _closing(respond.text(TEXT_431, 431))
            self._hosts.check(request.headers)
            if request.method == "OPTIONS":
                allowed = self._origins.preflight(request.headers)
                if allowed is not None:
                    return respond.empty(204, allowed)
            target = split_target(request.raw_path)
            if target is not None:
                match = self.router.find(request.method, target.segments)
            response = await self._answer(request, match, target.query if target else "")
        except WireError as err:
            response = respond.error(err)
        except Exception:  # noqa: BLE001 -- the edge of the process: nobody above could answer
            _log.exception("request failed unexpectedly", extra={"route": _route_name(match)})
            response = respond.error(
                WireError(500, "ERROR", "internal error; see the server's log")
            )
        self.metrics.count(match.route if match else None, response.status)
        if self._answers_browsers:
            response.headers.update(self._origins.permission(request.headers))
        # The client's next request must not cross with our hanging up.
        return _closing(response) if self.waits.is_stopping else response

    async def _answer(
        self, request: web.BaseRequest, match: Match | None, query: str
    ) -> web.Response:
        is_public = match is not None and match.route.is_public
        if not is_public and not self._tokens.allows(request.headers):
            return respond.text("invalid api token\n", 401)
        if match is None:
            raise UNKNOWN_ROUTE
        route = match.route
        if request.method not in SAFE_METHODS:
            self._origins.check(request.method, request.headers)
            if route.is_guarded:
                check_custom(request)
        values = match.values
        try:
            values = tuple([unescape(value) for value in values])
        except BadEscapeError:
            return _bad_escape(route, values)
        call = Call(request, values, query, self._bodies)
        try:
            return await route.handler(call)
        except ActorflowError as err:
            _report(route, err)
            raise route.errors(call, err) from err


def _bad_escape(route: Route, values: tuple[str, ...]) -> web.Response:
    for name, value in zip(route.parameter_names, values, strict=True):
        try:
            unescape(value)
        except BadEscapeError as err:
            return respond.text(f'failed to unescape request parameter "{name}". Error: {err}', 400)
    raise AssertionError("called without a bad escape")


def _report(route: Route, err: ActorflowError) -> None:
    """Log what an operator must see. Who reports an outage is the engine, once, not each call."""
    if isinstance(err, (UsageError, UnavailableError, ContentionError)):
        return
    _log.error("engine error", exc_info=err, extra={"route": route.path, "code": err.code})


def _route_name(match: Match | None) -> str:
    return match.route.path if match else "unknown"


def _header_bytes(request: web.BaseRequest) -> int:
    size = len(request.raw_path)
    for name, value in request.raw_headers:
        size += len(name) + len(value) + 4  # ": " and the line end
    return size


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response
