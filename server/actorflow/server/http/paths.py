"""PURE. From the raw request target to path segments and parameters, once, for everybody.

Routing, authentication and handlers all use the result, so they cannot disagree on what was asked
for. The path is cleaned while it is still escaped: an encoded slash or dot never moves a segment.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_ABSOLUTE_FORM = re.compile(r"https?://[^/?]*", re.IGNORECASE)


class Target(NamedTuple):
    """A request target: the cleaned, still escaped path segments, and the raw query."""

    segments: tuple[str, ...]
    query: str


class BadEscapeError(ValueError):
    """A percent escape is incomplete, or the decoded bytes are not UTF-8."""


def split_target(raw: str) -> Target | None:
    """Return the cleaned target; None for one without a path (`*`, an authority).

    Repeated slashes, `.` and a trailing slash vanish, `..` removes the segment before it.
    """
    path, _, query = raw.partition("?")
    if not path.startswith("/"):
        match = _ABSOLUTE_FORM.match(path)
        if match is None:
            return None
        path = path[match.end() :] or "/"
    if "//" in path or "/." in path or path[-1] == "/":
        return Target(_cleaned(path), query)
    return Target(tuple(path[1:].split("/")), query)


def _cleaned(path: str) -> tuple[str, ...]:
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if segments:
                segments.pop()
        elif segment and segment != ".":
            segments.append(segment)
    return tuple(segments)


def unescape(text: str) -> str:
    """Decode a parameter: `%XX` becomes a byte of UTF-8, `+` a space.

    Raises:
        BadEscapeError: the text says what is wrong.
    """
    if "%" not in text and "+" not in text and text.isascii():
        return text
    bad = _BAD_ESCAPE.search(text)
    if bad is not None:
        raise BadEscapeError(f'invalid URL escape "{bad[0]}"')
    # A raw byte above 0x7F arrives from the parser as itself or as a surrogate escape.
    data = text.replace("+", " ").encode("utf-8", "surrogateescape")
    try:
        return unquote_to_bytes(data).decode()
    except UnicodeDecodeError:
        raise BadEscapeError("invalid UTF-8") from None


def parse_query(text: str) -> Mapping[str, Sequence[str]]:
    """Return all values by key, in order. A pair that cannot be read is dropped, as Go does.

    Bytes that are not UTF-8 become U+FFFD, which no id, name or number may contain.
    """
    values: dict[str, list[str]] = {}
    for pair in text.split("&"):
        if not pair or ";" in pair or _BAD_ESCAPE.search(pair):
            continue
        key, _, value = pair.partition("=")
        values.setdefault(_query_text(key), []).append(_query_text(value))
    return values


def _query_text(text: str) -> str:
    if "%" not in text and "+" not in text and text.isascii():
        return text
    data = text.replace("+", " ").encode("utf-8", "surrogateescape")
    return unquote_to_bytes(data).decode("utf-8", "replace")
