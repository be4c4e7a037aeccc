"""Names to functions: where an application declares its workflows and activities."""

import inspect
import types
import typing
from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast, overload

from actorflow.workflow.errors import RegistrationError

F = TypeVar("F", bound=Callable[..., object])

_UNRESOLVED = object()


class Definition:
    """A registered function and what its signature says. Treat it as read-only.

    name: what clients, histories and other workflows call it.
    function: as written by the author.
    takes_input: whether it has a second parameter.
    has_default_input: whether that parameter has a default, used when there is no input.
    is_async: `async def`.
    registry: where it was registered.
    """

    __slots__ = (
        "_input_type",
        "_output_type",
        "function",
        "has_default_input",
        "is_async",
        "name",
        "registry",
        "takes_input",
    )

    kind = "function"

    def __init__(self, name: str, function: Callable[..., Any], registry: "Registry") -> None:
        """Read the signature. Raises RegistrationError when it is not (ctx) or (ctx, input)."""
        parameter = _input_parameter(self.kind, name, function)
        self.name = name
        self.function = function
        self.registry = registry
        self.is_async = inspect.iscoroutinefunction(function)
        self.takes_input = parameter is not None
        self.has_default_input = parameter is not None and parameter.default is not parameter.empty
        self._input_type: object = _UNRESOLVED
        self._output_type: object = _UNRESOLVED

    @property
    def input_type(self) -> object:
        """Annotation of the input, `inspect.Parameter.empty` when there is none.

        Read on first use, not on registration: it may name a class that is defined further down.
        Raises RegistrationError when the name cannot be resolved even then.
        """
        if self._input_type is _UNRESOLVED:
            parameter = _input_parameter(self.kind, self.name, self.function)
            annotation = inspect.Parameter.empty if parameter is None else parameter.annotation
            self._input_type = self._resolved("input", annotation)
        return self._input_type

    @property
    def output_type(self) -> object:
        """Annotation of the result, as `input_type`; of a generator, of what it returns."""
        if self._output_type is _UNRESOLVED:
            annotation = inspect.signature(self.function).return_annotation
            if inspect.isgeneratorfunction(self.function):
                self._output_type = self._generator_result(annotation)
            else:
                self._output_type = self._resolved("result", annotation)
        return self._output_type

    def _generator_result(self, annotation: object) -> object:
        try:
            resolved = _resolved(self.function, annotation)
        except (NameError, AttributeError):  # Generator is often imported for type checkers only
            return inspect.Parameter.empty
        arguments = typing.get_args(resolved)
        if typing.get_origin(resolved) is Generator and len(arguments) > 2:
            return cast("object", arguments[2])
        return inspect.Parameter.empty

    def _resolved(self, part: str, annotation: object) -> object:
        try:
            return _resolved(self.function, annotation)
        except (NameError, AttributeError) as error:
            raise RegistrationError(
                f"{self.kind} {self.name!r}: the type {annotation!r} of its {part} cannot be "
                f"resolved: {error}. Define or import it where the program runs, not only for type "
                "checkers, and not inside a function"
            ) from error

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"


class WorkflowDefinition(Definition):
    """A registered workflow: an `async def`, or a generator function in Dapr's style."""

    __slots__ = ()

    kind = "workflow"

    def __init__(self, name: str, function: Callable[..., Any], registry: "Registry") -> None:
        _check_workflow_shape(name, function)
        super().__init__(name, function, registry)


class ActivityDefinition(Definition):
    """A registered activity: an `async def`, or a `def`, which runs in a thread."""

    __slots__ = ()

    kind = "activity"

    def __init__(self, name: str, function: Callable[..., Any], registry: "Registry") -> None:
        _check_activity_shape(name, function)
        super().__init__(name, function, registry)


