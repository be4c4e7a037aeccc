"""Functions fit on a screen and modules in a head."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

from tests.tidy.sources import Function, functions_in, python_files, text_of

FUNCTION_MAX_CODE_LINES = 60
"""Lines of one function that hold code: no blank line, comment or docstring counts."""

MODULE_MAX_LINES = 500
"""Lines of one file, all of them."""

NO_CODE = frozenset(
    {
        tokenize.COMMENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
        tokenize.INDENT,
        tokenize.NEWLINE,
        tokenize.NL,
    }
)


def lines_with_code(source: str) -> set[int]:
    """Return the numbers of the lines that hold more than blanks and comments."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines


def docstring_lines(function: Function) -> set[int]:
    """Return the numbers of the lines that a function's docstring takes."""
    if ast.get_docstring(function, clean=False) is None:
        return set()
    docstring = function.body[0]
    return set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))


def long_functions(source: str) -> list[str]:
    """Return a line about each function with more code lines than allowed."""
    code = lines_with_code(source)
    found: list[str] = []
    for function in functions_in(ast.parse(source)):
        body = set(range(function.lineno, (function.end_lineno or function.lineno) + 1))
        count = len((body & code) - docstring_lines(function))
        if count > FUNCTION_MAX_CODE_LINES:
            found.append(f"{function.lineno}: {function.name} has {count} code lines")
    return found


@pytest.mark.parametrize("path", python_files(), ids=str)
def test_functions_are_short(path: Path) -> None:
    assert long_functions(text_of(path)) == []


@pytest.mark.parametrize("path", python_files(), ids=str)
def test_modules_are_short(path: Path) -> None:
    count = len(text_of(path).splitlines())
    assert count <= MODULE_MAX_LINES


def test_code_is_counted_and_prose_is_not() -> None:
    prose = '    """Sum.\n\n    More.\n    """\n    # a comment\n\n' + "    # b\n" * 80
    at_limit = "def f():\n" + prose + "    x = 1\n" * (FUNCTION_MAX_CODE_LINES - 1)
    assert long_functions(at_limit) == []
    assert long_functions(at_limit + "    x = 1\n") == ["1: f has 61 code lines"]
