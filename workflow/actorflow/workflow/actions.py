"""PURE. What the code of a workflow may ask for in a turn: the closed union of actions.

`id` is the code's own sequence, from 1 in each execution; the history event that records the action
carries it as `event_id`. `CancelTimer` is recorded nowhere: replay asks for it again, to no effect.
"""

from typing import TypeAlias

import msgspec

from actorflow.workflow.events import EventRaised, FailureDetails, Status, TimerOrigin

_NO_ORIGIN = TimerOrigin()


class _Action(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="a"
):
    """Base of all actions: built for every step of every workflow, so it must be cheap."""


class ScheduleTask(_Action, frozen=True, kw_only=True, tag="task"):
    """Run an activity. `app_id` and `propagation` as in `events.TaskScheduled`."""

    id: int
    name: str
    input: str | None = None
    task_execution_id: str = ""
    version: str | None = None
    app_id: str = ""
    propagation: str = ""


class CreateChild(_Action, frozen=True, kw_only=True, tag="child"):
    """Start a child workflow and report its end. An empty `instance_id` means the default,
    `<parent>:<action id as at least four hex digits>`. The rest as in `events.ChildCreated`."""

    id: int
    name: str
    instance_id: str = ""
    input: str | None = None
    version: str | None = None
    app_id: str = ""
    propagation: str = ""
    retry_of: str = ""


class CreateDetached(_Action, frozen=True, kw_only=True, tag="detach"):
    """Start an independent instance; nobody waits for it."""

    id: int
    name: str
    instance_id: str
    input: str | None = None
    scheduled_start_ns: int | None = None
    version: str | None = None
    app_id: str = ""
    tags: dict[str, str] = {}
    trace_parent: str | None = None


class CreateTimer(_Action, frozen=True, kw_only=True, tag="timer"):
    """Wake the code at a time; `NEVER_NS` only records that it waits for an event."""

    id: int
    fire_at_ns: int
    origin: TimerOrigin = _NO_ORIGIN
    name: str = ""


class CancelTimer(_Action, frozen=True, kw_only=True, tag="cancel"):
    """Forget a timer that nobody waits for any more."""

    timer_id: int


class SendEvent(_Action, frozen=True, kw_only=True, tag="send"):
    """Raise an event on another instance, exactly once; dropped when there is no such instance."""

    id: int
    instance_id: str
    name: str
    input: str | None = None


class Complete(_Action, frozen=True, kw_only=True, tag="done"):
    """End the execution. CONTINUED_AS_NEW starts the next one with `result` as its input and the
    carried events before anything that arrives later."""

    id: int
    status: Status
    result: str | None = None
    failure: FailureDetails | None = None
    carried_events: tuple[EventRaised, ...] = ()


Action: TypeAlias = (
    ScheduleTask | CreateChild | CreateDetached | CreateTimer | CancelTimer | SendEvent | Complete
)
