"""PURE. The closed union of history events: facts about one execution, appended and never changed.

The set and the meaning of the fields follow the task hub's history events, so that a history can be
shown to and replayed by the official SDKs. Payloads (`input`, `result`, `output`) are the raw text
that was sent, usually JSON; None means "absent", which is not the same as the empty string.

An event that answers an action of the workflow's code carries the action's id as `event_id`; every
other event has -1. `at_ns` is UTC nanoseconds since 1970, never decreasing along one history: it is
the workflow's clock.
"""

from enum import StrEnum
from typing import TypeAlias

import msgspec

NEVER_NS = 253_402_300_799_999_999_999
"""Due time of a wait without a time-out: 9999-12-31T23:59:59.999999999Z. Recorded, never
scheduled."""


class Status(StrEnum):
    """Runtime status of an instance. The text is what the HTTP API shows."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    STALLED = "STALLED"
    COMPLETED = "COMPLETED"
    CONTINUED_AS_NEW = "CONTINUED_AS_NEW"  # only inside a turn, never visible
    FAILED = "FAILED"
    TERMINATED = "TERMINATED"

    @property
    def is_terminal(self) -> bool:
        """Whether the execution has ended."""
        return self in _TERMINAL


_TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.TERMINATED})


class _Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Base of all stored values: small, immutable, unknown fields are ignored when decoding."""


class FailureDetails(_Record, frozen=True, kw_only=True):
    """Why something failed, as text only: no exception object ever travels."""

    error_type: str
    message: str
    stack: str = ""
    non_retriable: bool = False
    inner: "FailureDetails | None" = None


class ParentRef(_Record, frozen=True, kw_only=True):
    """The parent of a child execution: where its completion goes. `depth` is the level of the child
    below the root, which has none. `app_id` is the parent's app, "" when it is the child's own."""

    instance_id: str
    execution_id: str
    task_id: int
    name: str = ""
    depth: int = 1
    app_id: str = ""


class TimerOrigin(_Record, frozen=True, kw_only=True):
    """Why a timer exists. `kind`: timer, event, activity_retry, child_retry, or "" where an older
    SDK does not say; `ref` is the event name, task execution id or child instance id."""

    kind: str = "timer"
    ref: str = ""


class _Event(_Record, tag_field="k", frozen=True, omit_defaults=True, kw_only=True, gc=False):
    event_id: int = -1
    at_ns: int = 0


class TurnStarted(_Event, frozen=True, kw_only=True, tag="turn"):
    """A remote worker took a turn (`workflowStarted` on the wire): before the facts that it saw.

    `version` and `patches` are what the worker said of its code in this turn; only patches that no
    earlier turn has are listed. Its time is the clock of the code for the whole turn, and later
    than that of the facts behind it, which waited for the worker.
    """

    version: str | None = None
    patches: tuple[str, ...] = ()


class ExecutionStarted(_Event, frozen=True, kw_only=True, tag="start"):
    """First fact of an execution. `generation` counts executions under one id, from 1."""

    name: str
    instance_id: str
    execution_id: str
    input: str | None = None
    parent: ParentRef | None = None
    scheduled_start_ns: int | None = None
    generation: int = 1
    version: str | None = None
    tags: dict[str, str] = {}
    trace_parent: str | None = None
    trace_state: str | None = None


class ExecutionCompleted(_Event, frozen=True, kw_only=True, tag="done"):
    """Last fact of an execution: `status` is terminal."""

    status: Status
    result: str | None = None
    failure: FailureDetails | None = None


class ExecutionTerminated(_Event, frozen=True, kw_only=True, tag="term"):
    """Somebody asked to end the execution."""

    output: str | None = None
    recursive: bool = True


class ExecutionSuspended(_Event, frozen=True, kw_only=True, tag="susp"):
    """From here on facts are kept and not given to the workflow's code."""

    reason: str | None = None


class ExecutionResumed(_Event, frozen=True, kw_only=True, tag="resu"):
    """Kept facts are given to the code, in order."""

    reason: str | None = None


class ExecutionStalled(_Event, frozen=True, kw_only=True, tag="stall"):
    """The execution cannot go on until its code, a limit or its data is repaired."""

    reason: str
    description: str = ""


class TaskScheduled(_Event, frozen=True, kw_only=True, tag="task"):
    """An activity was asked for. `task_execution_id` is the same for all attempts of one call.

    `app_id` is the app that runs it, "" for the instance's own. `propagation` says which history it
    gets to see: "" none, "own", or "lineage". `rerun_of` is the instance that this one repeats.
    """

    name: str
    input: str | None = None
    task_execution_id: str = ""
    version: str | None = None
    app_id: str = ""
    propagation: str = ""
    trace_parent: str | None = None
    rerun_of: str = ""


class TaskCompleted(_Event, frozen=True, kw_only=True, tag="taskok"):
    """An activity's result; `task_id` is the `event_id` of its TaskScheduled."""

    task_id: int
    result: str | None = None
    task_execution_id: str = ""


class TaskFailed(_Event, frozen=True, kw_only=True, tag="taskno"):
    """An activity's failure."""

    task_id: int
    failure: FailureDetails
    task_execution_id: str = ""


class ChildCreated(_Event, frozen=True, kw_only=True, tag="child"):
    """A child workflow was asked for. `retry_of` is the child that this one is a new attempt of;
    the rest as in `TaskScheduled`."""

    instance_id: str
    name: str
    input: str | None = None
    version: str | None = None
    app_id: str = ""
    propagation: str = ""
    trace_parent: str | None = None
    rerun_of: str = ""
    retry_of: str = ""


class ChildCompleted(_Event, frozen=True, kw_only=True, tag="childok"):
    """A child's result; `task_id` is the `event_id` of its ChildCreated."""

    task_id: int
    result: str | None = None


class ChildFailed(_Event, frozen=True, kw_only=True, tag="childno"):
    """A child's failure or termination."""

    task_id: int
    failure: FailureDetails


class DetachedCreated(_Event, frozen=True, kw_only=True, tag="detach"):
    """An independent instance was started; nobody waits for it."""

    instance_id: str
    name: str = ""
    input: str | None = None
    app_id: str = ""


class TimerCreated(_Event, frozen=True, kw_only=True, tag="timer"):
    """A durable timer. `fire_at_ns == NEVER_NS` records a wait without a time-out."""

    fire_at_ns: int
    name: str = ""
    origin: TimerOrigin = TimerOrigin()
    rerun_of: str = ""


class TimerFired(_Event, frozen=True, kw_only=True, tag="fired"):
    """A timer came due; `timer_id` is the `event_id` of its TimerCreated."""

    timer_id: int
    fire_at_ns: int = 0


class EventRaised(_Event, frozen=True, kw_only=True, tag="event"):
    """An external event, its name exactly as sent. `dedup_id` is the sender's, "" when none."""

    name: str
    input: str | None = None
    dedup_id: str = ""


class EventSent(_Event, frozen=True, kw_only=True, tag="sent"):
    """This execution sent an event to another instance."""

    instance_id: str
    name: str
    input: str | None = None


HistoryEvent: TypeAlias = (
    TurnStarted
    | ExecutionStarted
    | ExecutionCompleted
    | ExecutionTerminated
    | ExecutionSuspended
    | ExecutionResumed
    | ExecutionStalled
    | TaskScheduled
    | TaskCompleted
    | TaskFailed
    | ChildCreated
    | ChildCompleted
    | ChildFailed
    | DetachedCreated
    | TimerCreated
    | TimerFired
    | EventRaised
    | EventSent
)
