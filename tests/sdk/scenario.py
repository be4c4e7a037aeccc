"""What a scenario is, and what many of them do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.sdk.program import CallFailed
from tests.sdk.stand import Site

Play = Callable[[Site], Any]


@dataclass(frozen=True)
class Scenario:
    """One row: its name, what it shows, what must be observed, and how it is played.

    `rows` are the lines of the feature inventory that it covers.
    """

    name: str
    shows: str
    rows: str
    expect: Any
    play: Play


class Collector:
    """A decorator that collects scenarios: `@scenario("what it shows", "1 8", expected)`."""

    def __init__(self) -> None:
        self.found: list[Scenario] = []

    def __call__(self, shows: str, rows: str, expect: Any) -> Callable[[Play], Play]:
        def add(play: Play) -> Play:
            name = play.__name__
            self.found.append(Scenario(name, shows, rows, expect, play))
            return play

        return add


def completed(site: Site, workflow: str, given: Any = None) -> Any:
    """Run an instance to its end and return its output, or its status if that is another."""
    name = site.start(workflow, given)
    state = site.wait(name)
    return state["output"] if state["status"] == "COMPLETED" else (state["status"], state["error"])


def refused(call: Callable[[], Any]) -> str | None:
    """Return the kind of error that a call raises, or None."""
    try:
        call()
    except CallFailed as error:
        return error.kind
    return None
