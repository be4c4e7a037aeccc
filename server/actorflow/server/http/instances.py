"""Our own API, `/actorflow/v1`: what Dapr's HTTP API leaves out.

Every route that changes something is guarded against web pages, see `guards.check_custom`.
"""

import re

import msgspec
from aiohttp import web

from actorflow.actors.errors import ActorflowError
from actorflow.server.config import Settings
from actorflow.server.errors import (
    WireError,
    instance_not_found,
    invalid_request,
    malformed,
    own_error,
    runtime_closed,
)
from actorflow.server.http import respond
from actorflow.server.http.api import EngineApi
from actorflow.server.http.call import Call, decode_json
from actorflow.server.http.pages import BadPageTokenError, PageTokens
from actorflow.server.http.render import (
    history_json,
    instance_json,
    reason_json,
    time_ns,
)
from actorflow.server.http.routing import Route
from actorflow.server.http.waits import InterruptedWaitError, Waits
from actorflow.server.http.workflows import (
    check_instance_id,
    check_workflow_name,
    id_from_key,
    idempotency_key,
    trace_of,
)
from actorflow.workflow.events import Status
from actorflow.workflow.model import Instance, InstanceFilter

PREFIX = "/actorflow/v1"
PAGE_MAX = 1_000
WAIT_MAX_S = 300.0
WAIT_DEFAULT_S = 30.0
VISIBLE_STATUSES = tuple(status for status in Status if status is not Status.CONTINUED_AS_NEW)
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|m)?", re.ASCII)
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


