"""What a turn is: one at a time, whole or not at all, in order of arrival."""

from __future__ import annotations

import asyncio
import json

import pytest

from actorflow.actors import Actor, ActorId, Limits
from actorflow.actors.errors import (
    ActorCallError,
    CallCycleError,
    LimitExceededError,
    OverloadedError,
    PayloadError,
    UnavailableError,
    UnknownActorTypeError,
    UnknownMethodError,
    UsageError,
)
from tests.sim.stage import Stage, on_stage
from tests.unit.notebook import ANN, SEEDS, Notebook, book, lines_of

# ---- turns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_turns_of_one_actor_never_overlap(seed: int) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            calls = [
                system.call(ANN, "write_slowly" if n % 3 else "write", json.dumps(str(n)).encode())
                for n in range(12)
            ]
            answers = await asyncio.gather(*calls)
            assert sorted(map(int, answers)) == list(range(1, 13))
            assert len(await lines_of(system, "ann")) == 12

    on_stage(main, seed=seed)


def test_turns_of_different_actors_do_overlap() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            began_s = stage.loop.time()
            await asyncio.gather(
                *(system.call(book(f"b{n}"), "write_slowly", b'"x"') for n in range(50))
            )
            assert stage.loop.time() - began_s < 1.5

    on_stage(main)


def test_calls_are_handled_in_order_of_arrival() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            calls = [
                asyncio.ensure_future(system.call(ANN, "write", json.dumps(str(n)).encode()))
                for n in range(100)
            ]
            await asyncio.gather(*calls)
            assert await lines_of(system, "ann") == [str(n) for n in range(100)]

    on_stage(main)


def test_a_turn_that_raises_leaves_nothing() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            await system.call(ANN, "write", b'"kept"')
            with pytest.raises(ActorCallError) as failure:
                await system.call(ANN, "write_and_raise", b'"dropped"')
            assert failure.value.error_type == "ValueError"
            assert failure.value.error_message == "dropped"
            assert "write_and_raise" in failure.value.stack
            assert await lines_of(system, "ann") == ["kept"]
            assert await lines_of(system, "other") == []
            assert system.counters.failed_turns == 1

    on_stage(main)


def test_a_turn_that_raises_does_not_take_uncommitted_turns_with_it() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            await system.call(ANN, "write", b'"one"')
            stage.store.hold("commit")
            kept = asyncio.ensure_future(system.call(ANN, "write", b'"two"'))
            await stage.settle()
            with pytest.raises(ActorCallError):
                await system.call(ANN, "write_and_raise", b'"no"')
            after = asyncio.ensure_future(system.call(ANN, "write", b'"three"'))
            await asyncio.sleep(1)
            assert not after.done()
            stage.store.let_go("commit")
            assert (await kept, await after) == (b"2", b"3")
            assert await lines_of(system, "ann") == ["one", "two", "three"]

    on_stage(main)


def test_code_that_raises_cancelled_error_ends_its_turn() -> None:
    """Something it awaited was cancelled; nobody cancelled the turn, and the actor goes on."""

    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            with pytest.raises(ActorCallError, match="cancelled"):
                await system.call(ANN, "cancel_myself", timeout_s=5)
            assert await system.call(ANN, "write", b'"on"', timeout_s=5) == b"1"

    on_stage(main)


@pytest.mark.parametrize(
    ("actor", "method", "payload", "error"),
    [
        (ActorId("Nobody", "x"), "write", b'"x"', UnknownActorTypeError),
        (ANN, "no_such_method", b"", UnknownMethodError),
        (ANN, "_invoke", b"", UnknownMethodError),
        (ANN, "on_activate", b"", UnknownMethodError),
        (ANN, "actorflow.remind", b"", UnknownMethodError),
        (ANN, "write", b"x" * 5_000_000, LimitExceededError),
    ],
)
def test_calls_that_cannot_work_are_refused(
    actor: ActorId, method: str, payload: bytes, error: type[Exception]
) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            with pytest.raises(error):
                await system.call(actor, method, payload)
            assert await system.call(ANN, "write", b'"on"') == b"1"

    on_stage(main)


