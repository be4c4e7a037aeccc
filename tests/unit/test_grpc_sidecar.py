"""Dapr's own service over gRPC, health, and what all services share: stop, numbers, tokens."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from actorflow.server.grpc import messages as pb
from tests.fakes.grpc_orders import PENDING, TERMINATED, OrderSite, create, orders
from tests.fakes.grpc_site import Client

pytestmark = pytest.mark.asyncio

DAPR = pb.DAPR


@pytest_asyncio.fixture
async def site() -> AsyncIterator[OrderSite]:
    async with orders() as opened:
        yield opened


# ---- the sidecar's service -----------------------------------------------------------------------


@pytest.fixture(params=["Alpha1", "Beta1"])
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_all_operations_of_the_sidecar(site: OrderSite, suffix: str) -> None:
    def path(name: str) -> str:
        return f"{DAPR}/{name}Workflow{suffix}"

    answer = await site.call(
        path("Start"),
        pb.StartWorkflowRequest(
            instance_id="i_1", workflow_component="dapr", workflow_name="order", input=b"4"
        ),
    )
    assert answer.instance_id == "i_1"
    await site.call("WaitForInstanceStart", pb.GetInstanceRequest(instanceId="i_1"))
    await site.call(path("Pause"), pb.PauseWorkflowRequest(instance_id="i_1"))
    shown = await site.call(path("Get"), pb.GetWorkflowRequest(instance_id="i_1"))
    assert (shown.workflow_name, shown.runtime_status) == ("order", "SUSPENDED")
    assert shown.properties["dapr.workflow.input"] == "4"
    assert shown.created_at.seconds > 1_700_000_000
    await site.call(path("Resume"), pb.ResumeWorkflowRequest(instance_id="i_1"))
    event = pb.RaiseEventWorkflowRequest(instance_id="i_1", event_name="finish", event_data=b'"go"')
    await site.call(path("RaiseEvent"), event)
    assert (await site.wait("i_1")).output.value == '[8,"go"]'
    await site.call(path("Purge"), pb.PurgeWorkflowRequest(instance_id="i_1"))
    shown = await site.call(path("Get"), pb.GetWorkflowRequest(instance_id="i_1"))
    assert shown == pb.GetWorkflowResponse(instance_id="i_1")
    answer = await site.call(
        path("Start"), pb.StartWorkflowRequest(workflow_name="order", input=b"1")
    )
    terminate = pb.TerminateWorkflowRequest(instance_id=answer.instance_id)
    await site.call(path("Terminate"), terminate)
    assert (await site.wait(answer.instance_id)).workflowStatus == TERMINATED


SIDECAR_REFUSALS: list[tuple[str, Any, str, str]] = [
    (
        "StartWorkflow",
        pb.StartWorkflowRequest(workflow_name=""),
        "INVALID_ARGUMENT",
        "workflow name is not configured",
    ),
    (
        "StartWorkflow",
        pb.StartWorkflowRequest(workflow_name="order", instance_id="a b"),
        "INVALID_ARGUMENT",
        "workflow instance ID 'a b' is invalid: only alphanumeric and underscore characters are "
        "allowed",
    ),
    (
        "StartWorkflow",
        pb.StartWorkflowRequest(workflow_name="order", instance_id="x" * 65),
        "INVALID_ARGUMENT",
        "workflow instance ID exceeds the max length of 64 characters",
    ),
    (
        "StartWorkflow",
        pb.StartWorkflowRequest(workflow_name="order", instance_id="taken"),
        "INTERNAL",
        "error starting workflow 'order': unable to start workflow: failed to start workflow: rpc "
        "error: code = AlreadyExists desc = an active workflow with ID 'taken' already exists",
    ),
    (
        "StartWorkflow",
        pb.StartWorkflowRequest(
            workflow_name="order", options={"dapr.workflow.start_time": "soon"}
        ),
        "INTERNAL",
        "error starting workflow 'order': start times must be in RFC3339 format "
        '(e.g. "2009-11-10T23:00:00Z")',
    ),
    (
        "StartWorkflow",
        pb.StartWorkflowRequest(workflow_name="order", input=b"\xff"),
        "INVALID_ARGUMENT",
        "failed deserializing HTTP body: input is invalid UTF-8 at byte 0",
    ),
    (
        "StartWorkflow",
        pb.StartWorkflowRequest(workflow_name="order", app_id="a/b"),
        "INVALID_ARGUMENT",
        "workflow app ID 'a/b' is invalid: only alphanumeric, dash and underscore characters are "
        "allowed",
    ),
    (
        "GetWorkflow",
        pb.GetWorkflowRequest(),
        "INVALID_ARGUMENT",
        "no instance ID was provided",
    ),
    (
        "RaiseEventWorkflow",
        pb.RaiseEventWorkflowRequest(instance_id="taken"),
        "INVALID_ARGUMENT",
        "missing workflow event name",
    ),
    (
        "RaiseEventWorkflow",
        pb.RaiseEventWorkflowRequest(instance_id="no", event_name="e"),
        "INTERNAL",
        "error raising event on workflow 'no': failed to raise event e on workflow no: failed to "
        "raise event: no such instance exists",
    ),
    (
        "PauseWorkflow",
        pb.PauseWorkflowRequest(instance_id="no"),
        "INTERNAL",
        "error pausing workflow no: failed to pause workflow no: failed to suspend workflow: no "
        "such instance exists",
    ),
    (
        "ResumeWorkflow",
        pb.ResumeWorkflowRequest(instance_id="no"),
        "INTERNAL",
        "error resuming workflow no: failed to resume workflow no: failed to resume workflow: no "
        "such instance exists",
    ),
    (
        "TerminateWorkflow",
        pb.TerminateWorkflowRequest(instance_id="no"),
        "NOT_FOUND",
        "unable to find workflow with the provided instance ID: no",
    ),
    (
        "PurgeWorkflow",
        pb.PurgeWorkflowRequest(instance_id="no"),
        "NOT_FOUND",
        "unable to find workflow with the provided instance ID: no",
    ),
    (
        "PurgeWorkflow",
        pb.PurgeWorkflowRequest(instance_id="taken"),
        "INTERNAL",
        "error purging workflow taken: failed to Purge workflow taken: failed to purge workflow "
        "state: orchestration has not yet completed",
    ),
]


@pytest.mark.parametrize(("name", "request_", "code", "said"), SIDECAR_REFUSALS)
async def test_what_the_sidecar_refuses_in_daprs_words(
    site: OrderSite, name: str, request_: Any, code: str, said: str
) -> None:
    await site.start("taken")
    assert await site.refusal(f"{DAPR}/{name}Beta1", request_) == (code, said)


async def test_a_start_time_of_the_sidecar(site: OrderSite) -> None:
    options = {"dapr.workflow.start_time": "2999-01-01T00:00:00Z"}
    request = pb.StartWorkflowRequest(workflow_name="order", instance_id="late", options=options)
    await site.call(f"{DAPR}/StartWorkflowBeta1", request)
    assert await site.status("late") == PENDING


async def test_metadata_is_shown_and_can_be_added_to(site: OrderSite) -> None:
    await site.call(f"{DAPR}/SetMetadata", pb.SetMetadataRequest(key="cli", value="me"))
    shown = await site.call(f"{DAPR}/GetMetadata", pb.GetMetadataRequest())
    assert shown.id == "shop"
    assert shown.extended_metadata["cli"] == "me"
    assert shown.extended_metadata["durability"] == "local"
    assert shown.actor_runtime.runtime_status == 2
    assert shown.workflows.connected_workers == 1
    too_long = pb.SetMetadataRequest(key="cli", value="x" * 5_000)
    assert (await site.refusal(f"{DAPR}/SetMetadata", too_long))[0] == "INVALID_ARGUMENT"


async def test_shutdown_is_handed_on(site: OrderSite) -> None:
    await site.call(f"{DAPR}/Shutdown")
    await site.call(f"{DAPR}/Shutdown", metadata=(("dapr-force-shutdown", "true"),))
    assert site.shutdowns == [False, True]


async def test_other_methods_are_not_implemented_and_say_what_is(site: OrderSite) -> None:
    for method in (f"{DAPR}/InvokeActor", f"{DAPR}/SaveState", "CreateTaskHub", "x.Y/Z"):
        with_method = method if "/" in method else f"{pb.TASK_HUB}/{method}"
        rpc = site.channel.unary_unary(f"/{with_method}")
        with pytest.raises(Exception, match="this server does not have the method") as caught:
            await rpc(b"", timeout=120)
        assert "UNIMPLEMENTED" in str(caught.value)


# ---- health, stop and numbers --------------------------------------------------------------------


async def test_health(site: OrderSite) -> None:
    for service in ("", pb.TASK_HUB, DAPR):
        request = pb.HealthCheckRequest(service=service)
        assert (await site.call(f"{pb.HEALTH}/Check", request)).status == 1
    unknown = pb.HealthCheckRequest(service="nobody")
    assert (await site.refusal(f"{pb.HEALTH}/Check", unknown))[0] == "NOT_FOUND"


async def test_a_stop_is_told_to_watchers_and_ends_waits(site: OrderSite) -> None:
    await site.start()
    watch = site.stream(f"{pb.HEALTH}/Watch", pb.HealthCheckRequest())
    assert (await watch.read()).status == 1
    waiting = asyncio.create_task(
        site.refusal("WaitForInstanceCompletion", pb.GetInstanceRequest(instanceId="i-1"))
    )
    await site.reaches_waits(2)  # the watch is one of them
    await site.server.shut_down(drain_s=5)
    assert await waiting == ("UNAVAILABLE", "actor runtime is closed")
    assert (await watch.read()).status == 2


async def test_while_it_stops_new_calls_are_unavailable(site: OrderSite) -> None:
    site.edge.stop()
    for method, request in (
        ("Hello", pb.Empty()),
        ("StartInstance", create()),
        ("GetInstance", pb.GetInstanceRequest(instanceId="x")),
        (f"{DAPR}/GetWorkflowBeta1", pb.GetWorkflowRequest(instance_id="x")),
    ):
        assert await site.refusal(method, request) == ("UNAVAILABLE", "actor runtime is closed")
    health = await site.call(f"{pb.HEALTH}/Check", pb.HealthCheckRequest())
    assert health.status == 2


async def test_calls_are_counted_by_method_and_code(site: OrderSite) -> None:
    await site.call("Hello")
    await site.refusal("RaiseEvent", pb.RaiseEventRequest(instanceId="no", name="x"))
    await site.refusal(f"{DAPR}/InvokeActor")
    text_ = (await site.edge.metrics.exposition()).decode()
    for method, code in (
        ("/TaskHubSidecarService/Hello", "OK"),
        ("/TaskHubSidecarService/RaiseEvent", "UNKNOWN"),
        ("unknown", "UNIMPLEMENTED"),
    ):
        line = f'actorflow_grpc_requests_total{{code="{code}",method="{method}"}} 1.0'
        assert line in text_


# ---- tokens --------------------------------------------------------------------------------------

TOKEN = "s3cret-token"
PUBLIC = {f"/{pb.HEALTH}/Check"}


async def test_every_method_but_the_health_check_needs_a_token() -> None:
    async with orders(api_tokens=(TOKEN,)) as site:
        paths = [*site.server.gate.rpcs, f"/{DAPR}/InvokeActor", "/x.Y/Z"]
        assert len(paths) == 2 + 17 + 14 + 3 + 2
        for path in paths:
            if path not in PUBLIC:
                assert await site.refusal(path[1:]) == ("UNAUTHENTICATED", "Unauthorized"), path
        await site.call(f"{pb.HEALTH}/Check")


@pytest.mark.parametrize(
    "metadata",
    [
        [("dapr-api-token", "s3cret")],
        [("dapr-api-token", TOKEN + "x")],
        [("dapr-api-token", "")],
        [("dapr-api-token", TOKEN), ("dapr-api-token", TOKEN)],
        [("dapr-api-token", "no"), ("authorization", f"Bearer {TOKEN}")],
        [("authorization", TOKEN)],
        [("Dapr-Api-Token-Bin".lower(), TOKEN.encode())],
    ],
)
async def test_only_the_whole_token_and_only_once_lets_in(metadata: Any) -> None:
    async with (
        orders(api_tokens=(TOKEN, "second")) as site,
        Client(site.server.addresses[0], *metadata) as other,
    ):
        assert await other.refusal("Hello") == ("UNAUTHENTICATED", "Unauthorized")


@pytest.mark.parametrize(
    "metadata",
    [
        [("dapr-api-token", TOKEN)],
        [("dapr-api-token", "second")],
        [("authorization", f"Bearer {TOKEN}")],
    ],
)
async def test_each_of_several_tokens_lets_in(metadata: Any) -> None:
    async with (
        orders(api_tokens=(TOKEN, "second")) as site,
        Client(site.server.addresses[0], *metadata) as other,
    ):
        await other.call("Hello")


async def test_the_refusal_of_a_token_has_daprs_details() -> None:
    async with orders(api_tokens=(TOKEN,)) as site:
        rpc = site.channel.unary_unary(f"/{pb.TASK_HUB}/Hello")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rpc(b"", timeout=120)
        trailing = dict(caught.value.trailing_metadata())
        status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert (info.reason, info.domain) == ("Unauthorized", "dapr.io")
        assert dict(info.metadata) == {
            "http.code": "401",
            "http.error_message": "missing api token in request metadata",
        }
