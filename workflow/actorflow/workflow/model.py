"""PURE. What a client of the engine sees: instances, pages of them, and reasons for waiting."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from actorflow.actors.errors import way_out
from actorflow.actors.marks import CONVICTION
from actorflow.workflow.events import FailureDetails, HistoryEvent, Status


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow instance as last committed. Times are UTC nanoseconds since 1970.

    `input`, `output`, `custom_status` are raw texts, None when absent. `history_length` counts the
    events of the present execution. `version` and `tags` are those of its start. `parent_app_id` is
    "" when the parent, if any, is of the same app. `started_at_ns` is when a remote worker
    took the first turn: None before, where the code runs in the server, and in older stores.
    """

    instance_id: str
    name: str
    status: Status
    execution_id: str
    created_at_ns: int
    updated_at_ns: int
    generation: int = 1
    input: str | None = None
    output: str | None = None
    custom_status: str | None = None
    failure: FailureDetails | None = None
    parent_instance_id: str | None = None
    scheduled_start_ns: int | None = None
    completed_at_ns: int | None = None
    history_length: int = 0
    stalled_reason: str = ""
    version: str | None = None
    tags: Mapping[str, str] = {}
    parent_app_id: str = ""
    started_at_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFilter:
    """Every member that is set must match."""

    statuses: tuple[Status, ...] = ()
    name: str = ""
    id_prefix: str = ""
    created_from_ns: int | None = None
    created_to_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancePage:
    """Instances in order of id, without input and output. `next_after` is None on the last page,
    else the id to continue after."""

    instances: tuple[Instance, ...]
    next_after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitReason:
    """One thing an open instance waits for, readable by a person.

    `kind`: activity, timer, event, child, retry, worker, scheduled_start, suspended, stalled,
    parked, limit. `since_ns` is when the wait began, `due_ns` when it will end by itself.
    """

    kind: str
    detail: str
    since_ns: int | None = None
    due_ns: int | None = None
    attempt: int | None = None


def parked_reason(instance_id: str, method: str, reason: str) -> WaitReason:
    """Return what to say of a message that failed too often, or of an instance that ended its
    hosts, with the way to bring it back."""
    if method == CONVICTION:
        return WaitReason(kind="parked", detail=f"not run again: {reason}. {way_out(instance_id)}")
    return WaitReason(
        kind="parked",
        detail=f"message {method!r} failed too often and is kept, not delivered: {reason}. Once "
        f"the cause is mended, `actorflow fsck --unpark-instance {instance_id}` delivers it (for a "
        "SQLite store stop the server first)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The committed history of the present execution, in order."""

    instance_id: str
    execution_id: str
    events: tuple[HistoryEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeResult:
    """How many instances were deleted, descendants included."""

    deleted_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """Plain numbers for metrics and metadata: counters since the start, and present sizes."""

    counters: dict[str, int]
    gauges: dict[str, int]
    running_activities: int
    waiting_activities: int
    instances_without_worker: int
    connected_workers: int
