"""PURE. What every store must check of a search, and how a prefix becomes a range of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.actors.errors import UsageError

if TYPE_CHECKING:
    from actorflow.actors.ports import Query

QUERY_MAX_RESULTS = 1_000
"""Most records in one answer; a page of summaries is then at most 16 MiB."""


def check_query(query: Query) -> None:
    """Refuse a search that is not bounded.

    Raises:
        UsageError: the limit is not between 1 and `QUERY_MAX_RESULTS`, or a text is not Unicode.
    """
    if not 1 <= query.limit <= QUERY_MAX_RESULTS:
        raise UsageError(
            f"a search returns between 1 and {QUERY_MAX_RESULTS:,} records, asked for "
            f"{query.limit:,}; read on with `after`"
        )
    for text in (query.actor_type, query.after, query.label, query.key_prefix, *query.phases):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"search text {text[:64]!r} is not valid Unicode") from None


def prefix_end(prefix: str) -> str | None:
    """Return the first text, by code point, after all that start with `prefix`; None without end.

    A range needs no escaping: no character of the prefix means anything else than itself.
    """
    for index in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[index]) + 1
        if point <= 0x10FFFF:
            # Surrogates stand for no character and have no UTF-8 form.
            return prefix[:index] + chr(0xE000 if 0xD800 <= point < 0xE000 else point)
    return None
