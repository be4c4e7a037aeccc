"""The cleaning of paths and the decoding of parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.server.http.paths import BadEscapeError, parse_query, split_target, unescape


@pytest.mark.parametrize(
    ("raw", "segments", "query"),
    [
        ("/a/b", ("a", "b"), ""),
        ("/a/b?c=/d?e", ("a", "b"), "c=/d?e"),
        ("/", (), ""),
        ("/?", (), ""),
        ("//a///b/", ("a", "b"), ""),
        ("/a/./b/.", ("a", "b"), ""),
        ("/a/../b", ("b",), ""),
        ("/../../a", ("a",), ""),
        ("/a/..", (), ""),
        ("/.a/..b/c..", (".a", "..b", "c.."), ""),
        ("/a/%2e%2e/b", ("a", "%2e%2e", "b"), ""),
        ("/a%2F..%2Fb", ("a%2F..%2Fb",), ""),
        ("/a#b", ("a#b",), ""),
        ("/a\\..\\b", ("a\\..\\b",), ""),
        ("http://host/a", ("a",), ""),
        ("HTTPS://host:1", (), ""),
        ("http://host?x=1", (), "x=1"),
    ],
)
def test_split_target(raw: str, segments: tuple[str, ...], query: str) -> None:
    assert split_target(raw) == (segments, query)


@pytest.mark.parametrize("raw", ["*", "", "host:80", "ftp://host/a", "a/b"])
def test_targets_without_a_path(raw: str) -> None:
    assert split_target(raw) is None


@given(st.text("ab./%2", max_size=30))
def test_cleaning_twice_is_cleaning_once(path: str) -> None:
    once = split_target("/" + path)
    assert once is not None
    again = split_target("/" + "/".join(once.segments))
    assert again == once
    assert not {"", ".", ".."} & set(once.segments)


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("a", "a"),
        ("a+b", "a b"),
        ("%2B", "+"),
        ("%c3%A9", "\u00e9"),
        ("\u00e9", "\u00e9"),
        ("%25", "%"),
    ],
)
def test_unescape(text: str, decoded: str) -> None:
    assert unescape(text) == decoded


@pytest.mark.parametrize("text", ["%", "%4", "%zz", "a%4", "%%41", "%ff", "\udcff", "%ED%A0%80"])
def test_bad_escapes(text: str) -> None:
    with pytest.raises(BadEscapeError):
        unescape(text)


def test_raw_utf8_bytes_are_read_like_escaped_ones() -> None:
    assert unescape(b"\xc3\xa9".decode("ascii", "surrogateescape")) == "\u00e9"


@given(st.text(max_size=20))
def test_every_text_survives_escaping(text: str) -> None:
    escaped = "".join(f"%{byte:02x}" for byte in text.encode())
    assert unescape(escaped) == text
    assert parse_query(f"k={escaped}").get("k") == [text]


def test_query() -> None:
    query = parse_query("a=1&b=x+y&a=2&&c&d=%zz&e=1;f=2&%61=3&g=%ff&h==")
    assert query == {"a": ["1", "2", "3"], "b": ["x y"], "c": [""], "g": ["\ufffd"], "h": ["="]}
