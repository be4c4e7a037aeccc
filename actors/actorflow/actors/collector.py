"""Settings of Python's garbage collector for a process whose work is actors."""

import gc

THRESHOLDS = (2_000, 10, 20)
"""New objects before a look at the young ones, and looks before one at older generations."""


def calm_collector() -> None:
    """Let the collector look less often, and never again at what is in memory now.

    Live actors are many, live long and are let go without cycles, so that looking at all of them
    finds nothing and stops the event loop: for 90 ms while 10,000 workflow instances start
    (docs/adr/0004). Call it once, when everything is imported. It changes the whole process: the
    server does it, a program that embeds the engine decides for itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
