"""No file names a machine or a package registry; names of code keep to the vocabulary."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy.sources import (
    ENGINE_LAYERS,
    LAYERS,
    python_files,
    repository_files,
    text_of,
    tree_of,
)

THIS_FILE = Path("tests/tidy/test_words.py")
"""The one file that must spell out what it looks for."""

MACHINE_PATH = re.compile(r"(?<![\w.])(?:/(?:work|root|mnt)/|/(?:home|Users)/\w|[A-Z]:\\Users)")

REGISTRY = re.compile(
    r"pypi\.|pythonhosted|npmjs|crates\.io|proxy\.golang|(?<!\w)--(?:extra-)?(?:index-url|find-links)"
    r"|(?<!\w)--trusted-host|UV_INDEX|PIP_INDEX|PIP_FIND"
)

VAGUE_CLASS = re.compile(r"(?:Manager|Helper|Util|Utils)$")
VAGUE_MODULES = frozenset({"common", "helper", "helpers", "misc", "util", "utils"})

WIRE_WORD = re.compile(r"orchestrat|sidecar|task_?hub", re.IGNORECASE)
"""Words of the wire: the server layer translates them at its edge."""


def text_files() -> Iterator[tuple[Path, str]]:
    """Yield each text file of the repository with its text."""
    for path in repository_files():
        if path == THIS_FILE:
            continue
        try:
            yield path, text_of(path)
        except UnicodeDecodeError:
            continue


def matches(pattern: re.Pattern[str]) -> list[str]:
    """Return every line of the repository that the pattern finds, as path:number: line."""
    return [
        f"{path}:{number}: {line.strip()}"
        for path, text in text_files()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def names_in(tree: ast.Module) -> Iterator[str]:
    """Yield every name that code defines or uses; texts and comments are not code."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name


def test_no_file_names_a_machine() -> None:
    assert matches(MACHINE_PATH) == []


def test_no_file_names_a_registry() -> None:
    assert matches(REGISTRY) == []


@pytest.mark.parametrize("path", python_files(*LAYERS), ids=str)
def test_names_say_what_a_thing_is(path: Path) -> None:
    classes = [node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if VAGUE_CLASS.search(name)] == []
    assert path.stem not in VAGUE_MODULES


@pytest.mark.parametrize("path", python_files(*ENGINE_LAYERS), ids=str)
def test_words_of_the_wire_stay_in_the_server_layer(path: Path) -> None:
    assert sorted({name for name in names_in(tree_of(path)) if WIRE_WORD.search(name)}) == []


@pytest.mark.parametrize(
    ("pattern", "bad", "good"),
    [
        (MACHINE_PATH, "open('/root/x')", "GET /workflows/root"),
        (MACHINE_PATH, "cd /home/ann", "a /home of its own"),
        (REGISTRY, "pip install --index-url x", "uv --no-emit-index-url"),
        (VAGUE_CLASS, "StoreManager", "ManagedStore"),
        (WIRE_WORD, "TaskHubClient", "hub_task"),
    ],
)
def test_patterns_tell_bad_from_good(pattern: re.Pattern[str], bad: str, good: str) -> None:
    assert pattern.search(bad)
    assert not pattern.search(good)
