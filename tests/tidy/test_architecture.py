"""ARCHITECTURE.md names only what exists."""

import re
from pathlib import Path

import pytest

from tests.tidy.sources import LAYERS, functions_in, python_files, text_of, tree_of

TEXT = text_of(Path("ARCHITECTURE.md"))
MODULES = sorted(set(re.findall(r"`([\w/]+\.py)`", TEXT)))
METHODS = sorted(set(re.findall(r"`[A-Z]\w+\.(\w+)`", TEXT)))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_of_the_map_exists(module: str) -> None:
    assert any(f"/{path}".endswith(f"/{module}") for path in python_files())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_the_way_exists(method: str) -> None:
    files = python_files(*LAYERS)
    assert any(f.name == method for path in files for f in functions_in(tree_of(path)))
