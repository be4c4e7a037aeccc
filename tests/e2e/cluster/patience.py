"""How much longer things may take on a machine that has more to do than these tests."""

import os


def patience() -> float:
    """Return a factor for limits of time: processes that want a core, for each core, 1 at least."""
    load, _, _ = os.getloadavg()
    return max(1.0, load / (os.cpu_count() or 1))
