"""What every engine behind the HTTP edge must show on the wire of Dapr's workflow API.

The rows follow Dapr 1.18 (pkg/api/http/workflow.go, pkg/messages/predefined.go). A class of tests
inherits `WireKit` and provides the fixture `world`; everything goes over real HTTP.
"""

import re
from typing import Any, Protocol

import pytest

from actorflow.server.http.api import EngineApi
from actorflow.workflow.events import Status
from tests.fakes.raw_http import Reply, send

PREFIXES = ("/v1.0", "/v1.0-beta1", "/v1.0-alpha1")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(\d{3}|\d{6}|\d{9}))?Z")
UNKNOWN_ROUTE = {
    "errorCode": "ERR_DIRECT_INVOKE",
    "message": "failed getting app id either from the URL path or the header dapr-app-id",
}
OPEN = (Status.RUNNING, Status.SUSPENDED)
TERMINAL = (Status.COMPLETED, Status.FAILED, Status.TERMINATED)


class World(Protocol):
    """An engine behind HTTP, and the means to bring an instance into any status."""

    @property
    def url(self) -> str:
        """Return the base URL."""
        ...

    @property
    def engine(self) -> EngineApi:
        """Return the engine behind it."""
        ...

    @property
    def app_id(self) -> str:
        """Return the app id it runs under."""
        ...

    async def bring(self, instance_id: str, status: Status) -> None:
        """Create the instance: workflow `order`, input `{"qty":3}`, and lead it into `status`.

        Completed with the output `"done"`, failed with an error of type `ValueError`. Skips the
        test when the engine cannot be led there.
        """
        ...


def operation(name: str, instance_id: str) -> tuple[str, str]:
    """Return the method and target of an operation on an instance."""
    base = f"/v1.0/workflows/dapr/{instance_id}"
    table = {
        "start": ("POST", f"/v1.0/workflows/dapr/order/start?instanceID={instance_id}"),
        "get": ("GET", base),
        "raise": ("POST", f"{base}/raiseEvent/approve"),
    }
    return table.get(name, ("POST", f"{base}/{name}"))


NOT_FOUND = (
    404,
    "ERR_INSTANCE_ID_NOT_FOUND",
    "unable to find workflow with the provided instance ID: i-1",
)
DUPLICATE = (
    500,
    "ERR_START_WORKFLOW",
    "error starting workflow 'order': unable to start workflow: failed to start workflow: "
    "rpc error: code = AlreadyExists desc = an active workflow with ID 'i-1' already exists",
)
NOT_COMPLETED = (
    500,
    "ERR_PURGE_WORKFLOW",
    "error purging workflow i-1: failed to Purge workflow i-1: failed to purge workflow state: "
    "orchestration has not yet completed",
)
STALLED = (
    500,
    "ERR_RAISE_EVENT_WORKFLOW",
    "error raising event on workflow 'i-1': failed to raise event approve on workflow i-1: "
    "failed to raise event: workflow is stalled",
)

MISSING_ROWS: list[tuple[str, tuple[int, str, str]]] = [
    ("get", NOT_FOUND),
    (
        "raise",
        (
            500,
            "ERR_RAISE_EVENT_WORKFLOW",
            "error raising event on workflow 'i-1': failed to raise event approve on workflow "
            "i-1: failed to raise event: no such instance exists",
        ),
    ),
    (
        "pause",
        (
            500,
            "ERR_PAUSE_WORKFLOW",
            "error pausing workflow i-1: failed to pause workflow i-1: failed to suspend "
            "workflow: no such instance exists",
        ),
    ),
    (
        "resume",
        (
            500,
            "ERR_RESUME_WORKFLOW",
            "error resuming workflow i-1: failed to resume workflow i-1: failed to resume "
            "workflow: no such instance exists",
        ),
    ),
    ("terminate", NOT_FOUND),
    ("purge", NOT_FOUND),
]

