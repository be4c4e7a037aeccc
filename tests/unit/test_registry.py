"""What may be registered, and what an error says to write instead."""

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from inspect import Parameter
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.workflow.context import ActivityContext, WorkflowContext
from actorflow.workflow.errors import RegistrationError
from actorflow.workflow.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class Order:
    item: str


async def flow(ctx: WorkflowContext, order: Order) -> list[Order]:
    return [order]


def yields(ctx: WorkflowContext, order: "Later") -> "Generator[Any, Any, Later]":
    yield ctx.create_timer(1)
    return order


def quick(ctx: ActivityContext) -> int:
    return 1


async def slow(ctx: ActivityContext, items: "list[Later]") -> "Later":
    return items[0]


@dataclass
class Later:
    """Defined after the functions that name it."""

    item: str


def test_decorators_leave_the_function_as_it_is() -> None:
    app = Registry()
    assert app.workflow(flow) is flow
    assert app.workflow(name="other")(flow) is flow
    assert app.activity(quick) is quick
    assert app.activity(name="fast")(quick) is quick
    assert app.workflow_names() == ["flow", "other"]
    assert app.activity_names() == ["fast", "quick"]


def test_a_definition_tells_what_the_signature_says() -> None:
    app = Registry()
    app.workflow(flow)
    app.activity(quick)
    found, activity = app.workflow_named("flow"), app.activity_named("quick")
    assert found is not None
    assert activity is not None
    assert (found.name, found.function) == ("flow", flow)
    assert (found.takes_input, found.is_async) == (True, True)
    assert (found.input_type, found.output_type) == (Order, list[Order])
    assert (activity.takes_input, activity.is_async) == (False, False)
    assert (activity.input_type, activity.output_type) == (Parameter.empty, int)
    assert app.workflow_named("nobody") is None
    assert app.activity_named("nobody") is None
    assert app.workflow_of(flow) is found
    assert repr(found) == "<workflow 'flow'>"


def test_types_may_be_named_before_they_are_defined() -> None:
    app = Registry()
    app.workflow(yields)
    app.activity(slow)
    assert app.workflow_of(yields).input_type is Later
    assert app.workflow_of(yields).output_type is Later
    assert app.activity_of(slow).input_type == list[Later]
    assert app.activity_of(slow).output_type is Later


def test_a_type_that_exists_for_checkers_only_is_named() -> None:
    async def hidden(ctx: WorkflowContext, order: "Mapping[str, int]") -> None:
        return None

    app = Registry()
    app.workflow(hidden)
    with pytest.raises(
        RegistrationError, match=r"'hidden': the type 'Mapping.*of its input cannot"
    ):
        app.workflow_of(hidden).input_type  # noqa: B018 -- read for its error


def test_partial_functions_and_methods_can_be_registered() -> None:
    class Shop:
        async def sell(self, ctx: ActivityContext, order: Order) -> int:
            return 1

    async def general(ctx: ActivityContext, order: Order, *, rate: int) -> int:
        return rate

    app, shop = Registry(), Shop()
    app.activity(shop.sell)
    app.activity(name="partial")(functools.partial(general, rate=3))
    method, partial = app.activity_of(shop.sell), app.activity_named("partial")
    assert partial is not None
    assert (method.name, method.input_type, method.output_type) == ("sell", Order, int)
    assert (partial.input_type, partial.is_async) == (Order, True)


def plain(ctx: WorkflowContext) -> None:
    """Not a workflow: it cannot wait."""


async def streams(ctx: WorkflowContext) -> AsyncGenerator[int, None]:
    yield 1


async def no_context() -> None:
    return None


async def three(ctx: WorkflowContext, a: int, b: int) -> None:
    return None


async def keyword(ctx: WorkflowContext, *, a: int) -> None:
    return None


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (plain, "write `async def` and `await ctx.call_activity"),
        (streams, "is an async generator; replace each `yield task` by `await task`"),
        (Order, "is a class; register an `async def` function"),
        (no_context, "it must have (ctx) or (ctx, input)"),
        (three, "(ctx: actorflow.workflow.context.WorkflowContext, a: int, b: int)"),
        (keyword, "Put several inputs into one dataclass"),
        (lambda: None, "workflow '<lambda>'"),
    ],
)
def test_a_wrong_workflow_is_refused_with_the_mend(
    function: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(RegistrationError) as caught:
        Registry().workflow(function)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (yields, "is a generator; return one result"),
        (streams, "is a generator; return one result"),
        (Order, "is a class; register a `def` or `async def` function"),
        (no_context, "it must have (ctx) or (ctx, input)"),
        (functools.partial(quick), "register it with name="),
    ],
)
def test_a_wrong_activity_is_refused_with_the_mend(
    function: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(RegistrationError) as caught:
        Registry().activity(function)
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", ["", "\ud800"])
def test_a_name_that_cannot_be_used_is_refused(name: str) -> None:
    with pytest.raises(RegistrationError):
        Registry().workflow(name=name)(flow)


def test_a_name_is_given_once_and_both_places_are_named() -> None:
    app = Registry()
    app.activity(quick)
    with pytest.raises(RegistrationError) as caught:
        app.activity(name="quick")(slow)
    assert "quick, and as" not in str(caught.value)
    assert "test_registry.quick and as" in str(caught.value)
    assert "test_registry.slow" in str(caught.value)
    app.workflow(name="quick")(flow)  # workflows and activities do not share names


def test_an_unregistered_function_is_named_with_what_is_there() -> None:
    app = Registry()
    app.activity(quick)
    with pytest.raises(
        RegistrationError, match=r"slow is not a registered activity; put @app.acti"
    ):
        app.activity_of(slow)
    with pytest.raises(RegistrationError, match=r"Registered: none"):
        app.workflow_of(flow)
    with pytest.raises(RegistrationError, match=r"by its function or its name, found 5"):
        app.activity_of(5)  # type: ignore[arg-type]  # that is the mistake


def test_a_value_is_no_function() -> None:
    app: Any = Registry()
    with pytest.raises(RegistrationError, match="is a int; register an `async def` function"):
        app.workflow(name="five")(5)
    with pytest.raises(RegistrationError, match="is a int; register a `def` or `async def`"):
        app.activity(name="five")(5)


@pytest.mark.parametrize("annotation", ["Mapping[int, int]", "Generator[int]", int])
def test_a_generator_without_a_readable_result_type_gives_plain_json(
    annotation: Any,
) -> None:
    def stepwise(ctx: WorkflowContext) -> Any:
        yield ctx.create_timer(1)

    stepwise.__annotations__["return"] = annotation
    app = Registry()
    app.workflow(stepwise)
    assert app.workflow_of(stepwise).output_type is Parameter.empty
