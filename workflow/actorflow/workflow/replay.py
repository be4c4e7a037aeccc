"""Runs author code: over the facts of a history to rebuild it, then over new facts, one at a time.

A run keeps the author's coroutine (or generator) alive between facts; one fact costs one `send`.
The code runs synchronously, inside `feed`, until it waits for a task that is not settled.

Order in a history: each fact is followed directly by the events that record the actions it caused.
So the code's behaviour depends on the sequence of facts alone, and not on how they were split into
turns; and replay can compare action by action.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

from actorflow.actors.values import from_payload, to_payload
from actorflow.workflow.actions import Action, CancelTimer, Complete, CreateDetached, SendEvent
from actorflow.workflow.context import ContinueAsNew, WorkflowContext
from actorflow.workflow.divergence import Check
from actorflow.workflow.errors import ForeignAwaitError
from actorflow.workflow.events import (
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    EventRaised,
    ExecutionResumed,
    ExecutionStalled,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    FailureDetails,
    HistoryEvent,
    Status,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerFired,
    TurnStarted,
)
from actorflow.workflow.failure import failure_from
from actorflow.workflow.limits import DEFAULT_LIMITS, Limits, check_payload
from actorflow.workflow.pending import Pending
from actorflow.workflow.registry import WorkflowDefinition
from actorflow.workflow.task import CallTask, DurableTask

CLOSE_ATTEMPTS_MAX = 16
"""How many `finally` blocks that wait are unwound before code that will not end is let go."""

_FACTS = (
    ExecutionStarted,
    TaskCompleted,
    TaskFailed,
    ChildCompleted,
    ChildFailed,
    TimerFired,
    EventRaised,
    ExecutionSuspended,
    ExecutionResumed,
    ExecutionTerminated,
)

_APPLY: dict[type, Callable[[Pending, Any], None]] = {
    TaskCompleted: Pending.task_completed,
    TaskFailed: Pending.task_failed,
    ChildCompleted: Pending.child_completed,
    ChildFailed: Pending.child_failed,
    TimerFired: Pending.timer_fired,
    EventRaised: Pending.event_raised,
}

# Raised in author code but not by it: the host's, and the instance must not remember them.
_HOST_ERRORS = (KeyboardInterrupt, MemoryError)


class WorkflowRun:
    """One live execution of author code.

    `is_complete` is set by the action `Complete`. Once `replay` or `feed` has raised anything, the
    run cannot go on: close it and build another from the history.

    Concurrency: none; belongs to one activation, and only one method runs at a time.
    """

    __slots__ = ("_awaited", "_code", "_definition", "_kept", "_pending", "is_complete")

    def __init__(
        self, definition: WorkflowDefinition, instance_id: str, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._definition = definition
        self._pending = Pending(instance_id, limits)
        self._code: Any = None  # coroutine or generator; None before the start and after the end
        self._awaited: DurableTask[object] | None = None
        self._kept: list[HistoryEvent] | None = None  # facts of a suspension; None: not suspended
        self.is_complete = False

    @property
    def custom_status(self) -> str | None:
        """JSON text of the custom status as last set."""
        return self._pending.custom_status

    @property
    def buffered_event_count(self) -> int:
        """Raised events that no wait has taken yet."""
        return len(self._pending.buffered_events())

    @property
    def open_ids(self) -> frozenset[int]:
        """Ids of the actions that the code still waits for; cancelled timers are not among them."""
        return frozenset(self._pending.open)

    def replay(self, history: Iterable[HistoryEvent]) -> None:
        """Rebuild the run from committed history, without effects. Only for a new run.

        Raises:
            NonDeterminismError: the code asks for something else than the history records.
        """
        pending = self._pending
        check = Check(self._definition.name, pending.instance_id)
        pending.is_replaying = True
        try:
            for event in history:
                if isinstance(event, _FACTS):
                    check.expect_end(event)
                    check.expect(_recorded(self.feed(event)))
                elif not isinstance(event, TurnStarted | ExecutionStalled):
                    check.match(event)
                    self._adopt(event)
            check.expect_end(None)
        finally:
            pending.is_replaying = False

    def feed(self, fact: HistoryEvent) -> list[Action]:
        """Give the code one new fact; return what it asks for as a consequence, in order.

        A completion that nothing waits for, and whatever comes after the end, is ignored.

        Raises:
            KeyboardInterrupt, MemoryError: from the code; the fact counts as not given.
        """
        if self.is_complete:
            return []
        pending = self._pending
        if fact.at_ns > pending.now_ns:  # noqa: PLR1730 -- max() costs a call
            pending.now_ns = fact.at_ns
        kind = type(fact)
        if kind is ExecutionTerminated:
            self._terminate(cast("ExecutionTerminated", fact))
        elif kind is ExecutionResumed:
            self._resume()
        elif self._kept is not None:
            if kind is not ExecutionSuspended:  # one resume ends any number of suspensions
                self._kept.append(fact)
        else:
            self._give(kind, fact)
        return pending.take_actions()

    def close(self) -> None:
        """Let go of the code. It does not go on; its `finally` blocks run and are not heard.

        Whoever just drops a run closes it too.
        """
        code, self._code = self._code, None
        self._awaited = None
        if code is not None:
            self._pending.close()
            _unwind(code)
            self._pending.forget_tasks()

    def __del__(self) -> None:
        # Nothing points back at a run, so this comes before the interpreter closes the coroutine
        # itself, which it does only once and complains when a `finally` waits.
        self.close()

    def _give(self, kind: type, fact: HistoryEvent) -> None:
        apply = _APPLY.get(kind)
        if apply is not None:
            apply(self._pending, fact)
            if self._awaited is not None and self._awaited.settled:
                self._advance(self._awaited)
        elif kind is ExecutionStarted:
            self._start(cast("ExecutionStarted", fact))
        elif kind is ExecutionSuspended:
            self._kept = []

    def _resume(self) -> None:
        kept, self._kept = self._kept, None
        for fact in kept or ():
            if not self.is_complete:
                self._give(type(fact), fact)
            elif isinstance(fact, EventRaised):
                self._carry(fact)

    def _carry(self, fact: EventRaised) -> None:
        """Add an event, kept behind the fact that made the code continue as new, to the carried."""
        pending = self._pending
        actions = pending.actions or []
        last = actions[-1] if actions else None
        if not isinstance(last, Complete) or last.status is not Status.CONTINUED_AS_NEW:
            return
        if pending.next_input is not None and pending.next_input.save_events:
            carried = (*last.carried_events, fact)
            actions[-1] = Complete(
                id=last.id, status=last.status, result=last.result, carried_events=carried
            )

    def _start(self, fact: ExecutionStarted) -> None:
        if self._code is not None:
            return  # the start was delivered twice
        definition = self._definition
        self._pending.execution_id = fact.execution_id
        context = WorkflowContext(definition, self._pending)
        try:
            if not definition.takes_input or (not fact.input and definition.has_default_input):
                self._code = definition.function(context)
            else:
                what = f"input of workflow {definition.name!r}"
                value = from_payload(fact.input, definition.input_type, what=what)
                self._code = definition.function(context, value)
        except _HOST_ERRORS:
            raise
        except BaseException as error:  # noqa: BLE001 -- author code; also SystemExit and the like
            self._fail(error)
        else:
            self._advance(None)

    def _advance(self, task: DurableTask[Any] | None) -> None:
        """Run the code until it waits for something that is not settled, or ends.

        Args:
            task: what it waited for, settled; None at the start.
        """
        pending = self._pending
        self._awaited = None
        try:
            while True:
                task = self._send(task)
                if not isinstance(task, DurableTask) or task.owner not in (pending, None):
                    self._refuse(task)
                    return
                if not task.settled:
                    task.arm()
                    if not task.settled:
                        break
        except StopIteration as stop:
            self._return(stop.value)
        except ContinueAsNew:
            self._return(None)
        except _HOST_ERRORS:
            raise
        except BaseException as error:  # noqa: BLE001 -- author code; also SystemExit and the like
            self._fail(error)
        else:
            self._awaited = task
            pending.release_left_behind(task)

    def _send(self, task: DurableTask[Any] | None) -> Any:
        """Let the code go on with a settled task; return what it yields next."""
        # A coroutine asks its task for the result itself, in `DurableTask.__await__`.
        if task is None or self._definition.is_async:
            return self._code.send(None)
        if task.error is None:
            return self._code.send(task.value)
        return self._code.throw(task.error.with_traceback(None))

    def _return(self, value: object) -> None:
        pending = self._pending
        following = pending.next_input
        if following is not None:
            carried = pending.buffered_events() if following.save_events else ()
            self._complete(Status.CONTINUED_AS_NEW, following.input, carried=carried)
            return
        what = f"result of workflow {self._definition.name!r}"
        try:
            result = to_payload(value, what=what)
            check_payload(result, what, pending.limits)
        except Exception as error:  # noqa: BLE001 -- the value's own methods may raise anything
            self._fail(error)
        else:
            self._complete(Status.COMPLETED, result)

    def _fail(self, error: BaseException) -> None:
        failure = failure_from(error, skip_file=__file__, limits=self._pending.limits)
        self._complete(Status.FAILED, failure=failure)

    def _refuse(self, yielded: object) -> None:
        """Fail the execution, because its code waits for something that nothing durable settles."""
        error = ForeignAwaitError(_refusal(yielded, self._code, self._pending))
        cancel = getattr(yielded, "cancel", None)
        if callable(cancel) and not isinstance(yielded, DurableTask):
            cancel()  # or asyncio would go on with it
        with suppress(BaseException):  # whatever comes, the reason is ours
            self._code.throw(error)  # so that the stack names the author's line
        self._fail(error)

    def _terminate(self, fact: ExecutionTerminated) -> None:
        self._complete(Status.TERMINATED, fact.output)

    def _complete(
        self,
        status: Status,
        result: str | None = None,
        *,
        failure: FailureDetails | None = None,
        carried: tuple[EventRaised, ...] = (),
    ) -> None:
        pending = self._pending
        # Results of what was asked for just now could reach nobody; messages still go out.
        actions = [a for a in pending.actions or () if isinstance(a, SendEvent | CreateDetached)]
        end = Complete(
            id=pending.next_id(),
            status=status,
            result=result,
            failure=failure,
            carried_events=carried,
        )
        self.is_complete = True
        self.close()
        pending.actions = [*actions, end]

    def _adopt(self, event: HistoryEvent) -> None:
        """Take ids from history where it has its own: it may have been copied by a rerun, or
        written by a release that derives them in another way."""
        if isinstance(event, TaskScheduled | ChildCreated):
            task = self._pending.open.get(event.event_id)
            if isinstance(task, CallTask):
                if isinstance(event, ChildCreated):
                    task.ref = event.instance_id
                elif event.task_execution_id:
                    task.ref = event.task_execution_id


def _recorded(actions: list[Action]) -> list[Action]:
    return [action for action in actions if not isinstance(action, CancelTimer)]


def _unwind(code: Any) -> None:
    """Close a coroutine that may catch GeneratorExit, or wait in its `finally` blocks."""
    for _ in range(CLOSE_ATTEMPTS_MAX):
        try:
            code.close()
        except RuntimeError:
            continue  # it waits again: in a `finally`, or because it swallows everything
        except _HOST_ERRORS:
            raise
        except BaseException:  # noqa: BLE001 -- raised by a `finally`; there is nobody to tell
            return
        return


def _refusal(yielded: object, code: Any, pending: Pending) -> str:
    """Say what was awaited, and what to await instead."""
    if isinstance(yielded, DurableTask):
        return (
            f"workflow code of {pending.instance_id!r} waited for {yielded!r} of another instance; "
            "tasks cannot be shared between instances, send an event instead"
        )
    awaited = _innermost(code)
    if awaited is None:
        return (
            f"the workflow yielded {_described(yielded)}; yield only durable tasks, such as "
            "ctx.call_activity(...) or ctx.when_all([...]) for several at once"
        )
    return (
        f"workflow code awaited {awaited} ({_described(yielded)}), which does not survive a "
        "restart. Await only what the context gives: ctx.create_timer(...) for asyncio.sleep, "
        "ctx.when_all(...) or ctx.when_any(...) for asyncio.gather and asyncio.wait, "
        "timeout=... or ctx.when_any(...) with a timer for asyncio.wait_for; put input and output "
        "into an activity"
    )


def _innermost(code: Any) -> str | None:
    """Return the name of the innermost coroutine that waits; None for a generator workflow."""
    if not hasattr(code, "cr_await"):
        return None
    names = []
    while code is not None:
        names.append(getattr(code, "__qualname__", ""))
        code = getattr(code, "cr_await", None)
    # The first is the workflow itself; what is awaited in the end need not be a coroutine.
    return " -> ".join(filter(None, names[1:])) or "a future"


def _described(yielded: object) -> str:
    text = repr(yielded)
    return text if len(text) <= 100 else f"a {type(yielded).__qualname__}"
