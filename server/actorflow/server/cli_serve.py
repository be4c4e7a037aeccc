"""`actorflow serve` and `actorflow config`: run the server, and show how it would run."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from actorflow.server.cli_client import CliError, Exit
from actorflow.server.config import ConfigError, Loaded, Settings, load_settings, shown
from actorflow.server.options import OPTIONS, Option

_Command = TypeVar("_Command", bound=Callable[..., Any])

LIFELINE_FLAG = "--ends-with-input"
"""Hidden flag of `serve`, for whoever starts it as a part of something else."""

_SERVE_EXAMPLES = """
\b
Examples:
  actorflow serve --app orders.py
  actorflow serve --app shop.orders:app --store sqlite:////var/lib/shop/orders.db
  actorflow serve --app orders.py --store memory: --http-port 0
  ACTORFLOW_API_TOKEN=... actorflow serve --app orders.py --listen-addresses 0.0.0.0

\b
Every option can also be set by a variable (ACTORFLOW_HTTP_PORT for --http-port) or in a TOML file
given by --config (http-port = 3500). A flag beats a variable beats the file. `actorflow config`
shows what is in effect, and why.
"""


def settings_options(command: _Command) -> _Command:
    """Give a click command one option for every setting, and --config."""
    for option in reversed(OPTIONS):
        command = _click_option(option)(command)
    return click.option(
        "--config",
        "config_file",
        metavar="FILE",
        envvar="ACTORFLOW_CONFIG",
        help="TOML file with settings; its keys are the names of these flags.",
    )(command)


def _click_option(option: Option) -> Callable[[_Command], _Command]:
    # Values stay text and absent ones None: `load_settings` reads every source in the same way.
    default = shown(option, Settings())
    shown_help = option.help
    if default != "none":
        shown_help += f" [default: {default}]"
    if option.is_switch:
        return click.option(
            f"{option.flag}/--no-{option.name}", option.field, default=None, help=shown_help
        )
    flags = (option.flag, *option.flag_aliases)
    return click.option(*flags, option.field, metavar=option.metavar, help=shown_help)


def load_given(flags: dict[str, Any]) -> Loaded:
    """Return the settings of a command that has `settings_options`. Raises CliError."""
    config_file = flags.pop("config_file")
    given: dict[str, str] = {}
    for option in OPTIONS:
        value = flags[option.field]
        if value is not None:
            given[option.name] = str(value).lower() if option.is_switch else value
    try:
        return load_settings(given, os.environ, Path(config_file) if config_file else None)
    except ConfigError as err:
        raise CliError(str(err), code=Exit.USAGE) from None


@click.command(epilog=_SERVE_EXAMPLES)
@settings_options
@click.option(LIFELINE_FLAG, "has_lifeline", is_flag=True, hidden=True)
def serve(*, has_lifeline: bool, **flags: Any) -> None:
    """Run the server: workflows, activities and the HTTP API in this process.

    Instances live in a SQLite file and go on where they were after any crash.
    """
    loaded = load_given(flags)
    if has_lifeline:
        from actorflow.server.processes import when_input_ends  # noqa: PLC0415 -- heavy

        when_input_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    for remark in loaded.warnings:
        click.secho("warning: ", fg="yellow", nl=False, err=True)
        click.echo(remark, err=True)
    from actorflow.server.serve import StartUpError, run  # noqa: PLC0415 -- heavy

    try:
        sys.exit(run(loaded.settings))
    except StartUpError as err:
        if loaded.settings.log_level == "debug":
            raise
        raise CliError(str(err), err.mend, Exit.FAILED) from None


@click.command(name="config")
@settings_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show_config(*, as_json: bool, **flags: Any) -> None:
    """Show the effective settings of `serve` and where each comes from; secrets are left out."""
    loaded = load_given(flags)
    rows = [(o.name, shown(o, loaded.settings), loaded.sources[o.name]) for o in OPTIONS]
    if as_json:
        record = {name: {"value": value, "source": source} for name, value, source in rows}
        click.echo(json.dumps(record, indent=2))
        return
    from actorflow.server.cli_show import print_table  # noqa: PLC0415 -- heavy

    print_table(("setting", "value", "source"), rows)
    for remark in loaded.warnings:
        click.echo(f"warning: {remark}", err=True)
