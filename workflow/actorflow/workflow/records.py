"""PURE. How an instance lies in the store: head, named fields and log, and back.

The head is small and written with every turn. Input, output, failure and custom status are fields
of their own, written when they change; the events that carry them are logged without them, so that
no large payload is stored twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from actorflow.actors.ports import ActorRecord, Query, Summary
from actorflow.workflow.codec import decode_event, encode_event
from actorflow.workflow.errors import HistoryCorruptError
from actorflow.workflow.events import (
    ExecutionCompleted,
    ExecutionStarted,
    FailureDetails,
    HistoryEvent,
    ParentRef,
    Status,
)
from actorflow.workflow.model import Instance, InstanceFilter
from actorflow.workflow.naming import ceil_ms
from actorflow.workflow.requests import INSTANCE

if TYPE_CHECKING:
    from actorflow.workflow.state import InstanceState

INPUT = "input"
OUTPUT = "output"
FAILURE = "failure"
CUSTOM_STATUS = "custom_status"
EVENT_IDS = "event_ids"
"""Field that remembers the ids of events which earlier executions have taken."""

INBOX_PREFIX = "inbox:"
"""Fields that hold facts which no worker has seen yet, in order."""


STALLED_CHARS_MAX = 2_000
"""Characters of the reason for a stall that a status query shows; `why` shows all."""


class Head(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a status query needs besides the summary's own columns."""

    execution_id: str
    created_at_ns: int
    updated_at_ns: int
    generation: int = 1
    history_length: int = 0
    completed_at_ns: int | None = None
    scheduled_start_ns: int | None = None
    parent: ParentRef | None = None
    stalled: str = ""
    start_key: str = ""  # idempotency key and fingerprint of the start
    worker_wanted: bool = False  # a message that asks for a worker is on its way or held
    version: str | None = None  # from here on: see `as_before_details`
    tags: dict[str, str] | None = None
    started_at_ns: int | None = None


_encode_head = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(Head).decode
_encode_failure = msgspec.json.Encoder().encode
_decode_failure = msgspec.json.Decoder(FailureDetails).decode


def summary_of(state: InstanceState, *, start_key: str, worker_wanted: bool) -> Summary:
    """Return the summary of an instance for the store."""
    head = Head(
        state.execution_id,
        state.created_at_ns,
        state.updated_at_ns,
        state.generation,
        state.history_length,
        state.completed_at_ns,
        state.scheduled_start_ns,
        state.parent,
        _why_stalled(state) if state.stalled_reason else "",
        start_key,
        worker_wanted,
        state.version,
        state.tags or None,
        state.started_at_ns,
    )
    return Summary(
        state.name,
        state.status.value,
        state.created_at_ns // 1_000_000,
        state.updated_at_ns // 1_000_000,
        _encode_head(head),
    )


def as_before_details(summary: Summary) -> Summary:
    """Return a summary as it was written before heads had version, tags and time of the start: such
    a head is as good, and gets them with the next turn."""
    head = replace(_decode_head(summary.head), version=None, tags=None, started_at_ns=None)
    return summary._replace(head=_encode_head(head))


def query_of(
    wanted: InstanceFilter, *, limit: int, after: str, actor_type: str = INSTANCE
) -> Query:
    """Return the search for the instances that a filter describes."""
    return Query(
        actor_type,
        limit,
        after=after,
        phases=tuple(status.value for status in wanted.statuses),
        label=wanted.name,
        key_prefix=wanted.id_prefix,
        created_from_ms=ceil_ms(wanted.created_from_ns),
        created_to_ms=ceil_ms(wanted.created_to_ns),
    )


def _why_stalled(state: InstanceState) -> str:
    """Return reason and description in one text that fits the head."""
    parts = (state.stalled_reason, state.stalled_description)
    return ": ".join(filter(None, parts))[:STALLED_CHARS_MAX]


def head_of(record: ActorRecord) -> Head:
    """Decode the head. Raises HistoryCorruptError."""
    if record.summary is None:
        raise HistoryCorruptError(f"{record.actor} has no summary")
    try:
        return _decode_head(record.summary.head)
    except (msgspec.MsgspecError, ValueError) as error:
        raise HistoryCorruptError(f"the head of {record.actor} cannot be read: {error}") from error


def instance_of(record: ActorRecord) -> Instance:
    """Return what a client sees. Raises HistoryCorruptError."""
    try:
        return _decoded(record)
    except (msgspec.MsgspecError, ValueError) as error:
        raise HistoryCorruptError(f"{record.actor} cannot be read: {error}") from error


