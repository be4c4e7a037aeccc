"""Durable messages between actors and to workers: once, in order, tried again, parked."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import Actor, ActorId, ActorType, Delivery, Limits, Message, WorkerType
from actorflow.actors.errors import (
    CorruptError,
    UnknownActorTypeError,
    UsageError,
)
from tests.sim.stage import Stage, on_stage
from tests.unit.notebook import ANN, SEEDS, Notebook, lines_of

if TYPE_CHECKING:
    from actorflow.actors import ActorRecord, ActorServices, Effects
    from actorflow.actors.actor import TurnActor


@pytest.mark.parametrize("seed", SEEDS)
def test_messages_arrive_once_and_in_order(seed: int) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook, limits=Limits(batch_turns=3)) as system:
            for start in range(0, 60, 20):
                lines = [str(n) for n in range(start, start + 20)]
                await system.call(ANN, "tell", json.dumps(lines).encode())
            await asyncio.sleep(1)
            assert await lines_of(system, "heard") == [str(n) for n in range(60)]
        assert (await stage.memory.recover(0, horizon_ms=2**60)).messages == ()

    on_stage(main, seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("depth", [0, 1, 7, 8, 9, 20])
def test_order_holds_when_a_long_chain_waits_for_the_commit(seed: int, depth: int) -> None:
    """Messages deeper than the limit wait for a commit; later ones must not overtake them."""

    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            await system.call(ANN, "hop_and_tell", str(depth).encode())
            for number in range(3):
                await system.call(ANN, "tell", json.dumps([f"after {number}"]).encode())
            await asyncio.sleep(1)
            expected = [f"before {left}" for left in range(depth, -1, -1)]
            got = await lines_of(system, "heard")
            assert [line for line in got if line.startswith("before")] == expected
            assert [line for line in got if line.startswith("after")] == [
                f"after {number}" for number in range(3)
            ]

    on_stage(main, seed=seed)


def test_a_chain_of_messages_ends_whatever_its_length() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            await system.call(ANN, "hop", b"100")
            await asyncio.sleep(1)
            assert await lines_of(system, "heard") == ["hopped"]
            assert len(stage.store.commits) > 10

    on_stage(main)


def test_messages_survive_a_crash_between_commit_and_delivery() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook, Forever) as system:
            await system.call(ActorId("Forever", "f"), "work_for", b'"ann"', timeout_s=1)
            await asyncio.sleep(0.5)
            assert len((await stage.memory.recover(0, horizon_ms=2**60)).messages) == 1
            await system.stop(drain_s=0.1)
        async with stage.system(Notebook, Forever) as system:
            await asyncio.sleep(20)
            assert await lines_of(system, "ann") == ["worked"]
        assert (await stage.memory.recover(0, horizon_ms=2**60)).messages == ()

    on_stage(main)


class Forever(Actor):
    async def work_for(self, key: str) -> None:
        self.send(ActorId("Forever", "worker"), "work", key)

    async def work(self, key: str) -> None:
        await asyncio.sleep(5)
        self.send(ActorId("Notebook", key), "write", "worked")


def test_send_returns_when_the_message_is_durable() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            stage.store.hold("commit")
            sent = asyncio.ensure_future(system.send(ANN, "write_slowly", b'"x"'))
            await asyncio.sleep(0.5)
            assert not sent.done()
            stage.store.let_go("commit")
            await sent
            assert len((await stage.memory.recover(0, horizon_ms=2**60)).messages) == 1
            await asyncio.sleep(2)
            assert await lines_of(system, "ann") == ["x"]
            assert (await stage.memory.recover(0, horizon_ms=2**60)).messages == ()

    on_stage(main)


def test_a_message_whose_turn_fails_is_tried_again_then_parked() -> None:
    async def main(stage: Stage) -> None:
        limits = Limits(message_attempts=3, retry_first_s=1.0)
        async with stage.system(Notebook, limits=limits) as system:
            await system.send(ANN, "write_and_raise", b'"poison"')
            await system.send(ANN, "write", b'"later"')
            await asyncio.sleep(2.9)
            assert system.counters.parked_messages == 0
            await asyncio.sleep(0.2)
            assert system.counters.parked_messages == 1
            assert await lines_of(system, "ann") == ["later"]
            assert system.counters.failed_turns == 3
        (row,) = (await stage.memory.recover(0, horizon_ms=2**60)).messages
        assert row.parked == "ValueError: poison"
        assert row.payload == b'"poison"'
        async with stage.system(Notebook) as system:
            await asyncio.sleep(5)
            assert system.counters.turns == 0

    on_stage(main)


@pytest.mark.parametrize("text", ["no b\udcffd.txt", "\ud800", "\x00"])
def test_a_reason_that_no_store_could_encode_is_parked_all_the_same(text: str) -> None:
    """An author's error may name a file as `os.fsdecode` does. A commit with such a text would be
    refused as malformed, and the message take its whole partition along, again and again."""

    class Files(Actor):
        async def open(self) -> None:
            raise FileNotFoundError(text)

    async def main(stage: Stage) -> None:
        async with stage.system(Files, Notebook, limits=Limits(message_attempts=1)) as system:
            files = ActorId("Files", "f")
            await system.send(files, "open")
            await stage.settle()
            ((_, reason),) = system.parked(files)
            assert reason.encode().decode() == reason
            assert await system.call(ANN, "write", b'"later"') == b"1"
            assert system.problems() == []
            assert system._partitions[0].life == 1
        (row,) = (await stage.memory.recover(0, horizon_ms=2**60)).messages
        assert row.parked == reason

    on_stage(main)


def test_an_actor_whose_activation_cannot_even_say_why_it_fails_hurts_nobody() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def activate(_: ActorId, __: ActorRecord | None, ___: ActorServices) -> TurnActor:
        raise SilentError

    async def main(stage: Stage) -> None:
        async with stage.system(Notebook, ActorType("Silent", activate)) as system:
            with pytest.raises(CorruptError, match="cannot be shown"):
                await system.call(ActorId("Silent", "s"), "go", timeout_s=5)
            assert await system.call(ANN, "write", b'"line"', timeout_s=5) == b"1"

    on_stage(main)


def test_a_message_for_a_type_that_nobody_registered_fails_its_turn() -> None:
    class Sender(Actor):
        async def go(self) -> None:
            self.send(ActorId("Nobody", "x"), "write", "x")

    async def main(stage: Stage) -> None:
        async with stage.system(Sender) as system:
            with pytest.raises(UnknownActorTypeError):
                await system.call(ActorId("Sender", "s"), "go")

    on_stage(main)


# ---- worker types and the narrow form of actors --------------------------------------------------


def test_worker_gets_each_message_after_its_commit_and_again_until_it_is_done() -> None:
    class Asker(Actor):
        async def ask(self, number: int) -> None:
            self.send(ActorId("worker", str(number)), "run", number)

    async def main(stage: Stage) -> None:
        got: list[Delivery] = []
        types = (Asker, Notebook, WorkerType("worker", got.append))
        async with stage.system(*types) as system:
            stage.store.hold("commit")
            ask = asyncio.ensure_future(system.call(ActorId("Asker", "a"), "ask", b"1"))
            await asyncio.sleep(1)
            assert got == []
            stage.store.let_go("commit")
            await ask
            await system.call(ActorId("Asker", "a"), "ask", b"2")
            await stage.settle()
            assert [d.message.payload for d in got] == [b"1", b"2"]
            got[1].complete([(ANN, "write", b'"second"')])
            got[1].complete([(ANN, "write", b'"second again"')])
            await stage.settle()
            assert await lines_of(system, "ann") == ["second"]
        got.clear()
        async with stage.system(*types) as system:
            await stage.settle()
            assert [d.message.payload for d in got] == [b"1"]
            got[0].complete([(ANN, "write", b'"first"')])
            await stage.settle()
            assert await lines_of(system, "ann") == ["second", "first"]
        assert (await stage.memory.recover(0, horizon_ms=2**60)).messages == ()

    on_stage(main)


class Plain:
    """An actor in the narrow form, which answers without waiting."""

    weight_bytes = 0

    def __init__(self, record: ActorRecord | None) -> None:
        self.value = record.fields["v"] if record is not None else b"0"

    def receive(self, effects: Effects, message: Message) -> bytes:
        match message.method:
            case "set":
                self.value = message.payload
                effects.put_field("v", self.value)
            case "reject":
                effects.put_field("v", b"never")
                effects.reject(UsageError("no"))
            case "delete":
                effects.delete_actor()
                effects.retire_actor()
        return self.value

    def close(self) -> None:
        pass


def plain(_: ActorId, record: ActorRecord | None, __: ActorServices) -> Plain:
    return Plain(record)


def test_rejecting_answers_with_an_error_and_stores_nothing() -> None:
    async def main(stage: Stage) -> None:
        actor = ActorId("plain", "p")
        async with stage.system(ActorType("plain", plain)) as system:
            await system.call(actor, "set", b"1")
            commits = len(stage.store.commits)
            with pytest.raises(UsageError, match="no"):
                await system.call(actor, "reject")
            assert await system.call(actor, "get") == b"1"
            assert len(stage.store.commits) == commits

    on_stage(main)


def test_nobody_waits_behind_a_turn_that_fails_in_our_own_code() -> None:
    """Should that ever happen, the others go on: what is ready, and what is to be committed."""

    class RudeSlot(asyncio.Event):
        def done(self) -> bool:
            return False

        def set_result(self, _: bytes, /) -> None:
            raise LookupError("rude")

        def set_exception(self, _: BaseException, /) -> None:
            raise LookupError("rude")

    async def main(stage: Stage) -> None:
        async with stage.system(ActorType("plain", plain)) as system:
            await asyncio.gather(*(system.call(ActorId("plain", n), "get") for n in "abc"))
            (partition,) = system._partitions
            answers = [stage.loop.create_future() for _ in "ac"]
            partition.admit(Message(ActorId("plain", "a"), "set", b"1", reply=answers[0]))
            partition.admit(Message(ActorId("plain", "b"), "get", reply=RudeSlot()))
            partition.admit(Message(ActorId("plain", "c"), "set", b"2", reply=answers[1]))
            async with asyncio.timeout(5):
                assert await asyncio.gather(*answers) == [b"1", b"2"]
            assert [problem.partition(": ")[2] for problem in stage.loop.problems] == [
                "LookupError('rude')"
            ]
            stage.loop.problems.clear()

    on_stage(main)


def test_deleting_and_creating_again_in_one_batch() -> None:
    async def main(stage: Stage) -> None:
        actor = ActorId("plain", "p")
        async with stage.system(ActorType("plain", plain)) as system:
            await system.call(actor, "set", b"1")
            stage.store.hold("commit")
            calls = [asyncio.ensure_future(system.call(ANY, "set", b"x"))]
            await stage.settle()
            for method, payload in (("delete", b""), ("set", b"2"), ("delete", b""), ("set", b"3")):
                calls.append(asyncio.ensure_future(system.call(actor, method, payload)))
            await stage.settle()
            stage.store.let_go("commit")
            await asyncio.gather(*calls)
        (record,) = await stage.memory.load(0, [actor], with_log=False)
        assert record is not None
        assert record.fields == {"v": b"3"}

    on_stage(main)


ANY = ActorId("plain", "another")


def test_deleting_what_does_not_exist_stores_nothing() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(ActorType("plain", plain)) as system:
            await system.call(ANY, "delete")
            assert stage.store.commits == []

    on_stage(main)
