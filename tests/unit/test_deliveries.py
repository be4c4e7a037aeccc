"""Deliveries that were recovered from a lost owner, and those whose message is amended."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import Actor, ActorId, ActorSystem, Delivery, Message, WorkerType
from actorflow.actors.asking import ask
from actorflow.actors.completion import COMPLETE, key_of, pack_completion, was_consumed
from actorflow.actors.errors import FencedOutError
from actorflow.actors.ports import CommitResult
from tests.sim.stage import NO_ANSWER, Stage, on_stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from actorflow.actors.completion import DeliveryKey, Sends
    from actorflow.actors.ports import MessageRow

ASKER = ActorId("Asker", "a")
ANN = ActorId("Account", "ann")
LEASE_S = 11


class Asker(Actor):
    async def ask(self, text: str) -> None:
        self.send(ActorId("worker", "w"), "run", text)


class Account(Actor):
    async def add(self, amount: int) -> int:
        self.state["balance"] = self.state.get("balance", 0) + amount
        return int(self.state["balance"])


class Desk:
    """What a worker was given and what it was told of."""

    def __init__(self) -> None:
        self.given: list[Delivery] = []
        self.completed: list[DeliveryKey] = []
        self.type = WorkerType("worker", self.given.append, self.completed.append)


@asynccontextmanager
async def asked(
    stage: Stage, desk: Desk, *, seed: int = 1, texts: int = 1
) -> AsyncIterator[ActorSystem]:
    """Run a system whose worker has been given some messages."""
    async with stage.system(Asker, Account, desk.type, seed=seed) as system:
        for number in range(texts):
            await system.call(ASKER, "ask", b'"%d"' % number)
        await stage.settle()
        yield system


async def rows_of(stage: Stage) -> tuple[MessageRow, ...]:
    return (await stage.memory.recover(0, horizon_ms=2**60)).messages


async def abandon(system: ActorSystem) -> None:
    """Let the owner fall silent, as one that was killed."""
    partition = system._partitions[0]
    system._stopping = True
    partition.close(FencedOutError("killed"))


def test_recovered_messages_of_a_lost_owner_say_so() -> None:
    async def main(stage: Stage) -> None:
        first, second, third = Desk(), Desk(), Desk()
        async with asked(stage, first) as one:
            assert first.given[0].abandoned == 0
            await abandon(one)
            await asyncio.sleep(LEASE_S)
            async with asked(stage, second, seed=2) as two:
                assert [d.abandoned for d in second.given] == [1, 0]
                await abandon(two)
                await asyncio.sleep(LEASE_S)
                async with asked(stage, third, seed=3):
                    assert [d.abandoned for d in third.given] == [2, 2, 0]
        async with asked(stage, Desk(), seed=4):
            pass
        fifth = Desk()
        async with asked(stage, fifth, seed=5):
            assert [d.abandoned for d in fifth.given] == [0, 0, 0, 0, 0], "given up in good order"

    on_stage(main)


def test_an_own_partition_that_was_lost_and_taken_again_was_not_abandoned() -> None:
    async def main(stage: Stage) -> None:
        desk = Desk()
        async with asked(stage, desk) as system:
            stage.store.script("commit", CommitResult.FENCED)
            with pytest.raises(FencedOutError):
                await system.call(ANN, "add", b"1")
            await asyncio.sleep(15)
            assert [d.abandoned for d in desk.given] == [0, 0]

    on_stage(main)


def test_an_amended_message_keeps_its_delivery() -> None:
    async def main(stage: Stage) -> None:
        desk = Desk()
        async with asked(stage, desk, texts=2) as system:
            (before, other) = await rows_of(stage)
            delivery = desk.given[0]
            assert await delivery.amend(b"amended")
            kept, after = await rows_of(stage)
            assert kept == other
            assert after == before._replace(id=after.id, payload=b"amended")
            assert after.id > other.id
            assert delivery.message.id == after.id
            assert await delivery.amend(b"again")
            assert len(desk.given) == 2
            delivery.complete([(ANN, "add", b"1")])
            delivery.complete([(ANN, "add", b"10")])
            await stage.settle()
            assert await system.call(ANN, "add", b"0") == b"1"
            assert [key.message_id for key in desk.completed] == [before.id], "as it was given"
            assert not await delivery.amend(b"too late")
            assert await rows_of(stage) == (other,)

    on_stage(main)


def test_the_key_of_an_amended_delivery_is_that_of_its_message() -> None:
    async def main(stage: Stage) -> None:
        desk = Desk()
        async with asked(stage, desk) as system:
            (delivery,) = desk.given
            given_as = delivery.key
            assert await delivery.amend(b"amended")
            (row,) = await rows_of(stage)
            assert delivery.key == key_of(row.target, row.id, b"amended") != given_as
            assert not await system.complete(given_as, [(ANN, "add", b"1")])
            assert await system.complete(delivery.key, [(ANN, "add", b"10")])
            assert desk.completed == [given_as]
            assert await system.call(ANN, "add", b"0") == b"10"

    on_stage(main)


def test_a_completion_from_here_leaves_what_one_from_another_host_leaves() -> None:
    async def main(stage: Stage) -> None:
        desk = Desk()
        async with asked(stage, desk, texts=2) as system:
            here, there = desk.given
            sends: Sends = [(here.message.target, "run", b"to itself"), (ASKER, "ask", b'"x"')]
            assert await system.complete(here.key, sends)
            letter = Message(there.message.target, COMPLETE, pack_completion(there.key, sends))
            assert was_consumed(await ask(system._partitions[0].admit, letter, 5), there.key)
            await stage.settle()
            rows = await rows_of(stage)
            mine, theirs = rows[:2], rows[2:]
            assert [row.payload for row in mine] == [b"to itself", b'"x"']
            assert [row.sender for row in mine] == [here.message.target, ASKER]
            assert [row._replace(id=0) for row in mine] == [row._replace(id=0) for row in theirs]

    on_stage(main)


def test_many_are_amended_at_once_and_completed_meanwhile() -> None:
    async def main(stage: Stage) -> None:
        desk = Desk()
        async with asked(stage, desk, texts=600) as system:
            stage.store.hold("commit")
            amending = [
                asyncio.ensure_future(d.amend(b"x%d" % n)) for n, d in enumerate(desk.given)
            ]
            await asyncio.sleep(1)
            for delivery in desk.given[::2]:
                delivery.complete([(ANN, "add", b"1")])
            stage.store.let_go("commit")
            assert all(await asyncio.gather(*amending))
            await asyncio.sleep(1)
            assert await system.call(ANN, "add", b"0") == b"300"
            payloads = [row.payload for row in await rows_of(stage)]
            assert payloads == [b"x%d" % n for n in range(1, 600, 2)]
            assert [d.message.payload for d in desk.given[1::2]] == payloads
            assert system._partitions[0].gauges()["pending_deliveries"] == 300

    on_stage(main)


def test_amending_ends_with_the_ownership() -> None:
    async def main(stage: Stage) -> None:
        desk = Desk()
        async with asked(stage, desk):
            stage.store.script("commit", CommitResult.FENCED)
            assert not await desk.given[0].amend(b"amended")
            assert desk.given[0].is_void
            desk.given[0].complete([(ANN, "add", b"1")])
            await asyncio.sleep(15)
            assert [d.message.payload for d in desk.given] == [b'"0"', b'"0"']

    on_stage(main)


def test_an_amendment_whose_answer_was_lost_counts_once() -> None:
    async def main(stage: Stage) -> None:
        desk = Desk()
        async with asked(stage, desk):
            stage.store.script("commit", NO_ANSWER, NO_ANSWER)
            assert await desk.given[0].amend(b"amended")
            assert [row.payload for row in await rows_of(stage)] == [b"amended"]

    on_stage(main)


def test_what_a_suspect_sends_is_stored_before_anybody_gets_it() -> None:
    """Else an actor that ends its host would put the blame on whoever has told it."""

    async def main(stage: Stage) -> None:
        first, second = Desk(), Desk()
        async with asked(stage, first, texts=2) as one:
            await abandon(one)
            await asyncio.sleep(LEASE_S)
            async with asked(stage, second, seed=2) as two:
                assert await second.given[1].amend(b"amended")
                stage.store.hold("commit")
                turns = two.counters.turns
                for delivery in second.given[:2]:
                    delivery.complete([(ANN, "add", b"1")])
                await asyncio.sleep(1)
                assert two.counters.turns == turns
                stage.store.let_go("commit")
                await asyncio.sleep(1)
                assert two.counters.turns == turns + 2
                second.given[2].complete([(ANN, "add", b"1")])
                stage.store.hold("commit")
                await stage.settle()
                assert two.counters.turns == turns + 3, "others need not wait"
                stage.store.let_go("commit")

    on_stage(main)
