"""`actorflow workflow ...`: what one does with instances of a running server.

Every command is one or two HTTP calls, and prints a table or a line for people, or the server's
JSON with --json.
"""

import functools
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from actorflow.server.cli_client import (
    DAPR,
    DEFAULT_URL,
    OURS,
    Client,
    CliError,
    Exit,
    read_json,
    segment,
    token_from_environment,
)

_Command = TypeVar("_Command", bound=Callable[..., Any])

POLL_S = 2.0
"""How long one long poll of `wait` lasts; between two of them the spinner learns why it waits."""

AWAY_MAX_S = 60.0
"""How long `wait` waits for a server that does not answer."""

AWAY_PAUSE_S = 0.2
PAGE_MAX = 1_000
_TERMINAL = ("COMPLETED", "FAILED", "TERMINATED")
_STATUSES = ("PENDING", "RUNNING", "SUSPENDED", "STALLED", *_TERMINAL)

_WORKFLOW_EPILOG = """
\b
Examples:
  actorflow workflow start OrderProcessingWorkflow --id order-1 \\
      --input '{"Name": "Paperclips", "TotalCost": 99.95, "Quantity": 4}' --wait
  actorflow workflow list --status RUNNING --status SUSPENDED
  actorflow workflow why order-1
  actorflow workflow raise order-1 approval --input true

\b
The server is at --url or ACTORFLOW_URL; its token in ACTORFLOW_API_TOKEN or DAPR_API_TOKEN.
"""


@click.group(epilog=_WORKFLOW_EPILOG)
def workflow() -> None:
    """Start, watch and steer workflow instances of a running server."""


