"""Who may do what over HTTP: tokens, hosts, browsers, and what stays inside."""

import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from actorflow.actors.errors import InvariantError, StoreUnavailableError
from tests.fakes.http_site import Site, Sites
from tests.fakes.raw_http import Reply

pytestmark = pytest.mark.asyncio

TOKEN = "correct-horse-battery"
SECOND_TOKEN = "staple-2"
GET_ONE = "/v1.0/workflows/dapr/i-1"
START = "/v1.0/workflows/dapr/order/start"
PUBLIC = {("GET", "/v1.0/healthz"), ("GET", "/v1.0/healthz/outbound")}


@pytest_asyncio.fixture
async def sites() -> AsyncIterator[Sites]:
    """Serve what a test asks for."""
    async with Sites() as sites:
        yield sites


@pytest_asyncio.fixture
async def site(sites: Sites) -> Site:
    """Serve on loopback, without a token."""
    return await sites.serve()


@pytest_asyncio.fixture
async def locked(sites: Sites) -> Site:
    """Serve with two valid tokens."""
    return await sites.serve(api_tokens=(TOKEN, SECOND_TOKEN))


def is_refused(reply: Reply) -> bool:
    return (reply.status, reply.text, reply.headers.get("content-type")) == (
        401,
        "invalid api token\n",
        "text/plain; charset=utf-8",
    )


# F01: API token


async def test_every_route_needs_the_token(locked: Site) -> None:
    open_routes = set()
    for route in locked.server.edge.router.routes:
        target = route.path.replace("{", "").replace("}", "")
        reply = await locked.send(route.method, target)
        if not is_refused(reply):
            open_routes.add((route.method, route.path))
    assert open_routes == PUBLIC


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"dapr-api-token": ""},
        {"dapr-api-token": "wrong"},
        {"dapr-api-token": TOKEN[:-1]},
        {"dapr-api-token": TOKEN + "x"},
        {"dapr-api-token": TOKEN.upper()},
        {"dapr-api-token": f"{TOKEN},{SECOND_TOKEN}"},
        {"dapr-api-token": "t\u00f6ken"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer"},
        {"dapr-api-token": "wrong", "Authorization": f"Bearer {TOKEN}"},
        {"dapr-api-token": f"{TOKEN}\r\ndapr-api-token: wrong"},
        {"dapr-api-token": f"wrong\r\ndapr-api-token: {TOKEN}"},
        {"Cookie": f"dapr-api-token={TOKEN}"},
    ],
)
async def test_bad_tokens(locked: Site, headers: dict[str, str]) -> None:
    assert is_refused(await locked.send("GET", GET_ONE, headers=headers))
    assert locked.engine.calls == [("start", "order", "i-1", None, None)]


@pytest.mark.parametrize("token", [TOKEN, SECOND_TOKEN])
async def test_good_tokens(locked: Site, token: str) -> None:
    for headers in (
        {"dapr-api-token": token},
        {"DAPR-API-TOKEN": token},
        {"Authorization": f"Bearer {token}"},
        {"authorization": f"bearer {token}"},
        {"dapr-api-token": token, "Authorization": "Bearer of-somebody-else"},
    ):
        assert (await locked.send("GET", GET_ONE, headers=headers)).status == 200


