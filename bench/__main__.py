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
from bench.case import PARTITIONS, Case, Row
from bench.progress import say
from bench.redis_server import MISSING, is_there
from bench.runs import SCENARIOS, STORES, run_case
from bench.table import print_tables

EXAMPLES = """
examples:
  python -m bench                                     all that runs on SQLite
  python -m bench chain-5 --clients 128 --repeat 3    one case, the best of three runs
  python -m bench --store redis                       all on Redis, one host
  python -m bench chain-5 --store redis --processes 4 closed loop in four hosts
  python -m bench idle-hosts host-crash --store redis hosts that idle, that are killed

--store redis starts a redis-server of its own on a free port, with an append-only file synced every
second, or with --durability fsync before each answer. Clients live inside the hosts, so that the
engine is measured and no load generator; http-* alone have one, as a process of its own.
"""


def _parse() -> argparse.Namespace:
    width = max(map(len, SCENARIOS))
    listed = "\n".join(f"  {name:{width}}  {one.says}" for name, one in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"scenarios:\n{listed}\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="*", metavar="scenario", help="default: all of the store")
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument(
        "--durability", choices=["local", "fsync"], default="local", help="of SQLite and Redis"
    )
    parser.add_argument("--processes", type=int, default=1, help="hosts on Redis")
    parser.add_argument("--partitions", type=int, default=PARTITIONS, help="of a store in Redis")
    parser.add_argument("--clients", default="1,16,128", help="numbers, separated by commas")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, default=3.0, help="of each closed loop")
    length.add_argument("--count", type=int, help="operations of each closed loop")
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks sizes such as 10,000")
    parser.add_argument(
        "--uvloop",
        action=argparse.BooleanOptionalAction,
        help="uvloop instead of asyncio; default: on Redis, as the server does",
    )
    parser.add_argument(
        "--default-gc", action="store_true", help="Python's settings of the garbage collector"
    )
    parser.add_argument("--repeat", type=int, default=1, help="runs of each case; the best counts")
    parser.add_argument("--directory", type=Path, help="where stores go; decides the disk")
    parser.add_argument("--json", type=Path, help="append the JSON lines to this file as well")
    chosen = parser.parse_args()
    if complaint := _complaint(chosen):
        parser.error(complaint)
    return chosen


def _complaint(chosen: argparse.Namespace) -> str:
    """Return why the command line cannot be run; "" when it can."""
    for name in chosen.scenario:
        if name not in SCENARIOS:
            return f"there is no scenario {name!r}; choose from {', '.join(SCENARIOS)}"
        if chosen.store not in SCENARIOS[name].stores:
            return f"{name} runs on {', '.join(SCENARIOS[name].stores)}; add --store"
    if chosen.processes > 1 and chosen.store != "redis":
        return "--processes needs --store redis: other stores have one host"
    if chosen.store == "redis" and not is_there():
        return MISSING
    return ""


def _cases(chosen: argparse.Namespace, directory: Path) -> list[tuple[str, Case]]:
    case = Case(
        directory=directory,
        store=chosen.store,
        durability=chosen.durability,
        processes=chosen.processes,
        partitions=chosen.partitions,
        seconds=chosen.seconds,
        count=chosen.count,
        scale=chosen.scale,
        uvloop=chosen.store == "redis" if chosen.uvloop is None else chosen.uvloop,
        default_gc=chosen.default_gc,
    )
    clients = [int(number) for number in chosen.clients.split(",")]
    names = chosen.scenario or [n for n, one in SCENARIOS.items() if chosen.store in one.stores]
    return [
        (name, replace(case, clients=number))
        for name in names
        for number in (clients if SCENARIOS[name].per_clients else [1])
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
        cases = _cases(chosen, Path(directory))
        for n, (name, case) in enumerate(cases, 1):
            found = []
            for attempt in range(1, chosen.repeat + 1):
                of = f", run {attempt} of {chosen.repeat}" if chosen.repeat > 1 else ""
                say(f"case {n} of {len(cases)}: {_titled(name, case)}{of}, load {machine.load()}")
                found.append(_measure(name, case))
            row, probes = max(found, key=lambda one: one[0].figures.get("per_s", 0.0))
            rows.append(row)
            line = json.dumps({**identity, **_described(case), **probes, **asdict(row)})
            print(line, flush=True)
            if chosen.json is not None:
                with chosen.json.open("a") as file:
                    file.write(line + "\n")
    print_tables(rows, identity | {"store": chosen.store, "durability": chosen.durability})
    return 1 if any(row.misses() for row in rows) else 0


def _titled(name: str, case: Case) -> str:
    parts = [name, case.store]
    if SCENARIOS[name].per_clients:
        parts.append(f"{case.clients} clients")
    if case.processes > 1:
        parts.append(f"{case.processes} hosts")
    return ", ".join(parts)


def _described(case: Case) -> dict[str, object]:
    known = asdict(case)
    del known["directory"], known["redis"]
    if case.store != "redis":
        del known["partitions"], known["processes"]
    if case.store == "memory":
        del known["durability"]
    return known


if __name__ == "__main__":
    sys.exit(main())
