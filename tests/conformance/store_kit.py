"""What every store must do: `actorflow.actors.ports` in executable form.

A store's test module subclasses `OwnershipKit`, `WriteKit` (`store_kit_writes.py`) and `ReadKit`
(`store_kit_reads.py`) and gives them a `store` fixture that yields an open, empty store on the
`clock` fixture. `malformed.py` has the commits that must be refused.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from actorflow.actors.address import ActorId
from actorflow.actors.errors import UsageError
from actorflow.actors.ports import (
    Acquired,
    ActorRecord,
    ActorWrite,
    Commit,
    CommitResult,
    Held,
    Lease,
    MessageRow,
    PartitionStore,
    Query,
    Recovery,
    Reminder,
    Summary,
)
from tests.conformance.malformed import MALFORMED, Malformed

FAR_MS = 2**53
"""A horizon beyond every reminder of these tests."""

TTL_MS = 10_000

ORDER = ActorId("Order", "o-1")
AUDIT = ActorId("Audit", "main")

ODD_KEYS = (
    "plain",
    "it's; DROP TABLE actor; --",
    'say "hello"',
    "100%",
    "under_score",
    "{p3}",
    "a}x{p3}",
    "*?[a-z]",
    "back\\slash",
    "a::b||c//d",
    "..",
    " padded ",
    "e\u0301",
    "\u00e9",
    "\u202eright to left",
    "\ufeffbom",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U0001f600",
    "\U0010ffff",
    "k" * 1_024,
)
"""Keys that a store might splice, escape, fold, normalise or order wrongly."""


class SteppedClock:
    """A clock that a test moves."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def now_ns(self) -> int:
        return self.now_ms * 1_000_000


class Picture(NamedTuple):
    """Everything a store shows of one partition."""

    records: list[ActorRecord | None]
    found: list[list[ActorRecord]]
    recovery: Recovery


async def picture_of(
    store: PartitionStore, actors: Sequence[ActorId], partition: int = 0
) -> Picture:
    types = sorted({actor.type for actor in actors})
    return Picture(
        await store.load(partition, actors, with_log=True),
        [await store.find(Query(actor_type, 1_000)) for actor_type in types],
        await store.recover(partition, horizon_ms=FAR_MS),
    )


class Owner:
    """Commits for one partition with the right fence, order and numbers."""

    def __init__(self, store: PartitionStore, acquired: Acquired) -> None:
        self.store = store
        self.lease = acquired.lease
        self.seq = acquired.seq
        self.next_number = acquired.next_actor_number
        self.next_message = acquired.next_message_id

    @classmethod
    async def of(cls, store: PartitionStore, token: str = "t-1", partition: int = 0) -> "Owner":
        acquired = await store.acquire(partition, token, ttl_ms=TTL_MS)
        assert isinstance(acquired, Acquired)
        return cls(store, acquired)

    def number(self) -> int:
        self.next_number += 1
        return self.next_number - 1

    def message(self, payload: bytes = b"", *, target: ActorId = ORDER) -> MessageRow:
        self.next_message += 1
        return MessageRow(self.next_message - 1, target, "add", payload, AUDIT)

    def build(
        self,
        *actors: ActorWrite,
        put: tuple[MessageRow, ...] = (),
        delete: tuple[int, ...] = (),
        park: tuple[tuple[int, str], ...] = (),
    ) -> Commit:
        commit_id = f"{self.lease.token}:{self.seq + 1}"
        return Commit(self.lease, self.seq, self.seq + 1, commit_id, actors, put, delete, park)

    async def send(self, commit: Commit) -> None:
        assert await self.store.commit(commit) is CommitResult.OK
        self.seq = commit.seq

    async def write(
        self,
        *actors: ActorWrite,
        put: tuple[MessageRow, ...] = (),
        delete: tuple[int, ...] = (),
        park: tuple[tuple[int, str], ...] = (),
    ) -> None:
        await self.send(self.build(*actors, put=put, delete=delete, park=park))

    async def create(
        self,
        actor: ActorId,
        *,
        summary: Summary | None = None,
        put_fields: tuple[tuple[str, bytes], ...] = (),
        log_append: tuple[bytes, ...] = (),
        put_reminders: tuple[Reminder, ...] = (),
    ) -> int:
        """Create one actor and return its number."""
        number = self.number()
        write = ActorWrite(
            actor,
            number,
            create=True,
            summary=summary,
            put_fields=put_fields,
            log_append=log_append,
            put_reminders=put_reminders,
        )
        await self.write(write)
        return number


