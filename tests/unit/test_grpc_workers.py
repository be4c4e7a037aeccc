"""Remote workers over gRPC: what they are sent, in which order, and what becomes of their answers.

The worker is a raw stream; the test says by hand what an SDK would work out.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from actorflow.server.grpc import messages as pb
from actorflow.workflow.events import NEVER_NS
from tests.fakes.grpc_orders import COMPLETED, FAILED, PENDING, RUNNING, OrderSite, create, text
from tests.fakes.grpc_site import Client

pytestmark = pytest.mark.asyncio

STALLED = 8
STATEFUL = pb.GetWorkItemsRequest(capabilities=[3, 2])


@pytest_asyncio.fixture
async def site() -> AsyncIterator[OrderSite]:
    # Without code of its own: all work goes to remote workers.
    async with await OrderSite.open(app_id="shop", start_wait_s=0.05) as opened:
        yield opened


class Worker:
    """One stream of work."""

    def __init__(self, site: OrderSite, request: Any = b"", *metadata: tuple[str, str]) -> None:
        self.site = site
        self.metadata = metadata
        self.call = site.stream("GetWorkItems", request, metadata=metadata)

    async def turn(self) -> tuple[Any, str]:
        """Return the next item, which must be a turn, and its token."""
        item = await self.call.read()
        assert item is not grpc.aio.EOF
        assert item.WhichOneof("request") == "workflowRequest", item
        return item.workflowRequest, item.completionToken

    async def activity(self) -> tuple[Any, str]:
        """Return the next item, which must be an activity, and its token."""
        item = await self.call.read()
        assert item is not grpc.aio.EOF
        assert item.WhichOneof("request") == "activityRequest", item
        return item.activityRequest, item.completionToken

    async def answer(self, instance_id: str, token: str, *actions: Any, **fields: Any) -> None:
        """End a turn with these actions."""
        response = pb.WorkflowResponse(
            instanceId=instance_id, completionToken=token, actions=actions, **fields
        )
        await self.site.call("CompleteOrchestratorTask", response, metadata=self.metadata)

    async def result(self, request: Any, token: str, **fields: Any) -> None:
        """End an activity."""
        response = pb.ActivityResponse(
            instanceId=request.workflowInstance.instanceId,
            taskId=request.taskId,
            completionToken=token,
            **fields,
        )
        await self.site.call("CompleteActivityTask", response, metadata=self.metadata)


def task(action_id: int, name: str = "pay", value: str = "1") -> Any:
    return {"id": action_id, "scheduleTask": {"name": name, "input": text(value)}}


def done(action_id: int, result: str, status: int = COMPLETED) -> Any:
    complete = {"workflowStatus": status, "result": text(result)}
    return {"id": action_id, "completeWorkflow": complete}


def kinds(events: Any) -> list[str]:
    return [event.WhichOneof("eventType") for event in events]


async def why_stalled(site: OrderSite, instance_id: str) -> str:
    """Return what the engine says of a stalled instance."""
    (reason,) = [one for one in await site.engine.why(instance_id) if one.kind == "stalled"]
    return reason.detail


async def test_a_chain_of_one_activity(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start("i-1", input=text('"in"'))
    turn, token = await worker.turn()
    assert turn.instanceId == "i-1"
    assert token
    assert list(turn.pastEvents) == []
    assert kinds(turn.newEvents) == ["workflowStarted", "executionStarted"]
    assert turn.executionId.value == (
        turn.newEvents[1].executionStarted.workflowInstance.executionId.value
    )
    assert turn.newEvents[1].executionStarted.input.value == '"in"'
    await worker.answer("i-1", token, task(1), customStatus=text('"paying"'))
    asked, token = await worker.activity()
    assert (asked.name, asked.input.value, asked.taskId) == ("pay", "1", 1)
    assert asked.workflowInstance.instanceId == "i-1"
    await worker.result(asked, token, result=text('"paid"'))
    turn, token = await worker.turn()
    assert kinds(turn.pastEvents) == ["workflowStarted", "executionStarted", "taskScheduled"]
    assert kinds(turn.newEvents) == ["workflowStarted", "taskCompleted"]
    assert turn.pastEvents[2].eventId == 1
    assert turn.newEvents[1].taskCompleted.taskScheduledId == 1
    assert turn.newEvents[1].taskCompleted.result.value == '"paid"'
    assert {event.eventId for event in (*turn.newEvents, *turn.pastEvents[:2])} == {-1}
    times = [event.timestamp.ToNanoseconds() for event in (*turn.pastEvents, turn.newEvents[0])]
    assert times[0] == turn.pastEvents[0].timestamp.ToNanoseconds()
    assert times[3] >= times[0]
    await worker.answer("i-1", token, done(2, '"out"'))
    state = await site.wait("i-1")
    assert (state.workflowStatus, state.output.value) == (COMPLETED, '"out"')


async def test_the_clock_of_a_turn_is_in_the_history_as_it_was_sent(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start()
    turn, token = await worker.turn()
    await worker.answer("i-1", token, task(1), version={"patches": ["p1"], "name": "v2"})
    asked, activity_token = await worker.activity()
    await worker.result(asked, activity_token)
    again, _ = await worker.turn()
    assert again.pastEvents[0].timestamp == turn.newEvents[0].timestamp
    assert again.pastEvents[0].workflowStarted.version.name == "v2"
    assert list(again.pastEvents[0].workflowStarted.version.patches) == ["p1"]
    assert not again.newEvents[1].taskCompleted.HasField("result")


async def test_a_failure_arrives_word_for_word(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start()
    _, token = await worker.turn()
    await worker.answer("i-1", token, task(1))
    asked, token = await worker.activity()
    failure = pb.TaskFailureDetails(
        errorType="PaymentError",
        errorMessage="no money",
        stackTrace=text("at pay"),
        innerFailure={"errorType": "IOError", "errorMessage": "timeout"},
        isNonRetriable=True,
    )
    await worker.result(asked, token, failureDetails=failure)
    turn, token = await worker.turn()
    assert turn.newEvents[1].taskFailed.failureDetails == failure
    ended = {"id": 2, "completeWorkflow": {"workflowStatus": FAILED, "failureDetails": failure}}
    await worker.answer("i-1", token, ended)
    assert (await site.wait()).failureDetails == failure


async def test_a_worker_that_sends_no_tokens_back_is_understood(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start()
    await worker.turn()
    await worker.answer("i-1", "", task(1))
    asked, _ = await worker.activity()
    await worker.result(asked, "", result=text("1"))
    await worker.turn()
    await worker.answer("i-1", "", done(2, "1"), customStatus=text(""))
    state = await site.wait()
    assert state.workflowStatus == COMPLETED
    assert not state.HasField("customStatus")


async def test_a_second_or_unknown_answer_is_thanked_for_and_dropped(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start()
    _, token = await worker.turn()
    await worker.answer("i-1", token, task(1))
    await worker.answer("i-1", token, done(1, '"too late"'))
    await worker.answer("i-1", "forged", done(1, '"forged"'))
    await worker.answer("nobody", token, done(1, '"nobody"'))
    asked, activity_token = await worker.activity()
    await worker.result(asked, activity_token, result=text('"first"'))
    await worker.result(asked, activity_token, result=text('"second"'))
    await worker.result(asked, "forged", result=text('"forged"'))
    turn, _ = await worker.turn()
    assert turn.newEvents[1].taskCompleted.result.value == '"first"'
    assert await site.status() == RUNNING


async def test_a_worker_with_a_memory_is_sent_only_what_it_has_not_seen(site: OrderSite) -> None:
    worker = Worker(site, STATEFUL)
    await site.start()
    sizes = []
    for step in range(1, 5):
        turn, token = await worker.turn()
        assert turn.HasField("cachedHistory") == (step > 2)
        sizes.append((turn.cachedHistory.eventCount, len(turn.pastEvents)))
        await worker.answer("i-1", token, task(step))
        asked, token = await worker.activity()
        await worker.result(asked, token)
    # Each turn adds three events: its clock, its fact, and what the code asked for.
    assert sizes == [(0, 0), (0, 3), (3, 3), (6, 3)]
    request = pb.GetInstanceHistoryRequest(instanceId="i-1")
    whole = (await site.call("GetInstanceHistory", request)).events
    turn, _ = await worker.turn()
    assert len(whole) == turn.cachedHistory.eventCount + len(turn.pastEvents)
    assert list(turn.pastEvents) == list(whole[turn.cachedHistory.eventCount :])


async def test_a_new_stream_and_a_new_execution_begin_without_a_memory(site: OrderSite) -> None:
    worker = Worker(site, STATEFUL)
    await site.start()
    for step in range(1, 3):
        _, token = await worker.turn()
        await worker.answer("i-1", token, task(step))
        asked, token = await worker.activity()
        await worker.result(asked, token)
    _, token = await worker.turn()
    await worker.answer("i-1", token, done(3, '"next"', status=2))  # continued as new
    turn, token = await worker.turn()
    assert kinds(turn.newEvents) == ["workflowStarted", "executionStarted"]
    assert turn.newEvents[1].executionStarted.input.value == '"next"'
    assert not turn.pastEvents
    assert not turn.HasField("cachedHistory")
    await worker.answer("i-1", token, task(1))
    asked, token = await worker.activity()
    worker.call.cancel()
    other = Worker(site, STATEFUL)
    await other.result(asked, token)
    turn, _ = await other.turn()
    assert len(turn.pastEvents) == 3
    assert not turn.HasField("cachedHistory")


async def test_timers_are_recorded_as_asked_for_and_a_wait_without_end_never_fires(
    site: OrderSite,
) -> None:
    worker = Worker(site)
    await site.start()
    turn, token = await worker.turn()
    soon = turn.newEvents[0].timestamp
    never = {"seconds": NEVER_NS // 10**9, "nanos": NEVER_NS % 10**9}
    await worker.answer(
        "i-1",
        token,
        {"id": 1, "createTimer": {"fireAt": never, "externalEvent": {"name": "Go"}}},
        {"id": 2, "createTimer": {"fireAt": soon, "name": "nap", "createTimer": {}}},
        {"id": 3, "createTimer": {"fireAt": {"seconds": 4_000_000_000}}},
    )
    turn, token = await worker.turn()
    timers = [event for event in turn.pastEvents if event.WhichOneof("eventType") == "timerCreated"]
    assert [event.timerCreated.WhichOneof("origin") for event in timers] == [
        "externalEvent",
        "createTimer",
        None,
    ]
    assert timers[1].timerCreated.name == "nap"
    assert kinds(turn.newEvents) == ["workflowStarted", "timerFired"]
    assert turn.newEvents[1].timerFired.timerId == 2
    assert turn.newEvents[1].timerFired.fireAt == soon


async def test_an_unknown_action_stalls_the_instance_and_says_why(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start()
    _, token = await worker.turn()
    strange = {"id": 1, "terminateWorkflow": {"instanceId": "x"}}
    await worker.answer("i-1", token, task(2), strange)
    assert await site.status() == STALLED
    assert "terminateWorkflow" in await why_stalled(site, "i-1")
    later = Worker(site)  # one that knows better
    _, token = await later.turn()
    await later.answer("i-1", token, done(1, '"ok"'))
    assert (await site.wait()).workflowStatus == COMPLETED


async def test_code_of_another_version_stalls_until_a_worker_has_it(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start()
    _, token = await worker.turn()
    await worker.answer("i-1", token, {"id": 1, "workflowVersionNotAvailable": {}})
    assert await site.status() == STALLED
    code, said = await site.refusal("RaiseEvent", pb.RaiseEventRequest(instanceId="i-1", name="x"))
    assert (code, said) == ("UNKNOWN", "workflow is stalled")
    other = Worker(site)
    turn, token = await other.turn()
    assert "executionStarted" in kinds(turn.newEvents)
    await other.answer("i-1", token, done(1, "1"))
    assert (await site.wait()).workflowStatus == COMPLETED


async def test_the_first_stream_of_a_connection_of_grpc_node_ends_well_at_once(
    site: OrderSite,
) -> None:
    address = site.server.addresses[0]
    for number in range(2):
        async with Client(address, agent="grpc-node-js/1.14.7") as client:
            first = client.stream("GetWorkItems")
            assert await first.read() is grpc.aio.EOF
            assert await first.code() is grpc.StatusCode.OK
            stream = client.stream("GetWorkItems")
            await site.start(f"i-{number}")
            item = await stream.read()
            assert item.workflowRequest.instanceId == f"i-{number}"
            complete = pb.WorkflowResponse(
                instanceId=f"i-{number}",
                completionToken=item.completionToken,
                actions=[done(1, "1")],
            )
            await client.call("CompleteOrchestratorTask", complete)
    assert (await site.wait("i-1")).workflowStatus == COMPLETED


async def test_a_start_without_a_worker_waits_and_runs_when_one_comes(site: OrderSite) -> None:
    await site.start()
    assert await site.status() == PENDING
    assert [reason.kind for reason in await site.engine.why("i-1")] == ["worker"]
    worker = Worker(site)
    _, token = await worker.turn()
    await worker.answer("i-1", token, done(1, "1"))
    assert (await site.wait()).workflowStatus == COMPLETED


async def test_the_state_shows_version_tags_and_when_a_worker_took_the_first_turn(
    site: OrderSite,
) -> None:
    async def state() -> Any:
        request = pb.GetInstanceRequest(instanceId="i-1")
        return (await site.call("GetInstance", request)).workflowState

    await site.start(version=text("2"), tags={"team": "a"})
    pending = await state()
    assert (pending.version.value, dict(pending.tags)) == ("2", {"team": "a"})
    assert not pending.HasField("startedAt")
    worker = Worker(site)
    turn, token = await worker.turn()
    await worker.answer("i-1", token, task(1))
    await worker.activity()
    running = await state()
    assert (running.version.value, dict(running.tags)) == ("2", {"team": "a"})
    assert running.startedAt == turn.newEvents[0].timestamp
    assert running.startedAt.ToNanoseconds() > running.createdTimestamp.ToNanoseconds()
    assert not running.HasField("parentAppId")


async def test_what_a_lost_worker_had_goes_to_another_one(site: OrderSite) -> None:
    first = Worker(site)
    await site.start()
    turn, token = await first.turn()
    first.call.cancel()
    second = Worker(site)
    again, second_token = await second.turn()
    assert again.newEvents[1] == turn.newEvents[1]
    await second.answer("i-1", second_token, done(1, '"second"'))
    await second.answer("i-1", token, done(1, '"first"'))
    assert (await site.wait()).output.value == '"second"'


async def test_a_worker_gets_no_more_than_a_hundred_items_unanswered(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start()
    _, token = await worker.turn()
    await worker.answer("i-1", token, *(task(number) for number in range(1, 151)))
    first = [await worker.activity() for _ in range(100)]
    for asked, token in first:
        await worker.result(asked, token)
    rest: list[int] = []
    while len(rest) < 50:
        item = await worker.call.read()
        if item.WhichOneof("request") == "activityRequest":
            rest.append(item.activityRequest.taskId)
    assert sorted([asked.taskId for asked, _ in first] + rest) == list(range(1, 151))


async def test_workers_of_another_app_have_instances_of_their_own(site: OrderSite) -> None:
    bank = ("dapr-app-id", "bank")
    shop_worker, bank_worker = Worker(site), Worker(site, b"", bank)
    await site.start("i-1")
    await site.call("StartInstance", create("i-1"), metadata=(bank,))
    _, shop_token = await shop_worker.turn()
    _, bank_token = await bank_worker.turn()
    await bank_worker.answer("i-1", bank_token, done(1, '"bank"'))
    await shop_worker.answer("i-1", shop_token, done(1, '"shop"'))
    assert (await site.wait()).output.value == '"shop"'
    routed = pb.GetInstanceRequest(
        instanceId="i-1", getInputsAndOutputs=True, router={"targetAppID": "bank"}
    )
    answer = await site.call("WaitForInstanceCompletion", routed)
    assert answer.workflowState.output.value == '"bank"'


async def test_an_activity_of_another_app_goes_to_its_worker(site: OrderSite) -> None:
    shop, bank = Worker(site), Worker(site, b"", ("dapr-app-id", "bank"))
    await site.start()
    _, token = await shop.turn()
    router = {"sourceAppID": "shop", "targetAppID": "bank"}
    await shop.answer("i-1", token, {**task(1), "router": router})
    asked, token = await bank.activity()
    await bank.result(asked, token, result=text("7"))
    turn, _ = await shop.turn()
    assert turn.newEvents[1].taskCompleted.result.value == "7"
    assert turn.pastEvents[2].router.targetAppID == "bank"
    assert turn.pastEvents[2].router.sourceAppID == "shop"


async def test_a_child_of_another_app_names_the_app_of_its_parent(site: OrderSite) -> None:
    shop, bank = Worker(site), Worker(site, b"", ("dapr-app-id", "bank"))
    await site.start()
    _, token = await shop.turn()
    router = {"sourceAppID": "shop", "targetAppID": "bank"}
    child = {"name": "pay", "instanceId": "child"}
    await shop.answer("i-1", token, {"id": 1, "createChildWorkflow": child, "router": router})
    await bank.turn()
    routed = pb.GetInstanceRequest(instanceId="child", router={"targetAppID": "bank"})
    state = (await site.call("GetInstance", routed)).workflowState
    assert (state.parentInstanceId.value, state.parentAppId.value) == ("i-1", "shop")


async def test_an_activity_is_shown_the_history_that_its_caller_shows(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start(input=text('"in"'))
    _, token = await worker.turn()
    shown = task(1)
    shown["scheduleTask"]["historyPropagationScope"] = 1
    await worker.answer("i-1", token, shown)
    asked, _ = await worker.activity()
    (chunk,) = asked.propagatedHistory.chunks
    assert asked.propagatedHistory.scope == 1
    assert (chunk.appId, chunk.instanceId, chunk.workflowName) == ("shop", "i-1", "order")
    events = [pb.HistoryEvent.FromString(data) for data in chunk.rawEvents]
    assert kinds(events) == ["workflowStarted", "executionStarted", "taskScheduled"]
    assert events[1].executionStarted.input.value == '"in"'


async def test_a_stop_ends_streams_and_takes_the_last_answers(site: OrderSite) -> None:
    worker = Worker(site)
    await site.start()
    _, token = await worker.turn()
    stopping = asyncio.create_task(site.server.shut_down(drain_s=10))
    assert await worker.call.read() is grpc.aio.EOF
    assert (await worker.call.code()).name == "OK"
    assert (await site.refusal("Hello"))[0] == "UNAVAILABLE"
    await worker.answer("i-1", token, done(1, '"last"'))
    await stopping
    instance = await site.engine.get("i-1")
    assert instance is not None
    assert instance.output == '"last"'


async def test_a_stream_is_refused_while_the_server_stops(site: OrderSite) -> None:
    site.edge.stop()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await Worker(site).call.read()
    assert caught.value.code().name == "UNAVAILABLE"


async def test_an_app_id_that_cannot_be_one_is_refused(site: OrderSite) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await Worker(site, b"", ("dapr-app-id", "a/b")).call.read()
    assert caught.value.code().name == "INVALID_ARGUMENT"
