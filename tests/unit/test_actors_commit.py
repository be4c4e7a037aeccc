"""What the world may see of a turn, and when: commits, fences, silence, stop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from actorflow.actors import Actor, ActorId, ActorSystem, Delivery, WorkerType
from actorflow.actors.errors import (
    ActorflowError,
    CorruptError,
    FencedOutError,
    InvariantError,
    NotOwnerError,
    StoppingError,
    StoreUnavailableError,
    UnavailableError,
)
from actorflow.actors.ports import CommitResult
from tests.sim.loop import SimIds
from tests.sim.scripted_store import after
from tests.sim.stage import NO_ANSWER, REFUSED, Stage, on_stage

ANN, BOB = ActorId("Account", "ann"), ActorId("Account", "bob")


class Account(Actor):
    async def add(self, amount: int) -> int:
        self.state["balance"] = self.state.get("balance", 0) + amount
        return int(self.state["balance"])

    async def balance(self) -> int:
        return int(self.state.get("balance", 0))

    async def add_to(self, key: str) -> int:
        """Write nothing here, but something there."""
        return int(await self.call(ActorId("Account", key), "add", 1))

    async def add_through(self, key: str) -> int:
        return int(await self.call(ActorId("Account", key), "add_to", "carl"))

    async def add_slowly(self, amount: int) -> int:
        await asyncio.sleep(5)
        return await self.add(amount)


# ---- commit, then act ----------------------------------------------------------------------------


def test_reply_comes_after_the_commit() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            stage.store.hold("commit")
            call = asyncio.ensure_future(system.call(ANN, "add", b"5"))
            await asyncio.sleep(3)
            assert stage.store.waiting["commit"] == 1
            assert not call.done()
            stage.store.let_go("commit")
            assert await call == b"5"

    on_stage(main)


def test_reading_what_is_not_committed_waits_too() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            await system.call(ANN, "add", b"1")
            stage.store.hold("commit")
            write = asyncio.ensure_future(system.call(ANN, "add", b"5"))
            await stage.settle()
            read = asyncio.ensure_future(system.call(ANN, "balance"))
            await asyncio.sleep(3)
            assert not read.done()
            stage.store.let_go("commit")
            assert await read == b"6"
            assert await write == b"6"

    on_stage(main)


def test_reading_what_is_committed_does_not_wait() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            await system.call(ANN, "add", b"1")
            stage.store.hold("commit")
            write = asyncio.ensure_future(system.call(BOB, "add", b"5"))
            await stage.settle()
            assert await system.call(ANN, "balance") == b"1"
            stage.store.let_go("commit")
            await write

    on_stage(main)


@pytest.mark.parametrize("method", ["add_to", "add_through"])
def test_answer_that_rests_on_another_actors_turn_waits_for_its_commit(method: str) -> None:
    """The caller itself writes nothing, so only the called actor's commit can hold its answer."""

    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            stage.store.hold("commit")
            call = asyncio.ensure_future(system.call(ANN, method, b'"bob"'))
            await asyncio.sleep(3)
            assert stage.store.waiting["commit"] == 1
            assert not call.done()
            stage.store.let_go("commit")
            assert await call == b"1"

    on_stage(main)


def test_turns_go_on_while_a_commit_is_out_and_share_the_next() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            await system.call(ANN, "add", b"0")
            stage.store.hold("commit")
            calls = [asyncio.ensure_future(system.call(ANN, "add", b"1"))]
            await stage.settle()
            calls += [asyncio.ensure_future(system.call(ANN, "add", b"1")) for _ in range(10)]
            await stage.settle()
            stage.store.let_go("commit")
            assert sorted(map(int, await asyncio.gather(*calls))) == list(range(1, 12))
            assert len(stage.store.commits) == 3

    on_stage(main)


# ---- outcomes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers",
    [
        [NO_ANSWER],
        [REFUSED],
        [after(NO_ANSWER)],
        [NO_ANSWER, REFUSED, after(NO_ANSWER), NO_ANSWER],
    ],
    ids=["silent", "refused", "applied", "all"],
)
def test_the_same_commit_is_sent_until_it_is_answered(answers: list[object]) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            stage.store.script("commit", *answers)
            assert await system.call(ANN, "add", b"5") == b"5"
            sent = stage.store.commits
            assert len(sent) == len(answers) + 1
            assert all(commit == sent[0] for commit in sent)
            assert await system.call(ANN, "add", b"5") == b"10"

    on_stage(main)


def test_door_is_shut_while_the_store_is_silent_and_opens_again() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            await system.call(ANN, "add", b"1")
            stage.store.script("commit", *[NO_ANSWER] * 100)
            accepted = asyncio.ensure_future(system.call(ANN, "add", b"1"))
            await asyncio.sleep(5)
            with pytest.raises(StoreUnavailableError, match="no answer"):
                await system.call(BOB, "add", b"1")
            with pytest.raises(StoreUnavailableError):
                await system.send(BOB, "add", b"1")
            assert "no answer" in system.problems()[0]
            stage.store.answers["commit"].clear()
            assert await accepted == b"2"
            assert system.problems() == []
            assert await system.call(BOB, "add", b"1") == b"1"

    on_stage(main)


