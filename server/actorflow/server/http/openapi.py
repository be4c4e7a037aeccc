"""The OpenAPI 3.1 document of everything served, from one description an operation.

A test compares it with the routes of the edge, so that neither can be forgotten.
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from actorflow.server.http.openapi_schemas import RESPONSES, SCHEMAS, ref, response_ref
from actorflow.server.http.workflows import PREFIXES

Json = dict[str, Any]
OWN = "/actorflow/v1"

_ALWAYS = ("401", "403", "404", "421", "431", "429", "500", "503")
"""Answers that every guarded route may give: see edge.py for their order."""


@cache
def document_bytes() -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(document())


def document() -> Json:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "actorflow",
            "version": product_version(),
            "description": "Durable workflows. `/v1.0` is Dapr's workflow API; `/actorflow/v1` "
            "adds what it leaves out. With an API token set, every route but the health checks "
            "needs it.",
        },
        "security": [{"daprToken": []}, {"bearer": []}, {}],
        "paths": {**_dapr_paths(), **_sidecar_paths(), **_process_paths(), **_own_paths()},
        "components": {
            "schemas": SCHEMAS,
            "responses": RESPONSES,
            "securitySchemes": {
                "daprToken": {"type": "apiKey", "in": "header", "name": "dapr-api-token"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def product_version() -> str:
    """Return the installed version of actorflow."""
    try:
        return version("actorflow")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.0.0"


def _operation(
    operation_id: str,
    summary: str,
    success: Json,
    *,
    parameters: list[Json] | None = None,
    body: Json | None = None,
    errors: tuple[str, ...] = (),
) -> Json:
    responses = dict(success)
    for status in sorted({*_ALWAYS, *errors}):
        responses.setdefault(status, response_ref(status))
    shown: Json = {"operationId": operation_id, "summary": summary, "responses": responses}
    if parameters:
        shown["parameters"] = parameters
    if body:
        shown["requestBody"] = body
    return shown


def _json(status: str, description: str, schema: str) -> Json:
    content = {"application/json": {"schema": ref(schema)}}
    return {status: {"description": description, "content": content}}


def _no_content(description: str) -> Json:
    return {"204": {"description": description}}


def _path(name: str, description: str, max_length: int = 64) -> Json:
    schema = {"type": "string", "minLength": 1, "maxLength": max_length}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
    }


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _body(schema: Json, *media_types: str, required: bool = False) -> Json:
    content = {media_type: {"schema": schema} for media_type in media_types}
    return {"required": required, "content": content}


_INSTANCE = _path("instanceID", "Id of the instance; query-unescaped, so `+` is a space.")
_COMPONENT = _path("workflowComponent", "Any text; `dapr` by convention.")
_NAME = _path("workflowName", "Name of the workflow, not starting with `dapr.internal.`.", 256)
_NEW_ID = _query(
    "instanceID",
    "Id of the new instance: letters, digits, `_` and `-`, at most 64 bytes. Default: a UUID.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
)
_APP = _query(
    "appID",
    "Only our own app id is served.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
)
_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key with the same request gives the same answer, without a second "
    "effect; with another request it is refused.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,256}$"},
}
_TIMEOUT = _query(
    "timeout",
    "How long to hold the answer back: up to 300s, as 500ms, 30s or 2m.",
    {"type": "string", "default": "30s", "examples": ["30s"], "pattern": "^[0-9]{1,3}(ms|s|m)?$"},
)
_RAW = _body({"type": "string"}, "application/json", "text/plain", "application/octet-stream")
_ANY_JSON = _body({}, "application/json")
_IGNORED = _body(ref("IgnoredBody"), "application/json")
_ACCEPTED = _json("202", "Accepted, and durable.", "Empty")


def _dapr_paths() -> Json:
    paths: Json = {}
    for prefix in PREFIXES:
        suffix = prefix.removeprefix("/v1.0").replace("-", "_")
        base = f"{prefix}/workflows/{{workflowComponent}}"
        one = f"{base}/{{instanceID}}"
        about = [_COMPONENT, _INSTANCE, _APP]
        paths[f"{base}/{{workflowName}}/start"] = {
            "post": _operation(
                f"startWorkflow{suffix}",
                "Start an instance; the raw body is its input",
                _json("202", "Accepted, and durable.", "Started"),
                parameters=[_COMPONENT, _NAME, _NEW_ID, _APP, _KEY],
                body=_RAW,
                errors=("400", "409", "415"),
            )
        }
        paths[one] = {
            "get": _operation(
                f"getWorkflow{suffix}",
                "Show an instance",
                _json("200", "The instance.", "DaprInstance"),
                parameters=about,
                errors=("400", "415"),
            )
        }
        paths[f"{one}/raiseEvent/{{eventName}}"] = {
            "post": _operation(
                f"raiseEvent{suffix}",
                "Give an instance an event; the raw body is its payload",
                _ACCEPTED,
                parameters=[*about, _path("eventName", "Matched without case.", 256), _KEY],
                body=_RAW,
                errors=("400", "409", "415"),
            )
        }
        for name, summary in (
            ("pause", "Hold an instance"),
            ("resume", "Let an instance go on"),
            ("terminate", "End an instance and its children"),
            ("purge", "Delete an ended instance and its children"),
        ):
            paths[f"{one}/{name}"] = {
                "post": _operation(
                    f"{name}Workflow{suffix}",
                    summary,
                    _ACCEPTED,
                    parameters=about,
                    body=_IGNORED,
                    errors=("400", "409", "415"),
                )
            }
    return paths


def _sidecar_paths() -> Json:
    app = _query("appid", "Fails unless it is our app id.", {"type": "string"})
    key = _path("key", "Name of the entry.", 256)
    force: Json = {
        "name": "dapr-force-shutdown",
        "in": "header",
        "description": "End at once, with exit code 1.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    }
    text = _body({"type": "string", "maxLength": 256}, "text/plain")
    return {
        "/v1.0/healthz": {
            "get": {
                **_operation(
                    "health", "Whether calls are served", _no_content("Healthy."), parameters=[app]
                ),
                "security": [],
            }
        },
        "/v1.0/healthz/outbound": {
            "get": {
                **_operation("outboundHealth", "What SDKs wait for", _no_content("Healthy.")),
                "security": [],
            }
        },
        "/v1.0/metadata": {
            "get": _operation(
                "getMetadata", "Describe this process", _json("200", "Metadata.", "Metadata")
            )
        },
        "/v1.0/metadata/{key}": {
            "put": _operation(
                "putMetadata",
                "Add a text to the metadata",
                _no_content("Added."),
                parameters=[key],
                body=text,
                errors=("400", "415"),
            )
        },
        "/v1.0/shutdown": {
            "post": _operation(
                "shutdown", "End the process", _no_content("It ends."), parameters=[force]
            )
        },
    }


def _process_paths() -> Json:
    metrics: Json = {"200": {"description": "Metrics.", "content": {"text/plain": {"schema": {}}}}}
    return {
        "/metrics": {"get": _operation("metrics", "Prometheus metrics", metrics)},
        f"{OWN}/health": {
            "get": _operation(
                "ownHealth",
                "What is wrong, and what accepted calls survive",
                {
                    **_json("200", "Calls are served.", "Health"),
                    **_json("503", "They are not; `problems` says why.", "Health"),
                },
            )
        },
        f"{OWN}/openapi.json": {
            "get": _operation(
                "openapi", "This document", _json("200", "The document.", "AnyObject")
            )
        },
    }


def _own_paths() -> Json:
    return {f"{OWN}{path}": item for path, item in {**_readers(), **_writers()}.items()}


def _readers() -> Json:
    def reader(
        name: str, summary: str, schema: str, *parameters: Json, is_list: bool = False
    ) -> Json:
        about = list(parameters) if is_list else [_INSTANCE, *parameters]
        success = _json("200", "Found.", schema)
        return {"get": _operation(name, summary, success, parameters=about, errors=("400",))}

    time: Json = {"type": "string", "format": "date-time"}
    statuses = {"type": "array", "items": ref("Status"), "maxItems": 8}
    page = {"type": "integer", "minimum": 1, "maximum": 1_000}
    one = "/instances/{instanceID}"
    until = {"type": "string", "enum": ["started", "completed"], "default": "completed"}
    return {
        "/instances": reader(
            "listInstances",
            "List instances in order of id",
            "InstancePage",
            _query("status", "Repeatable: any of them.", statuses),
            _query("name", "Exactly this workflow.", {"type": "string"}),
            _query("idPrefix", "The id starts with this.", {"type": "string"}),
            _query("createdFrom", "Created at this time or later.", time),
            _query("createdTo", "Created before this time.", time),
            _query("limit", "Most instances in the answer.", {**page, "default": 100}),
            _query("pageToken", "`nextPageToken` of the page before.", {"type": "string"}),
            is_list=True,
        ),
        one: reader("getInstance", "Show everything known about an instance", "Instance"),
        f"{one}/history": reader(
            "getHistory",
            "Show the history of an instance",
            "History",
            _query(
                "start",
                "Index of the first event.",
                {"type": "integer", "minimum": 0, "maximum": 10_000_000},
            ),
            _query("limit", "Most events in the answer.", {**page, "default": 1_000}),
        ),
        f"{one}/waiting": reader(
            "getWaiting", "Show what an instance waits for, and why", "Waiting"
        ),
        f"{one}/wait": reader(
            "waitForInstance",
            "Hold the answer back until the instance has started or ended. When the time is over, "
            "200 with the present state and `completed: false`",
            "Outcome",
            _TIMEOUT,
            _query("until", "What to wait for.", until),
        ),
    }


def _writers() -> Json:
    one = "/instances/{instanceID}"
    unique = _query("unique", "Refuse also an id whose instance has ended.", {"type": "boolean"})
    errors = ("400", "409", "415")
    about_new = [_NAME, _NEW_ID, unique, _KEY]
    scheduled = _query(
        "scheduledStart", "Not before this time.", {"type": "string", "format": "date-time"}
    )

    def writer(name: str, summary: str, body: str, success: Json) -> Json:
        content = _body(ref(body), "application/json", required=body == "RerunBody")
        return {
            "post": _operation(
                name, summary, success, parameters=[_INSTANCE], body=content, errors=errors
            )
        }

    started = _json("202", "Accepted, and durable.", "Started")
    ended = _json("200", "It has ended.", "Outcome")
    open_still = _json("202", "Started, and not ended in time.", "Outcome")
    return {
        f"{one}/suspend": writer("suspendInstance", "Hold an instance", "ReasonBody", _ACCEPTED),
        f"{one}/resume": writer("resumeInstance", "Let it go on", "ReasonBody", _ACCEPTED),
        f"{one}/terminate": writer("terminateInstance", "End it", "TerminateBody", _ACCEPTED),
        f"{one}/purge": writer(
            "purgeInstance", "Delete it", "PurgeBody", _json("200", "Deleted.", "Purged")
        ),
        f"{one}/rerun": writer(
            "rerunInstance",
            "Start a new instance from an event in the history of an ended one",
            "RerunBody",
            started,
        ),
        "/workflows/{workflowName}/start": {
            "post": _operation(
                "startInstance",
                "Start an instance, now or later; the body is its input",
                started,
                parameters=[*about_new, scheduled],
                body=_ANY_JSON,
                errors=errors,
            )
        },
        "/workflows/{workflowName}/run": {
            "post": _operation(
                "runWorkflow",
                "Start an instance and hold the answer back until it has ended",
                {**ended, **open_still},
                parameters=[*about_new, _TIMEOUT],
                body=_ANY_JSON,
                errors=errors,
            )
        },
    }
