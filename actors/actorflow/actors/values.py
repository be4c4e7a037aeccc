"""Python values to and from the JSON texts that travel and are stored.

None is the absent payload. Beyond JSON's own types, values may be dataclasses, pydantic models,
msgspec structs, attrs classes, named tuples, enums, datetimes, UUIDs, Decimals, timedeltas, bytes
(as base64), paths and sets (as sorted lists). Pydantic is never imported from here: a model brings
its own methods. Floats that are not finite become null, as JSON has no word for them.
"""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from inspect import Parameter
from pathlib import PurePath
from types import NoneType
from typing import Any, cast

import msgspec
import orjson

from actorflow.actors.errors import PayloadError

_SHOWN_CHARS = 120
_UNTYPED: tuple[object, ...] = (Parameter.empty, None, NoneType, Any, object)

_loads = msgspec.json.Decoder().decode


def to_payload(value: object, *, what: str = "value") -> str | None:
    """Return `value` as JSON text; None for None.

    Args:
        what: names the value in the error's text, for example "input of activity 'pay'".

    Raises:
        PayloadError: some part of the value has no JSON form; the text names its type.
    """
    if value is None:
        return None
    try:
        return orjson.dumps(value, _plain).decode()
    except TypeError:
        return _to_payload_slow(value, what)


def from_payload(text: str | None, annotation: object, *, what: str = "value") -> object:
    """Return the value of a JSON text, converted to `annotation` where there is one.

    None and "" give None, whatever the annotation: an absent payload has no type.

    Raises:
        PayloadError: not JSON, or not of the type asked for. The text names the value, the type
            expected and what was found.
    """
    if not text:
        return None
    try:
        if annotation in _UNTYPED:
            return _loads(text)
        return _converter(annotation)(text)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise PayloadError(
            f"{what}: expected {_type_name(annotation)}, found {_shown(text)}: {error}"
        ) from error


def to_json(value: object) -> bytes:
    """Return `value` as JSON, None as `null`. Raises as `to_payload`."""
    return (to_payload(value) or "null").encode()


def from_json(data: bytes, annotation: object, *, what: str = "value") -> Any:
    """Return the value of a JSON text as bytes; empty bytes are None. Raises as `from_payload`."""
    return from_payload(data.decode(), annotation, what=what)


def _to_payload_slow(value: object, what: str) -> str:
    """Second try, for what the fast writer refuses: other keys than text, integers over 64 bits."""
    try:
        return orjson.dumps(value, _plain, orjson.OPT_NON_STR_KEYS).decode()
    except TypeError as error:
        if "64-bit" in str(error):
            return _to_payload_big(value, what)
        cause = error.__cause__ or error
        raise PayloadError(
            f"{what} of type {type(value).__name__} cannot be written as JSON: {cause}. Use plain "
            "values, dataclasses or pydantic models"
        ) from error


def _to_payload_big(value: object, what: str) -> str:
    try:
        text = json.dumps(
            msgspec.to_builtins(value, enc_hook=_plain), separators=(",", ":"), allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise PayloadError(
            f"{what} of type {type(value).__name__} cannot be written as JSON: {error}"
        ) from error
    return text


def _plain(value: Any) -> object:
    """Return a simpler form of a value that the JSON writer does not know."""
    for known, simplify in _PLAIN_FORMS:
        if isinstance(value, known):
            return simplify(value)
    if hasattr(value, "model_dump"):  # a pydantic model
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(value, "__attrs_attrs__"):
        return msgspec.to_builtins(value, enc_hook=_plain)
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


def _sorted_list(values: set[Any]) -> list[Any]:
    # Sorted, because the order of a set changes from one process to the next.
    try:
        return sorted(values)
    except TypeError:
        raise TypeError("a set of values that cannot be sorted; use a list") from None


_PLAIN_FORMS: tuple[tuple[Any, Callable[[Any], object]], ...] = (
    (Decimal, str),
    (tuple, list),
    (set | frozenset, _sorted_list),
    (msgspec.Struct, lambda value: msgspec.to_builtins(value, enc_hook=_plain)),
    (PurePath, str),
    (timedelta, msgspec.to_builtins),  # ISO 8601
    ((bytes, bytearray, memoryview), lambda value: msgspec.to_builtins(bytes(value))),
)


@lru_cache(maxsize=1_024)
def _converter(annotation: object) -> Callable[[str], object]:
    """Return a function from JSON text to a value of this type."""
    validate_json = getattr(annotation, "model_validate_json", None)
    if callable(validate_json):  # a pydantic model
        return cast("Callable[[str], object]", validate_json)
    try:
        return msgspec.json.Decoder(cast("Any", annotation), dec_hook=_built).decode
    except TypeError:
        # Unions that only pydantic understands. Whoever uses them has imported it.
        pydantic = sys.modules.get("pydantic")
        if pydantic is None:
            raise
        return cast("Callable[[str], object]", pydantic.TypeAdapter(annotation).validate_json)


def _built(wanted: Any, value: object) -> object:
    """Build what msgspec does not know: a pydantic model somewhere inside the type."""
    validate = getattr(wanted, "model_validate", None)
    if callable(validate):
        return validate(value)
    if isinstance(wanted, type) and issubclass(wanted, PurePath) and isinstance(value, str):
        return wanted(value)
    raise TypeError(
        f"{wanted!r} cannot be built from JSON; use a dataclass, TypedDict or pydantic model"
    )


def _type_name(annotation: object) -> str:
    if annotation in _UNTYPED:
        return "JSON"
    if isinstance(annotation, type):
        return annotation.__qualname__
    return str(annotation)


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}... ({len(text):,} chars)"
