"""P09 on real processes: code that calls os._exit is found out, and others go on."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_cli_serve import Server, actorflow
from tests.servers import Server as RedisServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

APP = Path(__file__).with_name("ends_host_app.py")
INNOCENTS = 5
STEPS = 40
WITHIN_S = 300.0


class Service:
    """A server that is started again whenever it has ended."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._arguments = (*arguments, "--app", str(APP))
        self.starts = 0
        self.server = self._start()

    def _start(self) -> Server:
        self.starts += 1
        log = str(self.folder / "side.log")
        server = Server(self.folder, *self._arguments, ENDS_HOST_LOG=log)
        if self.starts == 1:
            server.wait_until_ready()
        return server

    def look_after(self) -> None:
        """Start the server again if it has ended."""
        if self.server.process.poll() is not None:
            self.server.wait()
            self.server = self._start()

    def start(self, name: str, instance_id: str, *arguments: str) -> None:
        self.server.cli("start", name, "--id", instance_id, *arguments)

    def end_of(self, instance_id: str) -> dict[str, object]:
        """Wait until an instance has ended, or stalled."""
        end_s = time.monotonic() + WITHIN_S
        while time.monotonic() < end_s:
            self.look_after()
            shown = dict(self.shown(instance_id))
            if shown.get("status") in ("COMPLETED", "FAILED", "STALLED"):
                return shown
            time.sleep(0.2)
        raise AssertionError(f"{instance_id} has not ended: {shown}")

    def shown(self, instance_id: str) -> dict[str, object]:
        try:
            if not self.server.url:
                self.server.wait_until_ready()
            return dict(self.server.json("get", instance_id))
        except (AssertionError, ValueError):
            return {}  # it has just ended

    def began(self) -> Counter[str]:
        lines = (self.folder / "side.log").read_text().splitlines()
        return Counter(line.split()[0] for line in lines)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer("redis", folder, {"appendonly": "yes"}) as server:
        yield server


def play(service: Service, name: str) -> None:
    """Start a poisonous instance among others; all of them must end as they should."""
    try:
        others = [f"in-{number}" for number in range(INNOCENTS)]
        for other in others:
            service.start("count", other, "--input", str(STEPS))
        service.start(name, "parent" if name == "parent" else "poison")
        CHECKS[name](service)
        for other in others:
            assert service.end_of(other)["status"] == "COMPLETED"
        assert service.began()["poison"] in range(3, 7)
    finally:
        if service.server.process.poll() is None:
            service.server.end(signal.SIGTERM)


def check_activity(service: Service) -> None:
    shown = service.end_of("poison")
    assert shown["status"] == "FAILED"
    assert "is not run again" in str(shown), shown


def check_turn(service: Service) -> None:
    shown = service.end_of("poison")
    assert shown["status"] == "STALLED"
    assert "hosts were lost while workflow/poison ran" in str(shown), shown


def check_parent(service: Service) -> None:
    shown = service.end_of("parent")
    assert shown["status"] == "COMPLETED"
    assert "hosts were lost while workflow/poison ran" in str(shown), shown


CHECKS = {"poison": check_activity, "poison_turn": check_turn, "parent": check_parent}


@pytest.mark.parametrize("name", CHECKS)
def test_on_sqlite_with_a_supervisor(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path / 'actorflow.db'}"
    service = Service(tmp_path, "--store", url)
    play(service, name)
    assert service.starts - 1 == service.began()["poison"]


@pytest.mark.parametrize("name", CHECKS)
def test_on_redis_with_two_processes(tmp_path: Path, redis_server: RedisServer, name: str) -> None:
    arguments = ("--store", redis_server.url, "--processes", "2", "--partitions", "8")
    service = Service(tmp_path, *arguments)
    play(service, name)
    assert service.starts == 1
    sound = actorflow("fsck", "--store", redis_server.url, "--app", str(APP), cwd=tmp_path)
    if name == "poison":
        assert sound.returncode == 0, sound.stdout + sound.stderr
    else:
        (finding,) = [line for line in sound.stdout.splitlines() if "poison" in line]
        assert "hosts were lost" in finding, sound.stdout + sound.stderr