async def test_tokens_may_have_any_bytes(sites: Sites) -> None:
    locked = await sites.serve(api_tokens=("t\u00f6ken",))
    headers = {"dapr-api-token": "t\u00f6ken"}
    assert (await locked.send("GET", GET_ONE, headers=headers)).status == 200


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", f"{GET_ONE}?y=/v1.0/healthz"),
        ("GET", "/v1.0/healthz/../workflows/dapr/i-1"),
        ("GET", "/v1.0/healthz/..%2fworkflows/dapr/i-1"),
        ("GET", "/v1.0/healthz/x"),
        ("GET", "/v1.0%2fhealthz"),
        ("GET", "/v1.0/%68ealthz"),
        ("GET", "/v1.0/workflows/healthz/i-1"),
        ("GET", "/v1.0-beta1/healthz"),
        ("GET", "/healthz"),
        ("GET", "//healthz"),
        ("GET", "/v1.0/HEALTHZ"),
        ("GET", "/v1.0/healthz#/x"),
        ("POST", "/v1.0/healthz"),
        ("HEAD", "/v1.0/healthz"),
        ("OPTIONS", "/v1.0/healthz"),
        ("GET", "/no/such/route"),
        ("OPTIONS", "*"),
    ],
)
async def test_only_the_health_checks_are_open(locked: Site, method: str, target: str) -> None:
    reply = await locked.send(method, target) if method != "HEAD" else None
    if reply is None:
        reader, writer = await locked.connect()
        writer.write(f"HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
    else:
        assert is_refused(reply)


async def test_health_checks_are_open(locked: Site) -> None:
    for target in ("/v1.0/healthz", "/v1.0/healthz?appid=default", "/v1.0/healthz/outbound"):
        reply = await locked.send("GET", target)
        assert (reply.status, reply.body) == (204, b"")


# F04: Host


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3500",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "",
        "[::2]",
    ],
)
async def test_other_hosts_are_refused_on_loopback(site: Site, host: str) -> None:
    for target in (GET_ONE, "/v1.0/healthz"):
        reply = await site.send("GET", target, headers={"Host": host})
        assert (reply.status, reply.json["errorCode"]) == (421, "ERR_HOST_NOT_ALLOWED")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:3500", "[::1]:3500", "localhost."]
)
async def test_loopback_names_are_answered(site: Site, host: str) -> None:
    assert (await site.send("GET", GET_ONE, headers={"Host": host})).status == 200


async def test_allowed_hosts_replace_the_loopback_names(sites: Sites) -> None:
    site = await sites.serve(allowed_hosts=("flows.example",))
    assert (await site.send("GET", GET_ONE, headers={"Host": "flows.example"})).status == 200
    assert (await site.send("GET", GET_ONE)).status == 421


async def test_beyond_loopback_every_host_is_answered(sites: Sites) -> None:
    site = await sites.serve(listen_addresses=("0.0.0.0",), api_tokens=(TOKEN,))
    headers = {"Host": "flows.example", "dapr-api-token": TOKEN}
    assert (await site.send("GET", GET_ONE, headers=headers)).status == 200


async def test_forwarded_headers_are_ignored(site: Site) -> None:
    headers = {
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "host=evil.example;proto=https",
        "X-Forwarded-Prefix": "/v1.0/healthz",
        "X-Original-URL": "/v1.0/healthz",
    }
    for target in (GET_ONE, "/v1.0/metadata", "/actorflow/v1/openapi.json", "/nope"):
        reply = await site.send("GET", target, headers=headers)
        assert b"evil" not in reply.body
        assert "evil" not in str(reply.headers)


# F05: browsers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://"]
)
@pytest.mark.parametrize(
    "target", [START, f"{GET_ONE}/terminate", "/v1.0/shutdown", "/actorflow/v1/instances/i-1/purge"]
)
async def test_no_web_page_can_change_anything(site: Site, origin: str, target: str) -> None:
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    reply = await site.send("POST", target, b"{}", headers)
    assert (reply.status, reply.json["errorCode"]) == (403, "ERR_ORIGIN_NOT_ALLOWED")
    assert len(site.engine.calls) == 1


async def test_no_permission_is_given_to_browsers_by_default(site: Site) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    reply = await site.send("OPTIONS", START, headers=asked)
    assert reply.status == 404
    assert not [name for name in reply.headers if name.startswith("access-control")]
    reply = await site.send("GET", GET_ONE, headers={"Origin": "https://evil.example"})
    assert not [name for name in reply.headers if name.startswith("access-control")]


