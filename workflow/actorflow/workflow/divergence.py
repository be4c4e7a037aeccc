"""PURE. Compares, action by action, what code asks for in a replay with what history records."""

from actorflow.workflow.actions import (
    Action,
    CancelTimer,
    Complete,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleTask,
    SendEvent,
)
from actorflow.workflow.errors import NonDeterminismError
from actorflow.workflow.events import (
    ChildCreated,
    DetachedCreated,
    EventSent,
    ExecutionCompleted,
    HistoryEvent,
    TaskScheduled,
    TimerCreated,
    TimerOrigin,
)

_MEND = (
    "Either the code was changed while this instance was open: give it back the order of calls "
    "that the instance was started with, and register the new code under another name. Or the code "
    "is not deterministic: take time, random numbers and ids from the context (ctx.now(), "
    "ctx.random(), ctx.uuid()), do input and output in activities, and do not iterate over sets. "
    "The instance goes on from here once the code is mended."
)


class Check:
    """The actions that the code asked for after one fact, and how many the history has shown."""

    __slots__ = ("_actions", "_instance_id", "_matched_count", "_workflow_name")

    def __init__(self, workflow_name: str, instance_id: str) -> None:
        self._workflow_name = workflow_name
        self._instance_id = instance_id
        self._actions: list[Action] = []
        self._matched_count = 0

    def expect(self, actions: list[Action]) -> None:
        """Begin with the actions that the code asked for after a fact, in order."""
        self._actions = actions
        self._matched_count = 0

    def match(self, event: HistoryEvent) -> None:
        """Compare an event that records an action with the next action.

        Raises:
            NonDeterminismError: they differ in id, kind or name, or there is no action.
        """
        if self._matched_count == len(self._actions):
            raise self._error(_event_text(event), "asked for nothing more", event.event_id)
        action = self._actions[self._matched_count]
        if not _is_same(event, action):
            raise self._error(
                _event_text(event), f"asked to {_action_text(action)}", event.event_id
            )
        self._matched_count += 1

    def expect_end(self, following: HistoryEvent | None) -> None:
        """Check that every action was matched before the `following` fact, None at the end.

        Raises:
            NonDeterminismError: the code asked for more.
        """
        if self._matched_count == len(self._actions):
            return
        action = self._actions[self._matched_count]
        at = "ends" if following is None else f"goes on with {type(following).__name__}"
        raise self._error(at, f"asked to {_action_text(action)}", _action_id(action))

    def _error(self, history: str, code: str, event_id: int) -> NonDeterminismError:
        return NonDeterminismError(
            f"workflow {self._workflow_name!r}, instance {self._instance_id!r}: at event "
            f"{event_id} the history {history}, but the code {code}. {_MEND}"
        )


_RECORDS: dict[type, type] = {
    TaskScheduled: ScheduleTask,
    ChildCreated: CreateChild,
    DetachedCreated: CreateDetached,
    EventSent: SendEvent,
}


def _is_same(event: HistoryEvent, action: Action) -> bool:
    if isinstance(event, ExecutionCompleted) and isinstance(action, Complete):
        return event.status is action.status  # without the id: the engine may have ended it
    if isinstance(action, CancelTimer | Complete) or event.event_id != action.id:
        return False
    if isinstance(event, TimerCreated) and isinstance(action, CreateTimer):
        return _is_same_origin(event.origin, action.origin)
    if _RECORDS.get(type(event)) is not type(action):
        return False
    return bool(event.name == action.name)  # type: ignore[union-attr]  # all of the table have names


def _is_same_origin(recorded: TimerOrigin, asked: TimerOrigin) -> bool:
    if recorded.kind != asked.kind:
        return False
    return asked.kind != "event" or recorded.ref.casefold() == asked.ref.casefold()


def _action_id(action: Action) -> int:
    return action.timer_id if isinstance(action, CancelTimer) else action.id


def _event_text(event: HistoryEvent) -> str:  # noqa: PLR0911 -- one for each kind
    match event:
        case TaskScheduled():
            return f"has activity {event.name!r} (id {event.event_id})"
        case ChildCreated():
            return f"has child workflow {event.name!r} (id {event.event_id})"
        case DetachedCreated():
            return f"has detached workflow {event.name!r} (id {event.event_id})"
        case EventSent():
            return f"has sent event {event.name!r} (id {event.event_id})"
        case TimerCreated():
            return f"has {_timer_text(event.origin)} (id {event.event_id})"
        case ExecutionCompleted():
            return f"ends as {event.status}"
        case _:
            return f"has {type(event).__name__} (id {event.event_id})"


def _action_text(action: Action) -> str:  # noqa: PLR0911 -- one for each kind
    match action:
        case ScheduleTask():
            return f"call activity {action.name!r} (id {action.id})"
        case CreateChild():
            return f"call child workflow {action.name!r} (id {action.id})"
        case CreateDetached():
            return f"start detached workflow {action.name!r} (id {action.id})"
        case SendEvent():
            return f"send event {action.name!r} (id {action.id})"
        case CreateTimer():
            return f"create {_timer_text(action.origin)} (id {action.id})"
        case CancelTimer():
            return f"cancel timer {action.timer_id}"
        case Complete():
            failure = action.failure
            why = f": {failure.error_type}: {failure.message}" if failure is not None else ""
            return f"end as {action.status}{why} (id {action.id})"


def _timer_text(origin: TimerOrigin) -> str:
    match origin.kind:
        case "event":
            return f"a wait for event {origin.ref!r}"
        case "activity_retry":
            return "a timer before the retry of an activity"
        case "child_retry":
            return "a timer before the retry of a child workflow"
        case _:
            return "a timer"
