"""One server and one program for each SDK, and what was seen with it."""

from collections.abc import Iterator

import pytest

from tests.sdk.lines import LINES, Line
from tests.sdk.stand import Server, Site
from tests.sdk.table import Column


@pytest.fixture(scope="session")
def seen() -> dict[str, Column]:
    """What was played in this run."""
    return {}


@pytest.fixture(scope="module", params=LINES, ids=lambda line: line.name)
def line(request: pytest.FixtureRequest) -> Line:
    """Each SDK in turn; those that cannot be installed here are skipped with the reason."""
    found: Line = request.param
    found.installed()
    return found


@pytest.fixture(scope="module")
def site(
    line: Line, tmp_path_factory: pytest.TempPathFactory, seen: dict[str, Column]
) -> Iterator[Site]:
    """A server on SQLite and a program of the SDK, connected."""
    server = Server(tmp_path_factory.mktemp(line.name))
    try:
        place = Site(line, server.start())
        seen[line.name] = Column(place.program.version)
        try:
            yield place
        finally:
            place.close()
    finally:
        server.kill()
