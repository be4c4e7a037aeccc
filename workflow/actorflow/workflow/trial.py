"""PURE. Which activities may be what ends the hosts that run them, and when that is enough.

A host that ends takes everybody along who ran beside the guilty one. What was under way is
therefore marked, durably, before it runs once more; what is met again with a mark runs alone; and
what its host did not survive alone is not run again. The marks are a part of the request for the
activity, so they go with it to whichever host owns it next.
"""

from __future__ import annotations

import msgspec

ALONE_FROM = 2
"""With so many lost hosts an activity runs alone."""

FEW = 2
"""So many suspects are few. Of many, one is always under way when a host is lost for another
cause."""

MORE_OF_MANY = 1
"""One of many suspects is convicted by so many lost hosts more."""

MORE_IN_SERIES = 2
"""One that came into a series of losses, which had begun without it, by so many more."""

ALONE_S = 10.0
"""What runs alone for so long, and its host lives, is let go. Others begin nothing meanwhile."""

ALONE_MAX_S = 90.0
"""The longest such time."""


class Trial(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is known against an activity.

    lost: hosts that ended, or were taken for dead, while it was under way.
    since: `Acquired.abandoned` when that was first so: 1 when no series of losses was going on.
    alone: it was begun with no other suspect under way, and has not yet been let go.
    survived: times that it was let go. Each makes the next time alone three times as long.
    most: lost hosts that convict it, if the last one is lost while it runs alone.
    """

    lost: int = 0
    since: int = 1
    alone: bool = False
    survived: int = 0
    most: int = 0

    @property
    def is_convicted(self) -> bool:
        """Whether there is to be no next time."""
        return self.alone and self.lost >= self.most

    @property
    def runs_alone(self) -> bool:
        """Whether it is to run alone, next time."""
        return self.lost >= ALONE_FROM

    @property
    def rank(self) -> tuple[int, int]:
        """Order of those that run alone: one that was let go is less suspicious, and goes on beside
        all that follow."""
        return self.survived, -self.lost

    @property
    def alone_s(self) -> float:
        """How long it has the process for itself."""
        return min(ALONE_S * 3.0**self.survived, ALONE_MAX_S)


def after_loss(known: Trial | None, abandoned: int) -> Trial:
    """Return what is known once another host was lost under an activity.

    Args:
        known: what was stored with it, None when it ran for the first time.
        abandoned: see `Acquired`.
    """
    if known is None:
        return Trial(lost=1, since=abandoned)
    return msgspec.structs.replace(known, lost=known.lost + 1)


def begun(trial: Trial) -> Trial:
    """Return what is to be stored before the activity runs again, beside others."""
    return msgspec.structs.replace(trial, alone=False)


def begun_alone(trial: Trial, suspects: int, lost_hosts_max: int) -> Trial:
    """Return what is to be stored before it runs alone.

    Args:
        suspects: how many there are, itself included.
        lost_hosts_max: see `limits.Limits`.
    """
    more = 0 if suspects <= FEW else MORE_OF_MANY
    if trial.since > 1:
        more = MORE_IN_SERIES
    return msgspec.structs.replace(trial, alone=True, most=lost_hosts_max + more)


def let_go(trial: Trial) -> Trial:
    """Return what is to be stored once it ran alone for long enough."""
    return msgspec.structs.replace(trial, alone=False, survived=trial.survived + 1)
