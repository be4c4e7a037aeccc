"""PURE. The messages between the engine, instance actors and workers, and their bytes."""

from typing import TypeVar

import msgspec

from actorflow.workflow.actions import Action
from actorflow.workflow.codec import decode_event, encode_event
from actorflow.workflow.events import HistoryEvent, ParentRef
from actorflow.workflow.propagation import PropagatedHistory
from actorflow.workflow.trial import Trial

INSTANCE = "workflow"
"""Actor type of workflow instances of the app `DEFAULT_APP`; the key is the instance id. Those of
other apps have a type each: see `instance_type`."""

DEFAULT_APP = "default"
"""App id of programs that name none."""

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
TURN = "turn"
RUN = "run"


class _Request(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of all payloads."""


class StartRequest(_Request, frozen=True):
    """Create an instance, or replace one that has ended. `children_ended` says that somebody has
    looked at the children of the one that is replaced."""

    name: str
    input: str | None = None
    scheduled_start_ns: int | None = None
    parent: ParentRef | None = None
    idempotency_key: str = ""
    unique: bool = False
    trace_parent: str | None = None
    trace_state: str | None = None
    version: str | None = None
    tags: dict[str, str] = {}
    propagated: PropagatedHistory | None = None
    children_ended: bool = False


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
    the rest is about the event that is to happen again, as in `seeding.Redo`."""

    history: tuple[bytes, ...]
    facts: tuple[bytes, ...]
    event_id: int
    rerun_of: str
    overwrite_input: bool = False
    input: str | None = None
    child_instance_id: str = ""


class WorkItem(_Request, frozen=True):
    """One activity to run. `app_id` is the app whose workers run it; `asker_type` is the actor type
    of the instance that asked; `trial` is set once a host was lost while it ran there."""

    instance_id: str
    execution_id: str
    workflow_name: str
    task_id: int
    name: str
    task_execution_id: str = ""
    input: str | None = None
    attempt: int = 1
    app_id: str = DEFAULT_APP
    asker_type: str = INSTANCE
    version: str | None = None
    trace_parent: str | None = None
    trace_state: str | None = None
    propagated: PropagatedHistory | None = None
    trial: Trial | None = None


ANYBODY = ""
HERE = "here"
REMOTE = "remote"


class WorkerWanted(_Request, frozen=True):
    """An instance has facts that nobody here can run. `host` is the engine that found out,
    `stalled` says that its code was there but did not fit its history. `who` may go on: in-process
    code (HERE) or remote workers (REMOTE), whichever has begun the execution; ANYBODY before."""

    host: str
    name: str
    stalled: bool = False
    app_id: str = DEFAULT_APP
    execution_id: str = ""
    who: str = ANYBODY


class TurnDone(_Request, frozen=True):
    """What a remote worker made of a turn. It counts only for the execution, the length of its
    history and the first `fact_count` waiting facts that the worker saw: else it is late.

    at_ns: the clock of the turn.
    stalled: reason and description when the worker cannot go on; then nothing else counts.
    """

    execution_id: str
    history_length: int
    fact_count: int
    at_ns: int
    actions: tuple[Action, ...] = ()
    custom_status: str | None = None
    version: str | None = None
    patches: tuple[str, ...] = ()
    stalled: tuple[str, str] | None = None


_R = TypeVar("_R", bound=_Request)


def instance_type(app_id: str) -> str:
    """Return the actor type of an app's instances: two apps may use the same instance id."""
    return INSTANCE if app_id == DEFAULT_APP else f"{INSTANCE}@{app_id}"


def app_of(actor_type: str) -> str:
    """Return the app of an instance's actor type."""
    return actor_type.partition("@")[2] or DEFAULT_APP


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
        TurnDone,
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


def unpack_result(payload: bytes) -> tuple[str, HistoryEvent]:
    """Return execution id and event."""
    execution_id, _, record = payload.partition(b"\n")
    return execution_id.decode(), decode_event(record)