def listed_of(record: ActorRecord) -> Instance:
    """Return what a list shows. An instance that cannot be read must not hide the others: it is
    shown as stalled, with the reason."""
    try:
        return instance_of(record)
    except HistoryCorruptError as error:
        summary = record.summary or Summary("", "", 0, 0, b"")
        return Instance(
            instance_id=record.actor.key,
            name=summary.label,
            status=Status.STALLED,
            execution_id="",
            created_at_ns=summary.created_ms * 1_000_000,
            updated_at_ns=summary.updated_ms * 1_000_000,
            stalled_reason=str(error),
        )


def live_instance(
    key: str, summary: Summary, state: InstanceState, status: str | None
) -> Instance | None:
    """Return what a client sees of a live instance; None when it has gone on since the summary.

    Args:
        status: the custom status.
    """
    head = _decode_head(summary.head)
    if (head.execution_id, head.history_length) != (state.execution_id, state.history_length):
        return None
    return _instance(key, summary, head, state.input, state.output, status, state.failure)


def _decoded(record: ActorRecord) -> Instance:
    head = head_of(record)
    summary = record.summary
    if summary is None:
        raise HistoryCorruptError(f"{record.actor} has no summary")
    fields = record.fields
    stored = fields.get(FAILURE)
    return _instance(
        record.actor.key,
        summary,
        head,
        _text(fields.get(INPUT)),
        _text(fields.get(OUTPUT)),
        _text(fields.get(CUSTOM_STATUS)),
        _decode_failure(stored) if stored is not None else None,
    )


def _instance(  # noqa: PLR0913, PLR0917 -- the parts of a record
    key: str,
    summary: Summary,
    head: Head,
    input: str | None,
    output: str | None,
    custom_status: str | None,
    failure: FailureDetails | None,
) -> Instance:
    return Instance(
        instance_id=key,
        name=summary.label,
        status=Status(summary.phase),
        execution_id=head.execution_id,
        created_at_ns=head.created_at_ns,
        updated_at_ns=head.updated_at_ns,
        generation=head.generation,
        input=input,
        output=output,
        custom_status=custom_status,
        failure=failure,
        parent_instance_id=head.parent.instance_id if head.parent is not None else None,
        scheduled_start_ns=head.scheduled_start_ns,
        completed_at_ns=head.completed_at_ns,
        history_length=head.history_length,
        stalled_reason=head.stalled,
        version=head.version,
        tags=head.tags or {},
        parent_app_id=head.parent.app_id if head.parent is not None else "",
        started_at_ns=head.started_at_ns,
    )


def encode_failure(failure: FailureDetails) -> bytes:
    """Return the stored form of a failure."""
    return _encode_failure(failure)


def stripped(event: HistoryEvent) -> bytes:
    """Encode an event for the log, without what is stored as a field of its own."""
    kind = type(event)
    if kind is ExecutionStarted and event.input is not None:  # type: ignore[union-attr]  # kind says so
        return encode_event(replace(event, input=None))
    if kind is ExecutionCompleted:
        return encode_event(replace(event, result=None, failure=None))
    return encode_event(event)


def history_of(record: ActorRecord) -> list[HistoryEvent]:
    """Decode the whole log, payloads put back in. Raises HistoryCorruptError."""
    if len(record.log) != record.log_length:
        raise HistoryCorruptError(
            f"the history of {record.actor} has {record.log_length:,} events, but only "
            f"{len(record.log):,} are stored: rows were lost; restore a backup"
        )
    try:
        return _history_of(record)
    except (msgspec.MsgspecError, ValueError) as error:
        raise HistoryCorruptError(f"{record.actor} cannot be read: {error}") from error


def _history_of(record: ActorRecord) -> list[HistoryEvent]:
    events = [decode_event(entry) for entry in record.log]
    for index, event in enumerate(events):  # a remote worker's turn begins before the start
        if isinstance(event, ExecutionStarted):
            events[index] = replace(event, input=_text(record.fields.get(INPUT)))
            break
    if events and isinstance(events[-1], ExecutionCompleted):
        failure = record.fields.get(FAILURE)
        events[-1] = replace(
            events[-1],
            result=_text(record.fields.get(OUTPUT)),
            failure=_decode_failure(failure) if failure is not None else None,
        )
    return events


def inbox_of(record: ActorRecord) -> dict[int, HistoryEvent]:
    """Decode the facts that no worker has seen, by rising index. Raises HistoryCorruptError."""
    inbox: dict[int, HistoryEvent] = {}
    for name in sorted(name for name in record.fields if name.startswith(INBOX_PREFIX)):
        event = decode_event(record.fields[name])
        if isinstance(event, ExecutionStarted):
            event = replace(event, input=_text(record.fields.get(INPUT)))
        inbox[int(name.removeprefix(INBOX_PREFIX))] = event
    return inbox


def inbox_field(index: int) -> str:
    """Return the field name of the fact with this index; names sort as indexes do."""
    return f"{INBOX_PREFIX}{index:012d}"


def _text(value: bytes | None) -> str | None:
    return value.decode() if value is not None else None
