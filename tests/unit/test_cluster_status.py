"""`actorflow cluster status`: what is concluded from what a store says, and what is refused.

tests/redis/test_status.py reads real servers, tests/e2e/test_cluster_status.py real hosts.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actorflow.actors.rendezvous import wanted_owner
from actorflow.actors.store.redis.status import ClusterStatus, PartitionStatus
from actorflow.actors.store.sqlite import SqliteStore
from actorflow.actors.transport import Member
from actorflow.server import cli_cluster
from actorflow.server.cli import cli
from actorflow.server.cluster_view import view
from actorflow.server.config import Settings
from actorflow.server.host_info import HostInfo, own_info, read_info

NOW_MS = 1_700_000_000_000
HOSTS = ("host-a", "host-b")


def partition(number: int, owner: str, **changes: Any) -> PartitionStatus:
    found = PartitionStatus(number, f"{owner}/t" if owner else "", NOW_MS, 9_000, 5, 0, 0, 0, 0, 0)
    return found._replace(**changes)


def look(
    *partitions: PartitionStatus, ages_ms: tuple[int, ...] = (100, 200), **infos: HostInfo
) -> dict[str, Any]:
    members = tuple(Member(host, age) for host, age in zip(HOSTS, ages_ms, strict=True))
    status = ClusterStatus("c-1", NOW_MS, members, partitions)
    said = {host: infos.get(host[-1], HostInfo()) for host in HOSTS}
    return view(status, said, unread_max=1_000)


def wanted(number: int) -> str:
    host = wanted_owner(number, HOSTS)
    assert host is not None
    return host


def other(number: int) -> str:
    return HOSTS[1 - HOSTS.index(wanted(number))]


def test_a_cluster_at_rest_has_no_problems() -> None:
    shown = look(*(partition(n, wanted(n)) for n in range(8)))
    assert shown["problems"] == []
    assert {p["state"] for p in shown["partitions"]} == {"owned"}
    assert shown["moves_in_flight"] == 0
    assert sum(host["partitions"] for host in shown["hosts"]) == 8
    assert all(host["partitions"] == host["partitions_wanted"] for host in shown["hosts"])
    assert shown["partitions"][0]["since"] == "2023-11-14T22:13:20.000Z"


def test_each_state_of_a_partition() -> None:
    shown = look(
        partition(0, other(0)),
        partition(1, ""),
        partition(2, "host-z"),
        partition(3, wanted(3), lease_left_ms=0),
    )
    states = [p["state"] for p in shown["partitions"]]
    assert states == ["moving", "free", "orphaned", "expired"]
    assert shown["moves_in_flight"] == 1
    assert shown["partitions"][0]["target"] == wanted(0)
    assert shown["problems"] == [
        "3 of 4 partitions have no living owner: calls for them wait, or get 503"
    ]


def test_a_silent_host_is_a_problem_while_it_has_partitions() -> None:
    shown = look(partition(0, "host-a"), ages_ms=(3_100, 10))
    assert shown["hosts"][0]["state"] == "silent"
    assert "host host-a has been silent for 3.1 s and has 1 partitions" in shown["problems"]
    gone = look(partition(0, "host-b"), ages_ms=(3_100, 10))
    assert gone["hosts"][0]["state"] == "gone"
    assert gone["problems"] == []
    assert gone["partitions"][0]["target"] == "host-b", "the dead have no share"
    nobody = look(partition(0, ""), ages_ms=(3_100, 3_200))
    assert nobody["problems"] == ["no host is up: what is stored waits until one starts"]


def test_what_waits_is_added_up_and_parked_messages_are_named() -> None:
    first = partition(0, wanted(0), messages=5, parked=2, outbox=7)
    shown = look(first, partition(1, wanted(1), unread=1_000, messages=1))
    assert shown["backlog"] == {"waiting": 4, "parked": 2, "inbox": 1_000, "outbox": 7}
    parked, full = shown["problems"]
    assert "2; `actorflow fsck` names them" in parked
    assert "inbox of partition 1" in full


def test_hosts_that_promise_different_things_are_named() -> None:
    a, b = HostInfo(durability="local", version="1"), HostInfo(durability="fsync", version="1")
    shown = look(partition(0, wanted(0)), a=a, b=b)
    assert shown["durability"] == ["fsync", "local"]
    assert shown["problems"] == ["hosts differ in durability: fsync, local"]


def test_last_moves_are_the_highest_epochs() -> None:
    shown = look(*(partition(n, wanted(n), epoch=NOW_MS + n * 1_000) for n in range(9)))
    assert [move["partition"] for move in shown["last_moves"]] == [8, 7, 6, 5, 4]


def test_what_a_host_says_is_read_again_and_nonsense_is_nothing() -> None:
    info = read_info(own_info(Settings(app_id="shop"), version="9", process=2))
    assert (info.app_id, info.version, info.process, info.durability) == ("shop", "9", 2, "local")
    assert info.addresses == ("127.0.0.1:3500",)
    assert read_info(b'{"pid": 7, "of_a_later_release": []}').pid == 7
    for data in (b"", b"\xff\xfe", b"[]", b'{"pid": "x"}'):
        assert read_info(data) == HostInfo()


# ---- the command ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACTORFLOW_STORE", raising=False)


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, ["cluster", "status", *arguments], env=env)


def test_help_has_examples() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "actorflow cluster status --store redis://" in result.stdout
    assert "orphaned" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 2, "set ACTORFLOW_STORE"),
        (("--store", "memory:"), 2, "no cluster in it"),
        (("--store", "sqlite:///no.db"), 2, "one host at a time uses: there is none yet"),
        (("--store", "nonsense"), 2, "redis://HOST:PORT"),
        (("--store", "redis://127.0.0.1:1"), 4, "check that Redis runs"),
    ],
)
def test_what_cannot_be_looked_at(arguments: tuple[str, ...], code: int, text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert text in result.stderr
    assert not Path("no.db").exists()


def test_the_variable_is_enough() -> None:
    result = run(env={"ACTORFLOW_STORE": "redis://me:secret@127.0.0.1:1"})
    assert result.exit_code == 4
    assert "secret" not in result.stderr


def test_a_file_is_one_hosts_and_the_process_is_named() -> None:
    async def main() -> None:
        store = SqliteStore("shop.db")
        await store.open()
        try:
            used = await asyncio.to_thread(run, "--store", "sqlite:///shop.db")
        finally:
            await store.close()
        assert used.exit_code == 2
        assert "already open in this process" in used.stderr

    asyncio.run(main())
    assert "no process has it open now" in run("--store", "sqlite:///shop.db").stderr


def test_a_small_terminal_shows_what_is_notable() -> None:
    shown = look(
        *(partition(n, wanted(n)) for n in range(5)),
        partition(5, ""),
        partition(6, wanted(6), messages=3),
        partition(7, wanted(7)),
    )
    chosen = cli_cluster._notable(shown["partitions"], 2)
    assert [p["partition"] for p in chosen] == [5, 6]


def test_the_report_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    info = HostInfo(machine="m\x1b[31m", pid=77, app_id="shop", durability="local")
    shown = look(partition(0, wanted(0), messages=3), partition(1, ""), a=info)
    cli_cluster._print({"store": "redis://x", **shown}, shown["partitions"])
    text = capsys.readouterr().out
    assert "Durability local: survives kill -9 of anything, not a power cut" in text
    assert "3 wait" in text
    assert "1 of 2 partitions have no living owner" in text
    assert "\x1b[31m/77" not in text
    json.dumps(shown)
