"""Our own routes, health, metadata and the switches, over HTTP with a fake engine."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from actorflow.actors.errors import StoppingError
from actorflow.server.app import HttpServer
from actorflow.server.config import Settings
from actorflow.workflow.events import Status
from tests.fakes.fake_engine import FakeEngine, failure
from tests.fakes.raw_http import Reply, send

pytestmark = pytest.mark.asyncio

OWN = "/actorflow/v1"
ONE = f"{OWN}/instances/i-1"
JSON = {"Content-Type": "application/json"}


class Site:
    """A served fake engine with the instance `i-1`, running."""

    def __init__(self, engine: FakeEngine, server: HttpServer, shutdowns: list[bool]) -> None:
        self.engine = engine
        self.server = server
        self.shutdowns = shutdowns

    async def get(self, target: str, **headers: str) -> Reply:
        return await send(self.server.urls[0], "GET", target, headers=headers)

    async def post(self, target: str, body: str = "", **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body.encode()
        return await send(self.server.urls[0], "POST", target, data, {**JSON, **named})


async def build(**settings: Any) -> Site:
    engine = FakeEngine()
    await engine.start("order", instance_id="i-1", input='{"qty":3}')
    await engine.move("i-1", Status.RUNNING)
    shutdowns: list[bool] = []
    server = HttpServer(
        engine, Settings(http_port=0, **settings), request_shutdown=shutdowns.append
    )
    await server.start_up()
    return Site(engine, server, shutdowns)


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    site = await build()
    yield site
    await site.server.shut_down(drain_s=0.1)


@pytest_asyncio.fixture
async def strict() -> AsyncIterator[Site]:
    site = await build(strict_status=True, strict_pending=True, metrics=False)
    yield site
    await site.server.shut_down(drain_s=0.1)


# Instances


async def test_get(site: Site) -> None:
    await site.engine.move("i-1", Status.FAILED, failure=failure(stack="at 3"))
    shown = (await site.get(ONE)).json
    assert (shown["instanceID"], shown["name"], shown["status"]) == ("i-1", "order", "FAILED")
    assert shown["input"] == '{"qty":3}'
    assert shown["failure"]["stack"] == "at 3"


@pytest.mark.parametrize("tail", ["", "/history", "/waiting", "/wait?timeout=1ms"])
async def test_missing_instance(site: Site, tail: str) -> None:
    reply = await site.get(f"{OWN}/instances/nope{tail}")
    assert (reply.status, reply.json["errorCode"]) == (404, "ERR_INSTANCE_ID_NOT_FOUND")


@pytest.mark.parametrize("op", ["suspend", "resume", "terminate", "purge", "rerun"])
async def test_changing_a_missing_instance(site: Site, op: str) -> None:
    body = '{"eventID":0}' if op == "rerun" else ""
    reply = await site.post(f"{OWN}/instances/nope/{op}", body)
    assert (reply.status, reply.json["errorCode"]) == (404, "ERR_INSTANCE_ID_NOT_FOUND")


async def test_list_filters(site: Site) -> None:
    await site.engine.start("refund", instance_id="r-1")
    await site.engine.start("refund", instance_id="r-2")
    await site.engine.move("r-2", Status.COMPLETED)

    async def ids(query: str) -> list[str]:
        reply = await site.get(f"{OWN}/instances?{query}")
        return [item["instanceID"] for item in reply.json["instances"]]

    assert await ids("") == ["i-1", "r-1", "r-2"]
    assert await ids("status=PENDING&status=completed") == ["r-1", "r-2"]
    assert await ids("name=refund&status=PENDING") == ["r-1"]
    assert await ids("idPrefix=r-") == ["r-1", "r-2"]
    assert await ids("idPrefix=%25") == []
    created = (await site.get("/v1.0/workflows/dapr/r-1")).json["createdAt"]
    assert await ids(f"createdFrom={created}") == ["r-1", "r-2"]
    assert await ids(f"createdTo={created}") == ["i-1"]
    assert await ids("createdFrom=2023-11-14T23:13:20.001000002+01:00") == ["r-1", "r-2"]


async def test_list_in_pages(site: Site) -> None:
    for number in range(5):
        await site.engine.start("order", instance_id=f"p-{number}")
    seen = []
    target = f"{OWN}/instances?limit=2"
    token: str | None = ""
    while token is not None:
        page = (await site.get(f"{target}&pageToken={token}")).json
        seen += [item["instanceID"] for item in page["instances"]]
        token = page.get("nextPageToken")
    assert seen == ["i-1", "p-0", "p-1", "p-2", "p-3", "p-4"]


async def test_history(site: Site) -> None:
    shown = (await site.get(f"{ONE}/history")).json
    assert [event["type"] for event in shown["events"]] == ["ExecutionStarted", "TaskScheduled"]
    part = (await site.get(f"{ONE}/history?start=1&limit=1")).json
    assert (part["length"], len(part["events"])) == (2, 1)
    assert part["events"][0]["eventID"] == 0


async def test_waiting(site: Site) -> None:
    shown = (await site.get(f"{ONE}/waiting")).json
    assert shown["status"] == "RUNNING"
    assert shown["waiting"][0]["kind"] == "event"
    await site.engine.move("i-1", Status.COMPLETED)
    assert (await site.get(f"{ONE}/waiting")).json["waiting"] == []


async def test_wait_returns_when_the_instance_ends(site: Site) -> None:
    waiting = asyncio.create_task(site.get(f"{ONE}/wait?timeout=1m"))
    while ("wait_for_completion", "i-1") not in site.engine.calls:  # noqa: ASYNC110 -- a list
        await asyncio.sleep(0.001)
    await site.engine.move("i-1", Status.COMPLETED, output='"done"')
    shown = (await waiting).json
    assert (shown["completed"], shown["status"], shown["output"]) == (True, "COMPLETED", '"done"')


async def test_wait_gives_up_in_time(site: Site) -> None:
    reply = await site.get(f"{ONE}/wait?timeout=10ms")
    assert (reply.status, reply.json["completed"]) == (200, False)
    assert (await site.get(f"{ONE}/wait?until=started")).json["status"] == "RUNNING"


@pytest.mark.parametrize("query", ["timeout=", "timeout=0"])
async def test_wait_for_an_ended_instance_is_at_once(site: Site, query: str) -> None:
    await site.engine.move("i-1", Status.COMPLETED)
    assert (await site.get(f"{ONE}/wait?{query}")).json["completed"] is True


@pytest.mark.parametrize(
    "query", ["timeout=301s", "timeout=-1", "timeout=1h", "timeout=x", "until=done", "x=1"]
)
async def test_bad_waits(site: Site, query: str) -> None:
    reply = await site.get(f"{ONE}/wait?{query}")
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_INVALID_REQUEST")


async def test_terminate_with_output(site: Site) -> None:
    reply = await site.post(f"{ONE}/terminate", '{"output": {"a": [1, 2]}, "recursive": false}')
    assert (reply.status, reply.json) == (202, {})
    assert site.engine.calls[-1] == ("terminate", "i-1", '{"a": [1, 2]}', False)
    assert (await site.post(f"{ONE}/terminate")).status == 202
    last: tuple[object, ...] = site.engine.calls[-1]
    assert last == ("terminate", "i-1", None, True)


async def test_reasons(site: Site) -> None:
    assert (await site.post(f"{ONE}/suspend", '{"reason":"audit"}')).status == 202
    assert site.engine.calls[-1] == ("suspend", "i-1", "audit")
    assert (await site.post(f"{ONE}/resume", "{}")).status == 202
    assert site.engine.calls[-1][2] is None


async def test_purge(site: Site) -> None:
    reply = await site.post(f"{ONE}/purge")
    assert (reply.status, reply.json["errorCode"]) == (409, "ERR_INSTANCE_NOT_TERMINAL")
    reply = await site.post(f"{ONE}/purge", '{"force": true, "recursive": false}')
    assert (reply.status, reply.json) == (200, {"deletedCount": 1})
    assert site.engine.calls[-1] == ("purge", "i-1", False, True)


async def test_rerun(site: Site) -> None:
    reply = await site.post(f"{ONE}/rerun", '{"eventID":0}')
    assert (reply.status, reply.json["errorCode"]) == (409, "ERR_INSTANCE_NOT_TERMINAL")
    await site.engine.move("i-1", Status.FAILED)
    body = '{"eventID": 0, "newInstanceID": "i-2", "input": "other"}'
    reply = await site.post(f"{ONE}/rerun", body)
    assert (reply.status, reply.json) == (202, {"instanceID": "i-2"})
    assert ("rerun", "i-1", 0, "i-2", '"other"', True) in site.engine.calls
    reply = await site.post(f"{ONE}/rerun", body)
    assert (reply.status, reply.json["errorCode"]) == (409, "ERR_INSTANCE_EXISTS")
    reply = await site.post(f"{ONE}/rerun", '{"eventID":99}')
    assert (reply.status, reply.json["errorCode"]) == (404, "ERR_HISTORY_EVENT_NOT_FOUND")
    assert ("rerun", "i-1", 99, "", None, False) in site.engine.calls


@pytest.mark.parametrize("body", ["", "{}", '{"eventID":"x"}', '{"eventID":1.5}', "[]"])
async def test_bad_reruns(site: Site, body: str) -> None:
    reply = await site.post(f"{ONE}/rerun", body)
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")


async def test_start_later_and_unique(site: Site) -> None:
    target = f"{OWN}/workflows/order/start?instanceID=s-1&scheduledStart=2030-01-01T00:00:00Z"
    assert (await site.post(target, "[1]")).json == {"instanceID": "s-1"}
    item = site.engine.instances["s-1"]
    assert item.scheduled_start_ns == 1_893_456_000 * 1_000_000_000
    assert item.input == "[1]"
    await site.engine.move("s-1", Status.COMPLETED)
    again = f"{OWN}/workflows/order/start?instanceID=s-1"
    assert (await site.post(f"{again}&unique=true")).status == 409
    assert (await site.post(again)).status == 202
    assert site.engine.instances["s-1"].input is None


async def test_run_waits_for_the_result(site: Site) -> None:
    running = asyncio.create_task(site.post(f"{OWN}/workflows/order/run?instanceID=r-1", "3"))
    while ("wait_for_completion", "r-1") not in site.engine.calls:  # noqa: ASYNC110 -- a list
        await asyncio.sleep(0.001)
    await site.engine.move("r-1", Status.COMPLETED, output="9")
    reply = await running
    assert (reply.status, reply.json["completed"], reply.json["output"]) == (200, True, "9")
    reply = await site.post(f"{OWN}/workflows/order/run?timeout=5ms")
    assert (reply.status, reply.json["completed"], reply.json["status"]) == (202, False, "PENDING")


@pytest.mark.parametrize(
    ("target", "body", "code"),
    [
        ("order/run", "nope", "ERR_MALFORMED_REQUEST"),
        ("order/run?instanceID=a%20b", "", "ERR_INSTANCE_ID_INVALID"),
        ("dapr.internal.x/run", "", "ERR_WORKFLOW_NAME_RESERVED"),
        ("order/start?unique=1", "", "ERR_INVALID_REQUEST"),
        ("order/start?instanceId=x", "", "ERR_INVALID_REQUEST"),
    ],
)
async def test_bad_starts(site: Site, target: str, body: str, code: str) -> None:
    reply = await site.post(f"{OWN}/workflows/{target}", body)
    assert (reply.status, reply.json["errorCode"]) == (400, code)


# Headers that the engine gets


async def test_event_id_and_trace(site: Site) -> None:
    target = "/v1.0/workflows/dapr/i-1/raiseEvent/approve"
    for _ in range(2):
        assert (await site.post(target, "1", Idempotency_Key="e-1")).status == 202
    assert ("raise_event", "i-1", "approve", "1", "e-1") in site.engine.calls
    assert len(site.engine.histories["i-1"]) == 3
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await site.post("/v1.0/workflows/dapr/order/start?instanceID=t", traceparent=trace)
    assert ("start", "order", "t", trace, None) in site.engine.calls
    own = "/actorflow/v1/workflows/order/start?instanceID=v"
    await site.post(own, traceparent=trace, tracestate="a=1,b=2")
    assert ("start", "order", "v", trace, "a=1,b=2") in site.engine.calls
    start = "/v1.0/workflows/dapr/order/start?instanceID=u"
    await site.post(start, traceparent="nonsense", tracestate="a=1")
    assert ("start", "order", "u", None, None) in site.engine.calls


@pytest.mark.parametrize("key", ["x" * 257, "\u00fc", "a\tb"])
async def test_bad_keys(site: Site, key: str) -> None:
    reply = await site.post("/v1.0/workflows/dapr/order/start", Idempotency_Key=key)
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_IDEMPOTENCY_KEY_INVALID")


async def test_fifty_starts_with_one_key_make_one_instance(site: Site) -> None:
    target = "/v1.0/workflows/dapr/order/start"
    replies = await asyncio.gather(
        *(site.post(target, "1", Idempotency_Key="k") for _ in range(50))
    )
    assert {reply.status for reply in replies} == {202}
    assert len({reply.json["instanceID"] for reply in replies}) == 1
    assert len(site.engine.instances) == 2


# Starting without a worker


async def test_start_holds_its_answer_back_until_a_worker_comes() -> None:
    site = await build(start_wait_s=60.0)
    site.engine.workers = 0
    target = "/v1.0/workflows/dapr/order/start?instanceID=w-1"
    starting = asyncio.create_task(site.post(target))
    while "w-1" not in site.engine.instances:  # noqa: ASYNC110 -- a dict
        await asyncio.sleep(0.001)
    assert not starting.done(), "the instance is durable, the answer waits"
    await site.engine.connect_worker()
    assert (await starting).status == 202
    await site.server.shut_down(drain_s=0.1)


async def test_start_without_any_worker_is_accepted_in_the_end() -> None:
    site = await build(start_wait_s=0.01)
    site.engine.workers = 0
    assert (await site.post("/v1.0/workflows/dapr/order/start")).status == 202
    await site.server.shut_down(drain_s=0.1)


async def test_stop_does_not_lose_an_accepted_start() -> None:
    site = await build(start_wait_s=60.0)
    site.engine.workers = 0
    starting = asyncio.create_task(site.post("/v1.0/workflows/dapr/order/start?instanceID=w-1"))
    while "w-1" not in site.engine.instances:  # noqa: ASYNC110 -- a dict
        await asyncio.sleep(0.001)
    await site.server.shut_down(drain_s=5)
    assert (await starting).status == 202


# Switches


async def test_strict_status(strict: Site) -> None:
    base = "/v1.0/workflows/dapr"
    reply = await strict.post(f"{base}/order/start?instanceID=i-1")
    assert (reply.status, reply.json["errorCode"]) == (409, "ERR_START_WORKFLOW")
    assert reply.json["message"].endswith("an active workflow with ID 'i-1' already exists")
    for op in ("pause", "resume", "raiseEvent/x", "terminate", "purge"):
        reply = await strict.post(f"{base}/nope/{op}")
        assert (reply.status, reply.json["errorCode"]) == (404, "ERR_INSTANCE_ID_NOT_FOUND")


async def test_strict_pending(strict: Site) -> None:
    await strict.post("/v1.0/workflows/dapr/order/start?instanceID=p-1", "1")
    assert (await strict.get("/v1.0/workflows/dapr/p-1")).json == {
        "instanceID": "p-1",
        "createdAt": "0001-01-01T00:00:00Z",
        "lastUpdatedAt": "0001-01-01T00:00:00Z",
        "runtimeStatus": "PENDING",
    }


async def test_metrics_can_be_off(strict: Site) -> None:
    assert (await strict.get("/metrics")).status == 404


# Around the workflow API


async def test_health(site: Site) -> None:
    for target in ("/v1.0/healthz", "/v1.0/healthz?appid=default", "/v1.0/healthz/outbound"):
        assert (await site.get(target)).status == 204
    for target in ("/v1.0/healthz?appid=other", "/v1.0/healthz?appid="):
        reply = await site.get(target)
        assert (reply.status, reply.json) == (
            500,
            {
                "errorCode": "ERR_HEALTH_APPID_NOT_MATCH",
                "message": "dapr app-id does not match",
            },
        )
    site.engine.trouble = ["store: disk full", "stopping"]
    assert (await site.get("/v1.0/healthz")).json == {
        "errorCode": "ERR_HEALTH_NOT_READY",
        "message": "dapr is not ready: [store: disk full stopping]",
    }
    assert (await site.get("/v1.0/healthz/outbound")).json == {
        "errorCode": "ERR_OUTBOUND_HEALTH_NOT_READY",
        "message": "dapr outbound is not ready",
    }


async def test_health_in_words(site: Site) -> None:
    answer = await site.get("/actorflow/v1/health")
    assert answer.status == 200
    shown = answer.json
    assert shown["healthy"] is True
    assert shown["problems"] == []
    assert shown["durability"] == {
        "level": "local",
        "survives": "kill -9 of anything, not a power cut",
    }
    assert (shown["appID"], shown["processes"], shown["connectedWorkers"]) == ("default", 1, 1)
    site.engine.trouble = ["store redis://me:secret@cache does not answer"]
    answer = await site.get("/actorflow/v1/health")
    assert (answer.status, answer.json["healthy"]) == (503, False)
    assert answer.json["problems"] == ["store redis://***@cache does not answer"]


async def test_metadata(site: Site) -> None:
    url = site.server.urls[0]
    assert (await send(url, "PUT", "/v1.0/metadata/team", b"blue")).status == 204
    shown = (await site.get("/v1.0/metadata")).json
    assert shown["id"] == "default"
    version = shown["runtimeVersion"]
    assert shown["extended"] == {
        "daprRuntimeVersion": version,
        "durability": "local",
        "team": "blue",
    }
    assert shown["actorRuntime"]["runtimeStatus"] == "RUNNING"
    assert shown["actorRuntime"]["hostReady"] is True
    assert shown["workflows"] == {"connectedWorkers": 1}
    site.engine.workers = 0
    assert "workflows" not in (await site.get("/v1.0/metadata")).json
    assert (await send(url, "PUT", "/v1.0/metadata/big", b"x" * 5_000)).status == 400
    statuses = [
        (await send(url, "PUT", f"/v1.0/metadata/k{number}", b"")).status for number in range(130)
    ]
    assert (statuses.count(204), statuses.count(400)) == (127, 3)


async def test_shutdown(site: Site) -> None:
    assert (await site.post("/v1.0/shutdown")).status == 204
    assert (await site.post("/v1.0/shutdown", dapr_force_shutdown="true")).status == 204
    assert site.shutdowns == [False, True]


async def test_a_stopping_server_says_so(site: Site) -> None:
    site.server.edge.stop()
    reply = await site.post("/v1.0/workflows/dapr/order/start?instanceID=a%20b")
    assert (reply.status, reply.json) == (
        503,
        {"errorCode": "ERR_ACTOR_RUNTIME_CLOSED", "message": "actor runtime is closed"},
    )
    assert (await site.get("/v1.0/healthz")).status == 500
    assert (await site.get(ONE)).status == 503


async def test_a_stopping_engine_says_so(site: Site) -> None:
    for target in ("/v1.0/workflows/dapr/i-1", ONE):
        site.engine.fail_next = StoppingError("draining")
        reply = await site.get(target)
        assert (reply.status, reply.json["errorCode"]) == (503, "ERR_ACTOR_RUNTIME_CLOSED")


async def test_metrics(site: Site) -> None:
    await site.get(ONE)
    reply = await site.get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = reply.text.splitlines()
    assert "actorflow_turns_total 7.0" in lines
    assert "actorflow_live_actors 1.0" in lines
    assert "actorflow_connected_workers 1.0" in lines
    line = f'{{method="GET",route="{OWN}/instances/{{instanceID}}",status="200"}} 1.0'
    assert f"actorflow_http_requests_total{line}" in lines


async def test_two_addresses_share_a_free_port() -> None:
    server = HttpServer(
        FakeEngine(), Settings(http_port=0, listen_addresses=("127.0.0.1", "127.0.0.2"))
    )
    await server.start_up()
    ports = {port for _, port in server.addresses}
    assert (len(server.addresses), len(ports)) == (2, 1)
    assert (await send(server.urls[1], "GET", "/v1.0/healthz")).status == 204
    await server.shut_down()


async def test_a_taken_port_leaves_nothing_open(site: Site) -> None:
    port = site.server.addresses[0][1]
    other = HttpServer(FakeEngine(), Settings(http_port=port))
    with pytest.raises(OSError, match="address already in use"):
        await other.start_up()
    await other.shut_down()
