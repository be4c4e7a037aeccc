"""PURE. Engine values in the JSON of the wire: instances, histories, reasons, times."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from actorflow.workflow.events import FailureDetails, HistoryEvent, Status
from actorflow.workflow.model import History, Instance, WaitReason

NS_PER_S = 1_000_000_000
LAST_NS = 253_402_300_799 * NS_PER_S + 999_999_999
_ZERO_TIME = "0001-01-01T00:00:00Z"
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def time_text(at_ns: int) -> str:
    """Return RFC 3339 in UTC with 0, 3, 6 or 9 fraction digits, the shortest that is exact."""
    seconds, rest_ns = divmod(at_ns, NS_PER_S)
    text = datetime.fromtimestamp(seconds, UTC).isoformat()[:19]
    if not rest_ns:
        return text + "Z"
    if rest_ns % 1_000_000 == 0:
        return f"{text}.{rest_ns // 1_000_000:03}Z"
    if rest_ns % 1_000 == 0:
        return f"{text}.{rest_ns // 1_000:06}Z"
    return f"{text}.{rest_ns:09}Z"


def time_ns(text: str) -> int:
    """Return an RFC 3339 time as UTC nanoseconds since 1970.

    Raises:
        ValueError: not such a time, or outside the years 1970 to 9999.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time")
    seconds = int(datetime.fromisoformat(match[1] + match[3].upper()).timestamp())
    at_ns = seconds * NS_PER_S + int((match[2] or "").ljust(9, "0"))
    if not 0 <= at_ns <= LAST_NS:
        raise ValueError("outside the years 1970 to 9999")
    return at_ns


def dapr_instance(instance: Instance, *, strict_pending: bool) -> dict[str, Any]:
    """Return Dapr's `GetWorkflowResponse`.

    A pending instance shows its name, input and times, which Dapr does not know yet, unless
    `strict_pending`.
    """
    pending = instance.status is Status.PENDING
    stalled = instance.status is Status.STALLED
    status = "UNKNOWN" if stalled else instance.status.value  # Dapr's map lacks STALLED
    if pending and strict_pending:
        return {
            "instanceID": instance.instance_id,
            "createdAt": _ZERO_TIME,
            "lastUpdatedAt": _ZERO_TIME,
            "runtimeStatus": status,
        }
    properties = _dapr_properties(instance, pending=pending)
    shown: dict[str, Any] = {
        "instanceID": instance.instance_id,
        "workflowName": instance.name,
        "createdAt": time_text(instance.created_at_ns),
        "lastUpdatedAt": time_text(instance.updated_at_ns),
        "runtimeStatus": status,
    }
    if properties:
        shown["properties"] = properties
    return shown


def _dapr_properties(instance: Instance, *, pending: bool) -> dict[str, str]:
    properties = {}
    if instance.input is not None:
        properties["dapr.workflow.input"] = instance.input
    failure = instance.failure
    if instance.output is not None and failure is None:
        properties["dapr.workflow.output"] = instance.output
    if instance.custom_status is not None or not pending:
        # Dapr writes the row in the first turn, set or not.
        properties["dapr.workflow.custom_status"] = instance.custom_status or ""
    if failure is not None:
        properties["dapr.workflow.failure.error_type"] = failure.error_type
        properties["dapr.workflow.failure.error_message"] = failure.message
        if failure.stack:
            properties["dapr.workflow.failure.stack_trace"] = failure.stack
    return properties


def instance_json(instance: Instance) -> dict[str, Any]:
    """Return everything known about an instance; what is absent is left out."""
    return _present(
        {
            "instanceID": instance.instance_id,
            "name": instance.name,
            "status": instance.status.value,
            "executionID": instance.execution_id,
            "generation": instance.generation,
            "createdAt": time_text(instance.created_at_ns),
            "lastUpdatedAt": time_text(instance.updated_at_ns),
            "scheduledStart": _time_or_none(instance.scheduled_start_ns),
            "completedAt": _time_or_none(instance.completed_at_ns),
            "historyLength": instance.history_length,
            "parentInstanceID": instance.parent_instance_id,
            "input": instance.input,
            "output": instance.output,
            "customStatus": instance.custom_status,
            "failure": _failure(instance.failure),
            "stalledReason": instance.stalled_reason or None,
            "version": instance.version,
            "tags": instance.tags or None,
            "parentAppID": instance.parent_app_id or None,
            "startedAt": _time_or_none(instance.started_at_ns),
        }
    )


def reason_json(reason: WaitReason) -> dict[str, Any]:
    """Return one thing that an instance waits for."""
    return _present(
        {
            "kind": reason.kind,
            "detail": reason.detail,
            "since": _time_or_none(reason.since_ns),
            "due": _time_or_none(reason.due_ns),
            "attempt": reason.attempt,
        }
    )


def history_json(history: History, *, start: int, limit: int) -> dict[str, Any]:
    """Return `limit` events from index `start`, and in `nextIndex` where to go on, if anywhere."""
    end = start + limit
    return _present(
        {
            "instanceID": history.instance_id,
            "executionID": history.execution_id,
            "length": len(history.events),
            "events": [event_json(event) for event in history.events[start:end]],
            "nextIndex": end if end < len(history.events) else None,
        }
    )


def event_json(event: HistoryEvent) -> dict[str, Any]:
    """Return a history event: its type, and its fields in the words of JSON."""
    return {"type": type(event).__name__, **_fields(event)}


def _fields(record: msgspec.Struct) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if value is None or (value == "" and name in _SHOWN_WHEN_SET):
            continue
        if name == "at_ns":
            shown["timestamp"] = time_text(value)
        elif name.endswith("_ns"):
            shown[_json_name(name.removesuffix("_ns"))] = time_text(value)
        elif isinstance(value, msgspec.Struct):
            shown[_json_name(name)] = _fields(value)
        else:
            shown[_json_name(name)] = value
    return shown


_SHOWN_WHEN_SET = frozenset({"app_id", "propagation", "rerun_of", "retry_of"})
"""Members of events that most instances never use."""


def _json_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join("ID" if part == "id" else part.capitalize() for part in rest)


def _failure(failure: FailureDetails | None) -> dict[str, Any] | None:
    return None if failure is None else _fields(failure)


def _time_or_none(at_ns: int | None) -> str | None:
    return None if at_ns is None else time_text(at_ns)


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