def summary(
    label: str = "order", phase: str = "RUNNING", created_ms: int = 1, updated_ms: int = 2
) -> Summary:
    return Summary(label, phase, created_ms, updated_ms, b"head")


def wake(name: str, due_ms: int, period_ms: int = 0, payload: bytes = b"") -> Reminder:
    return Reminder(name, due_ms, period_ms, payload)


class Kit:
    """The clock of the store. `store` is the fixture of the subclass."""

    @pytest.fixture
    def clock(self) -> SteppedClock:
        return SteppedClock()


class OwnershipKit(Kit):
    """Who may commit, and what a commit is answered."""

    async def test_first_owner_starts_at_the_beginning(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        acquired = await store.acquire(0, "t-1", ttl_ms=TTL_MS)
        assert acquired == Acquired(Lease(0, clock.now_ms, "t-1"), 0, 1, 1)

    async def test_epoch_grows_though_the_clock_stands_or_goes_back(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        epochs = []
        for step_ms in (0, 0, -3_600_000, 7_200_000):
            clock.now_ms += step_ms
            owner = await Owner.of(store)
            epochs.append(owner.lease.epoch)
        assert epochs == sorted(set(epochs))
        assert epochs[-1] == clock.now_ms

    async def test_running_lease_of_another_owner_holds(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        owner = await Owner.of(store)
        clock.now_ms += 3_000
        held = Held("t-1", TTL_MS - 3_000, owner.lease.epoch)
        assert await store.acquire(0, "t-2", ttl_ms=TTL_MS) == held

    async def test_held_changes_nothing(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        await store.acquire(0, "t-2", ttl_ms=TTL_MS)
        await owner.write()

    async def test_held_lease_can_be_released_for_a_dead_owner(self, store: PartitionStore) -> None:
        dead = await Owner.of(store, "t-1")
        held = await store.acquire(0, "t-2", ttl_ms=TTL_MS)
        assert isinstance(held, Held)
        await store.release(Lease(0, held.epoch, held.owner))
        await Owner.of(store, "t-2")
        assert await store.commit(dead.build()) is CommitResult.FENCED

    async def test_expired_lease_can_be_taken(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        old = await Owner.of(store, "t-1")
        clock.now_ms += TTL_MS
        new = await Owner.of(store, "t-2")
        assert new.lease.epoch > old.lease.epoch
        assert await store.commit(old.build()) is CommitResult.FENCED

    async def test_same_token_takes_again_under_a_higher_epoch(self, store: PartitionStore) -> None:
        first = await Owner.of(store, "t-1")
        second = await Owner.of(store, "t-1")
        assert second.lease.epoch > first.lease.epoch
        assert await store.commit(first.build()) is CommitResult.FENCED
        await second.write()

    async def test_empty_token_is_refused(self, store: PartitionStore) -> None:
        with pytest.raises(UsageError, match="token"):
            await store.acquire(0, "", ttl_ms=TTL_MS)

    async def test_renewal_extends_the_lease(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        owner = await Owner.of(store)
        clock.now_ms += TTL_MS - 1
        assert await store.renew(owner.lease, ttl_ms=500)
        assert await store.acquire(0, "t-2", ttl_ms=TTL_MS) == Held("t-1", 500, owner.lease.epoch)

    async def test_commit_extends_the_lease_by_its_ttl(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        owner = await Owner.of(store)
        clock.now_ms += TTL_MS - 1
        await owner.write()
        held = Held("t-1", TTL_MS, owner.lease.epoch)
        assert await store.acquire(0, "t-2", ttl_ms=TTL_MS) == held

    async def test_expired_but_not_taken_lease_still_commits_and_renews(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        owner = await Owner.of(store)
        clock.now_ms += 10 * TTL_MS
        await owner.write()
        clock.now_ms += 10 * TTL_MS
        assert await store.renew(owner.lease, ttl_ms=TTL_MS)

    async def test_released_partition_is_free_at_once(self, store: PartitionStore) -> None:
        old = await Owner.of(store, "t-1")
        await store.release(old.lease)
        assert not await store.renew(old.lease, ttl_ms=TTL_MS)
        assert await store.commit(old.build()) is CommitResult.FENCED
        await Owner.of(store, "t-2")

    async def test_partition_given_up_in_good_order_was_not_abandoned(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        assert await self.abandoned(store, "t-1") == 0
        clock.now_ms += TTL_MS
        assert await self.abandoned(store, "t-2") == 1
        await store.release((await Owner.of(store, "t-2")).lease)
        assert await self.abandoned(store, "t-3") == 0
        clock.now_ms += TTL_MS
        assert await self.abandoned(store, "t-4") == 1

    async def test_owners_that_abandoned_the_partition_are_counted(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        counts: list[int] = []
        for step_ms in (TTL_MS, TTL_MS, 59_999, TTL_MS, 60_000, TTL_MS):
            counts.append(await self.abandoned(store, f"t-{len(counts)}"))
            clock.now_ms += step_ms
        counts.append(await self.abandoned(store, "t-last"))
        assert counts == [0, 1, 2, 3, 4, 1, 2], "a minute of peace begins a new row"

    async def test_lease_that_others_ended_counts_as_abandoned(self, store: PartitionStore) -> None:
        for count in (1, 2, 3):
            dead = await Owner.of(store, f"t-{count}")  # the same owner, once more
            await store.release(dead.lease, dead=True)
            assert not await store.renew(dead.lease, ttl_ms=TTL_MS)
            assert await store.commit(dead.build()) is CommitResult.FENCED
            assert await self.abandoned(store, f"t-{count + 1}") == count

    async def test_same_owner_that_takes_again_abandoned_nothing(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        await Owner.of(store, "t-1")
        assert await self.abandoned(store, "t-1") == 0
        clock.now_ms += TTL_MS
        assert [await self.abandoned(store, "t-2") for _ in range(2)] == [1, 1]

    @staticmethod
    async def abandoned(store: PartitionStore, token: str) -> int:
        acquired = await store.acquire(0, token, ttl_ms=TTL_MS)
        assert isinstance(acquired, Acquired)
        return acquired.abandoned

    async def test_stale_release_and_renewal_do_no_harm(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        old = await Owner.of(store, "t-1")
        clock.now_ms += TTL_MS
        new = await Owner.of(store, "t-2")
        await store.release(old.lease)
        assert not await store.renew(old.lease, ttl_ms=TTL_MS)
        await new.write()
        assert isinstance(await store.acquire(0, "t-3", ttl_ms=TTL_MS), Held)

    async def test_next_owner_goes_on_where_the_last_one_stopped(
        self, store: PartitionStore, clock: SteppedClock
    ) -> None:
        old = await Owner.of(store, "t-1")
        number = await old.create(ORDER)
        message = old.message()
        await old.write(put=(message,))
        await old.write(ActorWrite(ORDER, number, delete=True), delete=(message.id,))
        clock.now_ms += TTL_MS
        new = await store.acquire(0, "t-2", ttl_ms=TTL_MS)
        assert isinstance(new, Acquired)
        assert new[1:4] == (3, number + 1, message.id + 1)

    @pytest.mark.parametrize(
        ("epoch_step", "token"),
        [(1, "t-1"), (-1, "t-1"), (0, "t-2"), (0, ""), (0, "T-1"), (1, "t-2")],
    )
    async def test_foreign_fence_writes_nothing(
        self, store: PartitionStore, epoch_step: int, token: str
    ) -> None:
        owner = await Owner.of(store)
        foreign = Lease(0, owner.lease.epoch + epoch_step, token)
        commit = owner.build(ActorWrite(ORDER, 1, create=True), put=(owner.message(),))
        before = await picture_of(store, [ORDER])
        assert await store.commit(commit._replace(lease=foreign)) is CommitResult.FENCED
        assert await picture_of(store, [ORDER]) == before
        await owner.send(commit)

    async def test_nobody_owns_a_new_store(self, store: PartitionStore) -> None:
        for token in ("", "t-1"):
            commit = Commit(Lease(0, 0, token), 0, 1, "c")
            assert await store.commit(commit) is CommitResult.FENCED
            assert not await store.renew(commit.lease, ttl_ms=TTL_MS)
            await store.release(commit.lease)

    async def test_resend_is_already_and_applied_once(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        commit = owner.build(
            ActorWrite(ORDER, owner.number(), create=True, log_append=(b"1",)),
            put=(owner.message(),),
        )
        await owner.send(commit)
        once = await picture_of(store, [ORDER])
        for _ in range(3):
            assert await store.commit(commit) is CommitResult.ALREADY
        assert await picture_of(store, [ORDER]) == once
        await owner.write()

    async def test_resend_is_already_for_its_owner_only(self, store: PartitionStore) -> None:
        owner = await Owner.of(store, "t-1")
        commit = owner.build()
        await owner.send(commit)
        await Owner.of(store, "t-1")
        assert await store.commit(commit) is CommitResult.FENCED

    @pytest.mark.parametrize("step", [-1, 1, 1_000])
    async def test_gap_or_repetition_of_seq_writes_nothing(
        self, store: PartitionStore, step: int
    ) -> None:
        owner = await Owner.of(store)
        await owner.write()
        good = owner.build(ActorWrite(ORDER, owner.number(), create=True))
        wrong = good._replace(prev_seq=good.prev_seq + step, seq=good.seq + step)
        assert await store.commit(wrong) is CommitResult.SEQ
        assert await store.load(0, [ORDER], with_log=False) == [None]
        await owner.send(good)

    async def test_older_commit_is_seq_once_another_was_applied(
        self, store: PartitionStore
    ) -> None:
        owner = await Owner.of(store)
        old = owner.build()
        await owner.send(old)
        await owner.write()
        assert await store.commit(old) is CommitResult.SEQ

    async def test_checks_have_an_order(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        last = owner.build()
        await owner.send(last)
        bad = owner.build(ActorWrite(ORDER, 99))
        unfenced = Lease(0, 1, "other")
        assert await store.commit(bad) is CommitResult.BAD
        assert await store.commit(bad._replace(prev_seq=7)) is CommitResult.SEQ
        repeated = bad._replace(prev_seq=7, commit_id=last.commit_id)
        assert await store.commit(repeated) is CommitResult.ALREADY
        assert await store.commit(repeated._replace(lease=unfenced)) is CommitResult.FENCED

    @pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
    async def test_malformed_commit_writes_nothing(
        self, store: PartitionStore, case: Malformed
    ) -> None:
        """R03. `malformed.py` starts from the two actors and two messages written here."""
        owner = await Owner.of(store)
        await owner.write(
            ActorWrite(
                ORDER,
                1,
                create=True,
                summary=summary(),
                put_fields=(("a", b"1"),),
                log_append=(b"1", b"2"),
                put_reminders=(wake("r", 5),),
            ),
            ActorWrite(AUDIT, 2, create=True),
            put=(MessageRow(1, ORDER, "add", b""), MessageRow(2, ORDER, "add", b"")),
        )
        owner.next_number, owner.next_message = 3, 3
        actors = [ORDER, AUDIT, ActorId("Order", "new")]
        before = await picture_of(store, actors)
        # Each has good effects too, in every table, so that a late check shows itself.
        good = owner.build(
            ActorWrite(ActorId("Order", "new"), 3, create=True, summary=summary()),
            ActorWrite(AUDIT, 2, put_fields=(("a", b"2"),), log_append=(b"x",)),
            put=(MessageRow(3, ORDER, "add", b""),),
            park=((1, "poison"),),
        )
        assert await store.commit(case.spoil(good)) is CommitResult.BAD
        assert await picture_of(store, actors) == before
        again = await store.acquire(0, owner.lease.token, ttl_ms=TTL_MS)
        assert isinstance(again, Acquired)
        assert again[1:4] == (1, 3, 3)
        owner.lease = again.lease
        await owner.send(good._replace(lease=again.lease))
