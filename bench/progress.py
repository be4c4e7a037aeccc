"""Says on standard error what a long run is doing."""

from __future__ import annotations

import sys
import time

_BEGUN_S = time.monotonic()


def say(text: str) -> None:
    """Print a line with the seconds since this process began."""
    print(f"{time.monotonic() - _BEGUN_S:7.1f} s  {text}", file=sys.stderr, flush=True)
