"""JSON values of actor methods and state, to and from bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from actorflow.actors.errors import UsageError


def to_json(value: object) -> bytes:
    """Encode a value. Raises UsageError naming a type that has no JSON form."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise UsageError(f"a value of type {type(value).__name__} is not JSON: {error}") from error


def from_json(data: bytes, annotation: Any) -> Any:
    """Decode to `annotation` (None: plain JSON values); empty bytes are None.

    Raises:
        UsageError: not JSON, or not of the annotated type.
    """
    if not data:
        return None
    try:
        if annotation is None or annotation is Any:
            return orjson.loads(data)
        return msgspec.json.decode(data, type=annotation)
    except (ValueError, msgspec.MsgspecError) as error:
        raise UsageError(f"argument does not fit {annotation}: {error}") from error
