"""The reading half of the store kit: load, due, find."""

import pytest

from actorflow.actors.address import ActorId
from actorflow.actors.errors import UsageError
from actorflow.actors.ports import ActorRecord, ActorWrite, PartitionStore, Query, Summary
from tests.conformance.store_kit import AUDIT, FAR_MS, ODD_KEYS, ORDER, Kit, Owner, summary, wake


async def keys_found(store: PartitionStore, query: Query) -> list[str]:
    return [record.actor.key for record in await store.find(query)]


async def all_pages(store: PartitionStore, query: Query) -> list[str]:
    keys: list[str] = []
    while page := await keys_found(store, query):
        assert len(page) <= query.limit
        keys += page
        query = query._replace(after=page[-1])
    return keys


async def orders(owner: Owner, *keys: str, summary: Summary | None = None) -> None:
    for key in keys:
        await owner.create(ActorId("Order", key), summary=summary)


class ReadKit(Kit):
    """What is read, in which order, and how far."""

    async def test_load_answers_in_the_order_asked_for(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        await owner.create(ORDER, log_append=(b"1", b"2"))
        await owner.create(AUDIT)
        wanted = [AUDIT, ActorId("Order", "absent"), ORDER, AUDIT]
        records = await store.load(0, wanted, with_log=False)
        assert [record and record.actor for record in records] == [AUDIT, None, ORDER, AUDIT]
        assert records[2] == ActorRecord(ORDER, 1, None, {}, 2, ())
        assert await store.load(0, [], with_log=True) == []

    async def test_type_and_key_are_both_the_address(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        await owner.create(ActorId("a", "bc"))
        others = [ActorId("ab", "c"), ActorId("bc", "a"), ActorId("A", "bc"), ActorId("a", "BC")]
        assert await store.load(0, others, with_log=False) == [None] * 4

    async def test_odd_keys_are_keys_like_others(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        numbers = {key: await owner.create(ActorId("Order", key)) for key in ODD_KEYS}
        records = await store.load(0, [ActorId("Order", key) for key in ODD_KEYS], with_log=False)
        assert [record and (record.actor.key, record.number) for record in records] == list(
            numbers.items()
        )
        assert await keys_found(store, Query("Order", 1_000)) == sorted(ODD_KEYS)
        for key in ODD_KEYS:
            expected = sorted(other for other in ODD_KEYS if other.startswith(key))
            assert await keys_found(store, Query("Order", 1_000, key_prefix=key)) == expected
        await owner.write(
            *(ActorWrite(ActorId("Order", key), n, delete=True) for key, n in numbers.items())
        )
        assert await store.find(Query("Order", 1)) == []

    @pytest.mark.parametrize("odd", [key for key in ODD_KEYS if len(key) <= 256])
    async def test_odd_types_labels_phases_and_names(self, store: PartitionStore, odd: str) -> None:
        owner = await Owner.of(store)
        actor = ActorId(odd, "k")
        whole = summary(label=odd, phase=odd)
        number = await owner.create(
            actor,
            summary=whole,
            put_fields=((odd, b"1"),),
            put_reminders=(wake(odd, 1),),
        )
        expected = ActorRecord(actor, number, whole, {odd: b"1"}, 0)
        assert await store.load(0, [actor], with_log=True) == [expected]
        found = await store.find(Query(odd, 1, phases=(odd,), label=odd))
        assert found == [expected._replace(fields={})]
        await owner.write(ActorWrite(actor, number, delete_fields=(odd,), delete_reminders=(odd,)))
        assert (await store.recover(0, horizon_ms=FAR_MS)).reminders == ()

    async def test_reminders_are_due_before_the_horizon_earliest_first(
        self, store: PartitionStore
    ) -> None:
        owner = await Owner.of(store)
        await owner.create(ORDER, put_reminders=(wake("late", 30), wake("z", 10), wake("a", 10)))
        await owner.create(AUDIT, put_reminders=(wake("first", -5), wake("b", 10)))

        async def names(horizon_ms: int) -> list[str]:
            recovery = await store.recover(0, horizon_ms=horizon_ms)
            return [due.reminder.name for due in recovery.reminders]

        assert await names(-5) == []
        assert await names(10) == ["first"]
        assert await names(11) == ["first", "a", "z", "b"]
        assert await names(2**70) == ["first", "a", "z", "b", "late"]

    async def test_due_window_is_half_open_and_bounded(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        await owner.create(ORDER, put_reminders=tuple(wake(f"r{i}", i) for i in range(10)))

        async def due(from_ms: int, until_ms: int, limit: int = 100) -> list[int]:
            found = await store.due(0, from_ms=from_ms, until_ms=until_ms, limit=limit)
            return [one.reminder.due_ms for one in found]

        assert await due(3, 6) == [3, 4, 5]
        assert await due(3, 3) == []
        assert await due(6, 3) == []
        assert await due(3, 9, limit=2) == [3, 4]
        assert await due(-(2**70), 2**70) == list(range(10))
        assert await due(0, 9, limit=0) == []

    async def test_find_sees_one_type_only(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        for actor_type in ("Order", "Orders", "order", "Orde"):
            await owner.create(ActorId(actor_type, "k"))
        (found,) = await store.find(Query("Order", 10))
        assert found.actor == ActorId("Order", "k")
        assert await store.find(Query("Absent", 10)) == []

    async def test_find_gives_neither_log_nor_fields(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        number = await owner.create(
            ORDER, summary=summary(), put_fields=(("a", b""),), log_append=(b"1",)
        )
        assert await store.find(Query("Order", 10)) == [
            ActorRecord(ORDER, number, summary(), {}, 1, ())
        ]

    async def test_find_is_ordered_by_code_point(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        # UTF-16 order would put U+1F600 before U+FFFF; locales would put é beside e.
        keys = ["Z", "a", "e", "z", "\u00e9", "\uffff", "\U0001f600"]
        await orders(owner, *reversed(keys))
        assert await keys_found(store, Query("Order", 10)) == keys

    @pytest.mark.parametrize("limit", [1, 2, 3, 1_000])
    @pytest.mark.parametrize("phases", [(), ("A",), ("A", "B"), ("B", "C", "A", "B")])
    async def test_pages_join_without_gap_or_repetition(
        self, store: PartitionStore, limit: int, phases: tuple[str, ...]
    ) -> None:
        owner = await Owner.of(store)
        expected = []
        for index in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7):
            phase = "ABC"[index % 3]
            await orders(owner, f"k{index}", summary=summary(phase=phase))
            if not phases or phase in phases:
                expected.append(f"k{index}")
        query = Query("Order", limit, phases=phases)
        assert await all_pages(store, query) == sorted(expected)

    async def test_after_is_exclusive_and_need_not_exist(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        await orders(owner, "a", "b", "d")
        assert await keys_found(store, Query("Order", 10, after="b")) == ["d"]
        assert await keys_found(store, Query("Order", 10, after="c")) == ["d"]
        assert await keys_found(store, Query("Order", 10, after="z")) == []

    async def test_prefix_takes_every_character_as_itself(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        await orders(
            owner, "a%", "a%b", "a_b", "ab", "a", "A%b", "b%", "a\U0010ffff", "a\U0010ffffb"
        )
        assert await keys_found(store, Query("Order", 10, key_prefix="a%")) == ["a%", "a%b"]
        assert await keys_found(store, Query("Order", 10, key_prefix="a_")) == ["a_b"]
        assert await keys_found(store, Query("Order", 10, key_prefix="a%", after="a%")) == ["a%b"]
        assert await keys_found(store, Query("Order", 10, key_prefix="b", after="a")) == ["b%"]
        assert await keys_found(store, Query("Order", 10, key_prefix="a", after="b")) == []
        assert len(await keys_found(store, Query("Order", 10, key_prefix="a\U0010ffff"))) == 2

    async def test_every_filter_must_match(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        await orders(owner, "a1", summary=summary("x", "RUNNING", created_ms=10))
        await orders(owner, "a2", summary=summary("x", "DONE", created_ms=20))
        await orders(owner, "b1", summary=summary("y", "RUNNING", created_ms=30))
        await orders(owner, "c1")
        base = Query("Order", 10)
        for query, expected in [
            (base._replace(label="x"), ["a1", "a2"]),
            (base._replace(label="X"), []),
            (base._replace(phases=("RUNNING",)), ["a1", "b1"]),
            (base._replace(phases=("GONE",)), []),
            (base._replace(created_from_ms=20), ["a2", "b1"]),
            (base._replace(created_to_ms=20), ["a1"]),
            (base._replace(created_from_ms=20, created_to_ms=30), ["a2"]),
            (base._replace(created_from_ms=-(2**70), created_to_ms=2**70), ["a1", "a2", "b1"]),
            (base._replace(label="x", phases=("DONE",), key_prefix="a"), ["a2"]),
            (base._replace(label="y", phases=("DONE",)), []),
            (base._replace(label="x", limit=1), ["a1"]),
            (base._replace(key_prefix="c"), ["c1"]),
        ]:
            assert await keys_found(store, query) == expected, query

    async def test_find_follows_changes_of_phase(self, store: PartitionStore) -> None:
        owner = await Owner.of(store)
        number = await owner.create(ORDER, summary=summary(phase="RUNNING"))
        await owner.write(ActorWrite(ORDER, number, summary=summary(phase="DONE")))
        assert await store.find(Query("Order", 10, phases=("RUNNING",))) == []
        assert len(await store.find(Query("Order", 10, phases=("DONE",)))) == 1
        await owner.write(ActorWrite(ORDER, number, delete=True))
        assert await store.find(Query("Order", 10, phases=("DONE",))) == []

    @pytest.mark.parametrize("limit", [0, -1, 1_001, 10**9])
    async def test_unbounded_search_is_refused(self, store: PartitionStore, limit: int) -> None:
        with pytest.raises(UsageError, match=r"between 1 and 1,000"):
            await store.find(Query("Order", limit))

    async def test_search_text_that_is_not_unicode_is_refused(self, store: PartitionStore) -> None:
        with pytest.raises(UsageError, match="Unicode"):
            await store.find(Query("Order", 1, key_prefix="\ud800"))
