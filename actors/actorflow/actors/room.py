"""What is known of a store that has no room for new actors, such as a Redis at its `maxmemory`.

Work that runs goes on, since it ends and then frees room. What would create an actor is refused;
now and then one such turn is let through, to learn whether there is room again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actorflow.actors.ports import Commit

_log = logging.getLogger(__name__)

PAUSE_FIRST_S = 1.0
"""Until the first try after a refusal; doubles up to `PAUSE_MAX_S`."""

PAUSE_MAX_S = 8.0


class Room:
    """One a runtime. `reason` is the store's own words, "" as far as there is room."""

    def __init__(self) -> None:
        self.reason = ""
        self._pause_s = PAUSE_FIRST_S
        self._try_at_s = 0.0
        self._is_trying = False

    def refused(self, reason: str, now_s: float) -> None:
        """The store has refused a commit because it creates."""
        if not self.reason:
            _log.error("store is full; nothing new is started until it has room: %s", reason)
            self._pause_s = PAUSE_FIRST_S
        elif self._is_trying:  # else it was on its way before the first refusal
            self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        self._is_trying = False
        self.reason = reason
        self._try_at_s = now_s + self._pause_s

    def applied(self, commit: Commit) -> None:
        """The store has taken a commit."""
        if self.reason and any(write.create for write in commit.actors):
            _log.warning("store has room again")
            self.reason = ""

    def reason_to_refuse(self, now_s: float) -> str:
        """Return why a turn that creates must not be kept now; "" when it may, and then the next
        has to wait until the store has answered."""
        if self.reason and now_s < self._try_at_s:
            return self.reason
        self._is_trying = True
        self._try_at_s = now_s + self._pause_s
        return ""
