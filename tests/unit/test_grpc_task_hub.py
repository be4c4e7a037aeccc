"""Managing workflows through the task hub's service: each method, success and refusals."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from actorflow.server.grpc import messages as pb
from tests.fakes.grpc_orders import (
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    SUSPENDED,
    TERMINATED,
    OrderSite,
    create,
    orders,
    text,
)
from tests.fakes.grpc_site import Client, path_of

pytestmark = pytest.mark.asyncio

LATER = {"seconds": 4_000_000_000}


@pytest_asyncio.fixture
async def site() -> AsyncIterator[OrderSite]:
    async with orders() as opened:
        yield opened


async def test_a_workflow_is_started_watched_and_ended(site: OrderSite) -> None:
    await site.call("Hello", pb.Empty())
    answer = await site.call("StartInstance", create())
    assert answer.instanceId == "i-1"
    started = await site.call("WaitForInstanceStart", pb.GetInstanceRequest(instanceId="i-1"))
    assert started.exists
    assert started.workflowState.workflowStatus == RUNNING
    assert not started.workflowState.HasField("input")  # nobody asked for payloads
    assert not started.workflowState.HasField("customStatus")
    state = await site.finish()
    assert state.workflowStatus == COMPLETED
    assert state.name == "order"
    assert (state.input.value, state.output.value) == ("3", '[6,"go"]')
    assert state.customStatus.value == '{"step":1}'
    assert not state.HasField("failureDetails")
    assert state.createdTimestamp.seconds > 1_700_000_000
    assert state.completedTimestamp.ToNanoseconds() >= state.createdTimestamp.ToNanoseconds()
    assert len(state.executionId.value) == 36


async def test_a_failure_is_told_with_its_details(site: OrderSite) -> None:
    await site.start()
    state = await site.finish(event='"fail"')
    assert state.workflowStatus == FAILED
    assert state.failureDetails.errorType == "ValueError"
    assert state.failureDetails.errorMessage == "no stock"
    assert "order" in state.failureDetails.stackTrace.value


async def test_an_absent_input_differs_from_an_empty_one(site: OrderSite) -> None:
    await site.call("StartInstance", pb.CreateInstanceRequest(instanceId="none", name="order"))
    request = pb.GetInstanceRequest(instanceId="none", getInputsAndOutputs=True)
    assert not (await site.call("GetInstance", request)).workflowState.HasField("input")


async def test_any_text_can_be_an_instance_id(site: OrderSite) -> None:
    strange = "a@||b:c d/é" + "x" * 200
    await site.start(strange)
    assert (await site.finish(strange)).instanceId == strange
    assert strange in (await site.call("ListInstanceIDs")).instanceIds


async def test_an_active_id_is_taken_and_an_ended_one_is_free_unless_uniqueness_is_asked_for(
    site: OrderSite,
) -> None:
    await site.start()
    code, said = await site.refusal("StartInstance", create())
    assert code == "ALREADY_EXISTS"
    assert "an active workflow with ID 'i-1' already exists" in said
    first = (await site.finish()).executionId.value
    code, said = await site.refusal("StartInstance", create(enforceUniqueInstanceId=True))
    assert code == "ALREADY_EXISTS"
    assert "enforces instance ID uniqueness" in said
    await site.start()
    assert (await site.finish()).executionId.value != first


async def test_a_field_of_former_releases_is_ignored(site: OrderSite) -> None:
    reuse_policy = bytes.fromhex("32040a020103")  # field 6, which 1.18 has taken away
    await site.call("StartInstance", create().SerializeToString() + reuse_policy)
    assert await site.status() == RUNNING


async def test_a_scheduled_start_is_answered_at_once_and_pending(site: OrderSite) -> None:
    await site.start(scheduledStartTimestamp=LATER)
    answer = await site.call("GetInstance", pb.GetInstanceRequest(instanceId="i-1"))
    assert answer.workflowState.workflowStatus == PENDING
    assert answer.workflowState.scheduledStartTimestamp.seconds == LATER["seconds"]


async def test_version_tags_and_trace_of_a_start_are_in_its_history(site: OrderSite) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await site.start(
        version=text("2"),
        tags={"a": "b"},
        parentTraceContext={"traceParent": trace, "traceState": text("k=v")},
    )
    request = pb.GetInstanceHistoryRequest(instanceId="i-1")
    began = (await site.call("GetInstanceHistory", request)).events[0].executionStarted
    assert began.version.value == "2"
    assert dict(began.tags) == {"a": "b"}
    assert began.parentTraceContext.traceParent == trace
    assert began.parentTraceContext.spanID == "b7ad6b7169203331"
    assert began.parentTraceContext.traceState.value == "k=v"
    assert began.workflowInstance.instanceId == "i-1"


@pytest.mark.parametrize(
    ("said", "metadata"),
    [
        (
            {
                "traceParent": "0af7651916cd43dd8448eb211c80319c",
                "spanID": "b7ad6b7169203331",
                "traceState": {"value": "a=1,b=2"},
            },
            "",
        ),
        (None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ],
    ids=["ids apart, as Go says them", "metadata, as instrumented channels do"],
)
async def test_a_trace_is_taken_however_an_sdk_says_it(
    site: OrderSite, said: dict[str, Any] | None, metadata: str
) -> None:
    states = (("tracestate", "a=1"), ("tracestate", "b=2"))
    headers = (("traceparent", metadata), *states) if metadata else ()
    create_request = pb.CreateInstanceRequest(
        instanceId="i-1", name="order", parentTraceContext=said
    )
    await site.call("StartInstance", create_request, metadata=headers)
    request = pb.GetInstanceHistoryRequest(instanceId="i-1")
    began = (await site.call("GetInstanceHistory", request)).events[0].executionStarted
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert began.parentTraceContext.traceParent == trace
    assert began.parentTraceContext.traceState.value == "a=1,b=2"


@pytest.mark.parametrize("name", ["", "dapr.internal.x", "a\nb"])
async def test_a_name_that_cannot_be_is_refused(site: OrderSite, name: str) -> None:
    assert (await site.refusal("StartInstance", create(name=name)))[0] == "INVALID_ARGUMENT"


async def test_a_missing_instance(site: OrderSite) -> None:
    answer = await site.call("GetInstance", pb.GetInstanceRequest(instanceId="no"))
    assert not answer.exists


MISSING = [
    ("RaiseEvent", pb.RaiseEventRequest(instanceId="no", name="x"), "UNKNOWN", ""),
    (
        "TerminateInstance",
        pb.TerminateRequest(instanceId="no"),
        "UNKNOWN",
        "failed to submit termination request: ",
    ),
    (
        "SuspendInstance",
        pb.SuspendRequest(instanceId="no"),
        "UNKNOWN",
        "failed to suspend workflow: ",
    ),
    ("ResumeInstance", pb.ResumeRequest(instanceId="no"), "UNKNOWN", "failed to resume workflow: "),
    (
        "PurgeInstances",
        pb.PurgeInstancesRequest(instanceId="no"),
        "UNKNOWN",
        "failed to purge workflow state: ",
    ),
]


@pytest.mark.parametrize(("method", "request_", "code", "prefix"), MISSING)
async def test_what_is_said_of_a_missing_instance(
    site: OrderSite, method: str, request_: Any, code: str, prefix: str
) -> None:
    expected = (code, f"{prefix}no such instance exists")
    assert await site.refusal(method, request_) == expected


async def test_a_wait_for_a_missing_instance_lasts_until_it_appears(site: OrderSite) -> None:
    waiting = asyncio.create_task(
        site.call("WaitForInstanceStart", pb.GetInstanceRequest(instanceId="i-1"))
    )
    await site.reaches_waits(1)
    await site.start()
    assert (await waiting).workflowState.workflowStatus == RUNNING


async def test_a_wait_ends_with_the_clients_deadline(site: OrderSite) -> None:
    request = pb.GetInstanceRequest(instanceId="never")
    refusal = await site.refusal("WaitForInstanceCompletion", request, timeout_s=0.1)
    assert refusal[0] == "DEADLINE_EXCEEDED"
    await site.reaches_waits(0)


async def test_an_id_that_no_instance_can_have_is_not_awaited(site: OrderSite) -> None:
    request = pb.GetInstanceRequest(instanceId="a\nb")
    assert (await site.refusal("WaitForInstanceStart", request))[0] == "INVALID_ARGUMENT"


async def test_suspend_and_resume_with_a_reason(site: OrderSite) -> None:
    await site.start()
    await site.call("SuspendInstance", pb.SuspendRequest(instanceId="i-1", reason=text("lunch")))
    assert await site.status() == SUSPENDED
    await site.call("ResumeInstance", pb.ResumeRequest(instanceId="i-1", reason=text("back")))
    assert await site.status() == RUNNING
    request = pb.GetInstanceHistoryRequest(instanceId="i-1")
    events = (await site.call("GetInstanceHistory", request)).events
    reasons = {event.WhichOneof("eventType"): event for event in events if event.eventId == -1}
    assert reasons["executionSuspended"].executionSuspended.input.value == "lunch"
    assert reasons["executionResumed"].executionResumed.input.value == "back"


@pytest.mark.parametrize("recursive", [True, False])
async def test_terminate_waits_for_the_end_and_reaches_children_if_told(
    site: OrderSite, recursive: bool
) -> None:
    await site.start(name="parent")
    await site.call("WaitForInstanceStart", pb.GetInstanceRequest(instanceId="child"))
    request = pb.TerminateRequest(instanceId="i-1", output=text('"enough"'), recursive=recursive)
    await site.call("TerminateInstance", request)
    state = await site.wait()
    assert (state.workflowStatus, state.output.value) == (TERMINATED, '"enough"')
    if recursive:
        assert (await site.wait("child")).workflowStatus == TERMINATED
    else:
        assert await site.status("child") == RUNNING


async def test_purge(site: OrderSite) -> None:
    await site.start()
    purge = pb.PurgeInstancesRequest(instanceId="i-1")
    assert await site.refusal("PurgeInstances", purge) == (
        "UNKNOWN",
        "failed to purge workflow state: orchestration has not yet completed",
    )
    await site.finish()
    answer = await site.call("PurgeInstances", purge)
    assert (answer.deletedInstanceCount, answer.isComplete.value) == (1, True)
    assert not (await site.call("GetInstance", pb.GetInstanceRequest(instanceId="i-1"))).exists


async def test_purge_by_force_and_with_children(site: OrderSite) -> None:
    await site.start(name="parent")
    await site.call("WaitForInstanceStart", pb.GetInstanceRequest(instanceId="child"))
    request = pb.PurgeInstancesRequest(instanceId="i-1", recursive=True, force=True)
    assert (await site.call("PurgeInstances", request)).deletedInstanceCount == 2


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (
            pb.PurgeInstancesRequest(purgeInstanceFilter={}),
            "UNKNOWN",
            "multi-instance purge is not implemented",
        ),
        (
            pb.PurgeInstancesRequest(),
            "INVALID_ARGUMENT",
            "the request names no instance to purge",
        ),
    ],
)
async def test_purge_of_no_single_instance(
    site: OrderSite, request_: Any, code: str, said: str
) -> None:
    assert await site.refusal("PurgeInstances", request_) == (code, said)


async def test_ids_are_listed_by_pages(site: OrderSite) -> None:
    names = [f"i-{number}" for number in range(5)]
    for name in names:
        await site.start(name)
    answer = await site.call("ListInstanceIDs", pb.ListInstanceIDsRequest())
    assert list(answer.instanceIds) == names
    assert not answer.HasField("continuationToken")
    seen: list[str] = []
    page = pb.ListInstanceIDsRequest(pageSize=2)
    while True:
        answer = await site.call("ListInstanceIDs", page)
        assert len(answer.instanceIds) <= 2
        seen.extend(answer.instanceIds)
        if not answer.HasField("continuationToken"):
            break
        page.continuationToken = answer.continuationToken
    assert seen == names
    page.continuationToken = "forged"
    assert (await site.refusal("ListInstanceIDs", page))[0] == "INVALID_ARGUMENT"


async def test_history_shows_what_happened(site: OrderSite) -> None:
    await site.start()
    await site.finish()
    request = pb.GetInstanceHistoryRequest(instanceId="i-1")
    events = (await site.call("GetInstanceHistory", request)).events
    kinds = [event.WhichOneof("eventType") for event in events]
    assert kinds == [
        "executionStarted",
        "taskScheduled",
        "taskCompleted",
        "timerCreated",
        "eventRaised",
        "executionCompleted",
    ]
    assert (events[1].eventId, events[1].taskScheduled.name) == (1, "double")
    assert events[2].taskCompleted.taskScheduledId == 1
    assert events[2].taskCompleted.result.value == "6"
    assert events[3].timerCreated.externalEvent.name == "finish"
    assert {event.eventId for event in events if event.eventId not in (1, 2)} <= {-1, 3}


async def test_rerun_from_an_event(site: OrderSite) -> None:
    await site.start()
    again = pb.RerunWorkflowFromEventRequest(sourceInstanceID="i-1", eventID=1)
    assert await site.refusal("RerunWorkflowFromEvent", again) == (
        "INVALID_ARGUMENT",
        "'i-1' is not in a terminal state",
    )
    await site.finish()
    again.newInstanceID = "i-2"
    again.input.value = "50"
    again.overwriteInput = True
    answer = await site.call("RerunWorkflowFromEvent", again)
    assert answer.newInstanceID == "i-2"
    assert (await site.finish("i-2")).output.value == '[100,"go"]'
    assert (await site.refusal("RerunWorkflowFromEvent", again))[0] == "ALREADY_EXISTS"
    again.newInstanceID = "i-1"
    assert (await site.refusal("RerunWorkflowFromEvent", again))[0] == "INVALID_ARGUMENT"
    again.ClearField("newInstanceID")
    assert len((await site.call("RerunWorkflowFromEvent", again)).newInstanceID) == 36
    again.eventID = 77
    code, said = await site.refusal("RerunWorkflowFromEvent", again)
    assert code == "NOT_FOUND"
    assert "does not have history event with ID '77'" in said
    gone = pb.RerunWorkflowFromEventRequest(sourceInstanceID="no", eventID=1)
    assert await site.refusal("RerunWorkflowFromEvent", gone) == (
        "NOT_FOUND",
        "workflow instance does not exist with ID 'no'",
    )


async def test_the_history_of_a_missing_instance(site: OrderSite) -> None:
    request = pb.GetInstanceHistoryRequest(instanceId="no")
    assert await site.refusal("GetInstanceHistory", request) == (
        "NOT_FOUND",
        "workflow instance 'no' not found",
    )


async def test_an_app_that_is_nowhere_is_no_place_to_send_to(site: OrderSite) -> None:
    for target in ("", "shop"):
        await site.start(f"to-{target}", router={"sourceAppID": "x", "targetAppID": target})
    code, said = await site.refusal("StartInstance", create(router={"targetAppID": "bank"}))
    assert code == "FAILED_PRECONDITION"
    assert "no other host or worker is of 'bank'" in said


async def test_a_payload_beyond_the_limit_is_refused_before_it_is_taken(site: OrderSite) -> None:
    fits = create(input=text('"' + "x" * (4 * 1024 * 1024 - 2) + '"'))
    await site.call("StartInstance", fits)
    code, said = await site.refusal("StartInstance", create(input=text("x" * (5 * 1024 * 1024))))
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger" in said


async def test_an_answer_beyond_the_limit_says_so(site: OrderSite) -> None:
    half = "x" * (3 * 1024 * 1024)
    await site.start(input=text(f'"{half}"'))
    await site.call(
        "RaiseEvent", pb.RaiseEventRequest(instanceId="i-1", name="x", input=text(half))
    )
    request = pb.GetInstanceHistoryRequest(instanceId="i-1")
    code, said = await site.refusal("GetInstanceHistory", request)
    assert code == "RESOURCE_EXHAUSTED"
    assert "raise --max-body-size" in said


async def test_more_long_polls_than_the_limit_are_refused_and_http_keeps_its_own(
    site: OrderSite,
) -> None:
    request = pb.GetInstanceRequest(instanceId="never")
    address = site.server.addresses[0]
    async with Client(address) as one, Client(address) as two:  # a connection takes a thousand
        polls = [
            client.channel.unary_unary(path_of("WaitForInstanceStart"))(request.SerializeToString())
            for client in (one, two)
            for _ in range(1_000)
        ]
        await site.reaches_waits(2_000)
        assert await site.refusal("WaitForInstanceStart", request) == (
            "RESOURCE_EXHAUSTED",
            "the queue of held-back answers is full (2,000); retry later",
        )
        assert site.edge.waits.count == 0
        await site.call("Hello")
        for poll in polls:
            poll.cancel()
        await site.reaches_waits(0)
