"""The form of one setting as people write it."""

import re
from collections.abc import Callable
from dataclasses import dataclass

ENV_PREFIX = "ACTORFLOW_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting as people write it. `name` is the flag without dashes and the key in the file."""

    name: str
    field: str
    parse: Callable[[str], object]
    help: str
    metavar: str = "TEXT"
    flag_aliases: tuple[str, ...] = ()
    env_aliases: tuple[str, ...] = ()
    is_switch: bool = False

    @property
    def flag(self) -> str:
        """The flag, such as `--http-port`."""
        return f"--{self.name}"

    @property
    def env_names(self) -> tuple[str, ...]:
        """Variables that set it; the first one that is not empty wins."""
        return (ENV_PREFIX + self.name.upper().replace("-", "_"), *self.env_aliases)


def parse_count(most: int) -> Callable[[str], int]:
    """Return the parser of a number from 1 to `most`, at most 999,999,999."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
            raise ValueError(f"a number from 1 to {most:,}")
        return int(text)

    return parse
