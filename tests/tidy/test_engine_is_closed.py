"""The engine takes time, chance and threads in named places only, and never runs data as code."""

from pathlib import Path, PurePath

import pytest

from tests.tidy.foreign import nondeterministic_uses, unsafe_uses
from tests.tidy.sources import ENGINE_LAYERS, LAYERS, python_files, text_of

ALLOWED = {
    # The only source of time, chance and uuids.
    "actors/actorflow/actors/clock.py": ("random.", "time.", "uuid."),
    # Leases are kept beside the event loop, which user code may block.
    "actors/actorflow/actors/keeper.py": ("asyncio.to_thread", "threading."),
    # Adapters may block on a disk or a socket: on a thread of their own.
    "actors/actorflow/actors/store/*/*.py": (
        "asyncio.to_thread",
        "concurrent.futures.",
        "run_in_executor",
        "threading.",
    ),
    # Activities written as plain functions run in a bounded pool of threads.
    "workflow/actorflow/workflow/activity.py": (
        "concurrent.futures.ThreadPoolExecutor",
        "run_in_executor",
    ),
}
"""What a file may use all the same, by the beginnings of full names. Each entry has its reason."""


def allowed_in(path: PurePath) -> tuple[str, ...]:
    """Return the beginnings of the full names that a file may use."""
    return tuple(
        name for pattern, names in ALLOWED.items() if path.match(pattern) for name in names
    )


@pytest.mark.parametrize("path", python_files(*ENGINE_LAYERS), ids=str)
def test_time_chance_and_threads_come_from_outside(path: Path) -> None:
    uses = nondeterministic_uses(text_of(path))
    assert sorted(name for name in uses if not name.startswith(allowed_in(path))) == []


@pytest.mark.parametrize("path", python_files(*LAYERS), ids=str)
def test_data_never_becomes_code(path: Path) -> None:
    assert sorted(unsafe_uses(text_of(path))) == []


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("import time\nnow = time.time()", {"time.time"}),
        ("from time import monotonic as m\nm()", {"time.monotonic"}),
        ("import datetime as dt\ndt.datetime.now()", {"datetime.datetime.now"}),
        ("from datetime import datetime\nf = datetime.utcnow", {"datetime.datetime.utcnow"}),
        ("import random\nrandom.Random()", {"random.Random()"}),
        ("import random\nrandom.Random(7).random()", set()),
        ("import uuid\nuuid.uuid5(uuid.NAMESPACE_URL, 'x')", set()),
        ("import uuid\nuuid.uuid4()", {"uuid.uuid4"}),
        ("import os\nos.urandom(8)", {"os.urandom"}),
        ("loop.run_in_executor(None, f)", {"run_in_executor"}),
        ("import asyncio\nasyncio.to_thread(f)", {"asyncio.to_thread"}),
        ("import concurrent.futures as c\nc.Future()", {"concurrent.futures.Future"}),
        ("def f(time: float) -> float:\n    return time", set()),
    ],
)
def test_uses_are_found_by_their_full_names(source: str, uses: set[str]) -> None:
    assert nondeterministic_uses(source) == uses


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("import pickle", {"pickle"}),
        ("def f():\n    from yaml.loader import Loader", {"yaml.loader"}),
        ("eval('1')", {"eval"}),
        ("re.compile('x')", set()),
    ],
)
def test_unsafe_uses_are_found(source: str, uses: set[str]) -> None:
    assert unsafe_uses(source) == uses
