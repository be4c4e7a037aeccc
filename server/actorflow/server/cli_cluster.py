"""`actorflow cluster status`: looks at the hosts and partitions of a cluster, in its store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from actorflow.actors.errors import (
    ActorflowError,
    StoreInUseError,
    StoreUnavailableError,
    UsageError,
)
from actorflow.server.cli_client import CliError, Exit
from actorflow.server.cli_show import age, plain, print_table, short
from actorflow.server.cli_store import StoreType
from actorflow.server.cluster_view import QUIET, view
from actorflow.server.host_info import read_info
from actorflow.server.options import SURVIVES, StoreUrl
from actorflow.server.stores import StartUpError, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actorflow.actors.store.redis import RedisStore

WATCH_S = 1.0
"""Pause between two looks of --watch."""

LINES_MIN = 5
"""Partitions that --watch shows at least, however small the terminal."""

HOST_CHARS = 8
"""How much of a host's id is shown to people."""

_STYLES = {
    "up": "green",
    "silent": "bold red",
    "gone": "dim",
    "owned": "",
    "moving": "yellow",
    "free": "bold red",
    "orphaned": "bold red",
    "expired": "bold red",
}

_BACKLOG = {"waiting": "wait", "inbox": "unread", "outbox": "unsent", "parked": "parked"}

_EPILOG = """
\b
A host is one process of `actorflow serve`: up, silent for 3 s or more with partitions that are not
taken over yet, or gone. Partitions are
  owned     where they should be
  moving    to another host; each host moves at most four at once
  free      without an owner; orphaned or expired: their owner is silent

\b
Of the backlog, messages wait until their actor or activity has done with them, letters are unread
in the inbox of a partition, messages for other partitions are unsent, and what failed too often is
parked: `actorflow fsck` names it.

\b
Exit codes: 0 the cluster could be read, also when something is wrong with it; 2 wrong usage, or
no cluster in that store; 4 the store cannot be reached.

\b
Examples:
  actorflow cluster status --store redis://cache:6379
  actorflow cluster status --watch                     (with ACTORFLOW_STORE set)
  actorflow cluster status --json | jq '.problems'
"""


@click.group()
def cluster() -> None:
    """Look at the hosts that share a Redis store."""


@cluster.command(epilog=_EPILOG)
@click.option(
    "--store",
    type=StoreType(),
    envvar="ACTORFLOW_STORE",
    help="The store of the hosts, such as redis://HOST:PORT. Put a URL with a password into "
    "ACTORFLOW_STORE.",
)
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="For programs; with --watch a line a look.")
def status(*, store: StoreUrl | None, watch: bool, as_json: bool) -> None:
    """Show hosts, partitions and their owners, moves, and what waits. Changes nothing."""
    url = _checked(store)
    # What the adapter warns of concerns those who run hosts on this store.
    logging.getLogger("actorflow.actors.store").setLevel(logging.ERROR)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch(url, as_json=as_json) if watch else _once(url, as_json=as_json))


def _checked(url: StoreUrl | None) -> StoreUrl:
    if url is None:
        raise CliError(
            "which store?", "say --store redis://HOST:PORT, or set ACTORFLOW_STORE", Exit.USAGE
        )
    if url.is_shared:
        return url
    if url.path is None:
        raise CliError(
            "--store memory: is one server's own, there is no cluster in it", code=Exit.USAGE
        )
    raise CliError(
        f"--store {url} is a file, which one host at a time uses: {_user_of(url)}",
        "look at that server instead: `actorflow workflow list`, GET /actorflow/v1/health and "
        "/metrics; a cluster needs a Redis store",
        Exit.USAGE,
    )


def _user_of(url: StoreUrl) -> str:
    from actorflow.actors.store.sqlite.lock import FileLock  # noqa: PLC0415 -- rarely used

    assert url.path is not None
    if not url.path.is_file():
        return "there is none yet"
    lock = FileLock(url.path)
    try:
        lock.acquire()
    except StoreInUseError as err:
        return str(err).partition(";")[0]
    except StoreUnavailableError as err:
        return str(err)
    lock.release()
    return "no process has it open now"


async def _once(url: StoreUrl, *, as_json: bool) -> None:
    store = await _open(url)
    try:
        record = await _look(url, store)
    except ActorflowError as err:
        raise CliError(f"{url}: {err}", code=Exit.UNREACHABLE) from None
    finally:
        await store.close()
    if as_json:
        click.echo(json.dumps(record, indent=2))
    else:
        _print(record, record["partitions"])


async def _watch(url: StoreUrl, *, as_json: bool) -> None:
    """Look again and again. A store that is away for a while is waited for."""
    store = await _open(url)
    try:
        while True:
            problem, record = "", None
            try:
                record = await _look(url, store)
            except ActorflowError as err:
                problem = f"{url}: {err}"
            if as_json:
                click.echo(json.dumps(record or {"store": str(url), "problems": [problem]}))
            else:
                _show_again(record, problem)
            await asyncio.sleep(WATCH_S)
    finally:
        await store.close()


