"""The files of the repository as the tidy tests see them."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LAYERS = ("actors", "workflow", "server")
ENGINE_LAYERS = ("actors", "workflow")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def repository_files() -> list[Path]:
    """Return every file that is tracked, or new and not ignored, relative to the root."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    files = {Path(name) for name in listing.stdout.split("\0") if name}
    return sorted(path for path in files if (ROOT / path).is_file())


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below the given top folders, or of the whole repository."""
    return [
        path
        for path in repository_files()
        if path.suffix == ".py" and (not folders or path.parts[0] in folders)
    ]


def text_of(path: Path) -> str:
    """Read a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def tree_of(path: Path) -> ast.Module:
    """Parse a file of the repository."""
    return ast.parse(text_of(path), filename=str(path))


def functions_in(tree: ast.AST) -> Iterator[Function]:
    """Yield every function and method, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
