"""A prefix as a range of keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.actors.errors import UsageError
from actorflow.actors.ports import Query
from actorflow.actors.query import QUERY_MAX_RESULTS, check_query, prefix_end

TEXTS = st.text(
    st.sampled_from("aZ%_\ud7ff\ue000\uffff\U00010000\U0010ffff") | st.characters(codec="utf-8"),
    max_size=4,
)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("a", "b"),
        ("a%", "a&"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("", None),
        ("\ud7ff", "\ue000"),
        ("a\uffff", "a\U00010000"),
    ],
)
def test_end_is_the_first_text_after_the_prefix(prefix: str, end: str | None) -> None:
    assert prefix_end(prefix) == end


@given(TEXTS, TEXTS)
def test_range_holds_exactly_what_starts_with_the_prefix(prefix: str, text: str) -> None:
    end = prefix_end(prefix)
    inside = prefix <= text and (end is None or text < end)
    assert inside == text.startswith(prefix)
    # The store compares UTF-8 bytes.
    assert (prefix.encode() <= text.encode()) == (prefix <= text)
    assert end is None or end.encode()


@pytest.mark.parametrize("limit", [1, QUERY_MAX_RESULTS])
def test_bounded_search_passes(limit: int) -> None:
    check_query(Query("Order", limit))


@pytest.mark.parametrize(
    "query",
    [
        Query("\udfff", 1),
        Query("Order", 1, after="\udfff"),
        Query("Order", 1, label="\udfff"),
        Query("Order", 1, key_prefix="\udfff"),
        Query("Order", 1, phases=("a", "\udfff")),
    ],
)
def test_search_text_must_be_unicode(query: Query) -> None:
    with pytest.raises(UsageError, match="Unicode"):
        check_query(query)
