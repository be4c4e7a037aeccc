"""Answers: headers prepared once, JSON bodies, and the form of an error."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from actorflow.server.errors import WireError

_COMMON: Final = {"Server": "actorflow", "X-Content-Type-Options": "nosniff"}
_JSON: Final = CIMultiDictProxy(CIMultiDict({**_COMMON, "Content-Type": "application/json"}))
_TEXT: Final = CIMultiDictProxy(
    CIMultiDict({**_COMMON, "Content-Type": "text/plain; charset=utf-8"})
)
_EMPTY: Final = CIMultiDictProxy(CIMultiDict(_COMMON))


def json_bytes(body: bytes, status: int = 200) -> web.Response:
    """Answer with JSON that is already encoded."""
    return web.Response(body=body, status=status, headers=_JSON)


def json(value: Any, status: int = 200) -> web.Response:
    """Answer with a value as JSON."""
    return web.Response(body=orjson.dumps(value), status=status, headers=_JSON)


def text(body: str, status: int) -> web.Response:
    """Answer with plain text."""
    return web.Response(body=body.encode(), status=status, headers=_TEXT)


def empty(status: int = 204, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer without a body."""
    response = web.Response(status=status, headers=_EMPTY)
    if headers:
        response.headers.update(headers)
    return response


def accepted() -> web.Response:
    """Answer 202 with the JSON of an empty message."""
    return json_bytes(b"{}", 202)


def error(err: WireError) -> web.Response:
    """Answer with Dapr's error object: exactly two keys."""
    response = json({"errorCode": err.code, "message": err.message}, err.status)
    if err.retry_after_s:
        response.headers["Retry-After"] = str(max(1, round(err.retry_after_s)))
    return response
