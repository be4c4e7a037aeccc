"""Every module, and every public class and function of a layer, says what it is for."""

import ast
from pathlib import Path

import pytest

from tests.tidy.sources import LAYERS, python_files, tree_of


def undocumented(tree: ast.Module) -> list[str]:
    """Return the public classes and functions at the top of a module that lack a docstring."""
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]


@pytest.mark.parametrize("path", python_files(), ids=str)
def test_modules_have_a_docstring(path: Path) -> None:
    assert ast.get_docstring(tree_of(path))


@pytest.mark.parametrize("path", python_files(*LAYERS), ids=str)
def test_public_names_have_a_docstring(path: Path) -> None:
    assert undocumented(tree_of(path)) == []


def test_a_bare_name_is_found() -> None:
    tree = ast.parse('class A:\n    "Doc."\nclass B: ...\ndef c(): ...\ndef _d(): ...\n')
    assert undocumented(tree) == ["B", "c"]