ACCEPTED_ROWS = [
    (op, status)
    for op, statuses in {
        "raise": (Status.PENDING, *OPEN, *TERMINAL),
        "pause": (Status.PENDING, *OPEN, *TERMINAL, Status.STALLED),
        "resume": (Status.PENDING, *OPEN, *TERMINAL, Status.STALLED),
        "terminate": (Status.PENDING, *OPEN, *TERMINAL, Status.STALLED),
        "purge": TERMINAL,
    }.items()
    for status in statuses
]

REFUSED_ROWS = [
    *[("start", status, DUPLICATE) for status in (Status.PENDING, *OPEN, Status.STALLED)],
    ("raise", Status.STALLED, STALLED),
    ("purge", Status.PENDING, NOT_FOUND),
    *[("purge", status, NOT_COMPLETED) for status in (*OPEN, Status.STALLED)],
]

ID_INVALID = "is invalid: only alphanumeric and underscore characters are allowed"
BAD_ID_ROWS = [
    ("a%20b", "ERR_INSTANCE_ID_INVALID", f"workflow instance ID 'a b' {ID_INVALID}"),
    ("a+b", "ERR_INSTANCE_ID_INVALID", f"workflow instance ID 'a b' {ID_INVALID}"),
    ("a%2Fb", "ERR_INSTANCE_ID_INVALID", f"workflow instance ID 'a/b' {ID_INVALID}"),
    ("a%00", "ERR_INSTANCE_ID_INVALID", f"workflow instance ID 'a\0' {ID_INVALID}"),
    ("%ff", "ERR_INSTANCE_ID_INVALID", f"workflow instance ID '\ufffd' {ID_INVALID}"),
    ("%F0%9F%98%80", "ERR_INSTANCE_ID_INVALID", f"workflow instance ID '\U0001f600' {ID_INVALID}"),
    ("a.b", "ERR_INSTANCE_ID_INVALID", f"workflow instance ID 'a.b' {ID_INVALID}"),
    ("a%7C%7Cb", "ERR_INSTANCE_ID_INVALID", f"workflow instance ID 'a||b' {ID_INVALID}"),
    ("%C2%BD", "ERR_INSTANCE_ID_INVALID", f"workflow instance ID '\u00bd' {ID_INVALID}"),
    (
        "x" * 65,
        "ERR_INSTANCE_ID_TOO_LONG",
        "workflow instance ID exceeds the max length of 64 characters",
    ),
    (  # 64 counts bytes: 33 letters of two
        "%C3%A9" * 33,
        "ERR_INSTANCE_ID_TOO_LONG",
        "workflow instance ID exceeds the max length of 64 characters",
    ),
    (  # the length comes first
        "%20" * 65,
        "ERR_INSTANCE_ID_TOO_LONG",
        "workflow instance ID exceeds the max length of 64 characters",
    ),
]
GOOD_IDS = ["o-1", "A_b-9", "x" * 64, "%C3%A9" * 32, "%E8%AE%A2%E5%8D%95", "%D9%A3", "-"]


def expect(reply: Reply, row: tuple[int, str, str]) -> None:
    """Check an error: the status, and an object of exactly two members."""
    status, code, message = row
    assert (reply.status, reply.json) == (status, {"errorCode": code, "message": message})


