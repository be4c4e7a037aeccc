"""What is installed: three typed packages in one namespace, beside modules of the user's own."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.tidy.sources import LAYERS, ROOT, python_files

PROGRAM = """
import server
import workflow
from actorflow import actors, server as served, workflow as flows

print(workflow.OWNER, server.OWNER)
for package in (actors, flows, served):
    print(package.__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel offline and unpack it: a pure wheel is installed by unpacking."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("actorflow-*-py3-none-any.whl")
    target = folder / "site-packages"
    zipfile.ZipFile(wheel).extractall(target)
    return target


def test_the_wheel_holds_the_layers_and_nothing_else(installed: Path) -> None:
    expected = {path.relative_to(path.parts[0]).as_posix() for path in python_files(*LAYERS)}
    packed = {path.relative_to(installed).as_posix() for path in installed.rglob("*.py")}
    assert packed == expected


@pytest.mark.parametrize("layer", LAYERS)
def test_the_wheel_ships_type_information(installed: Path, layer: str) -> None:
    assert (installed / "actorflow" / layer / "py.typed").is_file()


def test_the_wheel_carries_licence_and_command(installed: Path) -> None:
    (metadata,) = installed.glob("actorflow-*.dist-info")
    assert (metadata / "licenses" / "LICENSE").is_file()
    assert "actorflow = actorflow.server.cli:main" in (metadata / "entry_points.txt").read_text()


def test_layers_import_beside_a_users_own_workflow_and_server(
    installed: Path, tmp_path: Path
) -> None:
    for name in ("workflow", "server"):
        (tmp_path / f"{name}.py").write_text("OWNER = 'user'\n")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    owners, *files = run.stdout.splitlines()
    assert owners == "user user"
    assert files == [str(installed / "actorflow" / layer / "__init__.py") for layer in LAYERS]
