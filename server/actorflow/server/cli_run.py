"""`actorflow run`: an application written for Dapr, and the server that it needs, in one terminal.

The server is started when none answers on its ports, and the application once it listens. At
Ctrl-C the application ends first and the server is drained after it, so that results still arrive.
Is this process killed, the server notices and drains.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from actorflow.server.cli_client import CliError, Exit
from actorflow.server.cli_serve import LIFELINE_FLAG, load_given, settings_options
from actorflow.server.config import Settings
from actorflow.server.options import OPTIONS

_Command = TypeVar("_Command", bound=Callable[..., Any])

_RUN_EXAMPLES = """
\b
Examples:
  actorflow run --app-id orders -- python app.py
  actorflow run --app-id orders --store redis://localhost:6379 -- node worker.js
  actorflow run --http-port 0 --grpc-port 0 --store memory: -- go run .

\b
The application finds the server by DAPR_HTTP_PORT, DAPR_GRPC_PORT, DAPR_HTTP_ENDPOINT,
DAPR_GRPC_ENDPOINT, APP_ID, and DAPR_API_TOKEN where a token is configured. Its standard input is
empty, and its exit code is that of this command. Options of `dapr run` that mean nothing here
(--resources-path, --app-protocol and the like) are accepted and ignored.
"""

_VALUES_OF_DAPR = (
    ("--app-protocol", "-P"),
    ("--app-channel-address",),
    ("--app-max-concurrency",),
    ("--app-health-check-path",),
    ("--app-health-probe-interval",),
    ("--app-health-probe-timeout",),
    ("--app-health-threshold",),
    ("--resources-path", "-d"),
    ("--components-path",),
    ("--dapr-internal-grpc-port", "-I"),
    ("--metrics-port", "-M"),
    ("--placement-host-address",),
    ("--scheduler-host-address",),
    ("--profile-port",),
    ("--runtime-path",),
    ("--unix-domain-socket", "-u"),
)
_SWITCHES_OF_DAPR = (
    "--enable-api-logging",
    "--enable-app-health-check",
    "--enable-profiling",
)
_SHORT = {"-a": "app_id", "-H": "http_port", "-G": "grpc_port"}


def _options_of_dapr(command: _Command) -> _Command:
    for flags in _VALUES_OF_DAPR:
        command = click.option(*flags, expose_value=False, multiple=True, hidden=True)(command)
    for flag in _SWITCHES_OF_DAPR:
        command = click.option(flag, is_flag=True, expose_value=False, hidden=True)(command)
    for flag, name in _SHORT.items():
        command = click.option(flag, f"short_{name}", hidden=True)(command)
    return command


@click.command(epilog=_RUN_EXAMPLES)
@settings_options
@_options_of_dapr
@click.option(
    "-p",
    "--app-port",
    type=click.IntRange(1, 65_535),
    metavar="PORT",
    help="Given to the application as APP_PORT; the server never calls it.",
)
@click.argument("words", metavar="-- COMMAND...", nargs=-1, required=True)
def run(*, words: tuple[str, ...], app_port: int | None, **flags: Any) -> None:
    """Run an application written for a Dapr SDK, and the server that it needs.

    Takes every option of `serve`, for the case that the server has to be started.
    """
    for name in _SHORT.values():
        short = flags.pop(f"short_{name}")
        flags[name] = flags.get(name) or short
    if flags["grpc"] is None:
        flags["grpc"] = True  # an SDK without it would wait for ever
    arguments = _serve_arguments(flags)
    settings = load_given(flags).settings
    if shutil.which(words[0]) is None:
        raise CliError(f"no program {words[0]!r} to run", "check the words after --", Exit.USAGE)
    sys.exit(asyncio.run(_run(settings, arguments, words, app_port)))


async def _run(
    settings: Settings, arguments: list[str], words: tuple[str, ...], app_port: int | None
) -> int:
    from actorflow.server.together import Doors, Together, find_server  # noqa: PLC0415 -- heavy

    together = Together(settings.graceful_shutdown_s)
    together.listen()
    with tempfile.TemporaryDirectory(prefix="actorflow-run-") as folder:
        doors: Doors | None = await asyncio.to_thread(find_server, settings)
        if doors is None:
            ready = settings.ready_file or Path(folder) / "ready"
            ready.unlink(missing_ok=True)
            command = (sys.executable, "-m", "actorflow.server", "serve", LIFELINE_FLAG)
            await together.start_server((*command, *arguments, "--ready-file", str(ready)))
            if not await together.wait_for(ready):
                return await together.end_server()
            doors = Doors.told(json.loads(ready.read_text()))
        else:
            click.echo(f"Using the server that answers on {doors.http}.", err=True)
        environ = doors.environ(settings, app_port)
        return await together.run_app(words, {"PYTHONUNBUFFERED": "1", **os.environ, **environ})


def _serve_arguments(flags: dict[str, Any]) -> list[str]:
    """Write the given settings once more, for the server's own command line."""
    arguments: list[str] = []
    if flags["config_file"]:
        arguments += ["--config", flags["config_file"]]
    for option in OPTIONS:
        value = flags[option.field]
        if value is None or option.field == "ready_file":
            continue
        if option.is_switch:
            arguments.append(option.flag if value else f"--no-{option.name}")
        else:
            arguments += [option.flag, value]
    return arguments