class WireKit:
    """The tests. `world` is provided by the class that inherits."""

    # Routes and successes.

    @pytest.mark.parametrize("prefix", PREFIXES)
    async def test_all_prefixes_serve_all_operations(self, world: World, prefix: str) -> None:
        await world.bring("i-1", Status.RUNNING)
        base = f"{prefix}/workflows/dapr"
        reply = await send(world.url, "POST", f"{base}/order/start?instanceID=i-2", b'{"qty":3}')
        assert (reply.status, reply.json) == (202, {"instanceID": "i-2"})
        assert (await send(world.url, "GET", f"{base}/i-1")).status == 200
        for op in ("pause", "resume", "raiseEvent/approve", "terminate"):
            reply = await send(world.url, "POST", f"{base}/i-1/{op}")
            assert (reply.status, reply.json) == (202, {}), op
        await world.engine.wait_for_completion("i-1", timeout_s=120)
        reply = await send(world.url, "POST", f"{base}/i-1/purge")
        assert (reply.status, reply.json) == (202, {})

    async def test_start_without_an_id_makes_a_uuid(self, world: World) -> None:
        reply = await send(world.url, "POST", "/v1.0/workflows/dapr/order/start", b"{}")
        assert reply.status == 202
        assert UUID4.fullmatch(reply.json["instanceID"])
        empty = await send(world.url, "POST", "/v1.0/workflows/dapr/order/start?instanceID=")
        assert empty.json["instanceID"] != reply.json["instanceID"]

    @pytest.mark.parametrize("component", ["dapr", "temporal", "a%2Fb", "any+thing"])
    async def test_component_is_ignored(self, world: World, component: str) -> None:
        reply = await send(
            world.url, "POST", f"/v1.0/workflows/{component}/order/start?instanceID=i-1"
        )
        assert reply.status == 202

    @pytest.mark.parametrize("instance_id", GOOD_IDS)
    async def test_start_accepts_ids(self, world: World, instance_id: str) -> None:
        target = f"/v1.0/workflows/dapr/order/start?instanceID={instance_id}&instanceID=other"
        started = (await send(world.url, "POST", target)).json["instanceID"]
        shown = await send(world.url, "GET", f"/v1.0/workflows/dapr/{instance_id}")
        assert (shown.status, shown.json["instanceID"]) == (200, started)

    @pytest.mark.parametrize("text", ['{"qty":3}', "hello", "", '"\u00fc"', '{"a": 1, "a": NaN}'])
    async def test_input_is_stored_as_it_came(self, world: World, text: str) -> None:
        target = "/v1.0/workflows/dapr/order/start?instanceID=i-1"
        headers = {"Content-Type": "application/octet-stream"}
        assert (await send(world.url, "POST", target, text.encode(), headers)).status == 202
        shown = (await send(world.url, "GET", "/v1.0/workflows/dapr/i-1")).json
        assert shown["properties"]["dapr.workflow.input"] == text

    # Errors of requests.

    @pytest.mark.parametrize(("instance_id", "code", "message"), BAD_ID_ROWS)
    async def test_start_refuses_ids(
        self, world: World, instance_id: str, code: str, message: str
    ) -> None:
        target = f"/v1.0/workflows/dapr/order/start?instanceID={instance_id}"
        expect(await send(world.url, "POST", target), (400, code, message))

    @pytest.mark.parametrize("op", ["start", "get", "raise", "pause", "resume", "purge"])
    async def test_app_id_must_be_plain(self, world: World, op: str) -> None:
        method, target = operation(op, "i-1")
        target += ("&" if "?" in target else "?") + "appID=a%20b"
        message = (
            "workflow app ID 'a b' is invalid: only alphanumeric, dash and underscore "
            "characters are allowed"
        )
        expect(await send(world.url, method, target), (400, "ERR_WORKFLOW_APP_ID_INVALID", message))

    async def test_another_app_is_not_served_and_ours_is(self, world: World) -> None:
        await world.bring("i-1", Status.RUNNING)
        own = f"/v1.0/workflows/dapr/i-1?appID={world.app_id}"
        assert (await send(world.url, "GET", own)).status == 200
        assert (await send(world.url, "GET", "/v1.0/workflows/dapr/i-1?appID=")).status == 200
        reply = await send(world.url, "POST", "/v1.0/workflows/dapr/i-1/pause?appID=other-1")
        assert (reply.status, reply.json["errorCode"]) == (500, "ERR_PAUSE_WORKFLOW")
        assert (
            "did not find address for actor 'dapr.internal.default.other-1.workflow||i-1'"
            in reply.json["message"]
        )

    async def test_reserved_names_cannot_be_started(self, world: World) -> None:
        reply = await send(world.url, "POST", "/v1.0/workflows/dapr/dapr.internal.x/start")
        assert (reply.status, reply.json["errorCode"]) == (400, "ERR_WORKFLOW_NAME_RESERVED")

    @pytest.mark.parametrize("op", ["get", "pause", "resume", "terminate", "purge"])
    @pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"', b"\xff", b"nope", b'{"instanceID": 3}'])
    async def test_malformed_body(self, world: World, op: str, body: bytes) -> None:
        method, target = operation(op, "i-1")
        reply = await send(world.url, method, target, body)
        assert (reply.status, reply.json["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")
        assert reply.json["message"].startswith("failed deserializing HTTP body: ")

    async def test_json_body_is_read_and_the_path_decides(self, world: World) -> None:
        await world.bring("i-1", Status.RUNNING)
        body = b'{"instanceID": "other", "unknown": [1]}'
        reply = await send(world.url, "GET", "/v1.0/workflows/dapr/i-1", body)
        assert (reply.status, reply.json["instanceID"]) == (200, "i-1")

    @pytest.mark.parametrize("op", ["start", "raise"])
    async def test_payload_must_be_utf8(self, world: World, op: str) -> None:
        reply = await send(world.url, *operation(op, "i-1"), b'"\xed\xa0\x80"')
        assert (reply.status, reply.json["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")

    async def test_body_is_read_before_anything_is_checked(self, world: World) -> None:
        target = "/v1.0/workflows/dapr/dapr.internal.x/start?instanceID=a%20b&appID=%20"
        reply = await send(world.url, "POST", target, b"\xff")
        assert reply.json["errorCode"] == "ERR_MALFORMED_REQUEST"

    async def test_instance_id_then_name_then_app_id(self, world: World) -> None:
        base = "/v1.0/workflows/dapr/dapr.internal.x/start"
        reply = await send(world.url, "POST", f"{base}?instanceID=a%20b&appID=%20")
        assert reply.json["errorCode"] == "ERR_INSTANCE_ID_INVALID"
        reply = await send(world.url, "POST", f"{base}?appID=%20")
        assert reply.json["errorCode"] == "ERR_WORKFLOW_NAME_RESERVED"
        reply = await send(world.url, "POST", "/v1.0/workflows/dapr/i-1/pause?appID=%20")
        assert reply.json["errorCode"] == "ERR_WORKFLOW_APP_ID_INVALID"

    # The matrix of outcomes.

    @pytest.mark.parametrize(("op", "row"), MISSING_ROWS)
    async def test_missing_instance(self, world: World, op: str, row: tuple[int, str, str]) -> None:
        expect(await send(world.url, *operation(op, "i-1")), row)

    @pytest.mark.parametrize(("op", "status"), ACCEPTED_ROWS)
    async def test_accepted(self, world: World, op: str, status: Status) -> None:
        await world.bring("i-1", status)
        reply = await send(world.url, *operation(op, "i-1"))
        assert (reply.status, reply.json) == (202, {})

    @pytest.mark.parametrize(("op", "status", "row"), REFUSED_ROWS)
    async def test_refused(
        self, world: World, op: str, status: Status, row: tuple[int, str, str]
    ) -> None:
        await world.bring("i-1", status)
        expect(await send(world.url, *operation(op, "i-1")), row)

    @pytest.mark.parametrize("status", TERMINAL)
    async def test_start_replaces_an_ended_instance(self, world: World, status: Status) -> None:
        await world.bring("i-1", status)
        old = await world.engine.get("i-1")
        reply = await send(world.url, *operation("start", "i-1"), b'"new"')
        assert (reply.status, reply.json) == (202, {"instanceID": "i-1"})
        new = await world.engine.get("i-1")
        assert old is not None
        assert new is not None
        assert new.execution_id != old.execution_id
        assert new.input == '"new"'

    @pytest.mark.parametrize("status", TERMINAL)
    async def test_ended_instances_stay_as_they_are(self, world: World, status: Status) -> None:
        await world.bring("i-1", status)
        before = (await send(world.url, *operation("get", "i-1"))).json
        for op in ("raise", "pause", "resume", "terminate"):
            assert (await send(world.url, *operation(op, "i-1"))).status == 202
        after = (await send(world.url, *operation("get", "i-1"))).json
        assert after["runtimeStatus"] == before["runtimeStatus"] == status.value
        assert after["properties"] == before["properties"]

    async def test_purged_means_gone(self, world: World) -> None:
        await world.bring("i-1", Status.COMPLETED)
        assert (await send(world.url, *operation("purge", "i-1"))).status == 202
        expect(await send(world.url, *operation("get", "i-1")), NOT_FOUND)
        expect(await send(world.url, *operation("purge", "i-1")), NOT_FOUND)

    # The object of GET.

    @pytest.mark.parametrize("status", [*OPEN, *TERMINAL])
    async def test_get_shows_the_instance(self, world: World, status: Status) -> None:
        await world.bring("i-1", status)
        reply = await send(world.url, *operation("get", "i-1"))
        shown: dict[str, Any] = reply.json
        assert reply.status == 200
        assert set(shown) == {
            "instanceID",
            "workflowName",
            "createdAt",
            "lastUpdatedAt",
            "runtimeStatus",
            "properties",
        }
        assert shown["instanceID"] == "i-1"
        assert shown["workflowName"] == "order"
        assert shown["runtimeStatus"] == status.value
        assert TIME.fullmatch(shown["createdAt"])
        assert TIME.fullmatch(shown["lastUpdatedAt"])
        properties = shown["properties"]
        assert all(isinstance(value, str) for value in properties.values())
        assert properties["dapr.workflow.input"] == '{"qty":3}'
        assert "dapr.workflow.custom_status" in properties
        assert ("dapr.workflow.output" in properties) == (status is Status.COMPLETED)
        assert ("dapr.workflow.failure.error_type" in properties) == (status is Status.FAILED)

    async def test_get_of_completed_has_the_output(self, world: World) -> None:
        await world.bring("i-1", Status.COMPLETED)
        shown = (await send(world.url, *operation("get", "i-1"))).json
        assert shown["properties"]["dapr.workflow.output"] == '"done"'

    async def test_get_of_failed_has_details_and_no_output(self, world: World) -> None:
        await world.bring("i-1", Status.FAILED)
        properties = (await send(world.url, *operation("get", "i-1"))).json["properties"]
        assert properties["dapr.workflow.failure.error_type"].endswith("ValueError")
        assert properties["dapr.workflow.failure.error_message"]
        assert "dapr.workflow.output" not in properties

    async def test_get_of_pending(self, world: World) -> None:
        await world.bring("i-1", Status.PENDING)
        shown = (await send(world.url, *operation("get", "i-1"))).json
        assert shown["runtimeStatus"] == "PENDING"
        assert shown["workflowName"] == "order"
        assert shown["properties"]["dapr.workflow.input"] == '{"qty":3}'
        assert TIME.fullmatch(shown["createdAt"])

    async def test_get_of_stalled_is_unknown(self, world: World) -> None:
        await world.bring("i-1", Status.STALLED)
        shown = (await send(world.url, *operation("get", "i-1"))).json
        assert shown["runtimeStatus"] == "UNKNOWN"

    # Paths.

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("GET", "/"),
            ("GET", "/v1.0"),
            ("GET", "/v1.0/workflows"),
            ("GET", "/v1.0/workflows/dapr"),
            ("GET", "/v2.0/workflows/dapr/i-1"),
            ("POST", "/v1.0/workflows/dapr//start"),  # cleaned away: a missing name
            ("POST", "/v1.0/workflows/dapr/i-1/raiseEvent"),
            ("POST", "/v1.0/workflows/dapr/i-1/raiseEvent/"),
            ("POST", "/v1.0/workflows/dapr/i-1/raiseevent/approve"),
            ("POST", "/v1.0/workflows/dapr/i-1/Pause"),
            ("POST", "/v1.0/workflows/dapr/i-1/events/approve"),
            ("POST", "/v1.0/workflows/dapr/i-1"),
            ("GET", "/v1.0/workflows/dapr/order/start"),
            ("GET", "/v1.0/workflows/dapr/i-1/pause"),
            ("DELETE", "/v1.0/workflows/dapr/i-1"),
            ("PUT", "/v1.0/workflows/dapr/i-1/pause"),
            ("PATCH", "/v1.0/workflows/dapr/i-1/purge"),
            ("OPTIONS", "/v1.0/workflows/dapr/i-1"),
            ("OPTIONS", "*"),
            ("GET", "/%761.0/workflows/dapr/i-1"),
            ("GET", "/v1.0/work%66lows/dapr/i-1"),
            ("GET", "/v1.0%2Fworkflows/dapr/i-1"),
            ("GET", "/v1.0/workflows/dapr/i-1#/x/y"),
        ],
    )
    async def test_unknown_routes(self, world: World, method: str, target: str) -> None:
        await world.bring("i-1", Status.RUNNING)
        reply = await send(world.url, method, target)
        assert (reply.status, reply.json) == (404, UNKNOWN_ROUTE)

    @pytest.mark.parametrize(
        "target",
        [
            "/v1.0/workflows/dapr/i-1",
            "/v1.0/workflows/dapr/i-1/",
            "//v1.0///workflows/dapr//i-1//",
            "/./v1.0/workflows/./dapr/i-1/.",
            "/x/../v1.0/workflows/dapr/y/../i-1",
            "/../../v1.0/workflows/dapr/i-1",
            "/v1.0/workflows/dapr/%69-1",
            "/v1.0/workflows/dapr/i%2D1",
            "/v1.0/workflows/a%2F..%2Fb/i-1",
            "/v1.0/workflows/dapr/i-1?unknown=1&;bad=%zz&appID",
            "http://anything.example/v1.0/workflows/dapr/i-1",
        ],
    )
    async def test_paths_are_cleaned_while_escaped(self, world: World, target: str) -> None:
        await world.bring("i-1", Status.RUNNING)
        reply = await send(world.url, "GET", target)
        assert (reply.status, reply.json["instanceID"]) == (200, "i-1")

    @pytest.mark.parametrize(
        ("segment", "instance_id"),
        [
            ("a%2Fb", "a/b"),
            ("a+b", "a b"),
            ("a%2Bb", "a+b"),
            ("%2e%2e", ".."),
            ("a%252Fb", "a%2Fb"),
            ("a%7C%7Cb", "a||b"),
            ("%3A%3A", "::"),
            ("%C3%A9", "\u00e9"),
            ("{x}", "{x}"),
            ("*", "*"),
            ("a'b", "a'b"),
            ("a%00b", "a\0b"),
            ("a%0d%0aSet-Cookie:x", "a\r\nSet-Cookie:x"),
        ],
    )
    async def test_parameters_are_query_unescaped(
        self, world: World, segment: str, instance_id: str
    ) -> None:
        reply = await send(world.url, "GET", f"/v1.0/workflows/dapr/{segment}")
        assert "set-cookie" not in reply.headers
        expect(reply, (404, NOT_FOUND[1], NOT_FOUND[2].removesuffix("i-1") + instance_id))

    @pytest.mark.parametrize(
        ("target", "name", "problem"),
        [
            ("/v1.0/workflows/dapr/%zz", "instanceID", 'invalid URL escape "%zz"'),
            ("/v1.0/workflows/dapr/a%", "instanceID", 'invalid URL escape "%"'),
            ("/v1.0/workflows/%4/x", "workflowComponent", 'invalid URL escape "%4"'),
            ("/v1.0/workflows/dapr/%ff", "instanceID", "invalid UTF-8"),
        ],
    )
    async def test_bad_escapes(self, world: World, target: str, name: str, problem: str) -> None:
        reply = await send(world.url, "GET", target)
        assert reply.status == 400
        assert reply.headers["content-type"].startswith("text/plain")
        assert reply.text == f'failed to unescape request parameter "{name}". Error: {problem}'

    # Extensions that clients of Dapr do not see.

    async def test_same_key_same_instance(self, world: World) -> None:
        target = "/v1.0/workflows/dapr/order/start"
        key = {"Idempotency-Key": "k-1"}
        first = await send(world.url, "POST", target, b"1", key)
        assert first.status == 202
        assert (await send(world.url, "POST", target, b"1", key)).json == first.json
        other = await send(world.url, "POST", target, b"2", key)
        assert (other.status, other.json["errorCode"]) == (409, "ERR_IDEMPOTENCY_CONFLICT")
