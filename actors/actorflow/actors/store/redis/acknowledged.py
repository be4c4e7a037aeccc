"""How far the store is known to have each partition, so that one that lost commits is noticed."""

from __future__ import annotations

import logging

_log = logging.getLogger(__name__)


class Acknowledged:
    """The number of the newest commit of each partition that an owner here has built upon: it was
    acknowledged, at the promised durability, or it was there when the partition was acquired.

    Answers may overtake each other, so an answer is compared with what was known before its
    question was sent: ask `before`, send, then `found`.

    Concurrency: written on the store's event loop; `before` and `found` on any thread.
    """

    def __init__(self) -> None:
        self._seqs: dict[int, int] = {}

    def before(self, partition: int) -> int:
        """Return which commit the store must have, whatever is asked of it from now on."""
        return self._seqs.get(partition, 0)

    def note(self, partition: int, seq: int) -> None:
        """From now on this commit must be there."""
        self._seqs[partition] = seq

    def found(self, partition: int, seq: int, before: int) -> bool:
        """The store stands at this commit; return whether it has all that it must, and say loudly,
        once, when it has not: acknowledged commits are lost."""
        if seq >= before:
            return True
        _log.critical(
            "store_rollback: partition %d is at commit %d, after %d was acknowledged: the store "
            "lost what it had confirmed; work goes on from what is left",
            partition,
            seq,
            before,
        )
        if self._seqs.get(partition) == before:
            self._seqs[partition] = seq
        return False
