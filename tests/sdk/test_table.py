"""The published table as text: what is written is read back, and what did not run stays."""

from tests.sdk.lines import LINES
from tests.sdk.scenarios import SCENARIOS
from tests.sdk.table import FILE, LACKS, NOT_RUN, PASSED, Column, page, read, rendered

NAMES = [one.name for one in SCENARIOS]


def test_a_column_is_read_as_it_was_written() -> None:
    column = Column("1.2.3, other 4", dict.fromkeys(NAMES, PASSED) | {NAMES[0]: LACKS})
    assert column.is_whole
    found = read(rendered({"go": column}))
    assert found["go"] == column
    assert found["java"] == Column(NOT_RUN, dict.fromkeys(NAMES, NOT_RUN))


def test_what_did_not_run_stays_as_it_was() -> None:
    old = Column("1", dict.fromkeys(NAMES, PASSED))
    text = "before\n" + rendered({"go": old, "java": old}) + "\nafter\n"
    new = page(text, read(text) | {"java": Column("2", dict.fromkeys(NAMES, PASSED))})
    assert read(new)["go"] == old
    assert read(new)["java"].version == "2"
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert page(new, read(new)) == new


def test_a_column_without_every_scenario_is_not_whole() -> None:
    assert not Column("1", {NAMES[0]: PASSED}).is_whole


def test_names_and_texts_tell_scenarios_apart() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert len({one.shows for one in SCENARIOS}) == len(SCENARIOS)
    assert not [one.shows for one in SCENARIOS if "|" in one.shows]
    for line in LINES:
        assert set(line.lacks) <= set(NAMES), line.name


def test_the_published_page_has_a_column_for_every_sdk() -> None:
    assert set(read(FILE.read_text())) == {line.name for line in LINES}
