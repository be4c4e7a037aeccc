"""Shows rows to people: one table for closed loops, one for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.case import Row

LOOP_COLUMNS = (
    ("per_s", "/s"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("cpu_us_per_op", "CPU µs"),
    ("server_us_per_op", "Redis µs"),
    ("turns_per_commit", "turns\n/commit"),
    ("turns_per_s", "turns/s"),
    ("cpu_us_per_turn", "CPU µs\n/turn"),
    ("engine_us_per_turn", "engine µs\n/turn"),
    ("share_of_floor", "share of\nfloor"),
)
"""Figures of a closed loop, and how their columns are headed."""

FLOOR_COLUMNS = (
    ("turns_per_s", "turns/s"),
    ("per_s", "/s"),
    ("cpu_us_per_turn", "CPU µs\n/turn"),
    ("server_us_per_op", "Redis µs"),
    ("op_ms", "op ms"),
)
"""The same of the floor: bare store, or bare HTTP server."""

PLAIN_WIDTH = 160
"""Columns of output that is no terminal."""


def print_tables(rows: Sequence[Row], identity: Mapping[str, object]) -> None:
    """Print to standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=PLAIN_WIDTH)
    loops = [row for row in rows if "per_s" in row.figures]
    others = [row for row in rows if "per_s" not in row.figures]
    if loops:
        console.print(_loops(loops, identity))
    if others:
        console.print(_others(others))
    for row in rows:
        for miss in row.misses():
            console.print(f"[red]missed[/] {row.scenario}, {row.clients} clients: {miss}")


def _loops(rows: Sequence[Row], identity: Mapping[str, object]) -> Table:
    table = Table(title=", ".join(str(value) for value in identity.values()))
    table.add_column("scenario")
    table.add_column("clients", justify="right")
    for _, heading in LOOP_COLUMNS:
        table.add_column(heading, justify="right")
    for _, heading in FLOOR_COLUMNS:
        table.add_column("floor\n" + heading, justify="right")
    table.add_column("target")
    for row in rows:
        table.add_row(
            row.scenario,
            str(row.clients),
            *(_shown(row.figures.get(name)) for name, _ in LOOP_COLUMNS),
            *(_shown(row.floor.get(name)) for name, _ in FLOOR_COLUMNS),
            _verdict(row),
        )
    return table


def _others(rows: Sequence[Row]) -> Table:
    table = Table()
    for heading in ("scenario", "figure", "measured", "floor", "target"):
        table.add_column(heading, justify="right" if heading in ("measured", "floor") else "left")
    for row in rows:
        targets = {target.figure: target for target in row.targets}
        for figure, value in row.figures.items():
            target = targets.get(figure)
            said = ""
            if target is not None:
                said = f"{'>=' if target.at_least else '<='} {target.limit:,g}: "
                said += "met" if target.is_met(value) else "MISSED"
            table.add_row(row.scenario, figure, _shown(value), _shown(row.floor.get(figure)), said)
        table.add_section()
    return table


def _verdict(row: Row) -> str:
    if not row.targets:
        return ""
    return "MISSED" if row.misses() else "met"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,g}" if abs(value) < 1_000 else f"{value:,.0f}"
