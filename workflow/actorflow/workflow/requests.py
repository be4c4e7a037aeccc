"""PURE. The messages between the engine, instance actors and workers, and their bytes."""

from typing import TypeVar

import msgspec

from actorflow.workflow.codec import decode_event, encode_event
from actorflow.workflow.events import HistoryEvent, ParentRef

INSTANCE = "workflow"
"""Actor type of workflow instances; the key is the instance id."""

ACTIVITY = "activity"
"""Worker type that runs activities; the key is the id of the instance that asked."""

WORKER = "workflow.worker"
"""Worker type that holds instances which wait for somebody who can run their code."""

START = "start"
RAISE = "raise"
SUSPEND = "suspend"
RESUME = "resume"
TERMINATE = "terminate"
PURGE = "purge"
SEED = "seed"
WHY = "why"
RESULT = "result"
WORKER_READY = "worker_ready"
GO_ON = "go_on"
RUN = "run"


class _Request(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of all payloads."""


class StartRequest(_Request, frozen=True):
    """Create an instance, or replace one that has ended."""

    name: str
    input: str | None = None
    scheduled_start_ns: int | None = None
    parent: ParentRef | None = None
    idempotency_key: str = ""
    unique: bool = False
    trace_parent: str | None = None


class RaiseRequest(_Request, frozen=True):
    """An external event. `event_id` is the sender's own, to drop duplicates; "" when none."""

    name: str
    input: str | None = None
    event_id: str = ""


class ControlRequest(_Request, frozen=True):
    """Suspend, resume or terminate. `text` is the reason or the output. `parent_execution_id` is
    set when a parent terminates its children: an instance that is no longer that child ignores
    it."""

    text: str | None = None
    recursive: bool = True
    parent_execution_id: str = ""


class PurgeRequest(_Request, frozen=True):
    """Delete the instance; `force` also one that has not ended."""

    force: bool = False


class SeedRequest(_Request, frozen=True):
    """Create an instance from a prefix of another one's history (rerun). `facts` are then applied;
    `input_for` and `input` override what the code passes to the action of that id."""

    history: tuple[bytes, ...]
    facts: tuple[bytes, ...]
    input_for: int = 0
    overwrite_input: bool = False
    input: str | None = None


class WorkItem(_Request, frozen=True):
    """One activity to run."""

    instance_id: str
    execution_id: str
    workflow_name: str
    task_id: int
    name: str
    task_execution_id: str = ""
    input: str | None = None
    attempt: int = 1


class WorkerWanted(_Request, frozen=True):
    """An instance has facts that nobody here can run. `host` is the engine that found out,
    `stalled` says that its code was there but did not fit its history."""

    host: str
    name: str
    stalled: bool = False


_R = TypeVar("_R", bound=_Request)

_encoder = msgspec.json.Encoder()
_decoders: dict[type[_Request], msgspec.json.Decoder[_Request]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (
        StartRequest,
        RaiseRequest,
        ControlRequest,
        PurgeRequest,
        SeedRequest,
        WorkItem,
        WorkerWanted,
    )
}


def pack(request: _Request) -> bytes:
    """Encode a payload."""
    return _encoder.encode(request)


def unpack(kind: type[_R], payload: bytes) -> _R:
    """Decode a payload that `pack` made. Raises msgspec.DecodeError on anything else."""
    return _decoders[kind].decode(payload)  # type: ignore[return-value]  # keyed by the very type


def pack_result(execution_id: str, event: HistoryEvent) -> bytes:
    """Encode a completion together with the execution it belongs to: late ones are told apart."""
    return execution_id.encode() + b"\n" + encode_event(event)


def unpack_result(payload: bytes) -> tuple[str, bytes, HistoryEvent]:
    """Return execution id, the event's own record and the event."""
    execution_id, _, record = payload.partition(b"\n")
    return execution_id.decode(), record, decode_event(record)
