"""PURE. The schemas and shared answers of the OpenAPI document."""

from typing import Any

Json = dict[str, Any]

ERROR_CODES = (
    "ERR_START_WORKFLOW",
    "ERR_GET_WORKFLOW",
    "ERR_TERMINATE_WORKFLOW",
    "ERR_RAISE_EVENT_WORKFLOW",
    "ERR_PAUSE_WORKFLOW",
    "ERR_RESUME_WORKFLOW",
    "ERR_PURGE_WORKFLOW",
    "ERR_INSTANCE_ID_NOT_FOUND",
    "ERR_INSTANCE_ID_TOO_LONG",
    "ERR_INSTANCE_ID_INVALID",
    "ERR_WORKFLOW_NAME_INVALID",
    "ERR_WORKFLOW_NAME_RESERVED",
    "ERR_WORKFLOW_EVENT_NAME_INVALID",
    "ERR_WORKFLOW_APP_ID_INVALID",
    "ERR_BODY_READ",
    "ERR_MALFORMED_REQUEST",
    "ERR_ACTOR_RUNTIME_CLOSED",
    "ERR_DIRECT_INVOKE",
    "ERR_HEALTH_NOT_READY",
    "ERR_HEALTH_APPID_NOT_MATCH",
    "ERR_OUTBOUND_HEALTH_NOT_READY",
    "ERR_INVALID_REQUEST",
    "ERR_INSTANCE_EXISTS",
    "ERR_INSTANCE_NOT_TERMINAL",
    "ERR_INSTANCE_STALLED",
    "ERR_IDEMPOTENCY_CONFLICT",
    "ERR_IDEMPOTENCY_KEY_INVALID",
    "ERR_HISTORY_EVENT_NOT_FOUND",
    "ERR_LIMIT_EXCEEDED",
    "ERR_CONTENT_ENCODING",
    "ERR_CONTENT_TYPE",
    "ERR_HOST_NOT_ALLOWED",
    "ERR_ORIGIN_NOT_ALLOWED",
    "ERR_OVERLOADED",
    "ERR_UNAVAILABLE",
    "ERR_ENGINE",
    "ERROR",
)
"""Every `errorCode` there is."""


def ref(name: str) -> Json:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def response_ref(status: str) -> Json:
    """Return a reference to a shared answer."""
    return {"$ref": f"#/components/responses/{status}"}


def _object(required: tuple[str, ...] = (), **properties: Json) -> Json:
    shown: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        shown["required"] = list(required)
    return shown


def _open_object(required: tuple[str, ...] = (), **properties: Json) -> Json:
    return {**_object(required, **properties), "additionalProperties": True}


_TEXT: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_TIME: Json = {"type": "string", "format": "date-time"}
_DAPR_STATUSES = [
    "RUNNING",
    "COMPLETED",
    "CONTINUED_AS_NEW",
    "FAILED",
    "CANCELED",
    "TERMINATED",
    "PENDING",
    "SUSPENDED",
    "UNKNOWN",
]
_STATUSES = [
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "STALLED",
    "COMPLETED",
    "FAILED",
    "TERMINATED",
]

_INSTANCE: dict[str, Json] = {
    "instanceID": _TEXT,
    "name": _TEXT,
    "status": ref("Status"),
    "executionID": _TEXT,
    "generation": _COUNT,
    "createdAt": _TIME,
    "lastUpdatedAt": _TIME,
    "scheduledStart": _TIME,
    "completedAt": _TIME,
    "historyLength": _COUNT,
    "parentInstanceID": _TEXT,
    "input": {**_TEXT, "description": "The raw text, usually JSON."},
    "output": {**_TEXT, "description": "The raw text, usually JSON."},
    "customStatus": _TEXT,
    "failure": ref("Failure"),
    "stalledReason": _TEXT,
    "version": _TEXT,
    "tags": {"type": "object", "additionalProperties": _TEXT},
    "parentAppID": {**_TEXT, "description": "Where it is another one than the instance's own."},
    "startedAt": {**_TIME, "description": "When a remote worker took the first turn."},
}
_INSTANCE_REQUIRED = (
    "instanceID",
    "name",
    "status",
    "executionID",
    "generation",
    "createdAt",
    "lastUpdatedAt",
    "historyLength",
)

