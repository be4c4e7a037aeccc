"""What author code sees: `WorkflowContext` in workflows, `ActivityContext` in activities.

Everything a workflow's code may use is deterministic: the same history gives the same answers in
each replay. Time, randomness and logging must come from here.
"""

import logging
import random  # noqa: TID251 -- seeded by the execution id, so that a replay repeats it
import uuid
from collections.abc import Callable, Coroutine, Generator, Iterable, MutableMapping
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeAlias, TypeVar, overload

import msgspec

from actorflow.actors.values import to_payload
from actorflow.workflow.duration import due_ns, timeout_ns, utc_datetime
from actorflow.workflow.errors import InvalidRequestError
from actorflow.workflow.limits import check_payload
from actorflow.workflow.pending import NextInput, Pending
from actorflow.workflow.registry import WorkflowDefinition
from actorflow.workflow.retry import RetryPolicy
from actorflow.workflow.task import (
    CallTask,
    DurableTask,
    EventTask,
    TimerTask,
    when_all,
    when_any,
)

T = TypeVar("T")

Coroutine_: TypeAlias = Coroutine[Any, Any, T]
Generator_: TypeAlias = Generator[Any, Any, T]


class ContinueAsNew(BaseException):
    """Raised by `continue_as_new` through the author's code, to its end.

    A BaseException, so that `except Exception` does not stop it. `finally` blocks run and may even
    wait. Code that swallows it and returns still continues as new.
    """


