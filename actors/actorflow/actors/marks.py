"""PURE. Which actors may be what ends the hosts that run them, as it stands in the store.

A turn whose code ends its process leaves nothing of itself. Where hosts were lost again and again,
each turn is therefore preceded by a *mark*, which goes away in the commit that holds the turn. A
mark that is met by the next owner counts a lost host; with enough of them its actor is *convicted*,
and its code is not run again. Both are rows like those of parked messages, so that every store
keeps them, `fsck` names a conviction, and `fsck --unpark-instance` lifts it. The marks of links
(`ports.LinkMark`) are something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import MessageRow

MARK = "actorflow.mark"
"""Method of the row that marks an actor. The payload is the number of lost hosts that it stands
for, should the host be lost before it is gone."""

CONVICTION = "actorflow.conviction"
"""Method of the row that keeps an actor from being run, and of the message by which one that can do
without its code hears of it."""

REASON_OF_MARK = "a turn of this actor was under way when its host was lost, or is under way now"
"""The words that a mark is stored with."""


class Marks(NamedTuple):
    """The marks of one actor: their rows, and the hosts that were lost while they stood."""

    ids: tuple[int, ...]
    lost: int


NEW = Marks((), 0)
"""What is known of an actor whose message has just come."""

WAITED = Marks((), 1)
"""What is known of one whose message was there when the last host was lost."""


def mark_of(actor: ActorId, lost: int) -> Message:
    """Return what is to be stored before a turn of the actor."""
    return Message(actor, MARK, str(lost).encode())


def marks_in(rows: Iterable[MessageRow]) -> dict[ActorId, Marks]:
    """Return the marks among the rows of a partition."""
    found: dict[ActorId, Marks] = {}
    for row in rows:
        if row.method == MARK and row.parked:
            known = found.get(row.target, NEW)
            found[row.target] = Marks((*known.ids, row.id), max(known.lost, int(row.payload)))
    return found


def is_void(row: MessageRow) -> bool:
    """Whether somebody has lifted what the row stands for: it only is to be deleted."""
    return row.method in (MARK, CONVICTION) and not row.parked


def conviction_in(parked: Iterable[tuple[str, str]]) -> str:
    """Return why an actor is not run, out of the methods and reasons of what is parked for it; ""
    when it is run."""
    return next((reason for method, reason in parked if method == CONVICTION), "")


def reason_of_conviction(actor: ActorId, lost: int) -> str:
    """Return why an actor is not run again, and what to do."""
    return (
        f"{lost} hosts were lost while {actor} ran or was about to, the last one while nothing "
        "else was being tried. Its code may end the process (os._exit, a crash in native code, "
        "too much memory) or block it. Look into the logs of the hosts and mend the code"
    )
