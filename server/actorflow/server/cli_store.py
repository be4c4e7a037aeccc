"""`actorflow fsck`, `export` and `import`: work on a store itself, not by way of a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn, TypeVar

import click

from actorflow.actors.clock import SystemClock, SystemIds
from actorflow.actors.errors import ActorflowError, StoreInUseError
from actorflow.server.cli_client import CliError, Exit
from actorflow.server.cli_show import plain
from actorflow.server.options import DEFAULT_STORE, StoreUrl, parse_store
from actorflow.server.stores import Found, StartUpError, open_store
from actorflow.workflow.archive import Selection, export_instances
from actorflow.workflow.archive_import import Importer
from actorflow.workflow.events import Status
from actorflow.workflow.fsck import Fsck, Report
from actorflow.workflow.offline import OfflineStore
from actorflow.workflow.unpark import Wanted
from actorflow.workflow.unpark import unpark as unpark_some

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from actorflow.workflow.archive import Count
    from actorflow.workflow.fsck_rows import Parked
    from actorflow.workflow.fsck_rules import Finding
    from actorflow.workflow.registry import Registry

T = TypeVar("T")

FINDINGS_SHOWN = 200
"""Findings of one check that are printed for a person; --json has all."""

PROGRESS_STEP = 1_000
"""Instances between two signs of progress."""

_FSCK_TEXT = """
\b
Exit codes: 0 nothing is wrong; 1 something was found; 2 the store cannot be read.

\b
Examples:
  actorflow fsck --store sqlite:///orders.db
  actorflow fsck --store redis://cache:6379 --app orders.py --json
  actorflow fsck --store sqlite:///orders.db --repair       (the server must be stopped)
  actorflow fsck --store redis://cache:6379 --unpark-instance order-7        (hosts may run)
"""


class StoreType(click.ParamType[StoreUrl]):
    """The URL of a store, as an option of a command."""

    name = "URL"

    def convert(
        self, value: str | StoreUrl, param: click.Parameter | None, ctx: click.Context | None
    ) -> StoreUrl:
        """See `click.ParamType`."""
        if isinstance(value, StoreUrl):
            return value
        try:
            return parse_store(value)
        except ValueError as err:
            self.fail(f"allowed: {err}", param, ctx)


_store_option = click.option(
    "--store",
    type=StoreType(),
    default=str(DEFAULT_STORE),
    show_default=True,
    envvar="ACTORFLOW_STORE",
    help="The store, as for `serve`. Put a URL with a password into ACTORFLOW_STORE.",
)


# ---- fsck ----------------------------------------------------------------------------------------


@click.command(epilog=_FSCK_TEXT)
@_store_option
@click.option(
    "--app",
    metavar="FILE_OR_MODULE[:NAME]",
    help="Your workflows. With them timers are judged exactly, and instances are named whose "
    "history your code does not fit.",
)
@click.option("--repair", is_flag=True, help="Repair what can be repaired; all hosts must be down.")
@click.option("--unpark", is_flag=True, help="With --repair: deliver parked messages once more.")
@click.option(
    "--unpark-instance",
    metavar="ID",
    help="Check nothing, but deliver the parked messages of one instance once more. Hosts may run: "
    "the partition is taken from its host for a moment. (SQLite: with the server stopped.)",
)
@click.option(
    "--unpark-message",
    nargs=2,
    type=int,
    metavar="PARTITION MESSAGE",
    help="The same for one message, by the numbers that a check prints.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def fsck(  # noqa: PLR0913 -- the options of one command
    *,
    store: StoreUrl,
    app: str | None,
    repair: bool,
    unpark: bool,
    unpark_instance: str | None,
    unpark_message: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Check a store: is every history whole, and will everything that waits go on?

    Works while hosts run, and changes nothing unless --repair is given. A SQLite file that a server
    has open is copied first, and the copy is checked.
    """
    if unpark_instance or unpark_message:
        if repair or unpark or app or (unpark_instance and unpark_message):
            raise CliError(
                "--unpark-instance and --unpark-message go with --store and --json alone",
                code=Exit.USAGE,
            )
        wanted = Wanted(unpark_instance or "", *(unpark_message or ()))
        _show_unparked(_run(_unpark(store, wanted), Exit.USAGE), as_json=as_json)
    if unpark and not repair:
        raise CliError("--unpark changes the store: say --repair as well", code=Exit.USAGE)
    registry = _registry(app)
    with _Progress("looked at", quiet=as_json) as progress:
        report, treated = _run(_fsck(store, registry, progress.show, repair, unpark), Exit.USAGE)
    if as_json:
        click.echo(json.dumps(_as_json(report, treated), indent=2))
    else:
        _print_report(report, treated)
    sys.exit(Exit.OK if report.is_clean else Exit.FAILED)