def test_a_failed_read_shuts_the_door_no_longer_than_it_lasts() -> None:
    """The turn after the read writes nothing, so no commit would tell that the store is back."""

    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            stage.store.script("load", NO_ANSWER, NO_ANSWER)
            assert await system.call(ANN, "balance") == b"0"
            assert system.problems() == []
            assert await system.call(BOB, "add", b"1") == b"1"

    on_stage(main)


@pytest.mark.parametrize("result", [CommitResult.FENCED, CommitResult.SEQ])
def test_lost_partition_drops_its_memory_and_comes_back(result: CommitResult) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            await system.call(ANN, "add", b"1")
            stage.store.script("commit", result)
            with pytest.raises(FencedOutError):
                await system.call(ANN, "add", b"5")
            with pytest.raises(NotOwnerError):
                await system.call(ANN, "balance")
            assert system.problems() == ["partition 0 is not owned"]
            await asyncio.sleep(15)
            assert system.problems() == []
            assert await system.call(ANN, "balance") == b"1"
            assert stage.store.calls["acquire"] > 1

    on_stage(main)


@pytest.mark.parametrize("trouble", ["seq", "acquire", "recover"])
def test_a_host_does_not_wait_for_its_own_lease(trouble: str) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            await system.call(ANN, "add", b"1")
            stage.store.script("commit", CommitResult.SEQ)
            if trouble == "acquire":
                stage.store.script("acquire", after(NO_ANSWER))
            elif trouble == "recover":
                stage.store.script("recover", NO_ANSWER)
            with pytest.raises(FencedOutError):
                await system.call(ANN, "add", b"5")
            await asyncio.sleep(1)
            assert await system.call(ANN, "balance") == b"1"

    on_stage(main)


def test_lost_partition_tells_everybody_who_waits() -> None:
    """In the batch in flight, in the open batch, in a mailbox, and inside a turn that awaits."""

    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            for actor in (ANN, BOB):
                await system.call(actor, "add", b"1")
            stage.store.hold("commit")
            stage.store.script("commit", CommitResult.FENCED)
            began_s = stage.loop.time()
            calls = [asyncio.ensure_future(system.call(ANN, "add", b"1"))]
            await stage.settle()
            calls.append(asyncio.ensure_future(system.call(ANN, "add", b"1")))
            calls.append(asyncio.ensure_future(system.call(BOB, "add_slowly", b"1")))
            await stage.settle()
            calls.append(asyncio.ensure_future(system.call(BOB, "add", b"1")))
            await stage.settle()
            stage.store.let_go("commit")
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(answer) for answer in answers] == [FencedOutError] * 4
            assert stage.loop.time() - began_s < 1

    on_stage(main)


def test_malformed_commit_loses_the_partition_and_says_so() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            stage.store.script("commit", CommitResult.BAD)
            with pytest.raises(InvariantError, match="BAD"):
                await system.call(ANN, "add", b"5")
            await asyncio.sleep(15)
            assert await system.call(ANN, "add", b"5") == b"5"

    on_stage(main)


@pytest.mark.parametrize("method", ["commit", "load", "recover", "acquire"])
@pytest.mark.parametrize("error", [RuntimeError("a bug"), CorruptError("bad page")], ids=repr)
def test_errors_that_no_store_should_raise_do_not_hang_the_partition(
    method: str, error: Exception
) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            await system.call(ANN, "add", b"1")
            stage.store.script(method, error)
            if method in ("recover", "acquire"):
                stage.store.script("commit", CommitResult.FENCED)
            began_s = stage.loop.time()
            with suppress(ActorflowError):
                await system.call(BOB, "add", b"5")
            assert stage.loop.time() - began_s < 5
            await asyncio.sleep(2)
            if method == "load":
                await asyncio.sleep(2 * system.limits.idle_ttl_s)  # then it is read again
            assert int(await system.call(BOB, "add", b"5")) in (5, 10)

    on_stage(main)


def test_bystanders_of_an_unreadable_actor_in_the_same_read_are_served() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            stage.store.hold("load")
            first = asyncio.ensure_future(system.call(ActorId("Account", "x"), "balance"))
            await stage.settle()
            stage.store.script("load", [None], CorruptError("one of two"), CorruptError("ann"))
            calls = [asyncio.ensure_future(system.call(actor, "balance")) for actor in (ANN, BOB)]
            await stage.settle()
            stage.store.let_go("load")
            assert await first == b"0"
            with pytest.raises(CorruptError, match="ann"):
                await calls[0]
            assert await calls[1] == b"0"

    on_stage(main)


# ---- stop ----------------------------------------------------------------------------------------


