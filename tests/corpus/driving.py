"""Drives a workflow run by hand: feeds facts, keeps the history as the engine would write it."""

import json
from collections.abc import Callable
from typing import TypeVar

from actorflow.workflow.actions import Action, Complete, CreateTimer, ScheduleTask
from actorflow.workflow.events import (
    ChildCompleted,
    ChildFailed,
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    FailureDetails,
    HistoryEvent,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)
from actorflow.workflow.limits import DEFAULT_LIMITS, Limits
from actorflow.workflow.registry import Registry, WorkflowDefinition
from actorflow.workflow.replay import WorkflowRun
from actorflow.workflow.turn import record

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
EXECUTION_ID = "0b0e3f9e-6c0c-4d8a-9b5e-0a6d4c1f2e3d"

A = TypeVar("A", bound=Action)


class DrivenRun:
    """A live run and its history; each fact comes one second after the last."""

    def __init__(
        self,
        definition: WorkflowDefinition,
        instance_id: str = "order-1",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.definition = definition
        self.instance_id = instance_id
        self.limits = limits
        self.run = WorkflowRun(definition, instance_id, limits)
        self.now_ns = START_NS
        self.history: list[HistoryEvent] = []
        self.actions: list[Action] = []
        self.facts: list[HistoryEvent] = []

    def feed(self, fact: HistoryEvent) -> list[Action]:
        """Feed a fact as it is; return and record what the code asked for."""
        actions = self.run.feed(fact)
        self.facts.append(fact)
        self.actions.extend(actions)
        self.history.append(fact)
        self.history += record(actions, instance_id=self.instance_id, at_ns=fact.at_ns)
        return actions

    def start(self, value: object = None, *, raw: str | None = None) -> list[Action]:
        text = raw if raw is not None or value is None else json.dumps(value)
        return self.feed(
            ExecutionStarted(
                at_ns=self._tick(),
                name=self.definition.name,
                instance_id=self.instance_id,
                execution_id=EXECUTION_ID,
                input=text,
            )
        )

    def complete(self, task_id: int, value: object = None, *, ref: str = "") -> list[Action]:
        return self.feed(
            TaskCompleted(
                at_ns=self._tick(),
                task_id=task_id,
                result=json.dumps(value),
                task_execution_id=ref,
            )
        )

    def fail(self, task_id: int, error_type: str = "ValueError", text: str = "no") -> list[Action]:
        failure = FailureDetails(error_type=error_type, message=text)
        return self.feed(TaskFailed(at_ns=self._tick(), task_id=task_id, failure=failure))

    def complete_child(self, task_id: int, value: object = None) -> list[Action]:
        return self.feed(
            ChildCompleted(at_ns=self._tick(), task_id=task_id, result=json.dumps(value))
        )

    def fail_child(self, task_id: int, text: str = "no") -> list[Action]:
        failure = FailureDetails(error_type="ValueError", message=text)
        return self.feed(ChildFailed(at_ns=self._tick(), task_id=task_id, failure=failure))

    def fire(self, timer_id: int) -> list[Action]:
        """Fire a timer at its due time, or now if that is past."""
        due = [a.fire_at_ns for a in self.asked(CreateTimer) if a.id == timer_id]
        self.now_ns = max([self.now_ns, *due])
        return self.feed(TimerFired(at_ns=self._tick(), timer_id=timer_id))

    def raise_event(self, name: str, value: object = None) -> list[Action]:
        return self.feed(EventRaised(at_ns=self._tick(), name=name, input=json.dumps(value)))

    def suspend(self) -> list[Action]:
        return self.feed(ExecutionSuspended(at_ns=self._tick()))

    def resume(self) -> list[Action]:
        return self.feed(ExecutionResumed(at_ns=self._tick()))

    def terminate(self, output: str | None = None) -> list[Action]:
        return self.feed(ExecutionTerminated(at_ns=self._tick(), output=output))

    def asked(self, *kinds: type[A]) -> list[A]:
        """Return all actions of some kinds so far."""
        return [action for action in self.actions if isinstance(action, kinds)]

    def scheduled(self) -> list[str]:
        """Return the names of the activities asked for so far."""
        return [action.name for action in self.asked(ScheduleTask)]

    @property
    def end(self) -> Complete:
        """The completion; an error if there is none."""
        (end,) = self.asked(Complete)
        return end

    def rebuilt(self) -> WorkflowRun:
        """Return a new run, rebuilt from the history."""
        run = WorkflowRun(self.definition, self.instance_id, self.limits)
        run.replay(self.history)
        return run

    def _tick(self) -> int:
        self.now_ns += SECOND_NS
        return self.now_ns


def drive(function: Callable[..., object], *activities: Callable[..., object]) -> DrivenRun:
    """Return a run of a workflow function, registered together with some activities."""
    registry = Registry()
    for activity in activities:
        registry.activity(activity)
    registry.workflow(function)
    definition = registry.workflow_of(function)
    return DrivenRun(definition)
