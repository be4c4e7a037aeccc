"""Work and answers that are larger than a message may be: each hurts its own instance only."""

import pytest

from tests.fakes.grpc_orders import COMPLETED, OrderSite, text
from tests.unit.test_grpc_workers import STALLED, Worker, done, site, task, why_stalled

__all__ = ["site"]  # the fixture

pytestmark = pytest.mark.asyncio

MI = 1024 * 1024


async def test_a_result_that_is_too_large_fails_its_activity(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start("large")
    await site.start("beside")
    for _ in range(2):
        turn, token = await worker.turn()
        await worker.answer(turn.instanceId, token, task(1))
    for size in (5 * MI, 1):  # no error: some SDKs would try again, others give up
        asked, token = await worker.activity()
        await worker.result(asked, token, result=text("x" * size))
    for _ in range(2):
        turn, token = await worker.turn()
        told = turn.newEvents[1]
        if turn.instanceId == "large":
            failure = told.taskFailed.failureDetails
            assert failure.errorType == "PayloadTooLarge"
            assert failure.isNonRetriable
            assert "has 5,24" in failure.errorMessage
            assert "the limit is 4,259,840; raise --max-body-size" in failure.errorMessage
        else:
            assert told.taskCompleted.result.value == "x"
        await worker.answer(turn.instanceId, token, done(2, "1"))
    assert (await site.wait("large")).workflowStatus == COMPLETED
    assert (await site.wait("beside")).workflowStatus == COMPLETED


async def test_an_answer_to_a_turn_that_is_too_large_stalls_its_instance(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start("large")
    turn, token = await worker.turn()
    await worker.answer(turn.instanceId, token, done(1, "x" * 5 * MI))
    await site.reaches("large", STALLED)
    why = await why_stalled(site, "large")
    assert why.startswith("PAYLOAD_SIZE_EXCEEDED: the worker's answer to a turn has 5,24")
    assert "raise --max-body-size" in why
    turn, token = await Worker(site).turn()  # a worker with better code
    await worker.answer(turn.instanceId, token, done(1, "1"))
    assert (await site.wait("large")).output.value == "1"


async def test_an_item_that_is_too_large_stalls_its_own_instance_only(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start("large")
    _, token = await worker.turn()
    big = text('"' + "x" * (3 * MI) + '"')
    await worker.answer("large", token, task(1))
    asked, token = await worker.activity()
    await worker.result(asked, token, result=big)
    _, token = await worker.turn()
    await worker.answer("large", token, task(2))
    asked, token = await worker.activity()
    await worker.result(asked, token, result=big)  # two of them are too much for one message
    await site.start("small")
    turn, token = await worker.turn()
    assert turn.instanceId == "small"
    await worker.answer("small", token, done(1, "1"))
    assert (await site.wait("small")).workflowStatus == COMPLETED
    await site.reaches("large", STALLED)
    why = await why_stalled(site, "large")
    assert "PAYLOAD_SIZE_EXCEEDED" in why
    assert "--max-body-size" in why
