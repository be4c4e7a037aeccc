"""One commit at a time, sent again unchanged until the store gives a final answer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from actorflow.actors.errors import (
    ActorflowError,
    ContentionError,
    FencedOutError,
    InvariantError,
    StoreFullError,
    StoreUnavailableError,
    UnavailableError,
)
from actorflow.actors.ports import Commit, CommitResult, CommitsAtOnce, Lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors.batch import Batch
    from actorflow.actors.environment import Environment
    from actorflow.actors.ports import Acquired

_log = logging.getLogger(__name__)

PROOFS = 2
"""Empty commits after the last one that was not, in a cluster that has become quiet."""

RETRY_FIRST_S = 0.01
"""Pause before the first resend; doubles up to `Limits.store_retry_max_s`."""


class Committer:
    """The only writer of one partition.

    `trouble` is the store's last complaint, "" when its last answer was final. A commit is never
    cancelled and never rebuilt: whether a silent one was applied is found out by sending it again.

    `is_proven` says that the store was seen to still have the last commit some time later, twice: a
    store that lost its newest commits in a fail-over would otherwise be found out by the next turn
    only, which may never come.
    """

    def __init__(
        self,
        partition: int,
        env: Environment,
        *,
        released: Callable[[Batch], None],
        lost: Callable[[ActorflowError], None],
    ) -> None:
        self._partition = partition
        self._env = env
        self._released = released
        self._lost = lost
        self._at_once = env.store if isinstance(env.store, CommitsAtOnce) else None
        self.lease = Lease(partition, 0, "")
        self._life = 0
        self._proofs = 0
        self.in_flight: Batch | None = None
        self.committed_seq = 0
        self._resending = False
        self.trouble = ""

    def start(self, acquired: Acquired) -> None:
        """Begin a new ownership."""
        self._life += 1
        self.lease = acquired.lease
        self.committed_seq = acquired.seq
        self.in_flight = None
        self._proofs = PROOFS
        self._resending = False
        self._is_well()

    @property
    def is_proven(self) -> bool:
        """See the class."""
        return self._proofs >= PROOFS

    def stop(self, error: ActorflowError) -> None:
        """End the ownership; an answer that is still to come is ignored. Whoever waits for the
        commit in flight is told that nobody knows about it."""
        self._life += 1
        self._is_well()  # what is not ours any more is not our trouble
        batch, self.in_flight = self.in_flight, None
        if batch is not None:
            self._env.counters.commits_abandoned += 1
            if isinstance(error, ContentionError):
                error = UnavailableError(f"{error}; whether the call took effect is unknown")
            batch.refuse_all(error)

    def submit(self, batch: Batch) -> None:
        """Commit a closed batch. The previous one has been released."""
        if self.in_flight is not None or batch.seq != self.committed_seq + 1:
            raise InvariantError(f"partition {self._partition}: commit {batch.seq} out of order")
        self.in_flight = batch
        self._proofs = self._proofs + 1 if batch.is_empty() else 0
        commit = batch.to_commit(self.lease, f"{self.lease.token}:{batch.seq}")
        result = self._sent_at_once(commit) if self._at_once is not None else None
        if result is not None:
            self._answered(batch, commit, result)
        else:
            work = self._commit(batch, commit, self._life)
            self._env.host.spawn(work, f"commit-{self._partition}")

    def _sent_at_once(self, commit: Commit) -> CommitResult | None:
        """Commit without a task of its own, which costs more than a small commit; None when the
        store would have to wait, or fails: what then becomes of it is `_commit`'s."""
        assert self._at_once is not None
        try:
            return self._at_once.commit_at_once(commit)
        except Exception:  # noqa: BLE001 -- met again at once by `_commit`, which sends it again
            self._resending = True
            self._env.counters.commit_resends += 1
            return None

    async def _commit(self, batch: Batch, commit: Commit, life: int) -> None:
        try:
            result = await self._send_until_answered(commit, life)
        except StoreFullError as error:
            if life == self._life:
                self._found_no_room(batch, error)
            return
        except Exception as error:  # noqa: BLE001 -- the supervisor of commits: the partition must not hang
            _log.critical("commit failed", extra={"commit": commit.commit_id}, exc_info=error)
            if life == self._life:
                self._lost(InvariantError(f"commit {commit.commit_id} failed: {error!r}"))
            return
        if life == self._life and result is not None:
            self._answered(batch, commit, result)

    def _answered(self, batch: Batch, commit: Commit, result: CommitResult) -> None:
        was_silent, self._resending = self._resending, False
        self._is_well()
        counters = self._env.counters
        match result:
            case CommitResult.OK | CommitResult.ALREADY:
                counters.commits += 1
                counters.commits_already += result is CommitResult.ALREADY
                self.committed_seq = batch.seq
                self.in_flight = None
                self._env.room.applied(commit)
                self._released(batch)
            case CommitResult.FENCED | CommitResult.SEQ:
                counters.commits_fenced += 1
                fenced = FencedOutError(
                    f"partition {self._partition} was taken by another owner ({result}); retry"
                )
                if not was_silent:
                    batch.refuse_all(fenced)  # it was certainly not applied
                    self.in_flight = None
                self._lost(fenced)
            case CommitResult.BAD:
                _log.critical("commit refused as malformed", extra={"commit": commit.commit_id})
                self._lost(InvariantError(f"the store refused commit {commit.commit_id} as BAD"))

    async def _send_until_answered(self, commit: Commit, life: int) -> CommitResult | None:
        pause_s = RETRY_FIRST_S
        while True:
            try:
                return await self._env.store.commit(commit)
            except StoreUnavailableError as error:
                if life != self._life:
                    return None
                if isinstance(error, StoreFullError) and error.written is False:
                    raise
                self._resending = True
                self._env.counters.commit_resends += 1
                await self.wait_out_trouble(error, pause_s)
                pause_s = min(2 * pause_s, self._env.limits.store_retry_max_s)
            if life != self._life:
                return None

    def _found_no_room(self, batch: Batch, error: StoreFullError) -> None:
        """Nothing of the batch is stored, and the store would refuse it again: drop it with all
        memory. What was durable before is read again, and done without what creates."""
        self._env.room.refused(str(error), self._env.loop.time())
        self.in_flight = None
        batch.refuse_all(error)
        self._lost(error)

    def read_answered(self) -> None:
        """A read that had failed was answered: all is well, unless a commit still has no answer."""
        if not self._resending:
            self._is_well()

    def _is_well(self) -> None:
        if self.trouble:
            self.trouble = ""
            self._env.outage.answered(self)

    async def wait_out_trouble(
        self, error: StoreUnavailableError, pause_s: float = RETRY_FIRST_S
    ) -> None:
        """Note that the store does not answer, and pause with jitter before the next try."""
        self._env.outage.failed(error, self)
        self.trouble = str(error) or type(error).__name__
        await asyncio.sleep(pause_s * (0.5 + self._env.ids.jitter()))  # noqa: TID251 -- back-off
