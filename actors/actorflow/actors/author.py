"""Actors as application authors write them.

    class Counter(Actor):
        async def add(self, by: int) -> int:
            self.state["n"] = self.state.get("n", 0) + by
            await self.reminders.set("weekly", due=timedelta(days=7))
            return self.state["n"]

One call is one turn: what it does to `state` and `reminders`, what it sends and its answer become
durable together, or, when it raises, not at all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, get_type_hints

from actorflow.actors.actor import ActorType
from actorflow.actors.address import checked_actor_id
from actorflow.actors.errors import (
    InvariantError,
    LimitExceededError,
    UnknownMethodError,
    UsageError,
)
from actorflow.actors.ports import Reminder, Summary
from actorflow.actors.values import from_json, to_json

if TYPE_CHECKING:
    from actorflow.actors.actor import ActorServices, TimerHandle
    from actorflow.actors.address import ActorId
    from actorflow.actors.effects import Effects
    from actorflow.actors.message import Message
    from actorflow.actors.ports import ActorRecord

CALL_TIMEOUT_S = 30.0
"""How long `Actor.call` waits for an answer, in seconds, unless told otherwise."""


class Actor:
    """Base class of user-defined virtual actors.

    A public `async def` method with at most one argument besides `self` can be called by its name;
    the argument and the result are JSON values, dataclasses or other types that `msgspec` converts.
    There is no `__init__` to write: set defaults in `on_activate`. Turns of one actor never
    overlap, also not while one awaits something. Keep what must last in `state`; other attributes
    live only as long as the activation, and are gone after a turn that raised.

    Class attribute `actor_type` overrides the type name (default: the class name).
    """

    actor_type: ClassVar[str] = ""

    def __init__(self, host: _Host) -> None:
        self._host = host
        self.state = State(host)
        self.reminders = Reminders(host)
        self.timers = Timers(host)

    @property
    def id(self) -> ActorId:
        """This actor's address."""
        return self._host.actor_id

    def send(self, target: ActorId, method: str, argument: object = None) -> None:
        """Send a message that takes effect exactly once, in order, if this turn commits."""
        target = checked_actor_id(*target)
        payload = to_json(argument)
        self._host.check_size(f"the argument of {method!r}", payload)
        self._host.turn().send(target, _checked_name("method", method), payload)

    async def call(
        self,
        target: ActorId,
        method: str,
        argument: object = None,
        *,
        returns: Any = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Any:
        """Call another actor and wait for its answer, converted to type `returns` if given.

        Raises:
            CallCycleError: the target waits, directly or through others, for this very turn.
            ActorCallError: the method raised there; its effects were dropped, this turn's were not.
            UnavailableError: no answer in time.
        """
        host = self._host
        answer = await host.services.call_from(
            host.message(), target, method, to_json(argument), timeout_s=timeout_s
        )
        return from_json(answer, returns)

    async def on_activate(self) -> None:
        """Runs before the first turn of each activation, as a part of that turn."""

    async def on_reminder(self, name: str, data: Any) -> None:
        """Runs as a turn when a reminder is due. Override it to use reminders."""
        raise UsageError(
            f"reminder {name!r} is due, but {type(self).__name__} does not define on_reminder"
        )


class State(MutableMapping[str, Any]):
    """The durable state of one actor: JSON values by name, read when the actor is activated.

    Values may be changed in place; whatever differs at the end of the turn is stored.
    """

    def __init__(self, host: _Host) -> None:
        self._host = host
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        if name not in self._values:
            self._values[name] = from_json(self._host.stored[name], None)
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        _checked_name("state", name)
        self._host.turn()
        self._values[name] = value
        self._host.removed.discard(name)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._host.turn()
        self._values.pop(name, None)
        self._host.removed.add(name)

    def __contains__(self, name: object) -> bool:
        return name in self._values or (
            name in self._host.stored and name not in self._host.removed
        )

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(self._host.stored) | dict.fromkeys(self._values)
        return iter([name for name in names if name in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def changed(self) -> Iterator[tuple[str, bytes]]:
        """Yield the values that differ from what is stored, encoded."""
        for name, value in self._values.items():
            encoded = to_json(value)
            if self._host.stored.get(name) != encoded:
                yield name, encoded


class Reminders:
    """Wake-ups that survive a crash. Each calls `on_reminder(name, data)` of this actor as a
    turn."""

    def __init__(self, host: _Host) -> None:
        self._host = host

    async def set(
        self,
        name: str,
        *,
        due: timedelta | datetime,
        period: timedelta | None = None,
        data: object = None,
    ) -> None:
        """Set or replace a reminder.

        Args:
            due: from now, or a moment (naive datetimes are refused). Never early; late at most by a
                busy loop, or by the time that no host was up.
            period: repeat at this distance, at least 1 ms; missed repetitions are skipped.
            data: JSON value for `on_reminder`.
        """
        now_ms = self._host.services.clock.now_ns() // 1_000_000
        if isinstance(due, datetime):
            if due.tzinfo is None:
                raise UsageError("a reminder's due time needs a time zone, such as timezone.utc")
            due_ms = int(due.astimezone(UTC).timestamp() * 1_000)
        else:
            due_ms = now_ms + max(0, int(due.total_seconds() * 1_000))
        period_ms = int(period.total_seconds() * 1_000) if period is not None else 0
        if period is not None and period_ms < 1:
            raise UsageError("a reminder's period is at least one millisecond")
        reminder = Reminder(_checked_name("reminder", name), due_ms, period_ms, to_json(data))
        self._host.turn().set_reminder(reminder)

    async def cancel(self, name: str) -> None:
        """Remove a reminder; harmless when there is none."""
        self._host.turn().cancel_reminder(_checked_name("reminder", name))


class Timers:
    """Wake-ups that are lost with the process: cheap, nothing is stored."""

    def __init__(self, host: _Host) -> None:
        self._host = host

    def set(self, method: str, *, delay: timedelta, argument: object = None) -> TimerHandle:
        """Call a method of this actor once, as a turn, after `delay`."""
        if method not in self._host.methods:
            raise UnknownMethodError(self._host.actor_id.type, method)
        return self._host.services.set_timer(
            self._host.actor_id, method, to_json(argument), delay.total_seconds()
        )


class _Method(NamedTuple):
    """A method that can be called by name. `argument` names its argument in error texts."""

    function: Callable[..., Coroutine[Any, Any, Any]]
    takes_argument: bool = False
    needs_argument: bool = False
    argument_type: Any = None
    argument: str = ""


class _Host:
    """Runs one author's actor inside the runtime. Implements `actor.TurnActor`."""

    def __init__(
        self,
        cls: type[Actor],
        methods: dict[str, _Method],
        actor_id: ActorId,
        record: ActorRecord | None,
        services: ActorServices,
    ) -> None:
        self.actor_id = actor_id
        self.methods = methods
        self.services = services
        self.stored: dict[str, bytes] = dict(record.fields) if record is not None else {}
        self.removed: set[str] = set()
        self._exists = record is not None
        self._effects: Effects | None = None
        self._message: Message | None = None
        self._fresh = True
        self._actor = cls(self)

    @property
    def weight_bytes(self) -> int:
        """See `actor.TurnActor`. Decoded values are counted as twice their encoded size."""
        return 3 * sum(map(len, self.stored.values()))

    def close(self) -> None:
        """See `actor.TurnActor`."""

    def turn(self) -> Effects:
        """Return the effects of the running turn."""
        if self._effects is None:
            raise UsageError(
                f"{self.actor_id}: state, reminders and send work only inside a turn, that is, "
                "while a method of the actor runs; a task that outlives its turn cannot use them"
            )
        return self._effects

    def message(self) -> Message:
        """Return the message that the running turn handles."""
        if self._message is None:
            raise UsageError(f"{self.actor_id}: call works only inside a turn")
        return self._message

    def receive(self, effects: Effects, message: Message) -> bytes | Coroutine[Any, Any, bytes]:
        """See `actor.TurnActor`."""
        if message.reminder is None and message.method not in self.methods:
            effects.reject(UnknownMethodError(self.actor_id.type, message.method))
            return b""
        if self._effects is not None:
            raise InvariantError(f"{self.actor_id}: two turns at once")
        return self._run(effects, message)

    async def _run(self, effects: Effects, message: Message) -> bytes:
        self._effects, self._message = effects, message
        try:
            if self._fresh:
                await self._actor.on_activate()
                self._fresh = False
            result = to_json(await self._invoke(message))
            self._keep(effects)
        finally:
            self._effects = self._message = None
        return result

    async def _invoke(self, message: Message) -> object:
        if message.reminder is not None:
            data = from_json(message.payload, None)
            await self._actor.on_reminder(message.reminder.name, data)
            return None
        method = self.methods[message.method]
        if not method.takes_argument or (not message.payload and not method.needs_argument):
            return await method.function(self._actor)
        argument = from_json(message.payload, method.argument_type, what=method.argument)
        return await method.function(self._actor, argument)

    def check_size(self, what: str, data: bytes) -> None:
        """Refuse a value that is larger than a payload may be. Raises LimitExceededError."""
        limit = self.services.limits.payload_bytes
        if len(data) > limit:
            raise LimitExceededError(f"{what} (bytes)", limit, len(data))

    def _keep(self, effects: Effects) -> None:
        for name in self.removed:
            if self.stored.pop(name, None) is not None:
                effects.delete_field(name)
        self.removed.clear()
        for name, value in self._actor.state.changed():
            self.check_size(f"state value {name!r}", value)
            effects.put_field(name, value)
            self.stored[name] = value
        if not self._exists and (effects.writes() or effects.sends is not None):
            now_ms = self.services.clock.now_ns() // 1_000_000
            effects.set_summary(Summary("", "", now_ms, now_ms, b""))
            self._exists = True


def _checked_name(what: str, name: object) -> str:
    """Return a name that every store can keep: one it refused would cost the whole commit, and so
    the work of other actors."""
    if not isinstance(name, str):
        raise UsageError(f"a {what} name is a str, not {type(name).__name__}")
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the {what} name {name!r} is not valid Unicode") from None
    return name


def authored_type(cls: type[Actor]) -> ActorType:
    """Return the actor type of an author's class.

    Raises:
        UsageError: not a subclass of `Actor`, or a public method that cannot be called by name.
    """
    if not issubclass(cls, Actor):
        raise UsageError(f"{cls!r} is not a subclass of Actor")
    methods = {
        name: _method_of(cls, name, function)
        for name, function in inspect.getmembers(cls, inspect.iscoroutinefunction)
        if not name.startswith("_") and not hasattr(Actor, name)
    }

    def activate(actor_id: ActorId, record: ActorRecord | None, services: ActorServices) -> _Host:
        return _Host(cls, methods, actor_id, record, services)

    return ActorType(type_name(cls), activate)


def type_name(cls: type[Actor]) -> str:
    """Return the name under which an author's class is registered."""
    return cls.actor_type or cls.__name__


def _method_of(cls: type[Actor], name: str, function: Any) -> _Method:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if len(parameters) > 1:
        raise UsageError(
            f"{cls.__name__}.{name} takes {len(parameters)} arguments; an actor method takes at "
            "most one, for example a dataclass"
        )
    if not parameters:
        return _Method(function)
    argument_type = get_type_hints(function).get(parameters[0].name)
    return _Method(
        function,
        takes_argument=True,
        needs_argument=parameters[0].default is inspect.Parameter.empty,
        argument_type=argument_type,
        argument=f"argument {parameters[0].name!r} of {cls.__name__}.{name}",
    )
