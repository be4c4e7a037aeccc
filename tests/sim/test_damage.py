"""S14 and S05: poison turns, unreadable rows, and a store that forgets its newest commits."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from actorflow.actors import ActorId, Message
from actorflow.actors.errors import CorruptError
from actorflow.workflow import Registry, WorkflowContext
from actorflow.workflow.events import Status, TaskCompleted
from actorflow.workflow.records import history_of
from actorflow.workflow.requests import INSTANCE, RESULT
from tests.sim.faulty_store import Faults
from tests.sim.host import HostDiedError
from tests.sim.invariants import check_committed, stored_instances, stored_messages
from tests.sim.loop import SimLoop, simulate
from tests.sim.stand import Stand, counting_app

if TYPE_CHECKING:
    from tests.sim.conftest import OverSeeds

RAW = b"exec-1\n\xff\xfe not an event"


def test_s14_poison_message_is_parked_with_its_bytes_and_others_go_on() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        stand.store.on_applied = None
        await stand.world.start_host()
        await stand.start("naps", 30, instance_id="victim")
        partition = stand.world.engine.actors._partitions[0]
        partition._sending.send(
            partition._batch, Message(ActorId(INSTANCE, "victim"), RESULT, RAW), 0
        )
        partition._batch.turns += 1
        partition._schedule_drain()
        await stand.start("naps", 1, instance_id="bystander")
        began_s = loop.time()
        assert (await stand.end_of("bystander")).status is Status.COMPLETED
        assert loop.time() - began_s < 2
        await asyncio.sleep(10)
        (row,) = [row for row in stored_messages(stand.memory) if row.parked]
        assert row.payload == RAW
        assert "Error" in row.parked
        assert stand.world.engine.stats().counters["parked_messages"] == 1
        failed = stand.world.engine.stats().counters["failed_turns"]
        assert failed == stand.world.engine.actors.limits.message_attempts
        assert (await stand.end_of("victim")).status is Status.COMPLETED
        await stand.restart()
        await asyncio.sleep(10)
        assert stand.world.engine.stats().counters["failed_turns"] == 0
        await stand.close()

    simulate(1, main)


def test_s14_history_that_cannot_be_read_parks_its_instance_only() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        await stand.world.start_host()
        engine = stand.world.engine
        await stand.start("naps", 5, instance_id="victim")
        await stand.start("naps", 5, instance_id="bystander")
        await asyncio.sleep(1)
        await stand.world.kill_host()
        stand.store.on_applied = None
        stored = stand.memory._partitions[0].actors[ActorId(INSTANCE, "victim")]
        whole, stored.log[1] = stored.log[1], b"{\xff\xff"
        await stand.world.start_host()
        engine = stand.world.engine
        assert (await stand.end_of("bystander")).status is Status.COMPLETED
        await asyncio.sleep(10)
        with pytest.raises(CorruptError, match="history record"):
            await engine.raise_event("victim", "n")
        with pytest.raises(CorruptError):
            await engine.history("victim")
        (reason,) = await engine.why("victim")
        assert reason.kind == "parked"
        assert stored.log[1] == b"{\xff\xff"
        (row,) = stored_messages(stand.memory)
        assert (row.method, bool(row.parked)) == (RESULT, True)
        (listed,) = [i for i in (await engine.list()).instances if i.instance_id == "victim"]
        assert listed.status is Status.RUNNING
        stored.log[1] = whole
        await asyncio.sleep(2 * engine.actors.limits.idle_ttl_s)
        kinds = [reason.kind for reason in await engine.why("victim")]
        assert kinds == ["activity", "parked"]  # its result is still the parked message
        await engine.terminate("victim")
        assert (await stand.end_of("victim")).status is Status.TERMINATED
        await stand.world.stop_hosts()

    simulate(1, main)


def test_s14_an_instance_whose_rows_are_damaged_is_shown_and_hides_nobody() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        await stand.world.start_host()
        for instance_id in ("head", "status", "input", "whole"):
            await stand.start("naps", 5, instance_id=instance_id)
        await stand.world.kill_host()
        stand.store.on_applied = None
        actors = stand.memory._partitions[0].actors
        head, status, payload = (
            actors[ActorId(INSTANCE, key)] for key in ("head", "status", "input")
        )
        assert head.summary is not None
        assert status.summary is not None
        head.summary = head.summary._replace(head=b"\xff")
        status.summary = status.summary._replace(phase="WHATEVER")
        payload.fields["input"] = b"\xff"
        await stand.world.start_host()
        engine = stand.world.engine
        assert (await stand.end_of("whole")).status is Status.COMPLETED
        listed = {i.instance_id: i for i in (await engine.list()).instances}
        assert set(listed) == {"head", "status", "input", "whole"}
        assert listed["head"].status is Status.STALLED
        assert "cannot be read" in listed["head"].stalled_reason
        assert listed["status"].status is Status.COMPLETED  # written anew by its next turn
        for instance_id in ("head", "input"):
            with pytest.raises(CorruptError, match="read"):
                await engine.get(instance_id)
        for instance_id in ("head", "input"):
            assert [r.kind for r in await engine.why(instance_id)] == ["parked"]
        (record,) = await engine.actors.read([ActorId(INSTANCE, "whole")], with_log=True)
        assert record is not None
        with pytest.raises(CorruptError, match="rows were lost"):
            history_of(record._replace(log=record.log[1:]))
        with pytest.raises(CorruptError):
            await engine.history("input")
        await stand.world.stop_hosts()

    simulate(1, main)


def test_s14_workflow_code_that_raises_anything_fails_its_instance_only() -> None:
    app = counting_app()

    @app.workflow
    async def raises(_: WorkflowContext, name: str) -> None:
        errors: dict[str, BaseException] = {
            "exit": SystemExit(3),
            "cancelled": asyncio.CancelledError(),
            "generator": GeneratorExit(),
            "stop": StopAsyncIteration(),
            "group": ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
        }
        raise errors[name]

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, app)
        await stand.world.start_host()
        for name in ("exit", "cancelled", "generator", "stop", "group", "none of these"):
            await stand.start("raises", name, instance_id=name)
        await stand.start("naps", 1, instance_id="bystander")
        for name in ("exit", "cancelled", "generator", "stop", "group", "none of these"):
            instance = await stand.end_of(name)
            assert instance.status is Status.FAILED, name
            assert instance.failure is not None
        assert (await stand.end_of("bystander")).status is Status.COMPLETED
        await stand.close()

    simulate(1, main)


def test_s05_store_that_forgets_its_newest_commits(over_seeds: OverSeeds) -> None:
    """Only starts of the lost window are missing; what is left is whole, and goes on to its end."""

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            stand = Stand(loop, counting_app(), seed, Faults(delay=0.3))
            stand.store.keep_snapshots = True
            await stand.world.start_host()
            for number in range(12):
                await stand.start("naps", 2 + number / 10, instance_id=f"n-{number}")
                await asyncio.sleep(0.05)
            stand.store.roll_back(1 + seed % 3)
            check_committed(stand.memory)
            present = {stored.instance_id for stored in stored_instances(stand.memory)}
            assert len(present) >= 12 - 3
            await asyncio.sleep(60)
            for instance_id in present:
                end = await stand.end_of(instance_id)
                assert end.status is Status.COMPLETED
                events = (await stand.world.engine.history(instance_id)).events
                assert sum(isinstance(event, TaskCompleted) for event in events) == 1
            seen = Counter(lost=12 - len(present))
            seen.update(stand.store.audit.results)
            await stand.close()
            return seen

        return simulate(seed, main)

    over_seeds(run, 12, must_see=["lost", "seq"])


def test_a_client_whose_host_died_is_told() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, Registry())
        host = await stand.world.start_host()
        await stand.start("nobody", instance_id="n")
        wait = asyncio.ensure_future(host.engine.wait_for_start("n", timeout_s=None))
        await asyncio.sleep(1)
        await stand.world.kill_host()
        with pytest.raises(HostDiedError):
            await wait
        assert json.dumps(None) == "null"

    simulate(1, main)
