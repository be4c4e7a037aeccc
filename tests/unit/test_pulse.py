"""When a loop counts as blocked and as silent, and which leases to renew when."""

from __future__ import annotations

import pytest

from actorflow.actors.ports import Lease
from actorflow.actors.pulse import SEEN_S, WORD_EVERY_S, LeaseBook, LoopState, Pulse, Watchdog

TTL_S = 2.0
STEP_S = 0.25


def test_a_host_is_seen_for_a_while_after_a_heartbeat() -> None:
    pulse = Pulse()
    assert pulse.is_seen(1e9), "nobody could take anything from it"
    pulse.seen_beats = 0
    assert not pulse.is_seen(0.0), "no heartbeat yet"
    for beat in range(1, 100):
        pulse.beat(beat * STEP_S)
    pulse.seen_beats = 97
    assert pulse.is_seen(97 * STEP_S + SEEN_S - 0.01)
    assert not pulse.is_seen(97 * STEP_S + SEEN_S), "however few beats there were since"
    pulse.seen_beats = 80
    assert not pulse.is_seen(99 * STEP_S), "when that was is forgotten"


def look_on(dog: Watchdog, from_s: float, to_s: float, beats: int) -> LoopState:
    """Look again and again at a loop that does not beat."""
    for step in range(1, round((to_s - from_s) / STEP_S) + 1):
        state = dog.look(from_s + step * STEP_S, beats)
    return state


def test_a_loop_that_beats_is_alive_however_slowly() -> None:
    dog = Watchdog(TTL_S)
    for beat in range(20):
        assert look_on(dog, beat * 0.75, (beat + 1) * 0.75, beat) is LoopState.ALIVE


@pytest.mark.parametrize(
    ("silent_s", "state"),
    [
        (0.75, LoopState.ALIVE),
        (1.25, LoopState.BLOCKED),
        (3 * TTL_S - 0.5, LoopState.BLOCKED),
        (3 * TTL_S + 0.25, LoopState.SILENT),
    ],
)
def test_silence_has_two_limits(silent_s: float, state: LoopState) -> None:
    dog = Watchdog(TTL_S)
    dog.look(0.0, 1)
    assert look_on(dog, 0.0, silent_s, 1) is state
    assert dog.silent_s == pytest.approx(silent_s)
    assert dog.look(silent_s + STEP_S, 2) is LoopState.ALIVE, "one beat makes up for all"


def test_a_process_that_was_stopped_as_a_whole_is_not_a_blocked_loop() -> None:
    """Both the loop and who looks at it slept; others decide who owns what."""
    dog = Watchdog(TTL_S)
    dog.look(0.0, 1)
    assert dog.look(3_600.0, 1) is not LoopState.SILENT
    assert dog.look(3_600.25, 2) is LoopState.ALIVE


def test_a_block_is_told_once_and_many_are_not_told_at_once() -> None:
    dog = Watchdog(TTL_S)
    dog.look(0.0, 1)
    assert not dog.may_speak(0.0)
    look_on(dog, 0.0, 1.5, 1)
    assert dog.may_speak(1.5)
    look_on(dog, 1.5, 30.0, 1)
    assert not dog.may_speak(30.0), "the same block"
    dog.look(30.25, 2)
    look_on(dog, 30.25, 32.0, 2)
    assert dog.may_speak(32.0)
    dog.look(32.25, 3)
    look_on(dog, 32.25, 34.0, 3)
    assert not dog.may_speak(34.0), "too soon"
    look_on(dog, 34.0, 32.0 + WORD_EVERY_S, 3)
    assert dog.may_speak(32.0 + WORD_EVERY_S)


def test_leases_are_due_after_a_third_of_their_time() -> None:
    book = LeaseBook(3.0)
    one, two = Lease(1, 5, "a"), Lease(2, 6, "b")
    assert book.due((one,), 10.0) == []
    assert book.due((one, two), 10.5) == []
    assert book.due((one, two), 11.0) == [one]
    assert book.due((one, two), 11.25) == [one], "until the store has said yes"
    book.renewed(one, 11.25)
    assert book.due((one, two), 11.5) == [two]
    assert book.due((two,), 11.75) == [two]
    assert book.due((one, two), 12.5) == [two], "one has come back, and is new"


def test_what_was_renewed_after_it_was_lost_is_forgotten() -> None:
    book = LeaseBook(3.0)
    lease = Lease(1, 5, "a")
    book.due((lease,), 0.0)
    book.due((), 1.0)
    book.renewed(lease, 1.0)
    assert book.due((lease,), 5.0) == []
