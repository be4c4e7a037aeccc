"""Dapr's seven workflow operations, under each of its three prefixes.

The order of checks is Dapr's: body, runtime, instance id, name, app id, operation. The component
segment is accepted whatever it says, as in Dapr since 1.15.
"""

import logging
import uuid

import msgspec
import orjson
from aiohttp import web

from actorflow.actors.errors import ActorflowError, OverloadedError
from actorflow.server import errors
from actorflow.server.config import Settings
from actorflow.server.errors import Operation, WireError, dapr_error, instance_not_found
from actorflow.server.http import respond
from actorflow.server.http.api import EngineApi
from actorflow.server.http.call import Call, check_name
from actorflow.server.http.render import dapr_instance
from actorflow.server.http.routing import Handler, Route
from actorflow.server.http.waits import InterruptedWaitError, Waits
from actorflow.server.trace import Trace, checked_trace
from actorflow.workflow.errors import NotTerminalError
from actorflow.workflow.events import Status

PREFIXES = ("/v1.0", "/v1.0-beta1", "/v1.0-alpha1")
INSTANCE_ID_MAX_BYTES = 64
KEY_MAX_BYTES = 256
KEY_NAMESPACE = uuid.UUID("6f1d4a55-0c0e-4b8e-9d53-3c7a5d1f2b90")
"""Keeps ids made from keys apart from all others; must never change."""

RESERVED_PREFIX = "dapr.internal."
_log = logging.getLogger(__name__)


class _Ignored(msgspec.Struct):
    """A body that get, pause and the like accept; path and query decide all the same."""

    instanceID: str | None = None  # noqa: N815 -- a name of the wire
    instance_id: str | None = None
    workflowComponent: str | None = None  # noqa: N815 -- a name of the wire
    workflow_component: str | None = None


class WorkflowHandlers:
    """Handlers of Dapr's routes."""

    def __init__(self, engine: EngineApi, settings: Settings, waits: Waits) -> None:
        self._engine = engine
        self._settings = settings
        self._waits = waits
        self._component_noted = False

    def routes(self) -> list[Route]:
        """Return the routes of all prefixes."""
        table: list[tuple[str, str, Handler, Operation]] = [
            ("POST", "{workflowName}/start", self.start, errors.START),
            ("GET", "{instanceID}", self.get, errors.GET),
            ("POST", "{instanceID}/raiseEvent/{eventName}", self.raise_event, errors.RAISE),
            ("POST", "{instanceID}/pause", self.pause, errors.PAUSE),
            ("POST", "{instanceID}/resume", self.resume, errors.RESUME),
            ("POST", "{instanceID}/terminate", self.terminate, errors.TERMINATE),
            ("POST", "{instanceID}/purge", self.purge, errors.PURGE),
        ]
        return [
            Route(
                method=method,
                path=f"{prefix}/workflows/{{workflowComponent}}/{tail}",
                handler=handler,
                errors=self._translator(operation),
            )
            for prefix in PREFIXES
            for method, tail, handler, operation in table
        ]

    async def start(self, call: Call) -> web.Response:
        """Start an instance; answer when it is durable, and a worker is there or long awaited."""
        text = await call.text()
        self._waits.check_running()
        instance_id = call.first("instanceID")
        if instance_id:
            check_instance_id(instance_id)
        component, name = call.values
        check_workflow_name(name)
        app_id = self._app_id(call, errors.START, name)
        self._note_component(component)
        key, trace = idempotency_key(call), trace_of(call)
        instance_id = await self._engine.start(
            name,
            instance_id=instance_id or id_from_key(key),
            input=text,
            idempotency_key=key,
            trace_parent=trace.parent,
            trace_state=trace.state,
            app_id=app_id,
        )
        if not self._engine.connected_workers():
            await self._await_worker(call)
        return respond.json_bytes(b'{"instanceID":%b}' % orjson.dumps(instance_id), 202)

    async def get(self, call: Call) -> web.Response:
        """Show an instance."""
        instance_id, app_id = await self._subject(call, errors.GET)
        instance = await self._engine.get(instance_id, app_id=app_id)
        if instance is None:
            raise instance_not_found(instance_id)
        return respond.json(dapr_instance(instance, strict_pending=self._settings.strict_pending))

    async def raise_event(self, call: Call) -> web.Response:
        """Give an instance an event."""
        text = await call.text()
        self._waits.check_running()
        _, instance_id, event_name = call.values
        check_name("workflow event", "ERR_WORKFLOW_EVENT_NAME_INVALID", event_name)
        app_id = self._app_id(call, errors.RAISE, instance_id)
        key = idempotency_key(call)
        await self._engine.raise_event(instance_id, event_name, text, event_id=key, app_id=app_id)
        return respond.accepted()

    async def pause(self, call: Call) -> web.Response:
        """Hold an instance."""
        instance_id, app_id = await self._subject(call, errors.PAUSE)
        await self._engine.suspend(instance_id, app_id=app_id)
        return respond.accepted()

    async def resume(self, call: Call) -> web.Response:
        """Let an instance go on."""
        instance_id, app_id = await self._subject(call, errors.RESUME)
        await self._engine.resume(instance_id, app_id=app_id)
        return respond.accepted()

    async def terminate(self, call: Call) -> web.Response:
        """End an instance and its children."""
        instance_id, app_id = await self._subject(call, errors.TERMINATE)
        await self._engine.terminate(instance_id, app_id=app_id)
        return respond.accepted()

    async def purge(self, call: Call) -> web.Response:
        """Delete an ended instance and its children."""
        instance_id, app_id = await self._subject(call, errors.PURGE)
        try:
            await self._engine.purge(instance_id, app_id=app_id)
        except NotTerminalError:
            # Dapr's purge reads the history, and a pending instance has none: it counts as missing.
            instance = await self._engine.get(instance_id, app_id=app_id)
            if instance is not None and instance.status is Status.PENDING:
                raise instance_not_found(instance_id) from None
            raise
        return respond.accepted()

    async def _subject(self, call: Call, operation: Operation) -> tuple[str, str]:
        """Run the checks of the operations that take no payload; return instance and app id."""
        await call.json(_Ignored)
        self._waits.check_running()
        instance_id = call.values[1]
        return instance_id, self._app_id(call, operation, instance_id)

    def _app_id(self, call: Call, operation: Operation, subject: str) -> str:
        return checked_app_id(self._engine, call.first("appID"), operation, subject)

    async def _await_worker(self, call: Call) -> None:
        timeout_s = self._settings.start_wait_s
        try:
            await self._waits.until(call, self._engine.wait_for_worker(timeout_s))
        except (InterruptedWaitError, OverloadedError):
            return  # the start is durable; holding back the answer is only a courtesy

    def _note_component(self, component: str) -> None:
        if component != "dapr" and not self._component_noted:
            self._component_noted = True
            _log.info("the workflow component of the path is ignored; Dapr's is called 'dapr'")

    def _translator(self, operation: Operation) -> "_Translator":
        return _Translator(operation, strict_status=self._settings.strict_status)


