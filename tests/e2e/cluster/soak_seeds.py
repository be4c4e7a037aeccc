"""L2: the simulations of the tests with seeds that nobody has tried, for some minutes.

Prints how many seeds a second each ran, what happened in them, and how to run a failing one again.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import logging
import random
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.e2e.cluster.say import say
from tests.sim import loop

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

SEEDS_MAX = 2**40
ROUND_S = 2.0
"""How long one simulation runs before the next has its turn."""


class Simulation(NamedTuple):
    """One test with its parameters."""

    name: str
    test: Callable[..., None]
    arguments: dict[str, Any]


class Tally:
    """Stands in for the fixture `over_seeds`: fresh seeds until the time of a round is over."""

    def __init__(self, choose: random.Random) -> None:
        self._choose = choose
        self.seeds = 0
        self.took_s = 0.0
        self.seen: Counter[str] = Counter()
        self.failed: list[int] = []

    def __call__(
        self, run: Callable[[int], Counter[str]], count: int, *, must_see: Iterable[str] = ()
    ) -> Counter[str]:
        began_s = time.monotonic()
        while (spent_s := time.monotonic() - began_s) < ROUND_S:
            seed = self._choose.randrange(SEEDS_MAX)
            try:
                self.seen += run(seed)
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 -- reported; others go on
                self.failed.append(seed)
                say(f"seed {seed} failed: {error!r}"[:500])
            self.seeds += 1
        self.took_s += spent_s
        return self.seen


def simulations() -> Iterator[Simulation]:
    """Yield each test over seeds, once for each of its parameters."""
    for path in sorted(Path(loop.__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.sim.{path.stem}")
        for test_name, test in inspect.getmembers(module, inspect.isfunction):
            is_here = test_name.startswith("test_") and test.__module__ == module.__name__
            if is_here and "over_seeds" in inspect.signature(test).parameters:
                for arguments in _parameters(test):
                    yield Simulation(test_name, test, arguments)


def _parameters(test: Callable[..., None]) -> Iterator[dict[str, Any]]:
    marks = [m for m in getattr(test, "pytestmark", []) if m.name == "parametrize"]
    choices = [[(mark.args[0], value) for value in mark.args[1]] for mark in marks]
    for chosen in itertools.product(*choices):
        yield dict(chosen)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default 5)")
    parser.add_argument("--seed", type=int, default=None, help="of the seeds")
    parser.add_argument("--only", default="", help="simulations whose name contains this")


async def run(arguments: argparse.Namespace, _folder: Path) -> None:
    """Run it, on a thread of its own, since each simulation has an event loop."""
    await asyncio.to_thread(_run, arguments)


def _run(arguments: argparse.Namespace) -> None:
    logging.disable(logging.CRITICAL)
    choose = random.Random(arguments.seed)
    chosen = [s for s in simulations() if arguments.only in s.name]
    tallies = [Tally(choose) for _ in chosen]
    end_s = time.monotonic() + 60 * arguments.minutes
    for simulation, tally in itertools.cycle(zip(chosen, tallies, strict=True)):
        if time.monotonic() >= end_s:
            break
        simulation.test(over_seeds=tally, **simulation.arguments)
    show(chosen, tallies)
    failed = [(s.name, seed) for s, t in zip(chosen, tallies, strict=True) for seed in t.failed]
    for name, seed in failed:
        say(f"replay: pytest tests/sim -k {name} --seed {seed}")
    assert not failed, f"{len(failed)} seeds failed"
    say("every invariant held")


def show(chosen: list[Simulation], tallies: list[Tally]) -> None:
    """Print the table."""
    say("| simulation | seeds | seeds/s | seen |")
    say("|---|---|---|---|")
    for simulation, tally in zip(chosen, tallies, strict=True):
        if tally.seeds:
            values = [getattr(v, "__name__", v) for v in simulation.arguments.values()]
            name = " ".join([simulation.name, *map(str, values)])
            seen = ", ".join(f"{what} {count:,}" for what, count in tally.seen.most_common(14))
            say(f"| {name} | {tally.seeds:,} | {tally.seeds / tally.took_s:.1f} | {seen} |")
    seeds, took_s = sum(t.seeds for t in tallies), sum(t.took_s for t in tallies)
    say(f"{seeds:,} seeds in {took_s:.0f} s: {seeds / max(took_s, 0.001):.1f} a second")