class _Body(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Base of all request bodies: a misspelt member is an error."""


class ReasonBody(_Body):
    """Of suspend and resume."""

    reason: str | None = None


class TerminateBody(_Body):
    """Of terminate. `output` is any JSON."""

    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    recursive: bool = True


class PurgeBody(_Body):
    """Of purge. `force` also deletes an instance that has not ended."""

    recursive: bool = True
    force: bool = False


class RerunBody(_Body):
    """Of rerun. `input`, any JSON, replaces the input of the event when it is there."""

    event_id: int = msgspec.field(name="eventID")
    new_instance_id: str = msgspec.field(name="newInstanceID", default="")
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class InstanceHandlers:
    """Handlers of our own routes."""

    def __init__(self, engine: EngineApi, settings: Settings, waits: Waits) -> None:
        self._engine = engine
        self._settings = settings
        self._waits = waits
        self._pages = PageTokens(settings.api_tokens)

    def routes(self) -> list[Route]:
        """Return the routes."""
        one = "/instances/{instanceID}"
        table = [
            ("GET", "/instances", self.list),
            ("GET", one, self.get),
            ("GET", f"{one}/history", self.history),
            ("GET", f"{one}/waiting", self.waiting),
            ("GET", f"{one}/wait", self.wait),
            ("POST", f"{one}/suspend", self.suspend),
            ("POST", f"{one}/resume", self.resume),
            ("POST", f"{one}/terminate", self.terminate),
            ("POST", f"{one}/purge", self.purge),
            ("POST", f"{one}/rerun", self.rerun),
            ("POST", "/workflows/{workflowName}/start", self.start),
            ("POST", "/workflows/{workflowName}/run", self.run),
        ]
        return [
            Route(
                method=method,
                path=PREFIX + path,
                handler=handler,
                errors=_error,
                is_guarded=method == "POST",
            )
            for method, path, handler in table
        ]

    async def list(self, call: Call) -> web.Response:
        """Show a page of instances in order of id, without input and output."""
        self._waits.check_running()
        call.only("status", "name", "idPrefix", "createdFrom", "createdTo", "limit", "pageToken")
        filters = InstanceFilter(
            statuses=tuple(_status(text) for text in call.query.get("status", ())),
            name=call.first("name"),
            id_prefix=call.first("idPrefix"),
            created_from_ns=_time(call, "createdFrom"),
            created_to_ns=_time(call, "createdTo"),
        )
        limit = _number(call, "limit", default=100, lowest=1, highest=PAGE_MAX)
        page = await self._engine.list(filters, limit=limit, after=self._after(call))
        shown: dict[str, object] = {"instances": [instance_json(item) for item in page.instances]}
        if page.next_after is not None:
            shown["nextPageToken"] = self._pages.encode(page.next_after)
        return respond.json(shown)

    async def get(self, call: Call) -> web.Response:
        """Show everything known about an instance."""
        self._waits.check_running()
        call.only()
        return respond.json(instance_json(await self._instance(call.values[0])))

    async def history(self, call: Call) -> web.Response:
        """Show a part of an instance's history."""
        self._waits.check_running()
        call.only("start", "limit")
        start = _number(call, "start", default=0, lowest=0, highest=10_000_000)
        limit = _number(call, "limit", default=PAGE_MAX, lowest=1, highest=PAGE_MAX)
        history = await self._engine.history(call.values[0])
        return respond.json(history_json(history, start=start, limit=limit))

    async def waiting(self, call: Call) -> web.Response:
        """Show what an instance waits for; nothing when it has ended."""
        self._waits.check_running()
        call.only()
        instance = await self._instance(call.values[0])
        reasons = await self._engine.why(instance.instance_id)
        return respond.json(
            {
                "instanceID": instance.instance_id,
                "status": instance.status.value,
                "waiting": [reason_json(reason) for reason in reasons],
            }
        )

    async def wait(self, call: Call) -> web.Response:
        """Hold the answer back until the instance has started or ended, or the time is over."""
        self._waits.check_running()
        call.only("timeout", "until")
        timeout_s = _timeout_s(call)
        until = call.first("until") or "completed"
        if until not in ("started", "completed"):
            raise invalid_request("query parameter 'until' must be started or completed")
        instance_id = (await self._instance(call.values[0])).instance_id
        instance = await self._wait(call, instance_id, until, timeout_s)
        return respond.json(_outcome(instance))

    async def suspend(self, call: Call) -> web.Response:
        """Hold an instance, with a reason."""
        body = await call.json(ReasonBody)
        self._waits.check_running()
        call.only()
        await self._engine.suspend(call.values[0], body.reason if body else None)
        return respond.accepted()

    async def resume(self, call: Call) -> web.Response:
        """Let an instance go on, with a reason."""
        body = await call.json(ReasonBody)
        self._waits.check_running()
        call.only()
        await self._engine.resume(call.values[0], body.reason if body else None)
        return respond.accepted()

    async def terminate(self, call: Call) -> web.Response:
        """End an instance, with an output, with or without its children."""
        body = await call.json(TerminateBody) or TerminateBody()
        self._waits.check_running()
        call.only()
        await self._engine.terminate(
            call.values[0], _raw_text(body.output), recursive=body.recursive
        )
        return respond.accepted()

    async def purge(self, call: Call) -> web.Response:
        """Delete an instance, with or without its children."""
        body = await call.json(PurgeBody) or PurgeBody()
        self._waits.check_running()
        call.only()
        result = await self._engine.purge(
            call.values[0], recursive=body.recursive, force=body.force
        )
        return respond.json({"deletedCount": result.deleted_count})

    async def rerun(self, call: Call) -> web.Response:
        """Start a new instance from an event in the history of an ended one."""
        body = await call.json(RerunBody)
        self._waits.check_running()
        call.only()
        if body is None:
            raise malformed('the body is empty; send {"eventID": N}')
        if body.new_instance_id:
            check_instance_id(body.new_instance_id)
        instance_id = await self._engine.rerun(
            call.values[0],
            body.event_id,
            new_instance_id=body.new_instance_id,
            input=_raw_text(body.input),
            overwrite_input=body.input is not msgspec.UNSET,
        )
        return respond.json({"instanceID": instance_id}, 202)

    async def start(self, call: Call) -> web.Response:
        """Start an instance, now or later; the body is its input."""
        text = await _json_text(call)
        self._waits.check_running()
        call.only("instanceID", "scheduledStart", "unique")
        instance_id = await self._start(
            call,
            text,
            scheduled_start_ns=_time(call, "scheduledStart"),
            unique=call.flag("unique", default=False),
        )
        return respond.json({"instanceID": instance_id}, 202)

    async def run(self, call: Call) -> web.Response:
        """Start an instance and hold the answer back until it has ended, or the time is over."""
        text = await _json_text(call)
        self._waits.check_running()
        call.only("instanceID", "timeout", "unique")
        timeout_s = _timeout_s(call)
        instance_id = await self._start(
            call, text, scheduled_start_ns=None, unique=call.flag("unique", default=False)
        )
        instance = await self._wait(call, instance_id, "completed", timeout_s)
        return respond.json(_outcome(instance), 200 if instance.status.is_terminal else 202)

    async def _start(
        self, call: Call, text: str, *, scheduled_start_ns: int | None, unique: bool
    ) -> str:
        instance_id = call.first("instanceID")
        if instance_id:
            check_instance_id(instance_id)
        check_workflow_name(call.values[0])
        key, trace = idempotency_key(call), trace_of(call)
        return await self._engine.start(
            call.values[0],
            instance_id=instance_id or id_from_key(key),
            input=text or None,
            scheduled_start_ns=scheduled_start_ns,
            idempotency_key=key,
            unique=unique,
            trace_parent=trace.parent,
            trace_state=trace.state,
        )

    async def _wait(self, call: Call, instance_id: str, until: str, timeout_s: float) -> Instance:
        wait_for = (
            self._engine.wait_for_start if until == "started" else self._engine.wait_for_completion
        )
        try:
            return await self._waits.until(call, wait_for(instance_id, timeout_s=timeout_s))
        except TimeoutError:
            return await self._instance(instance_id)
        except InterruptedWaitError:
            raise runtime_closed() from None

    async def _instance(self, instance_id: str) -> Instance:
        instance = await self._engine.get(instance_id)
        if instance is None:
            raise instance_not_found(instance_id)
        return instance

    def _after(self, call: Call) -> str:
        token = call.first("pageToken")
        if not token:
            return ""
        try:
            return self._pages.decode(token)
        except BadPageTokenError:
            raise invalid_request(
                "query parameter 'pageToken' is not one that this server gave out"
            ) from None


def _error(call: Call, error: ActorflowError) -> WireError:
    return own_error(call.values[0] if call.values else "", error)


def _outcome(instance: Instance) -> dict[str, object]:
    return {**instance_json(instance), "completed": instance.status.is_terminal}


async def _json_text(call: Call) -> str:
    """Return the body as it came, once it is known to be JSON or empty."""
    text = await call.text()
    if text:
        decode_json(text, msgspec.Raw)
    return text


def _raw_text(raw: msgspec.Raw | msgspec.UnsetType) -> str | None:
    return None if isinstance(raw, msgspec.UnsetType) else bytes(raw).decode()


def _status(text: str) -> Status:
    try:
        status = Status(text.upper())
    except ValueError:
        status = Status.CONTINUED_AS_NEW
    if status not in VISIBLE_STATUSES:
        known = ", ".join(VISIBLE_STATUSES)
        raise invalid_request(f"query parameter 'status' must be one of {known}")
    return status


def _time(call: Call, name: str) -> int | None:
    text = call.first(name)
    if not text:
        return None
    try:
        # In a query, `+` means a space; a time with an offset is written so all the time.
        return time_ns(text.replace(" ", "+"))
    except ValueError as err:
        raise invalid_request(
            f"query parameter '{name}' is {err}; write it as 2026-01-31T09:30:00Z"
        ) from None


def _number(call: Call, name: str, *, default: int, lowest: int, highest: int) -> int:
    text = call.first(name)
    if not text:
        return default
    if not (
        text.isascii() and text.isdigit() and len(text) <= 9 and lowest <= int(text) <= highest
    ):
        raise invalid_request(
            f"query parameter '{name}' must be a whole number from {lowest} to {highest}"
        )
    return int(text)


def _timeout_s(call: Call) -> float:
    text = call.first("timeout")
    match = _DURATION.fullmatch(text)
    timeout_s = float(match[1]) * _UNIT_S[match[2]] if match else WAIT_DEFAULT_S
    if (text and not match) or timeout_s > WAIT_MAX_S:
        raise invalid_request(
            f"query parameter 'timeout' must be up to {WAIT_MAX_S:.0f}s, such as 500ms, 30s or 2m"
        )
    return timeout_s