async def _unpark(url: StoreUrl, wanted: Wanted) -> list[Parked]:
    async with _opened(url) as found:
        return await unpark_some(found.store, found.partition_count, SystemIds(), wanted)


def _show_unparked(found: list[Parked], *, as_json: bool) -> NoReturn:
    if as_json:
        rows = [
            {"partition": partition, "message": row.id, "method": row.method, "reason": row.parked}
            for partition, row in found
        ]
        click.echo(json.dumps({"unparked": rows}, indent=2))
    else:
        for partition, row in found:
            click.echo(
                plain(
                    f"delivered once more: message {row.id} in partition {partition}, "
                    f"{row.method!r} for {row.target.key} (was parked: {row.parked})"
                )
            )
        if not found:
            click.echo("nothing like that is parked", err=True)
    sys.exit(Exit.OK if found else Exit.FAILED)


async def _fsck(
    url: StoreUrl,
    registry: Registry | None,
    progress: Callable[[int], None],
    repair: bool,
    unpark: bool,
) -> tuple[Report, list[Finding]]:
    async with _opened(url, copy_if_used=not repair) as found:
        check = Fsck(
            found.store,
            found.partition_count,
            registry=registry,
            is_live=url.is_shared and not repair,
            progress=progress,
        )
        if not repair:
            return await check.check(), []
        async with OfflineStore(found.store, found.partition_count, SystemIds()) as owned:
            before = await check.check()
            treated = await check.repair(before, owned, unpark=unpark)
            return await check.check(), treated


@contextlib.asynccontextmanager
async def _opened(
    url: StoreUrl, *, found: bool = False, copy_if_used: bool = False
) -> AsyncIterator[Found]:
    with contextlib.ExitStack() as stack:
        try:
            opened = await open_store(url, found=found)
        except StartUpError as err:
            if not (copy_if_used and url.path and isinstance(err.__cause__, StoreInUseError)):
                raise
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="actorflow-"))
            opened = await open_store(await asyncio.to_thread(_copy, url.path, Path(folder)))
            click.echo("The store is in use: this is a copy of it as it was now.", err=True)
        try:
            yield opened
        finally:
            await opened.store.close()


def _copy(path: Path, folder: Path) -> StoreUrl:
    from actorflow.actors.store.sqlite.snapshot import copy_database  # noqa: PLC0415 -- rarely used

    copy = folder / path.name
    copy_database(path, copy)
    return StoreUrl("sqlite", copy)


def _registry(app: str | None) -> Registry | None:
    if app is None:
        return None
    from actorflow.server.loader import AppLoadError, load_app  # noqa: PLC0415 -- only if wanted

    try:
        return load_app(app)
    except AppLoadError as err:
        raise CliError(f"cannot load --app {app}: {err}", code=Exit.USAGE) from None


def _as_json(report: Report, treated: list[Finding]) -> dict[str, object]:
    return {
        "clean": report.is_clean,
        "partitions": report.partitions,
        "instances": report.instances,
        "open_instances": report.open_instances,
        "events": report.events,
        "messages": report.messages,
        "reminders": report.reminders,
        "on_links": report.on_links,
        "findings": [finding._asdict() for finding in report.findings],
        "findings_not_listed": report.dropped,
        "repaired": [finding._asdict() for finding in treated],
    }


def _print_report(report: Report, treated: list[Finding]) -> None:
    for finding in treated:
        click.echo(plain(f"repaired  {finding.subject}: {finding.detail}; {finding.cure}"))
    for finding in report.findings[:FINDINGS_SHOWN]:
        label = "note" if finding.is_note else finding.code
        colour = "cyan" if finding.is_note else "red"
        click.secho(f"{label:<10}", fg=colour, nl=False)
        click.echo(plain(f"{finding.subject}: {finding.detail}"))
    hidden = len(report.findings) - FINDINGS_SHOWN + report.dropped
    if hidden > 0:
        click.echo(f"... and {hidden:,} more; --json lists them")
    click.echo(
        f"{report.instances:,} instances ({report.open_instances:,} open) with {report.events:,} "
        f"events, {report.messages:,} messages, {report.on_links:,} on links, "
        f"{report.reminders:,} reminders, {report.partitions:,} partitions."
    )
    count = len(report.faults) + report.dropped
    if report.is_clean:
        click.secho("Nothing is wrong.", fg="green")
        return
    curable = sum(bool(finding.cure) for finding in report.faults)
    advice = f"; --repair would treat {curable:,}" if curable and not treated else ""
    click.secho(f"{count:,} things are wrong{advice}.", fg="red")


