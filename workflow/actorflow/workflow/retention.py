"""PURE. How long ended instances are kept."""

from __future__ import annotations

from typing import NamedTuple

from actorflow.workflow.events import Status

RETENTION = "retention"
"""Name of the reminder that deletes an ended instance."""


class RetentionPolicy(NamedTuple):
    """Seconds from the end of an instance until it is deleted, by how it ended; None keeps it.

    Names and meaning are those of Dapr's `stateRetentionPolicy`: what is said of one status goes
    before `any_terminal`. It counts when an instance ends; a change later on does not reach it. Of
    its children nothing is said: they are kept as long as their own end wants it.
    """

    any_terminal_s: float | None = None
    completed_s: float | None = None
    failed_s: float | None = None
    terminated_s: float | None = None

    def due_ms(self, status: Status, ended_ns: int) -> int | None:
        """Return when an instance that ended so is deleted, None for never."""
        special = {
            Status.COMPLETED: self.completed_s,
            Status.FAILED: self.failed_s,
            Status.TERMINATED: self.terminated_s,
        }
        kept_s = special.get(status)
        if kept_s is None:
            kept_s = self.any_terminal_s
        return ended_ns // 1_000_000 + round(kept_s * 1_000) if kept_s is not None else None


KEEP_FOREVER = RetentionPolicy()
"""The default."""