class _Translator:
    """Says in Dapr's words what the engine refused in one operation."""

    def __init__(self, operation: Operation, *, strict_status: bool) -> None:
        self._operation = operation
        self._strict_status = strict_status

    def __call__(self, call: Call, error: ActorflowError) -> WireError:
        return dapr_error(
            self._operation,
            call.values[1],
            error,
            event_name=call.values[2] if self._operation is errors.RAISE else "",
            strict_status=self._strict_status,
        )


def check_instance_id(instance_id: str) -> None:
    """Apply Dapr's rules for the id of a new instance.

    Raises:
        WireError: 400, in Dapr's words, which forget the dash.
    """
    if len(instance_id.encode()) > INSTANCE_ID_MAX_BYTES:
        raise WireError(
            400,
            "ERR_INSTANCE_ID_TOO_LONG",
            f"workflow instance ID exceeds the max length of {INSTANCE_ID_MAX_BYTES} characters",
        )
    if not _is_plain(instance_id):
        raise WireError(
            400,
            "ERR_INSTANCE_ID_INVALID",
            f"workflow instance ID '{instance_id}' is invalid: only alphanumeric and underscore "
            "characters are allowed",
        )


def check_workflow_name(name: str) -> None:
    """Refuse names of Dapr's own workflows, and those that cannot be stored.

    Raises:
        WireError: 400.
    """
    check_name("workflow", "ERR_WORKFLOW_NAME_INVALID", name)
    if name.startswith(RESERVED_PREFIX):
        raise WireError(
            400,
            "ERR_WORKFLOW_NAME_RESERVED",
            f"workflow name '{name}' is reserved: names must not start with '{RESERVED_PREFIX}'",
        )


def checked_app_id(engine: EngineApi, app_id: str, operation: Operation, subject: str) -> str:
    """Return the app that a call is for, "" for this server's own.

    Raises:
        WireError: 400 for what cannot be an app id, 500 for an app that no host is of.
    """
    if not app_id or app_id == engine.app_id:
        return ""
    if not _is_plain(app_id):
        raise WireError(
            400,
            "ERR_WORKFLOW_APP_ID_INVALID",
            f"workflow app ID '{app_id}' is invalid: only alphanumeric, dash and underscore "
            "characters are allowed",
        )
    if engine.knows_app(app_id):
        return app_id
    cause = (
        f"did not find address for actor 'dapr.internal.default.{app_id}.workflow||{subject}': "
        f"this server is of the app ID '{engine.app_id}', and no other host or worker is of "
        f"'{app_id}'"
    )
    raise WireError(500, operation.code, operation.text.format(subject, cause))


def idempotency_key(call: Call) -> str:
    """Return the Idempotency-Key header, "" when absent.

    Raises:
        WireError: 400, too long or not printable ASCII.
    """
    key = call.request.headers.get("Idempotency-Key", "")
    if key and not (len(key) <= KEY_MAX_BYTES and key.isascii() and key.isprintable()):
        raise WireError(
            400,
            "ERR_IDEMPOTENCY_KEY_INVALID",
            f"the Idempotency-Key header must be 1 to {KEY_MAX_BYTES} printable ASCII characters",
        )
    return key


def id_from_key(key: str) -> str:
    """Return the id of an instance that is started with a key and without an id.

    The engine remembers keys by instance, so that they cost no index: the key must lead there.
    """
    return str(uuid.uuid5(KEY_NAMESPACE, key)) if key else ""


def trace_of(call: Call) -> Trace:
    """Return the W3C trace context of a request."""
    headers = call.request.headers
    return checked_trace(headers.get("traceparent"), headers.getall("tracestate", ()))


def _is_plain(text: str) -> bool:
    """Letters and decimal digits of any script, `_` and `-`: Go's IsLetter and IsDigit."""
    if text.isascii():
        return text.replace("-", "a").replace("_", "a").isalnum()
    return all(char.isalpha() or char.isdecimal() or char in "_-" for char in text)
