"""PURE. What workflow code awaits: durable tasks, and combinations of them.

A task is settled once, by a fact of the history. `await task` gives its result or raises its error;
generator workflows write `yield task`. Tasks of time and of events that a combination left behind
are released: their durable timer is cancelled and an event goes to the next wait for it. Whoever
awaits a released task again gets it back, as if nothing had happened.
"""

from collections.abc import Generator, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

from actorflow.workflow.errors import InvalidRequestError, TaskCancelledError
from actorflow.workflow.retry import RetryPolicy

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class TaskOwner(Protocol):
    """The execution that a task belongs to, as tasks see it."""

    def left_behind(self, group: "Group[Any]") -> None:
        """A combination is settled while some of its members are not."""
        ...

    def release(self, task: "TimedTask[Any]") -> None:
        """Nobody waits for the task any more: cancel its timer, offer its events to others."""
        ...

    def rearm(self, task: "TimedTask[Any]") -> None:
        """Somebody waits for a released task again."""
        ...

    def claim(self, task: "TimedTask[Any]") -> None:
        """Settle a released task if what it waited for has come in the meantime."""
        ...

    def abandon(self, task: "CallTask[Any]") -> None:
        """Ignore whatever the call still brings."""
        ...


class DurableTask(Generic[T_co]):
    """Something that workflow code waits for. `await` it, once or many times.

    `settled`, `value` and `error` are the engine's view of it; authors use the methods.
    """

    __slots__ = ("_groups", "error", "owner", "settled", "value")

    def __init__(self, owner: TaskOwner) -> None:
        self.owner = owner
        self.settled = False
        self.value: Any = None
        self.error: Exception | None = None
        self._groups: list[Group[Any]] | None = None

    def __await__(self) -> Generator["DurableTask[Any]", None, T_co]:
        if not self.settled:
            yield self
        return self.result()

    @property
    def is_done(self) -> bool:
        """Whether there is a result or an error."""
        return self.settled

    @property
    def is_failed(self) -> bool:
        """Whether awaiting it raises."""
        return self.is_done and self.error is not None

    def result(self) -> T_co:
        """Return the result, or raise the error.

        Raises:
            InvalidRequestError: not done yet.
        """
        if not self.is_done:
            raise InvalidRequestError(f"{self!r} is not done yet; await it first")
        if self.error is not None:
            # Without the frames of an earlier await, which would pile up.
            raise self.error.with_traceback(None)
        return cast("T_co", self.value)

    def exception(self) -> Exception | None:
        """Return the error that awaiting it raises, None when it succeeded or is not done."""
        return self.error if self.is_done else None

    def cancel(self) -> bool:
        """Stop waiting: awaiting the task then raises TaskCancelledError.

        A timer is cancelled for good; an activity or child runs on and its result is dropped.
        Returns False when the task was done already.
        """
        if self.settled:
            return False
        self.release()
        self.settle_error(TaskCancelledError(f"{self!r} was cancelled by the workflow"))
        return True

    # The names of Dapr's Python SDK.
    @property
    def is_complete(self) -> bool:
        """Same as `is_done`."""
        return self.is_done

    def get_result(self) -> T_co:
        """Same as `result`."""
        return self.result()

    def get_exception(self) -> Exception | None:
        """Same as `exception`."""
        return self.exception()

    # For the engine.
    def settle(self, value: object) -> None:
        """Give the task its result."""
        self.value = value
        self._announce()

    def settle_error(self, error: Exception) -> None:
        """Give the task its error."""
        self.error = error
        self._announce()

    def arm(self) -> None:
        """The code waits for the task (again)."""

    def release(self) -> None:
        """The code no longer waits for the task."""

    def watch(self, group: "Group[Any]") -> None:
        """Tell `group` when the task is settled."""
        if self._groups is None:
            self._groups = []
        self._groups.append(group)

    def unwatch(self, group: "Group[Any]") -> None:
        """Forget one `watch` of `group`."""
        if self._groups is not None and group in self._groups:
            self._groups.remove(group)

    def _announce(self) -> None:
        self.settled = True
        groups, self._groups = self._groups, None
        if groups is not None:
            for group in groups:
                group.member_settled(self)


class Retry:
    """Where the attempts of one call stand. `timer_id` is 0 while an attempt runs."""

    __slots__ = ("attempt", "first_at_ns", "input", "policy", "timer_id")

    def __init__(self, policy: RetryPolicy, first_at_ns: int, input_text: str | None) -> None:
        self.policy = policy
        self.first_at_ns = first_at_ns
        self.input = input_text
        self.attempt = 1
        self.timer_id = 0


class CallTask(DurableTask[T]):
    """An activity or a child workflow.

    `call_id` is the action id of the running attempt, 0 between attempts; `ref` is the same for
    all attempts: task execution id or child instance id; `deadline_id` is the timer of the
    time-out, 0 when there is none.
    """

    __slots__ = ("call_id", "deadline_id", "is_child", "name", "output_type", "ref", "retry")

    def __init__(self, owner: TaskOwner, name: str, output_type: object, *, is_child: bool) -> None:
        super().__init__(owner)
        self.name = name
        self.output_type = output_type
        self.is_child = is_child
        self.call_id = 0
        self.deadline_id = 0
        self.ref = ""
        self.retry: Retry | None = None

    def cancel(self) -> bool:
        """See `DurableTask.cancel`."""
        if not self.settled:
            self.owner.abandon(self)
        return super().cancel()

    def __repr__(self) -> str:
        return f"<{'child' if self.is_child else 'activity'} {self.name!r}>"