# ---- export and import ---------------------------------------------------------------------------


@click.command(name="export")
@_store_option
@click.argument("file", metavar="FILE")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([s.value for s in Status if s is not Status.CONTINUED_AS_NEW]),
    help="Only instances in this status; may be given several times.",
)
@click.option("--prefix", default="", metavar="TEXT", help="Only ids that begin with this.")
@click.option(
    "--live",
    is_flag=True,
    help="Do not insist that all hosts are down. Each instance is then whole, but what one sent to "
    "another may be there twice or not at all: good enough to look at, not to go on with.",
)
def export_command(
    *, store: StoreUrl, file: str, statuses: tuple[str, ...], prefix: str, live: bool
) -> None:
    """Write instances to FILE, one JSON line each; - is standard output.

    Running ones go on after `actorflow import`. Do not start the old store again after that, or
    their work is done twice.
    """
    selection = Selection(statuses, prefix)
    with _Progress("exported") as progress, _written(file) as out:
        count = _run(_export(store, selection, out, progress.show, live=live))
    _say_count("Exported", count)


async def _export(
    url: StoreUrl,
    selection: Selection,
    out: BinaryIO,
    progress: Callable[[int], None],
    *,
    live: bool,
) -> Count:
    async with contextlib.AsyncExitStack() as stack:
        found = await stack.enter_async_context(_opened(url, copy_if_used=live))
        if not live:
            owned = OfflineStore(found.store, found.partition_count, SystemIds())
            await stack.enter_async_context(owned)
        return await export_instances(
            found.store,
            found.partition_count,
            out.write,
            SystemClock(),
            selection=selection,
            progress=progress,
        )


@click.command(name="import")
@click.argument("file", metavar="FILE")
@_store_option
@click.option(
    "--skip-existing", is_flag=True, help="Leave instances alone that are in the store already."
)
def import_command(*, file: str, store: StoreUrl, skip_existing: bool) -> None:
    """Read instances from FILE into a store; - is standard input. All hosts must be down.

    An import that was cut off can be repeated with --skip-existing.
    """
    with _Progress("imported") as progress, _read(file) as lines:
        count = _run(_import(store, lines, progress.show, skip_existing=skip_existing))
    _say_count("Imported", count)


async def _import(
    url: StoreUrl, lines: BinaryIO, progress: Callable[[int], None], *, skip_existing: bool
) -> Count:
    async with (
        _opened(url, found=True) as found,
        OfflineStore(found.store, found.partition_count, SystemIds()) as owned,
    ):
        return await Importer(owned, skip_existing=skip_existing, progress=progress).read(lines)


@contextlib.contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    """Write to a draft, so that the file is whole or not there."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as out:
            yield out
        draft.replace(path)
    except OSError as err:
        raise CliError(f"cannot write {file}: {err.strerror}", code=Exit.USAGE) from None
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _read(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        lines = Path(file).open("rb")  # noqa: SIM115 -- closed below; only opening it may be refused
    except OSError as err:
        raise CliError(f"cannot read {file}: {err.strerror}", code=Exit.USAGE) from None
    with lines:
        yield lines


def _say_count(what: str, count: Count) -> None:
    skipped = f", {count.skipped:,} were there already" if count.skipped else ""
    click.echo(
        f"{what} {count.instances:,} instances with {count.messages:,} messages and "
        f"{count.reminders:,} reminders{skipped}.",
        err=True,
    )


# ---- both ----------------------------------------------------------------------------------------


class _Progress:
    """A number on the terminal that grows; nothing where there is no terminal."""

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        self._what = what
        self._is_shown = sys.stderr.isatty() and not quiet
        self._next = PROGRESS_STEP

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown and self._next > PROGRESS_STEP:
            click.echo("\r\x1b[K", nl=False, err=True)

    def show(self, count: int) -> None:
        """Show the number of instances, now and then."""
        if self._is_shown and count >= self._next:
            click.echo(f"\r{self._what} {count:,} instances ...", nl=False, err=True)
            self._next = count + PROGRESS_STEP


def _run(work: Coroutine[object, object, T], code: Exit = Exit.FAILED) -> T:
    # What the adapter warns of concerns those who run hosts on this store.
    logging.getLogger("actorflow.actors.store").setLevel(logging.ERROR)
    try:
        return asyncio.run(work)
    except StartUpError as err:
        raise CliError(str(err), err.mend, code) from None
    except ActorflowError as err:
        raise CliError(str(err), code=code) from None
