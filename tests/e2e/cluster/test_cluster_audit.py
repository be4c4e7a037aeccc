"""The audit of the server's log, and the checks of the side log, find what they are there for."""

from pathlib import Path

import pytest

from tests.e2e.cluster.audit import Audit
from tests.e2e.cluster.checks import CLOCKS_APART_MS, Asked, check_side_log

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
    assert audit.epochs(3) == [5, 6]
    assert audit.epochs(7) == []


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


SECOND_US = 1_000_000
ASKED = {"task": Asked(3, CLOCKS_APART_MS + 10_000)}
"""Ten seconds after the side log's clock began."""


def side_log(folder: Path, *runs: tuple[int, float, float]) -> Path:
    """Write runs of one activity: the process, when it began, when it ended, in seconds."""
    marks = [(began_s, "began", pid) for pid, began_s, _ in runs]
    marks += [(ended_s, "ended", pid) for pid, _, ended_s in runs if ended_s]
    path = folder / "side.log"
    lines = [
        f"{round(at_s * SECOND_US)} {mark} i task {pid}\n" for at_s, mark, pid in sorted(marks)
    ]
    path.write_text("".join(lines))
    return path


def check(path: Path, *owners_s: float) -> int:
    epochs = [CLOCKS_APART_MS + round(at_s * 1_000) for at_s in owners_s]
    return check_side_log(path, ASKED, faults=5, epochs=lambda partition: epochs)


def test_what_runs_again_needs_a_new_owner(tmp_path: Path) -> None:
    again = side_log(tmp_path, (1, 10.1, 11), (2, 13, 14))
    assert check(again, 5, 12.9) == 0
    with pytest.raises(AssertionError, match="ran 2 times for 0 new owners"):
        check(again, 5)  # it has owned the partition since before the activity was asked for
    with pytest.raises(AssertionError, match="ran 2 times for 0 new owners"):
        check(again, 5, 15)  # who came later has not run it
    thrice = side_log(tmp_path, (1, 10.1, 11), (2, 13, 14), (2, 16, 17))
    assert check(thrice, 5, 12.9, 15) == 0
    with pytest.raises(AssertionError, match="ran 3 times for 1 new owners"):
        check(thrice, 5, 12.9)


def test_two_at_once_are_an_old_owner_and_a_new_one(tmp_path: Path) -> None:
    together = side_log(tmp_path, (1, 10.1, 14), (2, 13, 15))
    assert check(together, 5, 12.9) == 1, "the first one did not know yet"
    with pytest.raises(AssertionError, match="new owners"):
        check(together, 5)
    cut = side_log(tmp_path, (1, 10.1, 0), (2, 13, 15))
    assert check(cut, 5, 12.9) == 0