class WorkflowContext:
    """The workflow's only way to the world. One execution has one, always the same.

    Each method that asks for something returns at once; what it asked for happens after the code
    waits, together with everything else it asked for.
    """

    __slots__ = ("_definition", "_logger", "_pending", "_random", "_uuid_count")

    def __init__(self, definition: WorkflowDefinition, pending: Pending) -> None:
        self._definition = definition
        self._pending = pending
        self._uuid_count = 0
        self._random: random.Random | None = None
        self._logger: ReplaySilentLogger | None = None

    @property
    def instance_id(self) -> str:
        """Id of the instance."""
        return self._pending.instance_id

    @property
    def execution_id(self) -> str:
        """Id of this execution: new after each continue-as-new."""
        return self._pending.execution_id

    @property
    def workflow_name(self) -> str:
        """Name under which the running workflow is registered."""
        return self._definition.name

    @property
    def is_replaying(self) -> bool:
        """Whether the code runs over facts that it has seen before."""
        return self._pending.is_replaying

    def now(self) -> datetime:
        """Return the workflow's time, in UTC: the time of the fact that the code reacts to.

        It stands still while the code runs, and after a suspension it is the time of the resume.
        """
        return utc_datetime(self._pending.now_ns)

    @property
    def current_utc_datetime(self) -> datetime:
        """Same as `now()`, as Dapr's SDK calls it; aware, in UTC."""
        return utc_datetime(self._pending.now_ns)

    def uuid(self) -> uuid.UUID:
        """Return a new UUID, the same in every replay."""
        self._uuid_count += 1
        return uuid.UUID(self._pending.stable_id("uuid", self._uuid_count))

    def random(self) -> random.Random:
        """Return this execution's random generator, seeded by its id. Not for secrets."""
        if self._random is None:
            self._random = random.Random(self._pending.execution_id)  # noqa: S311 -- not for secrets
        return self._random

    @property
    def logger(self) -> "ReplaySilentLogger":
        """A logger that says each thing once: it is silent during replay."""
        if self._logger is None:
            name = f"actorflow.workflows.{self._definition.name}"
            self._logger = ReplaySilentLogger(logging.getLogger(name), self._pending)
        return self._logger

    @overload
    def call_activity(
        self,
        activity: Callable[..., Coroutine_[T]],
        *,
        input: object = None,
        retry_policy: RetryPolicy | None = None,
        timeout: timedelta | float | None = None,
    ) -> DurableTask[T]: ...

    @overload
    def call_activity(
        self,
        activity: Callable[..., T],
        *,
        input: object = None,
        retry_policy: RetryPolicy | None = None,
        timeout: timedelta | float | None = None,
    ) -> DurableTask[T]: ...

    @overload
    def call_activity(
        self,
        activity: str,
        *,
        input: object = None,
        retry_policy: RetryPolicy | None = None,
        timeout: timedelta | float | None = None,
    ) -> DurableTask[Any]: ...

    def call_activity(
        self,
        activity: Callable[..., object] | str,
        *,
        input: object = None,
        retry_policy: RetryPolicy | None = None,
        timeout: timedelta | float | None = None,
    ) -> DurableTask[Any]:
        """Run an activity; the task gives its result.

        Args:
            activity: a registered function, or the name of one, perhaps on another worker. The
                result is converted to the function's annotation; by name it is plain JSON.
            retry_policy: without one, the first failure is final.
            timeout: for the whole call, all attempts included. The activity is not stopped.

        Raises:
            At the await: TaskFailedError, TimeoutError, PayloadError. At once: RegistrationError,
            PayloadError, LimitExceededError.
        """
        task: CallTask[Any]
        if isinstance(activity, str):
            task = CallTask(self._pending, _named("activity", activity), None, is_child=False)
        else:
            known = self._definition.registry.activity_of(activity)
            task = CallTask(self._pending, known.name, known.output_type, is_child=False)
        self._pending.call_activity(
            task, self._payload("input of activity", task.name, input), retry_policy
        )
        if timeout is not None:
            self._pending.set_deadline(task, timeout_ns(timeout, self._pending.now_ns))
        return task

    @overload
    def call_child_workflow(
        self,
        workflow: Callable[..., Coroutine_[T]],
        *,
        input: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> DurableTask[T]: ...

    @overload
    def call_child_workflow(
        self,
        workflow: Callable[..., Generator_[T]],
        *,
        input: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> DurableTask[T]: ...

    @overload
    def call_child_workflow(
        self,
        workflow: str,
        *,
        input: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> DurableTask[Any]: ...

    def call_child_workflow(
        self,
        workflow: Callable[..., object] | str,
        *,
        input: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> DurableTask[Any]:
        """Run another workflow as a child; the task gives its result.

        Args:
            workflow: a registered function, or the name of one.
            instance_id: of the child; by default the parent's id, a colon and a number. A retry
                starts the same id again.

        Raises:
            At the await: ChildFailedError, PayloadError. At once: as `call_activity`.
        """
        task: CallTask[Any]
        if isinstance(workflow, str):
            task = CallTask(self._pending, _named("workflow", workflow), None, is_child=True)
        else:
            known = self._definition.registry.workflow_of(workflow)
            task = CallTask(self._pending, known.name, known.output_type, is_child=True)
        if instance_id is not None:
            instance_id = _named("child instance id", instance_id)
        text = self._payload("input of child workflow", task.name, input)
        self._pending.call_child(task, text, instance_id, retry_policy)
        return task

    def create_timer(self, when: datetime | timedelta | float) -> DurableTask[None]:
        """Return a durable timer, due at a datetime (UTC when it has no zone) or after a time.

        A plain number means seconds; the past means at once.
        """
        task = TimerTask(self._pending, due_ns(when, self._pending.now_ns, "the timer's due time"))
        self._pending.create_timer(task)
        return task

    def sleep(self, duration: datetime | timedelta | float) -> DurableTask[None]:
        """Same as `create_timer`: `await ctx.sleep(30)`."""
        return self.create_timer(duration)

    @overload
    def wait_for_external_event(
        self, name: str, *, timeout: timedelta | float | None = None
    ) -> DurableTask[Any]: ...

    @overload
    def wait_for_external_event(
        self, name: str, *, timeout: timedelta | float | None = None, type: type[T]
    ) -> DurableTask[T]: ...

    def wait_for_external_event(
        self,
        name: str,
        *,
        timeout: timedelta | float | None = None,
        type: type[Any] | None = None,
    ) -> DurableTask[Any]:
        """Wait for an event of this name, in any case of letters; the task gives its payload.

        Events that came before the wait are kept; waits and events of a name pair up first come,
        first served.

        Args:
            timeout: None waits for ever.
            type: the payload is converted to it; None gives plain JSON.

        Raises:
            At the await: TimeoutError, PayloadError.
        """
        fire_at_ns = timeout_ns(timeout, self._pending.now_ns)
        task: EventTask[Any] = EventTask(self._pending, _named("event", name), type, fire_at_ns)
        self._pending.wait_event(task)
        return task

    def send_event(self, instance_id: str, name: str, data: object = None) -> None:
        """Raise an event on another instance, exactly once; lost when there is none."""
        text = self._payload("data of event", name, data)
        self._pending.send_event(_named("instance id", instance_id), _named("event", name), text)

    def start_detached(
        self,
        workflow: Callable[..., object] | str,
        *,
        input: object = None,
        instance_id: str | None = None,
        start_at: datetime | timedelta | float | None = None,
    ) -> str:
        """Start an independent workflow and return its instance id; nobody waits for it."""
        if isinstance(workflow, str):
            name = _named("workflow", workflow)
        else:
            name = self._definition.registry.workflow_of(workflow).name
        if instance_id is not None:
            instance_id = _named("instance id", instance_id)
        start_at_ns = None
        if start_at is not None:
            start_at_ns = due_ns(start_at, self._pending.now_ns, "start_at")
        text = self._payload("input of workflow", name, input)
        return self._pending.start_detached(name, text, instance_id, start_at_ns)

    def set_custom_status(self, status: object) -> None:
        """Show `status`, any JSON value, to whoever looks at the instance. None clears it."""
        self._pending.custom_status = self._payload("custom status of", self.workflow_name, status)

    def continue_as_new(self, input: object = None, *, save_events: bool = True) -> NoReturn:
        """End this execution and start the next one under the same id, with an empty history.

        Does not return: it raises through the code (see `ContinueAsNew`).

        Args:
            save_events: whether events that no wait has taken go to the next execution.
        """
        text = self._payload("input of workflow", self.workflow_name, input)
        self._pending.next_input = NextInput(text, save_events=save_events)
        raise ContinueAsNew

    def when_all(self, tasks: Iterable[DurableTask[T]]) -> DurableTask[list[T]]:
        """Return a task of all results; see `actorflow.workflow.task.when_all`."""
        return when_all(tasks)

    def when_any(self, tasks: Iterable[DurableTask[T]]) -> DurableTask[DurableTask[T]]:
        """Return a task of the first task done; see `actorflow.workflow.task.when_any`."""
        return when_any(tasks)

    def gather(self, *tasks: DurableTask[T]) -> DurableTask[list[T]]:
        """Same as `when_all` with the tasks as arguments."""
        return when_all(tasks)

    def _payload(self, what: str, name: str, value: object) -> str | None:
        if value is None:
            return None
        named = f"{what} {name!r}"
        text = to_payload(value, what=named)
        check_payload(text, named, self._pending.limits)
        return text


class ReplaySilentLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the instance's ids to each record; drops everything said during replay."""

    def __init__(self, logger: logging.Logger, pending: Pending) -> None:
        super().__init__(logger)
        self._pending = pending

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 -- the base class names it
        """Return False for everything during replay."""
        return not self._pending.is_replaying and super().isEnabledFor(level)

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Add the instance's ids to the record."""
        ids = {
            "instance_id": self._pending.instance_id,
            "execution_id": self._pending.execution_id,
        }
        kwargs["extra"] = {**ids, **(kwargs.get("extra") or {})}
        return msg, kwargs


class ActivityContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an activity knows of its call.

    `task_execution_id` is the same for all attempts, and for a repetition after a crash: the key
    to make effects outside idempotent. `attempt` counts from 1, None when it is not known.
    """

    instance_id: str
    workflow_name: str
    task_id: int
    task_execution_id: str
    activity_name: str = ""
    attempt: int | None = None

    @property
    def workflow_id(self) -> str:
        """Same as `instance_id`, as Dapr's SDK calls it."""
        return self.instance_id


def _named(what: str, text: object) -> str:
    """Return `text`, which must be usable as a name. Raises InvalidRequestError."""
    if not isinstance(text, str) or not text:
        raise InvalidRequestError(f"{what}: expected a text that is not empty, found {text!r}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidRequestError(f"{what} {text!r} is not valid Unicode") from None
    return text