def test_arguments_that_do_not_fit_are_the_callers_error() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            for payload in (b"not json", b"[1]", b"17"):
                with pytest.raises((ActorCallError, UsageError)):
                    await system.call(ANN, "write", payload)
            assert await lines_of(system, "ann") == []

    on_stage(main)


# ---- bounds --------------------------------------------------------------------------------------


def test_a_full_mailbox_refuses_and_keeps_what_it_took() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook, limits=Limits(mailbox_messages=10)) as system:
            slow = asyncio.ensure_future(system.call(ANN, "write_slowly", b'"s"'))
            await stage.settle()
            taken = [asyncio.ensure_future(system.call(ANN, "write", b'"x"')) for _ in range(10)]
            await stage.settle()
            with pytest.raises(OverloadedError, match="mailbox of Notebook/ann"):
                await system.call(ANN, "write", b'"y"')
            with pytest.raises(OverloadedError):
                await system.send(ANN, "write", b'"y"')
            assert await system.call(book("bob"), "write", b'"z"') == b"1"
            await slow
            await asyncio.gather(*taken)
            assert len(await lines_of(system, "ann")) == 11
            assert system.counters.overloads == 2

    on_stage(main)


@pytest.mark.parametrize(
    "limits", [Limits(mailbox_bytes=1_000), Limits(partition_bytes=1_000)], ids=["actor", "all"]
)
def test_bytes_that_wait_are_bounded(limits: Limits) -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook, limits=limits) as system:
            slow = asyncio.ensure_future(system.call(ANN, "write_slowly", b'"s"'))
            await stage.settle()
            payload = json.dumps("x" * 400).encode()
            taken = [asyncio.ensure_future(system.call(ANN, "write", payload)) for _ in range(3)]
            await stage.settle()
            with pytest.raises(OverloadedError):
                await system.call(ANN, "write", payload)
            await slow
            await asyncio.gather(*taken)
            await system.call(ANN, "write", payload)

    on_stage(main)


# ---- calls between actors ------------------------------------------------------------------------


def test_call_cycles_are_found_at_once() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            assert await system.call(ANN, "ask", b'["b", "c"]') == b'"ann>b>c"'
            began_s = stage.loop.time()
            for chain in ('["ann"]', '["b", "ann"]', '["b", "c", "b"]'):
                with pytest.raises((ActorCallError, CallCycleError), match="cycle"):
                    await system.call(ANN, "ask", chain.encode())
            assert stage.loop.time() - began_s < 1

    on_stage(main)


def test_a_chain_of_calls_is_bounded() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook, limits=Limits(call_depth=4)) as system:
            chain = json.dumps([f"b{n}" for n in range(10)]).encode()
            with pytest.raises((ActorCallError, LimitExceededError), match="chain of calls"):
                await system.call(ANN, "ask", chain)

    on_stage(main)


def test_two_actors_that_call_each_other_at_once_time_out() -> None:
    """No chain shows this knot; the time-out of the calls undoes it."""

    async def main(stage: Stage) -> None:
        async with stage.system(Knot) as system:
            calls = [
                asyncio.ensure_future(
                    system.call(ActorId("Knot", mine), "meet", json.dumps(other).encode())
                )
                for mine, other in (("a", "b"), ("b", "a"))
            ]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert any(isinstance(answer, UnavailableError | ActorCallError) for answer in answers)
            assert await system.call(ActorId("Knot", "a"), "name") == b'"a"'

    on_stage(main)


class Knot(Actor):
    async def meet(self, other: str) -> str:
        await asyncio.sleep(0.1)
        return str(await self.call(ActorId("Knot", other), "name", timeout_s=2))

    async def name(self) -> str:
        return self.id.key


def test_effects_of_a_caller_stay_when_it_handles_the_error_of_the_called() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            assert await system.call(ANN, "ask_raising", b'"bob"') == b'"ValueError: no"'
            assert await lines_of(system, "ann") == ["asked"]
            assert await lines_of(system, "bob") == []

    on_stage(main)


def test_an_argument_of_the_wrong_type_is_refused_by_name() -> None:
    async def main(stage: Stage) -> None:
        async with stage.system(Notebook) as system:
            with pytest.raises(PayloadError, match="argument 'line' of Notebook"):
                await system.call(ANN, "write", b"[1]")
            assert await lines_of(system, "ann") == []

    on_stage(main)