class Registry:
    """The workflows and activities of one application.

    Use its methods as decorators, with or without parentheses; the function stays as it is::

        app = Registry()

        @app.activity
        async def pay(ctx: ActivityContext, order: Order) -> str: ...

        @app.workflow(name="OrderProcessingWorkflow")
        async def process(ctx: WorkflowContext, order: Order) -> str: ...
    """

    def __init__(self) -> None:
        self._workflows: dict[str, WorkflowDefinition] = {}
        self._activities: dict[str, ActivityDefinition] = {}
        self._workflows_by_function: dict[Callable[..., object], WorkflowDefinition] = {}
        self._activities_by_function: dict[Callable[..., object], ActivityDefinition] = {}

    @overload
    def workflow(self, function: F, /) -> F: ...

    @overload
    def workflow(self, /, *, name: str | None = None) -> Callable[[F], F]: ...

    def workflow(
        self, function: F | None = None, /, *, name: str | None = None
    ) -> F | Callable[[F], F]:
        """Register a workflow under `name`, the function's own name when none is given.

        Raises:
            RegistrationError: not an `async def` or generator function with the parameters (ctx)
                or (ctx, input), or the name is taken.
        """

        def register(function: F) -> F:
            definition = WorkflowDefinition(_name_of(function, name), function, self)
            _add(self._workflows, self._workflows_by_function, definition)
            return function

        return register if function is None else register(function)

    @overload
    def activity(self, function: F, /) -> F: ...

    @overload
    def activity(self, /, *, name: str | None = None) -> Callable[[F], F]: ...

    def activity(
        self, function: F | None = None, /, *, name: str | None = None
    ) -> F | Callable[[F], F]:
        """Register an activity under `name`, the function's own name when none is given.

        Raises:
            RegistrationError: not a `def` or `async def` with the parameters (ctx) or (ctx, input),
                or the name is taken.
        """

        def register(function: F) -> F:
            definition = ActivityDefinition(_name_of(function, name), function, self)
            _add(self._activities, self._activities_by_function, definition)
            return function

        return register if function is None else register(function)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is registered."""
        return not (self._workflows or self._activities)

    def workflow_named(self, name: str) -> WorkflowDefinition | None:
        """Return the workflow of this name."""
        return self._workflows.get(name)

    def activity_named(self, name: str) -> ActivityDefinition | None:
        """Return the activity of this name."""
        return self._activities.get(name)

    def workflow_of(self, function: Callable[..., object]) -> WorkflowDefinition:
        """Return the definition of a function. Raises RegistrationError when it is not here."""
        try:
            return self._workflows_by_function[function]
        except (KeyError, TypeError):
            raise _unregistered("workflow", function, self.workflow_names()) from None

    def activity_of(self, function: Callable[..., object]) -> ActivityDefinition:
        """Return the definition of a function. Raises RegistrationError when it is not here."""
        try:
            return self._activities_by_function[function]
        except (KeyError, TypeError):
            raise _unregistered("activity", function, self.activity_names()) from None

    def workflow_names(self) -> list[str]:
        """Return all names of workflows, sorted."""
        return sorted(self._workflows)

    def activity_names(self) -> list[str]:
        """Return all names of activities, sorted."""
        return sorted(self._activities)


D = TypeVar("D", bound=Definition)


def _add(by_name: dict[str, D], by_function: dict[Callable[..., object], D], added: D) -> None:
    if added.name in by_name:
        taken = by_name[added.name].function
        raise RegistrationError(
            f"{added.kind} {added.name!r} is registered twice, as {_place(taken)} and as "
            f"{_place(added.function)}; give one of them another name with "
            f"@app.{added.kind}(name=...)"
        )
    by_name[added.name] = added
    # A function may have several names; calls by function use the first.
    by_function.setdefault(added.function, added)


def _name_of(function: Callable[..., object], name: str | None) -> str:
    if name is None:
        name = getattr(function, "__name__", "")
    if not name:
        raise RegistrationError(f"{function!r} has no name of its own; register it with name=...")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise RegistrationError(f"the name {name!r} is not valid Unicode") from None
    return name


def _check_workflow_shape(name: str, function: object) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return
    if inspect.isasyncgenfunction(function):
        problem = "is an async generator; replace each `yield task` by `await task`"
    elif inspect.isclass(function):
        problem = "is a class; register an `async def` function"
    elif not callable(function):
        problem = f"is a {type(function).__name__}; register an `async def` function"
    else:
        problem = (
            "is a plain function, which cannot wait; write `async def` and `await "
            "ctx.call_activity(...)`, or a generator with `x = yield ctx.call_activity(...)`"
        )
    raise RegistrationError(f"workflow {name!r} {problem}")


def _check_activity_shape(name: str, function: object) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        problem = "is a generator; return one result, and make several calls for several results"
    elif inspect.isclass(function):
        problem = "is a class; register a `def` or `async def` function"
    elif not callable(function):
        problem = f"is a {type(function).__name__}; register a `def` or `async def` function"
    else:
        return
    raise RegistrationError(f"activity {name!r} {problem}")


def _input_parameter(
    kind: str, name: str, function: Callable[..., object]
) -> inspect.Parameter | None:
    """Return the second parameter, None when there is only the context."""
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    extra = [p for p in parameters if p not in positional[:2] and _is_required(p)]
    if not positional or extra:
        raise RegistrationError(
            f"{kind} {name!r} has the parameters ({', '.join(map(str, parameters))}); it must have "
            "(ctx) or (ctx, input). Put several inputs into one dataclass or dictionary"
        )
    return positional[1] if len(positional) > 1 else None


def _is_required(parameter: inspect.Parameter) -> bool:
    starred = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not starred


def _resolved(function: Callable[..., object], annotation: object) -> object:
    """Turn an annotation that is, or contains, text into the type it names.

    Raises NameError or AttributeError when it cannot be found.
    """
    if annotation is inspect.Parameter.empty:
        return annotation
    plain = inspect.unwrap(function)
    plain = getattr(plain, "func", plain)  # of a functools.partial
    scope = getattr(plain, "__globals__", {})
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, globalns=scope, include_extras=True)["it"]


def _place(function: Callable[..., object]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"


def _unregistered(kind: str, function: object, known: list[str]) -> RegistrationError:
    if not callable(function):
        return RegistrationError(
            f"a {kind} is called by its function or its name, found {function!r}"
        )
    return RegistrationError(
        f"{_place(function)} is not a registered {kind}; put @app.{kind} on it, with the same "
        f"Registry as the workflow that calls it. Registered: {', '.join(known) or 'none'}"
    )
