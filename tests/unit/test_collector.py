"""The collector's settings for a process of actors."""

import gc
from collections.abc import Iterator

import pytest

from actorflow.actors.collector import THRESHOLDS, calm_collector


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_exists_is_looked_at_no_more_and_the_rest_less_often() -> None:
    calm_collector()

    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold() == THRESHOLDS
    assert gc.isenabled()
