"""Every benchmark scenario runs, tiny, so that none rots. No figure is judged here."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from bench import machine
from bench.__main__ import main
from bench.case import Case, Row, Target
from bench.redis_server import is_there
from bench.runs import SCENARIOS, run_case
from bench.table import print_tables

OVER_HTTP = [name for name in SCENARIOS if name.startswith("http-")]
OVER_GRPC = [name for name in SCENARIOS if name.startswith("sdk-")]
HOSTS = [name for name, one in SCENARIOS.items() if one.stores == ("redis",)]
IN_PROCESS = [name for name in SCENARIOS if name not in (*OVER_HTTP, *OVER_GRPC, *HOSTS)]

needs_redis = pytest.mark.skipif(
    not (is_there() or os.environ.get("CI")), reason="redis-server is not installed"
)


def tiny(directory: Path, **values: object) -> Case:
    settings: dict[str, object] = {
        "clients": 2,
        "count": 4,
        "seconds": 0.1,
        "scale": 0.002,
        "default_gc": True,  # the settings are of the whole process
    }
    return Case(directory=directory, **(settings | values))  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize("name", IN_PROCESS)
def test_scenario_gives_figures_and_a_floor(name: str, tmp_path: Path) -> None:
    row, probes = run_case(name, tiny(tmp_path))

    assert row.scenario == name
    assert all(value >= 0 for value in row.figures.values() if value != row.figures.get("slack_s"))
    assert {target.figure for target in row.targets} <= set(row.figures)
    assert row.floor
    assert probes["processor_ms"] > 0  # type: ignore[operator]  # a float


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_closed_loop_counts_what_it_did(store: str, tmp_path: Path) -> None:
    row, _ = run_case("chain-5", tiny(tmp_path, store=store, count=6))

    assert row.figures["ops"] == 6
    assert row.figures["turns_per_op"] == 6  # the start, and five results


@pytest.mark.e2e
@pytest.mark.parametrize("name", OVER_HTTP)
def test_scenario_over_http_gives_figures_and_a_floor(name: str, tmp_path: Path) -> None:
    row, _ = run_case(name, tiny(tmp_path))

    assert row.figures["ops"] > 0
    assert row.floor["per_s"] > 0


@pytest.mark.e2e
def test_scenario_with_an_sdk_counts_its_work_items(tmp_path: Path) -> None:
    row, _ = run_case("sdk-chain-5", tiny(tmp_path))

    assert row.figures["workflows"] == 4
    assert row.figures["items_per_workflow"] == 11  # six turns, five activities
    assert row.figures["added_turn_p50_ms"] > 0
    assert row.figures["added_activity_p50_ms"] > 0
    assert {target.figure for target in row.targets} <= set(row.figures)
    assert {"cpu_us_per_item", "cpu_us_per_item_at_pace"} <= set(row.floor)


@pytest.mark.e2e
def test_idle_workers_stay_connected(tmp_path: Path) -> None:
    row, _ = run_case("sdk-idle-streams", tiny(tmp_path))

    assert row.figures["streams"] == 2
    assert {target.figure for target in row.targets} <= set(row.figures)


@pytest.mark.e2e
@needs_redis
@pytest.mark.parametrize("processes", [1, 2])
def test_a_closed_loop_on_redis_counts_what_all_hosts_did(processes: int, tmp_path: Path) -> None:
    case = tiny(tmp_path, store="redis", partitions=4, count=6, processes=processes)

    row, _ = run_case("chain-5", case)

    assert row.figures["ops"] == 6
    assert row.figures["turns_per_op"] == 6
    assert {"turns_per_s", "server_us_per_op"} <= set(row.floor)


@pytest.mark.e2e
@needs_redis
@pytest.mark.parametrize("name", HOSTS)
def test_scenario_of_hosts_gives_figures_and_a_floor(name: str, tmp_path: Path) -> None:
    case = tiny(tmp_path, store="redis", partitions=4, processes=2)

    row, _ = run_case(name, case)

    assert {target.figure for target in row.targets} <= set(row.figures)
    assert row.floor
    assert all(value >= 0 for figure, value in row.figures.items() if "more_" not in figure)


@pytest.mark.parametrize(
    "arguments",
    [
        ["chain-6"],  # no such scenario
        ["host-crash"],  # not on SQLite
        ["chain-5", "--processes", "2"],  # neither
    ],
)
def test_what_cannot_run_is_refused_with_a_reason(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])

    with pytest.raises(SystemExit):
        main()

    assert arguments[-2 if len(arguments) > 1 else 0] in capsys.readouterr().err


def test_help_lists_each_scenario_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--help"])

    with pytest.raises(SystemExit):
        main()

    shown = capsys.readouterr().out
    assert all(f"{name} " in shown and one.says in shown for name, one in SCENARIOS.items())


def test_a_missed_target_is_named() -> None:
    row = Row(
        scenario="x",
        clients=1,
        figures={"per_s": 10.0, "p50_ms": 5.0, "late_p99_ms": 1.0},
        targets=(Target("per_s", 20, at_least=True), Target("p50_ms", 4), Target("late_p99_ms", 2)),
    )

    assert row.misses() == ["per_s 10, wanted >= 20", "p50_ms 5, wanted <= 4"]


def test_tables_show_all_kinds_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    loop = Row(scenario="a-loop", clients=1, figures={"per_s": 10.0}, floor={"per_s": 20.0})
    other = Row(
        scenario="another", clients=1, figures={"events": 3}, targets=(Target("events", 2),)
    )

    print_tables([loop, other], {"commit": "abc"})

    shown = capsys.readouterr().err
    assert "a-loop" in shown
    assert "MISSED" in shown


def test_the_loop_is_probed_beside_each_run() -> None:

    assert asyncio.run(machine.loop_ping_us(pings=10)) > 0
