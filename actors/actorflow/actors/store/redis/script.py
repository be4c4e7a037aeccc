"""The shipped Lua text, and the words with which Redis is asked to run it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Argument: TypeAlias = str | bytes | int

Command: TypeAlias = tuple[Argument, ...]
"""A command with its arguments; the same one makes the same bytes each time."""


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its whole text, and the SHA-1 by which EVALSHA names it."""

    name: str
    text: str
    sha: str

    def call(self, keys: Sequence[Argument], args: Sequence[Argument]) -> Command:
        """Return one EVALSHA."""
        return ("EVALSHA", self.sha, len(keys), *keys, *args)


def body(name: str) -> str:
    """Return a shipped Lua text without its first line, for other Lua engines than Redis'."""
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def script(name: str, flags: str = "") -> Script:
    """Read one shipped script.

    The shebang makes Redis refuse a script that it may not run before it starts; without it, a
    write that is denied is skipped and the next one is done.
    """
    shebang = f"#!lua flags={flags}\n" if flags else "#!lua\n"
    text = shebang + body(name)
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


COMMIT = script("commit")
COMMIT_WHEN_FULL = script("commit", "allow-oom")
"""For a commit that creates no actor: what runs can end, and free memory, in a full Redis."""

ACQUIRE = script("acquire", "allow-oom")
RENEW = script("renew", "allow-oom")
RELEASE = script("release", "allow-oom")
BEAT = script("beat", "allow-oom")
SEND = script("send", "allow-oom")
FOUND = script("found")
CREATE = script("create")
LOAD = script("load", "no-writes,allow-oom")
TAIL = script("tail", "no-writes,allow-oom")
DUE = script("due", "no-writes,allow-oom")
SUMMARIES = script("summaries", "no-writes,allow-oom")

ALL = (
    COMMIT,
    COMMIT_WHEN_FULL,
    ACQUIRE,
    RENEW,
    RELEASE,
    BEAT,
    SEND,
    FOUND,
    CREATE,
    LOAD,
    TAIL,
    DUE,
    SUMMARIES,
)
"""Every script, in the order in which a new connection to an unknown server loads them."""