async def _open(url: StoreUrl) -> RedisStore:
    from actorflow.actors.store.redis import RedisStore  # noqa: PLC0415 -- heavy

    try:
        found = await open_store(url)
    except StartUpError as err:
        cause = err.__cause__
        if isinstance(cause, UsageError):
            raise CliError(
                f"there is no cluster in {url}: {cause}",
                "start a host on it (`actorflow serve --store ...`), or check the URL: its host, "
                "its database number and its namespace",
                Exit.USAGE,
            ) from None
        raise CliError(str(err), err.mend, Exit.UNREACHABLE) from None
    assert isinstance(found.store, RedisStore)
    return found.store


async def _look(url: StoreUrl, store: RedisStore) -> dict[str, Any]:
    from actorflow.actors.store.redis.status import UNREAD_MAX, cluster_status  # noqa: PLC0415

    found = await cluster_status(store)
    infos = {member.host: read_info(member.info) for member in found.members}
    return {"store": str(url), **view(found, infos, unread_max=UNREAD_MAX)}


# ---- for people ----------------------------------------------------------------------------------


def _show_again(record: dict[str, Any] | None, problem: str) -> None:
    if sys.stdout.isatty():
        click.clear()
    click.secho(f"{datetime.now(UTC):%H:%M:%S}Z  Ctrl-C ends", dim=True)
    if record is None:
        click.secho(plain(problem), fg="red")
        return
    height = shutil.get_terminal_size().lines if sys.stdout.isatty() else sys.maxsize
    used = 13 + len(record["hosts"]) + 2 * len(record["problems"])
    _print(record, _notable(record["partitions"], max(LINES_MIN, height - used)))


def _notable(partitions: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Return what fits, in order, those first where something happens."""

    def rank(partition: dict[str, Any]) -> tuple[bool, int]:
        work = sum(partition[name] for name in _BACKLOG)
        return partition["state"] == QUIET, -work

    chosen = sorted(partitions, key=rank)[:most]
    return sorted(chosen, key=lambda partition: int(partition["partition"]))


def _print(record: Mapping[str, Any], partitions: Sequence[Mapping[str, Any]]) -> None:
    now_s = time.time()
    levels = ", ".join(
        f"{level}: survives {SURVIVES[level]}" if level in SURVIVES else level
        for level in record["durability"]
    )
    click.echo(f"Cluster {plain(record['cluster_id'])} in {record['store']}")
    click.echo(f"Durability {plain(levels)}\n" if levels else "")
    names = {host["host"]: host["host"][:HOST_CHARS] for host in record["hosts"]}
    if record["hosts"]:
        _print_hosts(record["hosts"], now_s)
        click.echo()
    _print_partitions(partitions, names, now_s)
    hidden = len(record["partitions"]) - len(partitions)
    if hidden:
        click.echo(f"... and {hidden} more, of which there is less to tell")
    _print_summary(record, names, now_s)


def _print_hosts(hosts: Sequence[Mapping[str, Any]], now_s: float) -> None:
    rows = [
        (
            host["host"][:HOST_CHARS],
            host["state"],
            f"{host['heartbeat_age_ms'] / 1e3:.1f} s ago",
            age(host["since"], now_s),
            f"{short(host['machine'], 24)}/{host['pid']}" if host["pid"] else "",
            short(host["app_id"], 20),
            short(", ".join(host["addresses"]), 24),
            f"{host['partitions']} of {host['partitions_wanted']}",
        )
        for host in hosts
    ]
    headings = ("host", "state", "heartbeat", "up for", "process", "app", "listens on", "has")
    print_table(headings, rows, styles=_style)


def _print_partitions(
    partitions: Sequence[Mapping[str, Any]], names: Mapping[str, str], now_s: float
) -> None:
    rows = [
        (
            str(p["partition"]),
            p["state"],
            _name(p["owner"], names),
            _name(p["target"], names) if p["target"] != p["owner"] else "",
            age(p["since"], now_s),
            str(p["epoch"]),
            f"{p['lease_left_ms'] / 1e3:.1f} s" if p["owner"] else "",
            f"{p['commits']:,}",
            ", ".join(f"{p[name]:,} {word}" for name, word in _BACKLOG.items() if p[name]),
        )
        for p in partitions
    ]
    headings = ("part", "state", "owner", "moves to", "for", "epoch", "lease", "commits", "backlog")
    print_table(headings, rows, styles=_style)


def _print_summary(record: Mapping[str, Any], names: Mapping[str, str], now_s: float) -> None:
    backlog = record["backlog"]
    sums = ", ".join(f"{backlog[name]:,} {word}" for name, word in _BACKLOG.items())
    click.echo(f"\nBacklog: {sums}.")
    moved: dict[str, list[str]] = {}
    for move in record["last_moves"]:
        place = f"to {_name(move['to'], names)} {age(move['at'], now_s)} ago"
        moved.setdefault(place, []).append(str(move["partition"]))
    last = "; ".join(f"{', '.join(numbers)} {place}" for place, numbers in moved.items())
    click.echo(f"Moves: {record['moves_in_flight']} to be done. Last: {plain(last) or 'none'}.")
    for problem in record["problems"]:
        click.secho(plain(problem), fg="red")


def _name(host: str, names: Mapping[str, str]) -> str:
    return names.get(host, host[:HOST_CHARS])


def _style(column: int, cell: str) -> str:
    return _STYLES.get(cell, "") if column == 1 else ""
