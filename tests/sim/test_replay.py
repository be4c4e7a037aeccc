"""A seed says all: the same run in another process, whose sets have another order, is the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_PROGRAM = """
import sys
from tests.sim import loop
from tests.sim.{module} import {names}

steps, run_once = [], loop.SimLoop._run_once
def noted(self):
    run_once(self)
    steps.append((self.callbacks, self.time()))
loop.SimLoop._run_once = noted
print({play}, len(steps), steps[-1])
"""


def _run(program: str, hash_seed: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    ("module", "names", "play"),
    [
        ("test_remote_cluster", "play, host_trouble", "play(1, host_trouble, places=(0, 1, None))"),
        ("test_remote_cluster", "play, worker_trouble", "play(1, worker_trouble)"),
        ("test_cluster_ledger", "play, crashes", "play(1, crashes)"),
    ],
)
def test_a_seed_replays(module: str, names: str, play: str) -> None:
    program = _PROGRAM.format(module=module, names=names, play=play)
    seen = {_run(program, hash_seed) for hash_seed in ("1", "2", "3")}
    assert len(seen) == 1, seen
