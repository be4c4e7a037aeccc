"""Every fault of the plan is in docs/faults.md, with tests that exist."""

import re
from pathlib import Path

import pytest

from tests.tidy.sources import ROOT, functions_in, text_of, tree_of

ROW = re.compile(r"^\| ([A-Z]\d+) \|(.*)$", re.MULTILINE)
TEST = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")
COUNTS = {"S": 18, "R": 15, "P": 14, "A": 9, "L": 5}
WAITING = "to come"

ROWS: dict[str, str] = {
    name: row for name, row in ROW.findall(text_of(Path("docs/faults.md"))) if name[0] in COUNTS
}


def missing(row: str) -> list[str]:
    """Return the tests that a row names and that do not exist."""
    return [
        f"{path}::{name}"
        for path, name in TEST.findall(row)
        if not (ROOT / "tests" / path).is_file() or (name and name not in names_in(path))
    ]


def names_in(path: str) -> set[str]:
    """Return the names of the functions of a module below `tests`."""
    tree = tree_of(Path("tests") / path)
    return {function.name for function in functions_in(tree)}


def test_every_fault_of_the_plan_has_its_row() -> None:
    wanted = {
        f"{kind}{n:02}" if kind in "SRP" else f"{kind}{n}"
        for kind, count in COUNTS.items()
        for n in range(1, count + 1)
    }
    assert set(ROWS) == wanted


@pytest.mark.parametrize("name", ROWS)
def test_the_tests_of_a_row_exist(name: str) -> None:
    row = ROWS[name]
    assert TEST.search(row) or WAITING in row, f"{name} has no test, and does not say why"
    assert missing(row) == []


def test_a_missing_test_is_found() -> None:
    row = "`tidy/test_faults.py::test_nothing` `tidy/test_none.py` `tidy/test_faults.py`"
    assert missing(row) == ["tidy/test_faults.py::test_nothing", "tidy/test_none.py::"]
