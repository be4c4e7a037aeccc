"""The command `actorflow`. It imports what the given command needs, and nothing else.

`workflow get` must feel instant: no event loop, engine or web server is loaded for it.
"""

import importlib

import click
from typing_extensions import override

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_COMMANDS = {
    "cluster": ("actorflow.server.cli_cluster", "cluster"),
    "config": ("actorflow.server.cli_serve", "show_config"),
    "export": ("actorflow.server.cli_store", "export_command"),
    "fsck": ("actorflow.server.cli_store", "fsck"),
    "import": ("actorflow.server.cli_store", "import_command"),
    "run": ("actorflow.server.cli_run", "run"),
    "serve": ("actorflow.server.cli_serve", "serve"),
    "workflow": ("actorflow.server.cli_workflow", "workflow"),
}

_EXIT_CODES = """
\b
Exit codes: 0 ok; 1 failed (also: the workflow failed); 2 wrong usage; 3 no such instance;
4 server not reachable; 5 token refused; 6 conflict (id taken, not ended); 7 wait timed out.
"""


class _LazyGroup(click.Group):
    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_LazyGroup, context_settings=_CONTEXT, epilog=_EXIT_CODES)
@click.version_option(package_name="actorflow", message="actorflow %(version)s")
def cli() -> None:
    """Durable workflows on virtual actors, behind the Dapr Workflow API."""


def main() -> None:
    """Entry point of the command `actorflow`."""
    cli(prog_name="actorflow")
