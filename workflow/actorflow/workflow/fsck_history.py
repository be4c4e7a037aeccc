"""PURE. What must hold of a history in itself."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile
from typing import TYPE_CHECKING

from actorflow.workflow.events import (
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStalled,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
    TurnStarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FACTS = (
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionResumed,
    TaskCompleted,
    TaskFailed,
    ChildCompleted,
    ChildFailed,
    TimerFired,
    EventRaised,
)
"""Facts, as against what the code asks for and what the engine notes."""


def history_faults(history: Sequence[HistoryEvent]) -> Iterator[str]:
    """Yield what is wrong with the history of one execution (I1, and the parts of I5, I6, I9 that
    it shows)."""
    ids = [event.event_id for event in history if event.event_id >= 0]
    head = list(takewhile(lambda event: not isinstance(event, ExecutionStarted), history))
    is_remote = any(isinstance(event, TurnStarted) for event in head)
    if is_remote:
        yield from _turn_faults(history, ids)
    else:
        expected = list(range(1, len(ids) + 1))
        if ids != expected:
            place = next(i for i, (a, b) in enumerate(zip(ids, expected, strict=True)) if a != b)
            yield f"action ids have a gap or a repetition: {ids[place]} where {place + 1} belongs"
        yield from _time_faults(history)
    odd = [event for event in head if not isinstance(event, TurnStarted | ExecutionStalled)]
    if odd or (is_remote and len(head) == len(history)):
        yield f"begins with {type((odd or history)[0]).__name__}, not with its start"
    ends = [i for i, event in enumerate(history) if isinstance(event, ExecutionCompleted)]
    if len(ends) > 1 or (ends and ends[0] != len(history) - 1):
        yield "goes on after its end"
    yield from _answer_faults(history)


def _time_faults(history: Sequence[HistoryEvent]) -> Iterator[str]:
    newest_ns = 0
    for index, event in enumerate(history):
        if event.at_ns < newest_ns:
            yield f"time runs backwards at event {index}"
        newest_ns = max(newest_ns, event.at_ns)


def _turn_faults(history: Sequence[HistoryEvent], ids: Sequence[int]) -> Iterator[str]:
    """Yield what is wrong with the turns of a remote worker: its action ids may have gaps, and the
    facts of a turn waited for it."""
    repeated = sorted(id_ for id_, count in Counter(ids).items() if count > 1)
    if repeated:
        yield f"action ids come twice: {', '.join(map(str, repeated[:5]))}"
    yield from _time_faults([event for event in history if not isinstance(event, _FACTS)])
    turn_ns: int | None = None
    for index, event in enumerate(history):
        if isinstance(event, TurnStarted):
            turn_ns = event.at_ns
        elif not isinstance(event, _FACTS):
            turn_ns = None
        elif turn_ns is not None and event.at_ns > turn_ns:
            yield f"event {index} is a fact younger than the turn that it belongs to"


def _answer_faults(history: Sequence[HistoryEvent]) -> Iterator[str]:
    asked: dict[int, HistoryEvent] = {}
    for event in history:
        match event:
            case TaskScheduled() | ChildCreated() | TimerCreated():
                asked[event.event_id] = event
            case TaskCompleted(task_id=action_id) | TaskFailed(task_id=action_id):
                if not isinstance(asked.pop(action_id, None), TaskScheduled):
                    yield f"activity {action_id} has a result without a call, or a second one"
            case ChildCompleted(task_id=action_id) | ChildFailed(task_id=action_id):
                if not isinstance(asked.pop(action_id, None), ChildCreated):
                    yield f"child {action_id} ends without a start, or a second time"
            case TimerFired(timer_id=action_id):
                timer = asked.pop(action_id, None)
                if not isinstance(timer, TimerCreated):
                    yield f"timer {action_id} fires without being set, or a second time"
                elif event.at_ns < timer.fire_at_ns:
                    yield f"timer {action_id} fires {timer.fire_at_ns - event.at_ns} ns early"
