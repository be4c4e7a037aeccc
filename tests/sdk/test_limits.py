"""Limits on what runs at once, over three hosts on one Redis with SDK workers on two of them.

They hold while no host comes or goes: what was seen while one did proves nothing, and is played
again.
"""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import servers
from tests.sdk.lines import LINES
from tests.sdk.stand import Server, new_program

if TYPE_CHECKING:
    from tests.sdk.program import Program

pytestmark = [pytest.mark.sdk, pytest.mark.e2e, pytest.mark.timeout(600)]

PYTHON = LINES[0]
HOSTS = 3
INSTANCES = 2
WIDTH = 20
"""Activities of an instance: most of them are spread over the partitions of all hosts."""

REACH_S = 120.0
ROUNDS_MAX = 5


class Cluster:
    """Three hosts with the same limits, and a worker at the first and at the last one."""

    def __init__(self, folder: Path, store: str, *limits: str) -> None:
        self._folder = folder
        self._store = store
        where = ("--store", store, "--partitions", "16", *limits)
        self.hosts = [Server(folder, f"host{number}", *where) for number in range(HOSTS)]
        self.workers: list[Program] = []

    def start(self) -> None:
        """Start everything and wait until the hosts have shared the partitions."""
        for host in self.hosts:
            host.start()
        self.workers = [new_program(PYTHON, host) for host in (self.hosts[0], self.hosts[-1])]
        end_s = time.monotonic() + REACH_S
        while not self.is_balanced():
            assert time.monotonic() < end_s, self.status()
            time.sleep(0.2)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        for host in self.hosts:
            host.kill()

    def status(self) -> dict[str, Any]:
        """Return what `actorflow cluster status` says."""
        command = (sys.executable, "-m", "actorflow.server", "cluster", "status", "--json")
        done = subprocess.run(
            [*command, "--store", self._store], cwd=self._folder, capture_output=True, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def is_balanced(self) -> bool:
        status = self.status()
        states = {partition["state"] for partition in status["partitions"]}
        return len(status["hosts"]) == HOSTS and states == {"owned"}

    def moves(self) -> Any:
        """Return what changes when a host comes or goes."""
        status = self.status()
        return status["last_moves"], [host["host"] for host in status["hosts"]]

    def most_at_once(self, since_s: float) -> int:
        """Return how many activities ran at once at most; all workers have the same clock."""
        told = [one for worker in self.workers for one in worker.told_in_order("begin", "end")]
        steps = sorted(
            (one["at"], 1 if one["event"] == "begin" else -1) for one in told if one["at"] > since_s
        )
        return max(itertools.accumulate(step for _, step in steps))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    PYTHON.installed()
    with servers.Server("redis", tmp_path / "redis") as redis:
        yield redis.url


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (("--global-max-concurrent-activity-invocations", "3"), 3),
        (("--activity-concurrency-limits", "slow=2"), 2),
    ],
    ids=["all", "by name"],
)
def test_workers_of_several_hosts_share_a_limit(
    limits: tuple[str, str], most: int, store: str, tmp_path: Path
) -> None:
    cluster = Cluster(tmp_path, store, *limits)
    try:
        cluster.start()
        for round_number in range(ROUNDS_MAX):
            before, since_s = cluster.moves(), time.monotonic()
            _play(cluster, round_number)
            # In the first round the hosts may still hear of each other.
            if round_number and cluster.moves() == before:
                assert cluster.most_at_once(since_s) <= most
                assert all(worker.told("begin") for worker in cluster.workers)
                return
        raise AssertionError("hosts come and go all the time")
    finally:
        cluster.close()


def _play(cluster: Cluster, round_number: int) -> None:
    names = [f"spread-{round_number}-{number}" for number in range(INSTANCES)]
    body = json.dumps({"count": WIDTH, "seconds": 0.3})
    for number, name in enumerate(names):
        host = cluster.hosts[number % HOSTS]
        host.post(f"/v1.0/workflows/dapr/spread/start?instanceID={name}", body)
    for name in names:
        url = f"/actorflow/v1/instances/{name}/wait?timeout={REACH_S:g}"
        assert cluster.hosts[0].get(url)["status"] == "COMPLETED"
