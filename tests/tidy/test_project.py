"""The project file, the lock files and the code agree with each other."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.tidy.sources import ENGINE_LAYERS, ROOT, python_files, text_of, tree_of

PROJECT: dict[str, Any] = tomllib.loads(text_of(Path("pyproject.toml")))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]

LOCKS = {
    "requirements/run.txt": [*PROJECT["project"]["dependencies"]],
    "requirements/grpc.txt": [*PROJECT["project"]["dependencies"], *EXTRAS["grpc"]],
    "requirements/test.txt": [*PROJECT["project"]["dependencies"], *EXTRAS["test"]],
    "requirements/dev.txt": [
        *PROJECT["project"]["dependencies"],
        *EXTRAS["test"],
        *EXTRAS["dev"],
    ],
}
"""Each lock file, and the direct requirements that it must pin."""

PIN = re.compile(
    r"^(?P<name>[a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==(?P<version>[\w.!+]+)(?: ; [^\\]+)? \\$"
)
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def requirement_name(requirement: str) -> str:
    """Return the normalised name at the beginning of a requirement."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def is_pure(path: Path) -> bool:
    """Tell whether a module's docstring marks it as PURE."""
    return (ast.get_docstring(tree_of(path)) or "").startswith("PURE.")


def names_in_pure_contract() -> set[str]:
    """Return the last part of each module that the contract on PURE modules covers."""
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (contract,) = (one for one in contracts if one["name"].startswith("PURE"))
    return {source.removeprefix("actorflow.*.") for source in contract["source_modules"]}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_hold_hashed_pins_and_nothing_else(lock: str) -> None:
    lines = [line for line in text_of(Path(lock)).splitlines() if not line.startswith("#")]
    strange = [line for line in lines if not (PIN.match(line) or HASH.match(line))]
    assert strange == []
    unhashed = [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if not HASH.match(after) and PIN.match(line)
    ]
    assert unhashed == []


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_pin_every_direct_requirement(lock: str) -> None:
    matches = (PIN.match(line) for line in text_of(Path(lock)).splitlines())
    pinned = {match["name"] for match in matches if match}
    wanted = {requirement_name(requirement) for requirement in LOCKS[lock]}
    assert wanted - pinned - {"actorflow"} == set()


def test_pure_modules_are_those_that_the_import_contract_covers() -> None:
    listed = names_in_pure_contract()
    modules = python_files(*ENGINE_LAYERS)
    existing = {path.stem for path in modules}
    marked = {path.stem for path in modules if is_pure(path)}
    assert marked - listed == set(), "add to the contract on PURE modules in pyproject.toml"
    assert (listed & existing) - marked == set(), "begin the docstring with 'PURE.'"


def test_namespace_folders_hold_packages_only() -> None:
    assert [str(path) for path in ROOT.glob("*/actorflow/*.py")] == []


def test_the_readme_is_what_the_package_index_shows() -> None:
    assert PROJECT["project"].get("readme") == (
        "README.md" if (ROOT / "README.md").exists() else None
    )
