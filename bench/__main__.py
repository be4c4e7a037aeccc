"""Measures the engine: `python -m bench [scenario ...]`, `make bench ARGS="chain-5 --repeat 3"`.

Prints a JSON line a case to standard output and a table to standard error. Each case runs in a
fresh process, beside a floor that is measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from bench import machine
from bench.case import Case, Row
from bench.runs import SCENARIOS, run_case
from bench.table import print_tables


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    parser.add_argument("--store", choices=["sqlite", "memory"], default="sqlite")
    parser.add_argument(
        "--durability", choices=["local", "fsync"], default="local", help="of SQLite"
    )
    parser.add_argument("--clients", default="1,16,128", help="numbers, separated by commas")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, default=3.0, help="of each closed loop")
    length.add_argument("--count", type=int, help="operations of each closed loop")
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks sizes such as 10,000")
    parser.add_argument("--uvloop", action="store_true", help="use uvloop instead of asyncio")
    parser.add_argument(
        "--default-gc", action="store_true", help="Python's settings of the garbage collector"
    )
    parser.add_argument("--repeat", type=int, default=1, help="runs of each case; the best counts")
    parser.add_argument("--directory", type=Path, help="where stores go; decides the disk")
    parser.add_argument("--json", type=Path, help="append the JSON lines to this file as well")
    return parser.parse_args()


def _cases(chosen: argparse.Namespace, directory: Path) -> list[tuple[str, Case]]:
    case = Case(
        directory=directory,
        store=chosen.store,
        durability=chosen.durability,
        seconds=chosen.seconds,
        count=chosen.count,
        scale=chosen.scale,
        uvloop=chosen.uvloop,
        default_gc=chosen.default_gc,
    )
    clients = [int(number) for number in chosen.clients.split(",")]
    return [
        (name, replace(case, clients=number))
        for name in chosen.scenario or SCENARIOS
        for number in (clients if SCENARIOS[name][1] else [1])
    ]


def _measure(name: str, case: Case) -> tuple[Row, dict[str, object]]:
    """Run a case in a fresh process, so that none inherits another one's memory."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run_case, name, case).result()


def main() -> int:
    """Run what the command line asks for; the exit code is 1 when a target was missed."""
    chosen = _parse()
    identity = machine.identity()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.directory) as directory:
        for name, case in _cases(chosen, Path(directory)):
            found = [_measure(name, case) for _ in range(chosen.repeat)]
            row, probes = max(found, key=lambda one: one[0].figures.get("per_s", 0.0))
            rows.append(row)
            line = json.dumps({**identity, **_described(case), **probes, **asdict(row)})
            print(line, flush=True)
            if chosen.json is not None:
                with chosen.json.open("a") as file:
                    file.write(line + "\n")
    print_tables(rows, identity | {"store": chosen.store, "durability": chosen.durability})
    return 1 if any(row.misses() for row in rows) else 0


def _described(case: Case) -> dict[str, object]:
    known = asdict(case)
    del known["directory"]
    if case.store == "memory":
        del known["durability"]
    return known


if __name__ == "__main__":
    sys.exit(main())
