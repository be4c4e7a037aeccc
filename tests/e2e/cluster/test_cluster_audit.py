"""The audit of the server's log finds what it is there for."""

import pytest

from tests.e2e.cluster.audit import Audit

META = b"af:{3.17}:meta"


def acquire(epoch: int, owner: bytes) -> list[bytes]:
    return [b"HSET", META, b"epoch", b"%d" % epoch, b"owner", owner, b"ttl", b"1", b"until", b"1"]


def commit(seq: int, commit_id: bytes) -> list[bytes]:
    return [b"HSET", META, b"until", b"9", b"seq", b"%d" % seq, b"last", commit_id]


RELEASE = [b"HSET", META, b"owner", b"", b"until", b"0"]
GOOD = [
    acquire(5, b"a"),
    commit(1, b"a:1"),
    [b"HSET", b"af:{4.1}:meta", b"seq", b"1", b"owner", b""],
    commit(2, b"a:2"),
    RELEASE,
    acquire(6, b"b"),
    commit(3, b"b:3"),
]


def follow(commands: list[list[bytes]]) -> Audit:
    audit = Audit()
    for command in commands:
        audit.follow(command)
    return audit


def test_what_is_in_order_is_counted() -> None:
    audit = follow(GOOD)
    assert audit.seen["committed"] == 3
    assert audit.most_acquired == 2


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (commit(5, b"b:5"), "commit 5 after 3"),
        (commit(3, b"b:3"), "commit 3 after 3"),
        (commit(4, b"a:4"), "while b'b' owns"),
        (acquire(6, b"c"), "epoch 6 after 6"),
        (acquire(7, b"a"), "token b'a' twice"),
    ],
)
def test_what_is_not_is_found(bad: list[bytes], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        follow([*GOOD, bad])