SCHEMAS: dict[str, Json] = {
    "Error": _object(
        ("errorCode", "message"),
        errorCode={"type": "string", "enum": list(ERROR_CODES)},
        message=_TEXT,
    ),
    "Empty": _object(),
    "AnyObject": {"type": "object"},
    "Started": _object(("instanceID",), instanceID=_TEXT),
    "IgnoredBody": _open_object(
        instanceID={"type": ["string", "null"]},
        workflowComponent={"type": ["string", "null"]},
        instance_id={"type": ["string", "null"]},
        workflow_component={"type": ["string", "null"]},
    ),
    "DaprInstance": _object(
        ("instanceID", "createdAt", "lastUpdatedAt", "runtimeStatus"),
        instanceID=_TEXT,
        workflowName=_TEXT,
        createdAt=_TIME,
        lastUpdatedAt=_TIME,
        runtimeStatus={"type": "string", "enum": _DAPR_STATUSES},
        properties={
            "type": "object",
            "description": "`dapr.workflow.input`, `.output`, `.custom_status`, "
            "`.failure.error_type`, `.failure.error_message`, `.failure.stack_trace`.",
            "additionalProperties": _TEXT,
        },
    ),
    "Metadata": _open_object(
        ("id", "runtimeVersion", "extended", "actorRuntime"),
        id=_TEXT,
        runtimeVersion=_TEXT,
        extended={"type": "object", "additionalProperties": _TEXT},
        actorRuntime={"type": "object"},
        workflows=_object(("connectedWorkers",), connectedWorkers=_COUNT),
    ),
    "Health": _object(
        ("healthy", "problems", "appID", "version", "store", "durability", "processes"),
        healthy=_FLAG,
        problems={"type": "array", "items": _TEXT},
        appID=_TEXT,
        version=_TEXT,
        store=_TEXT,
        durability=_object(("level", "survives"), level=_TEXT, survives=_TEXT),
        processes=_COUNT,
        connectedWorkers=_COUNT,
    ),
    "Status": {"type": "string", "enum": _STATUSES},
    "Failure": _object(
        ("errorType", "message"),
        errorType=_TEXT,
        message=_TEXT,
        stack=_TEXT,
        nonRetriable=_FLAG,
        inner=ref("Failure"),
    ),
    "Instance": _object(_INSTANCE_REQUIRED, **_INSTANCE),
    "Outcome": _object((*_INSTANCE_REQUIRED, "completed"), completed=_FLAG, **_INSTANCE),
    "InstancePage": _object(
        ("instances",),
        instances={"type": "array", "items": ref("Instance")},
        nextPageToken=_TEXT,
    ),
    "History": _object(
        ("instanceID", "executionID", "length", "events"),
        instanceID=_TEXT,
        executionID=_TEXT,
        length=_COUNT,
        events={"type": "array", "items": ref("HistoryEvent")},
        nextIndex=_COUNT,
    ),
    "HistoryEvent": _open_object(
        ("type", "eventID", "timestamp"),
        type=_TEXT,
        eventID={"type": "integer", "minimum": -1},
        timestamp=_TIME,
    ),
    "Waiting": _object(
        ("instanceID", "status", "waiting"),
        instanceID=_TEXT,
        status=ref("Status"),
        waiting={"type": "array", "items": ref("WaitReason")},
    ),
    "WaitReason": _object(
        ("kind", "detail"), kind=_TEXT, detail=_TEXT, since=_TIME, due=_TIME, attempt=_COUNT
    ),
    "Purged": _object(("deletedCount",), deletedCount=_COUNT),
    "ReasonBody": _object(reason={"type": ["string", "null"]}),
    "TerminateBody": _object(output={"description": "Any JSON."}, recursive=_FLAG),
    "PurgeBody": _object(recursive=_FLAG, force=_FLAG),
    "RerunBody": _object(
        ("eventID",),
        eventID={"type": "integer", "minimum": 0, "maximum": 2_147_483_647},
        newInstanceID={"type": "string", "pattern": "^[A-Za-z0-9_-]{0,64}$"},
        input={"description": "Any JSON; replaces the input of the event."},
    ),
}


def _error(description: str, *, also_text: bool = False, retry: bool = False) -> Json:
    content: Json = {"application/json": {"schema": ref("Error")}}
    if also_text:
        content["text/plain"] = {"schema": _TEXT}
    shown: Json = {"description": description, "content": content}
    if retry:
        shown["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
        }
    return shown


def _plain(description: str) -> Json:
    return {"description": description, "content": {"text/plain": {"schema": _TEXT}}}


RESPONSES: dict[str, Json] = {
    "400": _error("The request cannot be used; a bad escape is answered in text.", also_text=True),
    "401": _plain("The API token is missing or wrong."),
    "403": _error("A web page of an origin that is not allowed asked for a change."),
    "404": _error("There is no such instance, event or route."),
    "409": _error("The instance, or the request of the same key, is in the way."),
    "415": _error("The content type or encoding is not taken."),
    "421": _error("The Host header names another server."),
    "429": _error("Too much at once; nothing was kept.", retry=True),
    "431": _plain("The request header is too large."),
    "500": _error(
        "Dapr's answer to a refused operation: a start of a taken id, any change of a missing or "
        "stalled instance, the purge of an open one. Or an error of the server."
    ),
    "503": _error("Stopping, or the store does not answer; retry later.", retry=True),
}
"""Answers by status, the same for all operations."""
