"""Every scenario with every SDK: real programs, real processes, real ports."""

import os

import pytest

from tests.sdk.scenario import Scenario
from tests.sdk.scenarios import SCENARIOS
from tests.sdk.stand import Site
from tests.sdk.table import FAILED, FILE, LACKS, PASSED, Column, page, read

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(1_000)]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_scenario(site: Site, scenario: Scenario, seen: dict[str, Column]) -> None:
    cells = seen[site.line.name].cells
    if scenario.name in site.line.lacks:
        cells[scenario.name] = LACKS
        pytest.skip(f"{site.line.title}: {site.line.lacks[scenario.name]}; not in this SDK")
    cells[scenario.name] = FAILED
    site.begin(scenario.name)
    assert scenario.play(site) == scenario.expect, site.server.tail()
    cells[scenario.name] = PASSED


def test_the_published_table_says_what_was_seen(seen: dict[str, Column]) -> None:
    """Run `make sdk-table` to write it."""
    whole = {name: column for name, column in seen.items() if column.is_whole}
    if not whole:
        pytest.skip("no SDK has played every scenario in this run")
    text = FILE.read_text()
    new = page(text, read(text) | whole)
    if os.environ.get("ACTORFLOW_SDK_TABLE") == "write":
        FILE.write_text(new)
    else:
        assert new == text
