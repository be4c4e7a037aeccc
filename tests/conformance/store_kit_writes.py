"""The writing half of the store kit: what a commit leaves behind."""

import pytest

from actorflow.actors.address import ActorId
from actorflow.actors.ports import (
    ActorRecord,
    ActorWrite,
    CommitResult,
    MessageRow,
    PartitionStore,
    Summary,
)
from tests.conformance.store_kit import AUDIT, FAR_MS, ORDER, Kit, Owner, picture_of, summary, wake


class WriteKit(Kit):
    """What a commit leaves behind."""

    async def test_record_comes_back_as_it_was_written(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        every_byte = bytes(range(256))
        whole = Summary("order \U0001f600", "RUNNING", -5, 2**62, every_byte)
        fields = (("a", every_byte), ("", b""), ("b" * 300, bytes(100_000)))
        log = (b"", every_byte, b"\x00", bytes(70_000))
        number = await owner.create(ORDER, summary=whole, put_fields=fields, log_append=log)
        expected = ActorRecord(ORDER, number, whole, dict(fields), 4, log)
        assert await store.load(0, [ORDER], with_log=True) == [expected]

    async def test_bare_actor_has_nothing(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        number = await owner.create(ORDER)
        assert await store.load(0, [ORDER], with_log=True) == [
            ActorRecord(ORDER, number, None, {}, 0, ())
        ]

    async def test_what_is_not_named_stays(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        number = await owner.create(
            ORDER, summary=summary(), put_fields=(("a", b"1"),), log_append=(b"1",)
        )
        await owner.write(ActorWrite(ORDER, number))
        await owner.write(ActorWrite(ORDER, number, put_fields=(("b", b"2"),)))
        await owner.write(ActorWrite(ORDER, number, log_start=1, log_append=(b"2",)))
        changed = summary(phase="DONE", label="")
        await owner.write(ActorWrite(ORDER, number, summary=changed))
        assert await store.load(0, [ORDER], with_log=True) == [
            ActorRecord(ORDER, number, changed, {"a": b"1", "b": b"2"}, 2, (b"1", b"2"))
        ]

    async def test_log_start_without_entries_means_nothing(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        number = await owner.create(ORDER, log_append=(b"1", b"2"))
        await owner.write(ActorWrite(ORDER, number, log_start=77, summary=summary()))

    async def test_fields_are_replaced_and_deleted_by_name(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        number = await owner.create(ORDER, put_fields=(("a", b"1"), ("b", b"1"), ("A", b"1")))
        await owner.write(
            ActorWrite(ORDER, number, put_fields=(("b", b"2"),), delete_fields=("a", "never"))
        )
        (record,) = await store.load(0, [ORDER], with_log=False)
        assert record is not None
        assert record.fields == {"b": b"2", "A": b"1"}

    async def test_log_grows_in_order_over_many_commits(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        first, second = await owner.create(ORDER), await owner.create(AUDIT)
        lengths, logs = {first: 0, second: 0}, {first: list[bytes](), second: list[bytes]()}
        for step in range(60):
            writes = []
            for actor, number in ((ORDER, first), (AUDIT, second)):
                entries = tuple(b"%d-%d" % (step, i) for i in range((step + number) % 4))
                writes.append(
                    ActorWrite(actor, number, log_start=lengths[number], log_append=entries)
                )
                lengths[number] += len(entries)
                logs[number] += entries
            await owner.write(*writes)
        records = await store.load(0, [ORDER, AUDIT], with_log=True)
        assert [record and record.log for record in records] == [
            tuple(logs[first]),
            tuple(logs[second]),
        ]

    async def test_log_is_reset(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        number = await owner.create(ORDER, log_append=(b"1", b"2"))
        await owner.write(ActorWrite(ORDER, number, log_reset=True, log_append=(b"3",)))
        (record,) = await store.load(0, [ORDER], with_log=True)
        assert record is not None
        assert (record.log_length, record.log) == (1, (b"3",))
        await owner.write(ActorWrite(ORDER, number, log_reset=True, summary=summary()))
        await owner.write(ActorWrite(ORDER, number, log_reset=True))
        (record,) = await store.load(0, [ORDER], with_log=True)
        assert record is not None
        assert (record.log_length, record.log) == (0, ())

    async def test_delete_leaves_nothing(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        empty = await picture_of(store, [ORDER, AUDIT])
        numbers = [
            await owner.create(
                actor,
                summary=summary(),
                put_fields=(("a", b""),),
                log_append=(b"1",),
                put_reminders=(wake("r", 5),),
            )
            for actor in (ORDER, AUDIT)
        ]
        await owner.write(
            ActorWrite(ORDER, numbers[0], delete=True), ActorWrite(AUDIT, numbers[1], delete=True)
        )
        assert await picture_of(store, [ORDER, AUDIT]) == empty

    @pytest.mark.parametrize("delete_first", [True, False])
    async def test_delete_and_create_in_one_commit(
        self, store: PartitionStore, *, delete_first: bool
    ) -> None:
        owner = await Owner.of(store)
        old = await owner.create(
            ORDER, summary=summary(), put_fields=(("a", b""),), put_reminders=(wake("r", 5),)
        )
        new = owner.number()
        writes = [
            ActorWrite(ORDER, old, delete=True),
            ActorWrite(ORDER, new, create=True, log_append=(b"1",)),
        ]
        await owner.write(*(writes if delete_first else reversed(writes)))
        assert await store.load(0, [ORDER], with_log=True) == [
            ActorRecord(ORDER, new, None, {}, 1, (b"1",))
        ]
        assert (await store.recover(0, horizon_ms=FAR_MS)).reminders == ()
        assert await store.commit(owner.build(ActorWrite(ORDER, old))) is CommitResult.BAD

    async def test_number_may_skip(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        owner.next_number = 1_000
        await owner.create(ORDER)
        again = await Owner.of(store)
        assert again.next_number == 1_001

    async def test_messages_wait_in_the_order_of_sending(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        rows = tuple(owner.message(b"%d" % i) for i in range(6))
        await owner.write(put=rows[:4])
        await owner.write(put=rows[4:], delete=(rows[1].id, rows[3].id))
        recovery = await store.recover(0, horizon_ms=0)
        assert recovery.messages == (rows[0], rows[2], rows[4], rows[5])

    async def test_message_comes_back_as_it_was_sent(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        odd = ActorId('O"rd%er', "it's")
        rows = (
            MessageRow(1, odd, "m'ethod", bytes(range(256)), ActorId("", "k"), "parked at once"),
            MessageRow(7, odd, "", bytes(1_000_000), None, ""),
        )
        await owner.write(put=rows)
        assert (await store.recover(0, horizon_ms=0)).messages == rows

    async def test_parked_message_stays_with_its_reason(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        first, second = owner.message(b"1"), owner.message(b"2")
        await owner.write(put=(first, second))
        await owner.write(park=((first.id, "raised 5 times"),))
        assert (await store.recover(0, horizon_ms=0)).messages == (
            first._replace(parked="raised 5 times"),
            second,
        )
        await owner.write(park=((first.id, "looked at"),))
        await owner.write(delete=(first.id,))
        assert (await store.recover(0, horizon_ms=0)).messages == (second,)

    async def test_reminders_are_replaced_and_deleted_by_name(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        number = await owner.create(ORDER, put_reminders=(wake("a", 10), wake("b", 20)))
        await owner.write(
            ActorWrite(
                ORDER,
                number,
                put_reminders=(wake("b", 5, 60_000, b"x"),),
                delete_reminders=("a", "never"),
            )
        )
        (due,) = (await store.recover(0, horizon_ms=FAR_MS)).reminders
        assert due == (ORDER, number, wake("b", 5, 60_000, b"x"))

    async def test_large_commit(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        actors = [ActorId("Order", f"{i:05}") for i in range(3_000)]
        rows = tuple(owner.message(b"m") for _ in actors)
        await owner.write(
            *(
                ActorWrite(actor, owner.number(), create=True, log_append=(b"1",) * 3)
                for actor in actors
            ),
            put=rows,
        )
        records = await store.load(0, actors, with_log=True)
        assert [record and record.log for record in records] == [(b"1",) * 3] * len(actors)
        assert len((await store.recover(0, horizon_ms=0)).messages) == len(actors)
        await owner.write(delete=tuple(row.id for row in rows))