async def test_allowed_origin(sites: Sites) -> None:
    site = await sites.serve(allowed_origins=("https://shop.example",), api_tokens=(TOKEN,))
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "dapr-api-token",
    }
    reply = await site.send("OPTIONS", START, headers=asked)  # before the token, as browsers need
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == "https://shop.example"
    assert reply.headers["access-control-allow-headers"] == "dapr-api-token"
    assert "access-control-allow-credentials" not in reply.headers
    assert is_refused(await site.send("POST", START, headers={"Origin": "https://shop.example"}))
    headers = {"Origin": "https://shop.example", "dapr-api-token": TOKEN}
    reply = await site.send("POST", START, headers=headers)
    assert reply.status == 202
    assert reply.headers["access-control-allow-origin"] == "https://shop.example"
    reply = await site.send("POST", START, headers={**headers, "Origin": "https://evil.example"})
    assert reply.status == 403


async def test_every_origin_can_be_allowed_without_credentials(sites: Sites) -> None:
    site = await sites.serve(allowed_origins=("*",))
    reply = await site.send("POST", START, headers={"Origin": "https://any.example"})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (202, "*")
    assert "access-control-allow-credentials" not in reply.headers


async def test_same_origin_may_change(site: Site) -> None:
    origin = site.url
    assert (await site.send("POST", START, headers={"Origin": origin})).status == 202


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"],
)
async def test_our_own_changes_need_what_no_form_can_send(
    site: Site, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    for route in site.server.edge.router.routes:
        if route.path.startswith("/actorflow/v1") and route.method != "GET":
            assert route.is_guarded, route.path
            target = route.path.replace("{instanceID}", "i-1").replace("{workflowName}", "order")
            reply = await site.send(route.method, target, b"{}", headers)
            assert (reply.status, reply.json["errorCode"]) == (415, "ERR_CONTENT_TYPE")
    target = "/actorflow/v1/instances/i-1/terminate"
    assert (await site.send("POST", target, headers={"X-Actorflow-Client": "1"})).status == 202


# F18: secrets


async def test_secrets_and_payloads_stay_inside(
    sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site = await sites.serve(api_tokens=(TOKEN,))
    headers = {"dapr-api-token": TOKEN}
    await site.send("POST", START, b'"canary-payload"', headers)
    site.engine.fail_next = RuntimeError("failed at redis://user:canary-pass@host with canary")
    reply = await site.send("GET", GET_ONE, headers=headers)
    assert (reply.status, reply.json) == (
        500,
        {"errorCode": "ERROR", "message": "internal error; see the server's log"},
    )
    site.engine.fail_next = StoreUnavailableError("redis://user:canary-pass@host", written=None)
    reply = await site.send("GET", GET_ONE, headers=headers)
    assert "canary" not in reply.text
    assert "***@host" in reply.text
    for target in ("/v1.0/metadata", "/metrics", "/actorflow/v1/openapi.json"):
        shown = (await site.send("GET", target, headers=headers)).text
        assert TOKEN not in shown
        assert "canary" not in shown
    assert TOKEN not in caplog.text
    assert "canary-payload" not in caplog.text


async def test_unexpected_errors_are_logged_once_with_their_stack(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.engine.fail_next = RuntimeError("boom")
    await site.send("GET", GET_ONE)
    site.engine.fail_next = InvariantError("two owners")
    reply = await site.send("GET", GET_ONE)
    assert (reply.status, reply.json["errorCode"]) == (500, "ERR_GET_WORKFLOW")
    records = [record for record in caplog.records if record.exc_info]
    assert [str(record.exc_info[1]) for record in records if record.exc_info] == [
        "boom",
        "two owners",
    ]


async def test_metrics_have_no_user_text(site: Site) -> None:
    await site.send("GET", "/v1.0/workflows/dapr/canary-id")
    await site.send("GET", "/canary-route")
    shown = (await site.send("GET", "/metrics")).text
    assert "canary" not in shown
    assert 'route="unknown",status="404"' in shown
