"""`make soak ARGS="faults --minutes 30"`: what takes too long for every change.

L1 to L5 of docs/faults.md. A broken invariant ends a soak with an error; what was measured is
printed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
from pathlib import Path

from tests.e2e.cluster import soak_faults, soak_hot, soak_idle, soak_leaks, soak_seeds

SOAKS = {
    "faults": soak_faults,
    "seeds": soak_seeds,
    "hot": soak_hot,
    "idle": soak_idle,
    "leaks": soak_leaks,
}


def main() -> None:
    """Parse the command line and run one soak."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    commands = parser.add_subparsers(dest="soak", metavar="SOAK", required=True)
    for name, module in SOAKS.items():
        text = module.__doc__ or ""
        module.options(commands.add_parser(name, help=text.partition("\n")[0], description=text))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="actorflow-soak-") as folder:
        asyncio.run(SOAKS[arguments.soak].run(arguments, Path(folder)))


if __name__ == "__main__":
    main()