def _connected(command: _Command) -> _Command:
    """Add --url and --json, and pass a Client as first argument."""

    @click.option(
        "--url",
        envvar="ACTORFLOW_URL",
        default=DEFAULT_URL,
        show_default=True,
        metavar="URL",
        help="Where the server is.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @functools.wraps(command)
    def connected(*, url: str, **arguments: Any) -> Any:
        client = Client(url, token_from_environment())
        try:
            return command(client, **arguments)
        finally:
            client.close()

    return connected  # type: ignore[return-value]  # click replaces the function by a Command


def _path(instance_id: str, *rest: str) -> str:
    return "/".join((OURS, "instances", segment(instance_id), *rest))


def _body(**members: object) -> str:
    return json.dumps({key: value for key, value in members.items() if value is not None})


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _done(value: object, text: str, *, as_json: bool) -> None:
    from actorflow.server.cli_show import plain  # noqa: PLC0415 -- heavy

    if as_json:
        _print_json(value)
    else:
        click.echo(plain(text))


@workflow.command()
@click.argument("name")
@click.option("--input", "payload", metavar="JSON|@FILE|-", help="Input of the workflow.")
@click.option("--id", "instance_id", help="Id of the instance; default: a random one.")
@click.option("--at", metavar="TIME", help="Start later, such as 2026-01-31T09:30:00Z.")
@click.option("--wait", "do_wait", is_flag=True, help="Wait for its end, as `wait` does.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Seconds, with --wait.")
@_connected
def start(  # noqa: PLR0913 -- a parameter for each option of the command
    client: Client,
    *,
    name: str,
    payload: str | None,
    instance_id: str | None,
    at: str | None,
    do_wait: bool,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Start a workflow by NAME and print the id of its instance."""
    body = None if payload is None else read_json("--input", payload)
    answer = client.post(
        f"{OURS}/workflows/{segment(name)}/start", body, instanceID=instance_id, scheduledStart=at
    )
    if do_wait:
        _wait(client, answer["instanceID"], timeout_s, as_json=as_json)
    else:
        _done(answer, answer["instanceID"], as_json=as_json)


@workflow.command()
@click.argument("instance_id", metavar="ID")
@_connected
def get(client: Client, *, instance_id: str, as_json: bool) -> None:
    """Show one instance: status, input, output, error, and what it waits for."""
    item = client.get(_path(instance_id))
    _show_instance(client, item, as_json=as_json)


def _show_instance(client: Client, item: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(item)
        return
    from actorflow.server.cli_show import print_instance  # noqa: PLC0415 -- heavy

    reasons = _waiting(client, item["instanceID"])["waiting"] if _is_open(item) else []
    print_instance(item, reasons)


def _is_open(item: dict[str, Any]) -> bool:
    return item["status"] not in _TERMINAL


def _waiting(client: Client, instance_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(_path(instance_id, "waiting"))
    return answer


@workflow.command(name="list")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(_STATUSES), help="Repeatable."
)
@click.option("--name", help="Name of the workflow.")
@click.option("--prefix", help="Beginning of the id.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="At most so many.",
)
@_connected
def list_(
    client: Client,
    *,
    statuses: tuple[str, ...],
    name: str | None,
    prefix: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List instances in order of id."""
    query = {"status": statuses or None, "name": name, "idPrefix": prefix}
    instances: list[dict[str, Any]] = []
    token: str | None = None
    while len(instances) < limit:
        size = min(limit - len(instances), PAGE_MAX)
        page = client.get(f"{OURS}/instances", limit=size, pageToken=token, **query)
        instances += page["instances"]
        token = page.get("nextPageToken")
        if not token:
            break
    if as_json:
        _print_json({"instances": instances, "more": bool(token)})
        return
    from actorflow.server.cli_show import print_instances  # noqa: PLC0415 -- heavy

    print_instances(instances)
    if token:
        click.echo(f"There are more than {limit}; use --limit, or filter.", err=True)


@workflow.command()
@click.argument("instance_id", metavar="ID")
@click.option("--full", is_flag=True, help="Do not cut long payloads.")
@_connected
def history(client: Client, *, instance_id: str, full: bool, as_json: bool) -> None:
    """Show the history of an instance, one event a line."""
    path = _path(instance_id, "history")
    page = client.get(path, limit=PAGE_MAX)
    events = page["events"]
    while page.get("nextIndex") is not None:
        page = client.get(path, limit=PAGE_MAX, start=page["nextIndex"])
        events += page["events"]
    if as_json:
        _print_json({**page, "events": events})
        return
    from actorflow.server.cli_show import print_history  # noqa: PLC0415 -- heavy

    print_history(events, 0, full=full)


@workflow.command()
@click.argument("instance_id", metavar="ID")
@_connected
def why(client: Client, *, instance_id: str, as_json: bool) -> None:
    """Say what an instance waits for."""
    answer = _waiting(client, instance_id)
    if as_json:
        _print_json(answer)
        return
    from actorflow.server.cli_show import print_reasons  # noqa: PLC0415 -- heavy

    print_reasons(answer, answer["waiting"])


@workflow.command(name="raise")
@click.argument("instance_id", metavar="ID")
@click.argument("event")
@click.option("--input", "payload", metavar="JSON|@FILE|-", help="Payload of the event.")
@_connected
def raise_(
    client: Client, *, instance_id: str, event: str, payload: str | None, as_json: bool
) -> None:
    """Raise an EVENT for an instance; it is kept until the workflow waits for it."""
    body = None if payload is None else read_json("--input", payload)
    # The Dapr route: it has everything that is needed here.
    path = f"{DAPR}/{segment(instance_id)}/raiseEvent/{segment(event)}"
    answer = client.post(path, body)
    _done(answer, f"Event {event} accepted by {instance_id}.", as_json=as_json)


@workflow.command()
@click.argument("instance_id", metavar="ID")
@click.option("--reason", help="Kept in the history.")
@_connected
def pause(client: Client, *, instance_id: str, reason: str | None, as_json: bool) -> None:
    """Hold an instance; what happens meanwhile is kept for it."""
    answer = client.post(_path(instance_id, "suspend"), _body(reason=reason))
    _done(answer, f"{instance_id} is paused.", as_json=as_json)


@workflow.command()
@click.argument("instance_id", metavar="ID")
@click.option("--reason", help="Kept in the history.")
@_connected
def resume(client: Client, *, instance_id: str, reason: str | None, as_json: bool) -> None:
    """Let a paused instance go on."""
    answer = client.post(_path(instance_id, "resume"), _body(reason=reason))
    _done(answer, f"{instance_id} goes on.", as_json=as_json)


@workflow.command()
@click.argument("instance_id", metavar="ID")
@click.option("--output", "payload", metavar="JSON|@FILE|-", help="Output of the instance.")
@click.option("--keep-children", is_flag=True, help="Let its child workflows go on.")
@_connected
def terminate(
    client: Client, *, instance_id: str, payload: str | None, keep_children: bool, as_json: bool
) -> None:
    """End an instance and its children."""
    output = None if payload is None else json.loads(read_json("--output", payload))
    body = _body(output=output, recursive=False if keep_children else None)
    answer = client.post(_path(instance_id, "terminate"), body)
    _done(answer, f"{instance_id} is being terminated.", as_json=as_json)


@workflow.command()
@click.argument("instance_id", metavar="ID")
@click.option("--keep-children", is_flag=True, help="Do not delete its child workflows.")
@click.option("--force", is_flag=True, help="Also when it has not ended.")
@_connected
def purge(
    client: Client, *, instance_id: str, keep_children: bool, force: bool, as_json: bool
) -> None:
    """Delete an ended instance and its children for good."""
    body = _body(recursive=False if keep_children else None, force=force or None)
    answer = client.post(_path(instance_id, "purge"), body)
    count = answer["deletedCount"]
    _done(answer, f"Deleted {count} instance{'' if count == 1 else 's'}.", as_json=as_json)


@workflow.command()
@click.argument("instance_id", metavar="ID")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), help="Seconds; default: for ever."
)
@_connected
def wait(client: Client, *, instance_id: str, timeout_s: float | None, as_json: bool) -> None:
    """Wait for the end of an instance.

    Exit code 0 when it completed, 1 when it failed or was terminated, 7 when --timeout is over.
    """
    _wait(client, instance_id, timeout_s, as_json=as_json)