def test_stop_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            slow = asyncio.ensure_future(system.call(ANN, "add_slowly", b"3"))
            await stage.settle()
            stop = asyncio.ensure_future(system.stop())
            await stage.settle()
            with pytest.raises(StoppingError):
                await system.call(ANN, "add", b"1")
            with pytest.raises(StoppingError):
                await system.send(ANN, "add", b"1")
            assert await slow == b"3"
            await stop
        (record,) = await stage.memory.load(0, [ANN], with_log=False)
        assert record is not None
        assert record.fields["balance"] == b"3"

    on_stage(main)


def test_stop_gives_up_after_its_time_and_tells_who_waits() -> None:
    async def main(stage: Stage) -> None:
        system = ActorSystem(stage.store, [Account], clock=stage.clock, ids=SimIds(1))
        await system.start()
        stage.store.script("commit", *[NO_ANSWER] * 1_000)
        call = asyncio.ensure_future(system.call(ANN, "add", b"3"))
        await stage.settle()
        began_s = stage.loop.time()
        await system.stop(drain_s=2)
        assert stage.loop.time() - began_s < 3
        with pytest.raises(StoppingError):
            await call
        await system.stop()

    on_stage(main)


def test_stop_releases_the_lease_so_that_the_next_start_need_not_wait() -> None:
    async def main(stage: Stage) -> None:
        for total in (b"1", b"2"):
            began_s = stage.loop.time()
            async with stage.system(Account) as system:
                assert await system.call(ANN, "add", b"1") == total
            assert stage.loop.time() - began_s < 1

    on_stage(main)


def test_stop_while_the_partition_is_being_acquired_leaves_no_owner() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            stage.store.script("commit", CommitResult.FENCED)
            with pytest.raises(FencedOutError):
                await system.call(ANN, "add", b"1")
            stage.store.hold("acquire")
            await asyncio.sleep(1)
            assert stage.store.waiting["acquire"] == 1
            stage.loop.call_later(0.5, stage.store.let_go, "acquire")
        began_s = stage.loop.time()
        async with stage.system(Account) as system:
            await system.call(ANN, "add", b"1")
        assert stage.loop.time() - began_s < 11

    on_stage(main)


# ---- ownership -----------------------------------------------------------------------------------


def test_second_host_waits_for_the_lease_and_fences_the_first() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as first:
            await first.call(ANN, "add", b"1")
            began_s = stage.loop.time()
            async with stage.system(Account, seed=2) as second:
                assert 9 < stage.loop.time() - began_s < 12
                assert await second.call(ANN, "add", b"1") == b"2"
                with pytest.raises(FencedOutError):
                    await first.call(ANN, "add", b"1")
                assert await second.call(ANN, "balance") == b"2"

    on_stage(main)


def test_work_of_a_lost_partition_cannot_be_completed() -> None:
    """A worker that finishes after the fence: its completion is void, the work comes again."""
    delivered: list[Delivery] = []

    async def main(stage: Stage) -> None:
        class Asker(Actor):
            async def ask(self) -> None:
                self.send(ActorId("worker", "w"), "run")

        worker = WorkerType("worker", delivered.append)
        async with stage.system(Asker, Account, worker) as system:
            await system.call(ActorId("Asker", "a"), "ask")
            await stage.settle()
            assert len(delivered) == 1
            stage.store.script("commit", CommitResult.FENCED)
            with pytest.raises(FencedOutError):
                await system.call(ANN, "add", b"1")
            await asyncio.sleep(15)
            assert len(delivered) == 2
            delivered[0].complete([(ANN, "add", b"100")])
            delivered[1].complete([(ANN, "add", b"1")])
            delivered[1].complete([(ANN, "add", b"10")])
            await stage.settle()
            assert await system.call(ANN, "balance") == b"1"
        assert (await stage.memory.recover(0, horizon_ms=2**60)).messages == ()

    on_stage(main)


# ---- cancellation --------------------------------------------------------------------------------


@pytest.mark.parametrize("callbacks", range(1, 25))
def test_a_caller_that_hangs_up_at_any_moment_changes_nothing_for_others(callbacks: int) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            stage.store.script("commit", after(NO_ANSWER))
            call = asyncio.ensure_future(system.call(ANN, "add", b"1"))
            for _ in range(callbacks):
                await asyncio.sleep(0)
            call.cancel()
            answer = (await asyncio.gather(call, return_exceptions=True))[0]
            await asyncio.sleep(1)  # the door is shut until the commit is sent again
            total = int(await system.call(ANN, "add", b"10"))
            assert total in (10, 11)
            if answer == b"1":
                assert total == 11
            assert await system.call(ANN, "balance") == str(total).encode()

    on_stage(main)


def test_a_call_that_takes_too_long_says_that_nobody_knows() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Account) as system:
            with pytest.raises(UnavailableError, match="in 1 s; the outcome is unknown"):
                await system.call(ANN, "add_slowly", b"1", timeout_s=1)
            await asyncio.sleep(timedelta(seconds=5).total_seconds())
            assert await system.call(ANN, "balance") == b"1"

    on_stage(main)
