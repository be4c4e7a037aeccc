"""When a store without room is asked again."""

from actorflow.actors.address import ActorId
from actorflow.actors.ports import ActorWrite, Commit, Lease
from actorflow.actors.room import PAUSE_FIRST_S, PAUSE_MAX_S, Room


def commit(*, create: bool) -> Commit:
    write = ActorWrite(ActorId("Order", "1"), 1, create=create)
    return Commit(Lease(0, 1, "t"), 0, 1, "c", (write,))


def test_one_turn_tries_after_each_pause_and_pauses_grow() -> None:
    room = Room()
    now_s, pause_s = 100.0, PAUSE_FIRST_S
    room.refused("full", now_s)
    for _ in range(6):
        assert room.reason_to_refuse(now_s + 0.9 * pause_s) == "full"
        now_s += pause_s
        assert room.reason_to_refuse(now_s) == ""
        assert room.reason_to_refuse(now_s) == "full"
        room.refused("full", now_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)
    assert pause_s == PAUSE_MAX_S


def test_commits_that_were_on_their_way_lengthen_no_pause() -> None:
    room = Room()
    for _ in range(5):
        room.refused("full", 100.0)
    assert room.reason_to_refuse(100.0 + PAUSE_FIRST_S) == ""


def test_only_a_commit_that_creates_shows_room() -> None:
    room = Room()
    room.refused("full", 100.0)
    room.applied(commit(create=False))
    assert room.reason
    room.applied(commit(create=True))
    assert not room.reason
    room.refused("full", 200.0)
    assert room.reason_to_refuse(200.0 + PAUSE_FIRST_S) == "", "the pause begins anew"
