"""Seeds: which ones a simulation runs over, and how a failing one is run again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REGRESSIONS = Path(__file__).with_name("seeds.txt")
"""Seeds that once failed, a line each: name of the test, seed, what was wrong."""


class OverSeeds(Protocol):
    """Runs a simulation over `count` seeds, and over those that once failed.

    `run` takes a seed and returns what it saw. Each name in `must_see` has to be seen over all the
    seeds together: a test of a fault that never happens shows nothing.
    """

    def __call__(
        self, run: Callable[[int], Counter[str]], count: int, *, must_see: Iterable[str] = ()
    ) -> Counter[str]: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="run simulations with this seed only")
    parser.addoption("--seeds", type=int, default=1, help="run so many times more seeds than usual")


@pytest.fixture
def over_seeds(request: pytest.FixtureRequest) -> OverSeeds:
    """Return a function that runs a simulation over many seeds; see `OverSeeds`."""
    name = request.node.originalname
    only = request.config.getoption("--seed", None)
    factor = request.config.getoption("--seeds", 1)

    def over(
        run: Callable[[int], Counter[str]], count: int, *, must_see: Iterable[str] = ()
    ) -> Counter[str]:
        seen: Counter[str] = Counter()
        seeds = [only] if only is not None else [*regressions(name), *range(count * factor)]
        for seed in seeds:
            try:
                seen += run(seed)
            except Exception as error:
                error.add_note(f"replay: pytest tests/sim -k {name} --seed {seed}")
                raise
        if only is None:
            missing = [what for what in must_see if not seen[what]]
            assert not missing, f"never seen: {missing}; seen: {dict(seen)}"
        return seen

    return over


def regressions(test: str) -> list[int]:
    """Return the seeds that once failed in this test."""
    lines = REGRESSIONS.read_text().splitlines()
    entries = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return [int(entry[1]) for entry in entries if entry[0] == test]
