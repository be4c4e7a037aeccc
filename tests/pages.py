"""The pages of the documentation, and the code blocks in them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def page_text(page: str) -> str:
    """Return the text of a page, given relative to the root of the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def code_blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of one language; "" for those that name none."""
    fence = rf"^```{language}\n(.*?)^```$"
    return re.findall(fence, page_text(page), re.MULTILINE | re.DOTALL)


def program_of(page: str) -> str:
    """Return all Python blocks of a page as the one program that they make up."""
    return "\n\n".join(code_blocks(page, "python"))
