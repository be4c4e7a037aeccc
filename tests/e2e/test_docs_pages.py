"""docs/actors.md and docs/operations.md are true: their programs and commands run."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actorflow.actors import Limits
from actorflow.server.metrics import HELP
from tests.pages import ROOT, code_blocks, page_text, program_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EXAMPLE = ROOT / "examples" / "order_processing.py"
CARS = '{"Name": "Cars", "TotalCost": 15000, "Quantity": 1}'
DEADLINE_S = 120.0


def run(folder: Path, *arguments: str) -> str:
    """Run Python with these arguments in a folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Server:
    """One `actorflow serve` process with the example on a SQLite file."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.folder = folder
        ready = folder / f"{database.stem}.ready"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "actorflow.server", "serve", "--app", str(EXAMPLE)),
                *("--store", f"sqlite:///{database}", "--http-port", "0"),
                *("--ready-file", str(ready)),
            ],
            cwd=folder,
        )
        end_s = time.monotonic() + DEADLINE_S
        while not ready.exists():
            assert self.process.poll() is None
            assert time.monotonic() < end_s
            time.sleep(0.02)
        self.url: str = json.loads(ready.read_text())["urls"][0]

    def workflow(self, *arguments: str) -> str:
        return run(self.folder, "-m", "actorflow.server", "workflow", *arguments, "--url", self.url)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE_S) == 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path, tmp_path / "orders.db")
    yield started
    started.process.kill()
    started.process.wait()


def test_the_actors_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "accounts.py").write_text(program_of("docs/actors.md"))
    (expected,) = code_blocks("docs/actors.md", "text")
    assert run(tmp_path, "accounts.py") == expected
    again = run(tmp_path, "accounts.py")
    assert "ann: 140\nbob: 60" in again


def test_the_page_names_every_limit_of_the_runtime_with_its_default() -> None:
    rows = [line for line in page_text("docs/actors.md").splitlines() if line.startswith("| `")]
    for field in dataclasses.fields(Limits):
        (row,) = (row for row in rows if f"`{field.name}`" in row)
        default: Any = field.default
        assert re.search(rf"[ ]{default:,g}[; ]|[ ]{default:,}[; ]", row), field.name


def test_the_settings_of_the_page(tmp_path: Path) -> None:
    (block,) = code_blocks("docs/operations.md", "toml")
    (tmp_path / "actorflow.toml").write_text(block)
    arguments = ("config", "--config", "actorflow.toml", "--json")
    shown = json.loads(run(tmp_path, "-m", "actorflow.server", *arguments))
    assert shown["durability"] == {"value": "fsync", "source": "file actorflow.toml"}
    assert shown["graceful-shutdown-seconds"]["value"] == "30"


def test_the_commands_of_the_page(server: Server) -> None:
    server.workflow("start", "OrderProcessingWorkflow", "--id", "order-1", "--input", CARS)
    (block,) = code_blocks("docs/operations.md", "console")
    listing, why, history = re.findall(r"^\$ actorflow workflow (.*)$", block, re.MULTILINE)
    assert "order-1" in server.workflow(*listing.split())
    end_s = time.monotonic() + DEADLINE_S
    while "approval" not in server.workflow(*why.split()):
        assert time.monotonic() < end_s
    assert "RequestApprovalActivity" in server.workflow(*history.split())


def test_a_backup_of_a_running_server_is_a_whole_database(server: Server, tmp_path: Path) -> None:
    server.workflow("start", "OrderProcessingWorkflow", "--id", "order-1", "--input", CARS)
    (tmp_path / "backup.py").write_text(program_of("docs/operations.md"))
    run(tmp_path, "backup.py", "orders.db", "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    server.workflow("terminate", "order-1")
    restored = Server(tmp_path, tmp_path / "copy.db")
    try:
        restored.workflow("raise", "order-1", "approval", "--input", "true")
        restored.workflow("wait", "order-1", "--timeout", "20")
    finally:
        restored.stop()


def test_health_and_metadata_as_on_the_page(server: Server) -> None:
    for path, status in (
        ("/v1.0/healthz", 204),
        ("/v1.0/healthz/outbound", 204),
        ("/v1.0/metadata", 200),
        ("/actorflow/v1/health", 200),
        ("/actorflow/v1/openapi.json", 200),
    ):
        assert path in page_text("docs/operations.md")
        with urllib.request.urlopen(server.url + path, timeout=DEADLINE_S) as answer:
            assert answer.status == status


def test_the_page_lists_the_metrics_that_are_served(server: Server) -> None:
    with urllib.request.urlopen(server.url + "/metrics", timeout=DEADLINE_S) as answer:
        text = answer.read().decode()
    served = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    listed = set(re.findall(r"`(actorflow_\w+)`", page_text("docs/operations.md")))
    assert served == listed
    names = {name.removeprefix("actorflow_").removesuffix("_total") for name in served}
    assert names == set(HELP) | {"http_requests", "grpc_requests"}
