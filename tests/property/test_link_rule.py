"""The link rule under random schedules (S04, S05), and rules with a part taken out, which fail."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import link
from actorflow.actors.link import Outgoing, Verdict
from tests.property.link_model import Faults, LinkRun, Rule

if TYPE_CHECKING:
    from actorflow.actors.ports import EntryId, LinkEntry, LinkMark

RUNS = 500
"""Schedules of a rule that must hold."""

RUNS_BROKEN = 500
"""Schedules in which a broken rule must fail at least once."""

MESSY = Faults()
SOURCE = Faults(source_loses_tail=True)
DESTINATION = Faults(destination_loses_tail=True)
BOTH = Faults(source_loses_tail=True, destination_loses_tail=True)
REUSED = Faults(source_loses_tail=True, epoch_reused=True)


def schedules(faults: Faults, runs: int, rule: Rule | None = None) -> Counter[str]:
    """Return what was seen over many runs, with the runs that went wrong."""
    seen: Counter[str] = Counter()
    for seed in range(runs):
        run = LinkRun(seed, faults, rule)
        run.run()
        seen += run.seen
        seen["lossy"] += bool(run.lost)
        seen["disordered"] += run.disordered
    return seen


@pytest.mark.parametrize(
    ("faults", "must_see"),
    [
        (MESSY, ["gap", "duplicate", "dropped", "trimmed", "source fail-over"]),
        (SOURCE, ["gap", "rolled_back", "source lost its tail"]),
        (DESTINATION, ["gap", "destination lost its tail", "trimmed"]),
        (BOTH, ["rolled_back", "source lost its tail", "destination lost its tail"]),
    ],
    ids=["messy", "source", "destination", "both"],
)
def test_nothing_is_lost_or_repeated(faults: Faults, must_see: list[str]) -> None:
    seen = schedules(faults, RUNS)
    assert (seen["lossy"], seen["disordered"], seen["stuck"]) == (0, 0, 0)
    assert [what for what in must_see if not seen[what]] == []
    assert seen[Verdict.SKIPPED] == 0


def test_an_epoch_that_comes_back_does_little_harm() -> None:
    """No store of ours gives an epoch out twice, unless it loses its tail and its clock goes back;
    the lineage of each entry catches most of what happens then."""
    seen = schedules(REUSED, RUNS)
    assert seen["stuck"] == 0
    assert seen["lossy"] + seen["disordered"] < RUNS / 20


def test_nobody_hangs_below_the_kept_range() -> None:
    """What is kept nowhere is lost, with an alarm; what follows arrives."""
    seen = schedules(DESTINATION, RUNS, Rule(retention_steps=-1))
    assert seen["lossy"] > 0
    assert seen[Verdict.SKIPPED] > 0
    assert (seen["disordered"], seen["stuck"]) == (0, 0)


def test_a_destination_that_says_nothing_stays_incomplete() -> None:
    assert schedules(DESTINATION, 2 * RUNS_BROKEN, Rule(announce=False))["lossy"] > 0


def _any_later(entry: LinkEntry, mark: LinkMark) -> Verdict:
    return Verdict.DUPLICATE if entry.id <= mark.id else Verdict.ACCEPT


def _without_rollback(entry: LinkEntry, mark: LinkMark) -> Verdict:
    if entry.id <= mark.id:
        return Verdict.DUPLICATE
    return Verdict.ACCEPT if entry.prev == mark.id else Verdict.GAP


def _without_lineage(entry: LinkEntry, mark: LinkMark) -> Verdict:
    if entry.id <= mark.id:
        return Verdict.DUPLICATE
    return Verdict.ACCEPT if entry.prev <= mark.id else Verdict.GAP


@pytest.mark.parametrize(
    ("rule", "faults"),
    [(_any_later, MESSY), (_without_rollback, SOURCE)],
    ids=["any later entry", "no rollback of the source"],
)
def test_a_weaker_rule_fails(monkeypatch: pytest.MonkeyPatch, rule: object, faults: Faults) -> None:
    monkeypatch.setattr(link, "judge", rule)
    seen = schedules(faults, RUNS_BROKEN)
    assert seen["lossy"] + seen["disordered"] + seen["stuck"] > 0


def test_lineage_helps_where_an_epoch_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with_lineage = schedules(REUSED, RUNS_BROKEN)["lossy"]
    monkeypatch.setattr(link, "judge", _without_lineage)
    monkeypatch.setattr(Outgoing, "_known", lambda _, mark, lineage: mark)
    assert schedules(REUSED, RUNS_BROKEN)["lossy"] > 3 * with_lineage + 3


def test_the_newest_entry_is_needed() -> None:
    """A sender that forgets its newest entry cannot name a predecessor after a fail-over: what it
    sends next looks as if its store had lost data."""

    def forget_all(outgoing: Outgoing, before_s: float) -> EntryId | None:
        last = Outgoing.expire(outgoing, before_s)
        kept = outgoing._kept
        if kept and not outgoing.pending_count and outgoing.acked >= kept[-1].id:
            last = kept.pop().id
        return last

    assert schedules(MESSY, RUNS)[Verdict.ROLLED_BACK] == 0
    assert schedules(MESSY, RUNS, Rule(expire=forget_all))[Verdict.ROLLED_BACK] > 0
