"""Python values to JSON texts and back."""

import enum
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from inspect import Parameter
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest

from actorflow.actors.errors import PayloadError
from actorflow.actors.values import from_payload, to_payload


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Box(TypedDict):
    size: int


@dataclass
class Line:
    start: Point
    tags: list[str] = field(default_factory=list)
    when: datetime | None = None


class Item(msgspec.Struct):
    name: str


class Model(pydantic.BaseModel):
    number: int
    when: date | None = None


@dataclass
class Holder:
    models: list[Model]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (0, "0"),
        ("", '""'),
        ([1, "a", None, True], '[1,"a",null,true]'),
        ({"ä": 1.5}, '{"ä":1.5}'),
        ({1: "a"}, '{"1":"a"}'),
        (2**80, str(2**80)),
        ({"deep": [2**64]}, f'{{"deep":[{2**64}]}}'),
        (Colour.RED, '"red"'),
        (Decimal("1.10"), '"1.10"'),
        (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00+00:00"'),
        (timedelta(seconds=90), '"PT90S"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Point(1, 2), "[1,2]"),
        (Line(Point(1, 2)), '{"start":[1,2],"tags":[],"when":null}'),
        (Item("a"), '{"name":"a"}'),
        (Model(number=1), '{"number":1,"when":null}'),
        ([Model(number=1)], '[{"number":1,"when":null}]'),
        ({"b", "a"}, '["a","b"]'),
        (frozenset({2, 1}), "[1,2]"),
        (b"ab", '"YWI="'),
        (PurePosixPath("a/b"), '"a/b"'),
        (float("nan"), "null"),
    ],
)
def test_values_become_json(value: object, text: str | None) -> None:
    assert to_payload(value) == text


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (object(), "of type object cannot be written as JSON: object has no JSON form"),
        ({"a": [print]}, "builtin_function_or_method has no JSON form"),
        ({1, "a"}, "a set of values that cannot be sorted; use a list"),
        ("\ud800", "surrogates not allowed"),
        ([2**64, object()], "cannot be written as JSON"),
        (ValueError("x"), "ValueError has no JSON form"),
    ],
)
def test_values_without_json_form_are_named(value: object, problem: str) -> None:
    with pytest.raises(PayloadError) as caught:
        to_payload(value, what="input of activity 'pay'")
    assert "input of activity 'pay'" in str(caught.value)
    assert problem in str(caught.value)


def test_a_value_that_contains_itself_is_named() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(PayloadError, match="value of type list"):
        to_payload(loop)


@pytest.mark.parametrize("annotation", [None, int, Model, Line, Parameter.empty])
@pytest.mark.parametrize("text", [None, ""])
def test_an_absent_payload_is_none_whatever_the_type(text: str | None, annotation: object) -> None:
    assert from_payload(text, annotation) is None


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ('{"a":[1]}', None, {"a": [1]}),
        ('{"a":[1]}', Any, {"a": [1]}),
        ('{"a":[1]}', object, {"a": [1]}),
        ("1", type(None), 1),
        ("5", Parameter.empty, 5),
        (str(2**80), None, 2**80),
        ("null", Line, None),
        ("5", float, 5.0),
        ('"red"', Colour, Colour.RED),
        ('"1.10"', Decimal, Decimal("1.10")),
        ('"PT90S"', timedelta, timedelta(seconds=90)),
        ("[1,2]", Point, Point(1, 2)),
        ("[1,2]", tuple[int, int], (1, 2)),
        ('["a"]', set[str], {"a"}),
        ('{"size":1}', Box, {"size": 1}),
        ('{"start":[1,2],"later":1}', Line, Line(Point(1, 2))),
        ('{"name":"a"}', Item, Item("a")),
        ('{"number":1}', Model, Model(number=1)),
        ('[{"number":1}]', list[Model], [Model(number=1)]),
        ('{"models":[{"number":1}]}', Holder, Holder([Model(number=1)])),
        ('{"number":1}', Model | int, Model(number=1)),
        ('{"name":"a"}', Item | None, Item("a")),
        ('"a/b"', PurePosixPath, PurePosixPath("a/b")),
        ('"YWI="', bytes, b"ab"),
    ],
)
def test_texts_become_what_the_annotation_says(text: str, annotation: object, value: Any) -> None:
    if text == "null":
        annotation = Line | None
    found = from_payload(text, annotation)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation", "expected", "problem"),
    [
        ("hello", None, "expected JSON, found hello", "malformed"),
        ('{"a":', Line, "expected Line", "truncated"),
        ('{"start":[1,"b"]}', Line, "expected Line", "Expected `int`, got `str` - at `$.start[1]`"),
        ('"blue"', Colour, "expected Colour", "Invalid enum value 'blue'"),
        ('{"number":"x"}', Model, "expected Model", "valid integer"),
        ('{"models":[{"number":"x"}]}', Holder, "expected Holder", "valid integer"),
        ("[1]", dict[str, int], "expected dict[str, int]", "Expected `object`, got `array`"),
        ('{"a":1}', type("Lock", (), {}), "expected Lock", "cannot be built"),
        ("[" * 100_000, None, "expected JSON", "..."),
    ],
)
def test_texts_of_another_type_are_named(
    text: str, annotation: object, expected: str, problem: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        from_payload(text, annotation, what="event 'e'")
    message = str(caught.value)
    assert message.startswith("event 'e': expected")
    assert expected in message
    assert problem in message
    assert len(message) < 600