def _wait(client: Client, instance_id: str, timeout_s: float | None, *, as_json: bool) -> None:
    item = _wait_for_end(client, instance_id, timeout_s)
    _show_instance(client, item, as_json=as_json)
    if item["status"] != "COMPLETED":
        sys.exit(Exit.FAILED)


def _wait_for_end(client: Client, instance_id: str, timeout_s: float | None) -> dict[str, Any]:
    from actorflow.server.cli_show import progress  # noqa: PLC0415 -- heavy

    started_s = time.monotonic()
    patience_s = 0.0  # whoever is not there at first is not away
    with progress(f"waiting for {instance_id}") as show:
        while True:
            left_s = math.inf if timeout_s is None else started_s + timeout_s - time.monotonic()
            item = _poll(client, instance_id, left_s, min(patience_s, left_s), show)
            if not _is_open(item):
                return item
            spent_s = time.monotonic() - started_s
            if timeout_s is not None and spent_s >= timeout_s:
                raise CliError(
                    f"{instance_id} is still {item['status']} after {timeout_s:g} s",
                    f"see `actorflow workflow why {instance_id}`",
                    Exit.TIMEOUT,
                )
            show(f"{instance_id} {item['status']} after {spent_s:.0f} s: {item['why']}")
            patience_s = AWAY_MAX_S


def _poll(
    client: Client,
    instance_id: str,
    left_s: float,
    patience_s: float,
    show: Callable[[str], None],
) -> dict[str, Any]:
    """Return the instance when it has ended or the poll is over, and then why it waits.

    Instances outlive the server, so a server that is away is waited for, for `patience_s`.
    """
    from actorflow.server.cli_show import reason_text  # noqa: PLC0415 -- heavy

    path, poll_s = _path(instance_id, "wait"), max(0.0, min(POLL_S, left_s))
    away_until_s = time.monotonic() + patience_s
    while True:
        try:
            item: dict[str, Any] = client.get(path, timeout=f"{poll_s:.3f}s")
            if _is_open(item):
                reasons = _waiting(client, instance_id)["waiting"][:3]
                item["why"] = "; ".join(reason_text(reason, time.time()) for reason in reasons)
        except CliError as err:
            if err.exit_code != Exit.UNREACHABLE or time.monotonic() >= away_until_s:
                raise
            show(f"the server is away, still waiting for {instance_id}")
            time.sleep(AWAY_PAUSE_S)
        else:
            return item


@workflow.command()
@click.argument("instance_id", metavar="ID")
@click.option(
    "--from-event",
    "event_id",
    type=click.IntRange(min=0),
    required=True,
    help="Id of the event to run again; `history` shows the ids.",
)
@click.option("--new-id", help="Id of the new instance; default: a random one.")
@click.option("--input", "payload", metavar="JSON|@FILE|-", help="Another input for that step.")
@_connected
def rerun(
    client: Client,
    *,
    instance_id: str,
    event_id: int,
    new_id: str | None,
    payload: str | None,
    as_json: bool,
) -> None:
    """Start a new instance that repeats an ended one up to an event, and goes on from there."""
    body: dict[str, Any] = {"eventID": event_id}
    if new_id is not None:
        body["newInstanceID"] = new_id
    if payload is not None:
        body["input"] = json.loads(read_json("--input", payload))
    answer = client.post(_path(instance_id, "rerun"), json.dumps(body))
    _done(answer, answer["instanceID"], as_json=as_json)
