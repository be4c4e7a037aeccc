"""What is known against an activity after each host that was lost under it."""

import pytest

from actorflow.workflow.requests import WorkItem, pack, unpack
from actorflow.workflow.trial import Trial, after_loss, begun, begun_alone, let_go


def lost(times: int, *, since: int = 1, suspects: int = 1) -> Trial:
    """Return the marks of an activity that ran again after each loss but the last."""
    trial: Trial | None = None
    for number in range(times):
        trial = after_loss(trial, since + number)
        if number < times - 1:
            trial = begun_alone(trial, suspects, 3) if trial.runs_alone else begun(trial)
    assert trial is not None
    return trial


@pytest.mark.parametrize(
    ("since", "suspects", "losses"),
    [(1, 1, 3), (1, 2, 3), (1, 3, 4), (1, 90, 4), (2, 1, 5), (30, 1, 5), (30, 90, 5)],
)
def test_what_ends_its_host_again_and_again_is_convicted(
    since: int, suspects: int, losses: int
) -> None:
    for times in range(1, losses):
        assert not lost(times, since=since, suspects=suspects).is_convicted
    assert lost(losses, since=since, suspects=suspects).is_convicted


def test_only_the_second_loss_makes_it_run_alone() -> None:
    assert [lost(times).runs_alone for times in (1, 2, 3)] == [False, True, True]


def test_a_loss_while_others_ran_beside_convicts_nobody() -> None:
    for trial in (let_go(begun_alone(lost(2), 1, 3)), begun(lost(2))):
        again = after_loss(trial, 3)
        assert not again.is_convicted
        assert again.runs_alone
        assert after_loss(begun_alone(again, 1, 3), 4).is_convicted


def test_who_was_never_let_go_runs_first_and_then_who_was_there_most_often() -> None:
    let = let_go(begun_alone(lost(4), 1, 3))
    assert sorted((let, lost(2), lost(3)), key=lambda trial: trial.rank) == [lost(3), lost(2), let]


def test_each_time_alone_is_longer_up_to_a_bound() -> None:
    trial, times = lost(2), []
    for _ in range(5):
        times.append(trial.alone_s)
        trial = let_go(trial)
    assert times == [10, 30, 90, 90, 90]


def test_marks_travel_with_the_request() -> None:
    item = WorkItem("i", "e", "w", 3, "act", trial=Trial(lost=2, alone=True))
    assert unpack(WorkItem, pack(item)) == item
    assert b"trial" not in pack(WorkItem("i", "e", "w", 3, "act"))
