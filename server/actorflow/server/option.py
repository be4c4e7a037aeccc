"""The form of one setting as people write it."""

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