class TimedTask(DurableTask[T]):
    """Base of waits that a durable timer ends. `timer_id` is 0 while it is released."""

    __slots__ = ("fire_at_ns", "timer_id")

    def __init__(self, owner: TaskOwner, fire_at_ns: int) -> None:
        super().__init__(owner)
        self.fire_at_ns = fire_at_ns
        self.timer_id = 0

    @property
    def is_done(self) -> bool:
        """Whether what it waits for has come, or the time is over."""
        if not self.settled and self.timer_id == 0:
            self.owner.claim(self)
        return self.settled

    def arm(self) -> None:
        """See `DurableTask.arm`."""
        if not self.settled and self.timer_id == 0:
            self.owner.rearm(self)

    def release(self) -> None:
        """See `DurableTask.release`."""
        if not self.settled and self.timer_id != 0:
            self.owner.release(self)


class TimerTask(TimedTask[None]):
    """A durable timer."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<timer>"


class EventTask(TimedTask[T]):
    """A wait for an external event."""

    __slots__ = ("event_type", "name")

    def __init__(self, owner: TaskOwner, name: str, event_type: object, fire_at_ns: int) -> None:
        super().__init__(owner, fire_at_ns)
        self.name = name
        self.event_type = event_type

    def __repr__(self) -> str:
        return f"<wait for event {self.name!r}>"


class Group(DurableTask[T]):
    """Base of combinations: settled by its members."""

    __slots__ = ("members",)

    def __init__(self, members: Sequence[DurableTask[Any]]) -> None:
        owned = (member for member in members if not isinstance(member, _Nothing))
        super().__init__(next(owned, members[0]).owner)
        self.members = members
        for member in members:
            if self.settled:
                break
            if member.is_done:
                self.member_settled(member)
            else:
                member.watch(self)

    def member_settled(self, member: DurableTask[Any]) -> None:
        """React to a member's result or error."""
        raise NotImplementedError

    def arm(self) -> None:
        """Arm all members."""
        if not self.settled:
            for member in self.members:
                member.arm()

    def release(self) -> None:
        """Release all members."""
        for member in self.members:
            member.release()

    def _announce(self) -> None:
        self._leave_members()
        super()._announce()

    def _leave_members(self) -> None:
        left = False
        for member in self.members:
            if not member.settled:
                member.unwatch(self)
                left = True
        if left:
            self.owner.left_behind(self)


class WhenAll(Group[list[T]]):
    """Settled when all members are, or by the first error."""

    __slots__ = ("_open_count",)

    def __init__(self, members: Sequence[DurableTask[T]]) -> None:
        self._open_count = len(members)
        super().__init__(members)

    def member_settled(self, member: DurableTask[Any]) -> None:
        """See `Group.member_settled`."""
        if self.settled:
            return
        self._open_count -= 1
        if member.error is not None:
            self.settle_error(member.error)
        elif self._open_count == 0:
            self.settle([each.value for each in self.members])

    def __repr__(self) -> str:
        return f"<when_all of {len(self.members)} tasks>"


class WhenAny(Group[DurableTask[T]]):
    """Settled by the first member that is; its result is that member, failed or not."""

    __slots__ = ()

    def member_settled(self, member: DurableTask[Any]) -> None:
        """See `Group.member_settled`."""
        if not self.settled:
            self.settle(member)

    def __repr__(self) -> str:
        return f"<when_any of {len(self.members)} tasks>"


class _Nothing(DurableTask[Any]):
    """What `when_all` of no tasks gives: done from the start, whoever awaits it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(cast("TaskOwner", None))
        self.settled = True
        self.value = []

    def __repr__(self) -> str:
        return "<when_all of 0 tasks>"


def when_all(tasks: Iterable[DurableTask[T]]) -> DurableTask[list[T]]:
    """Return a task of all results, in the order of `tasks`; the first error fails it at once.

    Raises:
        InvalidRequestError: something else than durable tasks of one workflow.
    """
    members = _checked("when_all", tasks)
    return WhenAll(members) if members else _Nothing()


def when_any(tasks: Iterable[DurableTask[T]]) -> DurableTask[DurableTask[T]]:
    """Return a task of the first task that is done: the task itself, failed or not.

    Raises:
        InvalidRequestError: no tasks, or something else than durable tasks of one workflow.
    """
    members = _checked("when_any", tasks)
    if not members:
        raise InvalidRequestError("when_any needs at least one task, or it would wait for ever")
    return WhenAny(members)


def _checked(combination: str, tasks: Iterable[DurableTask[T]]) -> list[DurableTask[T]]:
    if isinstance(tasks, DurableTask):
        raise InvalidRequestError(f"{combination} takes a list of tasks, found one task {tasks!r}")
    members = list(tasks)
    for member in members:
        if not isinstance(member, DurableTask):
            raise InvalidRequestError(
                f"{combination} takes durable tasks as ctx.call_activity returns them, found a "
                f"{type(member).__name__}; await helper coroutines one by one, or make them child "
                "workflows"
            )
    owners = {id(member.owner) for member in members if not isinstance(member, _Nothing)}
    if len(owners) > 1:
        raise InvalidRequestError(f"{combination} was given tasks of different workflow instances")
    return members
