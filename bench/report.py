"""Turns JSON lines of `python -m bench --json FILE` into the tables of docs/benchmarks.md.

`python -m bench.report FILE ...` prints Markdown. Of several lines for one case the fastest counts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

LOOPS = (
    ("per_s", "/s"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("cpu_us_per_op", "CPU µs"),
    ("server_us_per_op", "Redis µs"),
    ("turns_per_commit", "turns/commit"),
    ("turns_per_s", "turns/s"),
    ("engine_us_per_turn", "engine µs/turn"),
)
FLOORS = (
    ("turns_per_s", "turns/s"),
    ("per_s", "/s"),
    ("cpu_us_per_turn", "µs/turn"),
    ("server_us_per_op", "Redis µs"),
)


def best(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one line a case, in the order of first appearance."""
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    for line in lines:
        case = (line["scenario"], *_kind(line), line["clients"])
        old = found.get(case)
        if old is None or line["figures"].get("per_s", 1) >= old["figures"].get("per_s", 0):
            found[case] = line
    return list(found.values())


def _kind(line: dict[str, Any]) -> tuple[str, str, int, int]:
    """Return what stands in one table: store, durability, hosts, partitions."""
    return (
        line["store"],
        line.get("durability", ""),
        line.get("processes", 1),
        line.get("partitions", 1),
    )


def _hosts(kind: tuple[str, str, int, int]) -> str:
    if kind[0] != "redis":
        return ""
    return f", {kind[2]} host{'s' * (kind[2] > 1)}, {kind[3]} partitions"


def loops(lines: list[dict[str, Any]]) -> list[str]:
    """Return the table of closed loops."""
    heads = ["scenario", "clients", *(h for _, h in LOOPS), *(f"floor {h}" for _, h in FLOORS)]
    rows = [_row([*heads, "share of floor", "load"]), _row(["---"] + ["---:"] * (len(heads) + 1))]
    for line in lines:
        figures, floor = line["figures"], line["floor"]
        rows.append(
            _row(
                [
                    line["scenario"],
                    str(line["clients"]),
                    *(_shown(figures.get(name)) for name, _ in LOOPS),
                    *(_shown(floor.get(name)) for name, _ in FLOORS),
                    f"{figures['share_of_floor']:.0%}",
                    str(line["load"]),
                ]
            )
        )
    return rows


def others(lines: list[dict[str, Any]]) -> list[str]:
    """Return the table of everything else."""
    rows = [_row(["scenario", "figure", "measured", "floor"]), _row(["---", "---", "---:", "---:"])]
    for line in lines:
        for name, value in line["figures"].items():
            row = [line["scenario"], name, _shown(value), _shown(line["floor"].get(name))]
            rows.append(_row(row))
    return rows


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,g}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="+")
    texts = [text for file in parser.parse_args().file for text in file.read_text().splitlines()]
    lines = best([json.loads(text) for text in texts])
    for kind in sorted({_kind(line) for line in lines}):
        same = [line for line in lines if _kind(line) == kind]
        print(f"### Store {kind[0]}, durability {kind[1] or 'none'}{_hosts(kind)}\n")
        print("\n".join(loops([line for line in same if "per_s" in line["figures"]])) + "\n")
        rest = [line for line in same if "per_s" not in line["figures"]]
        if rest:
            print("\n".join(others(rest)) + "\n")


if __name__ == "__main__":
    main()
