"""Who may do what over HTTP, and what hostile bytes get: over real sockets, with a fake engine."""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aiohttp import http_parser

from actorflow.actors.errors import InvariantError, OverloadedError, StoreUnavailableError
from actorflow.server.app import HttpServer
from actorflow.server.config import Settings
from actorflow.server.http import call as call_module
from actorflow.server.http import waits as waits_module
from actorflow.server.http.listener import EdgeLimits
from actorflow.workflow.events import Status
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.raw_http import Reply, read_reply, send, send_bytes

pytestmark = pytest.mark.asyncio

TOKEN = "correct-horse-battery"
SECOND_TOKEN = "staple-2"
GET_ONE = "/v1.0/workflows/dapr/i-1"
START = "/v1.0/workflows/dapr/order/start"
PUBLIC = {("GET", "/v1.0/healthz"), ("GET", "/v1.0/healthz/outbound")}


class Site:
    """A served fake engine."""

    def __init__(self, engine: FakeEngine, server: HttpServer) -> None:
        self.engine = engine
        self.server = server
        self.url = server.urls[0]
        self.writers: list[asyncio.StreamWriter] = []

    async def send(self, method: str, target: str, *args: Any, **kwargs: Any) -> Reply:
        return await send(self.url, method, target, *args, **kwargs)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        self.writers.append(writer)
        return reader, writer


@pytest_asyncio.fixture
async def sites() -> AsyncIterator[Any]:
    """Return a function that serves with the settings and limits of a test."""
    served = []

    async def serve(limits: EdgeLimits | None = None, **settings: Any) -> Site:
        engine = FakeEngine()
        await engine.start("order", instance_id="i-1", input="1")
        server = HttpServer(
            engine, Settings(http_port=0, **settings), limits=limits or EdgeLimits()
        )
        await server.start_up()
        served.append(Site(engine, server))
        return served[-1]

    yield serve
    for site in served:
        for writer in site.writers:
            writer.close()
        await site.server.shut_down(drain_s=0.1)


@pytest_asyncio.fixture
async def site(sites: Any) -> Site:
    """Serve on loopback, without a token."""
    served: Site = await sites()
    return served


@pytest_asyncio.fixture
async def locked(sites: Any) -> Site:
    """Serve with two valid tokens."""
    served: Site = await sites(api_tokens=(TOKEN, SECOND_TOKEN))
    return served


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
    assert locked.engine.calls == [("start", "order", "i-1", None)]


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


async def test_tokens_may_have_any_bytes(sites: Any) -> None:
    locked = await sites(api_tokens=("t\u00f6ken",))
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


async def test_allowed_hosts_replace_the_loopback_names(sites: Any) -> None:
    site = await sites(allowed_hosts=("flows.example",))
    assert (await site.send("GET", GET_ONE, headers={"Host": "flows.example"})).status == 200
    assert (await site.send("GET", GET_ONE)).status == 421


async def test_beyond_loopback_every_host_is_answered(sites: Any) -> None:
    site = await sites(listen_addresses=("0.0.0.0",), api_tokens=(TOKEN,))
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


async def test_allowed_origin(sites: Any) -> None:
    site = await sites(allowed_origins=("https://shop.example",), api_tokens=(TOKEN,))
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


async def test_every_origin_can_be_allowed_without_credentials(sites: Any) -> None:
    site = await sites(allowed_origins=("*",))
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


# F06: bodies


async def test_declared_size_is_believed_when_too_large(site: Site) -> None:
    reply = await site.send("POST", START, headers={"Content-Length": "100000000"})
    assert (reply.status, reply.json) == (
        400,
        {"errorCode": "ERR_BODY_READ", "message": "failed to read request body: stream too large"},
    )


async def test_limit_is_exact(sites: Any) -> None:
    site = await sites(max_body_bytes=1_024)
    assert (await site.send("POST", START, b"x" * 1_024)).status == 202
    for method, target in (("POST", START), ("GET", GET_ONE), ("POST", f"{GET_ONE}/pause")):
        reply = await site.send(method, target, b"x" * 1_025)
        assert (reply.status, reply.json["errorCode"]) == (400, "ERR_BODY_READ")


async def test_chunks_without_end_are_cut(sites: Any) -> None:
    site = await sites(max_body_bytes=100_000)
    reader, writer = await site.connect()
    writer.write(
        f"POST {START} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    for _ in range(100):
        writer.write(chunk)
    reply = await read_reply(reader)
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_BODY_READ")


async def test_body_shorter_than_it_said(site: Site) -> None:
    reader, writer = await site.connect()
    writer.write(
        f"POST {START} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc".encode()
    )
    writer.write_eof()
    assert await _closed(reader, 5)
    assert len(site.engine.calls) == 1, "nothing was started"


async def test_large_body_in_pieces(site: Site) -> None:
    payload = json.dumps("x" * 3_000_000).encode()
    reply = await site.send("POST", f"{START}?instanceID=big", payload)
    assert reply.status == 202
    assert site.engine.instances["big"].input == payload.decode()


async def test_expect_continue(site: Site) -> None:
    reader, writer = await site.connect()
    head = f"POST {START} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
    writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert (await read_reply(reader)).status == 202


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate, gzip", "zstd", "x"])
async def test_nothing_is_decompressed(site: Site, encoding: str) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    reply = await site.send("POST", START, bomb, {"Content-Encoding": encoding})
    assert (reply.status, reply.json["errorCode"]) == (415, "ERR_CONTENT_ENCODING")


async def test_multipart_is_only_text(site: Site) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="f"; filename="../x"\r\n\r\n1\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert (await site.send("POST", f"{START}?instanceID=m", body, headers)).status == 202
    assert site.engine.instances["m"].input == body.decode()


# F07: slow clients


async def test_slow_header_is_cut(sites: Any) -> None:
    site = await sites(limits=EdgeLimits(header_s=0.2))
    reader, writer = await site.connect()
    start_s = time.monotonic()
    writer.write(b"GET / HTTP/1.1\r\n")
    while not await _closed(reader, 0.05):
        writer.write(b"X: y\r\n")
    assert time.monotonic() - start_s < 2


async def test_silent_connection_is_closed(sites: Any) -> None:
    site = await sites(limits=EdgeLimits(header_s=0.1))
    reader, _ = await site.connect()
    assert await _closed(reader, 5)


async def test_second_header_on_a_kept_connection_is_timed_too(sites: Any) -> None:
    site = await sites(limits=EdgeLimits(header_s=0.2, idle_s=60))
    reader, writer = await site.connect()
    writer.write(f"GET {GET_ONE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert (await read_reply(reader)).status == 200
    assert not await _closed(reader, 0.4), "an idle connection stays"
    writer.write(b"GET / HTTP/1.1\r\nX:")
    assert await _closed(reader, 5)


async def test_slow_body_is_cut(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "BODY_GRACE_S", 0.1)
    reader, writer = await site.connect()
    writer.write(
        f"POST {START} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx".encode()
    )
    reply = await read_reply(reader)
    assert (reply.status, reply.json["message"]) == (
        400,
        "failed to read request body: it came too slowly",
    )


async def test_idle_connections_give_way(sites: Any) -> None:
    site = await sites(limits=EdgeLimits(connections=20))
    idle = [await site.connect() for _ in range(60)]
    start_s = time.monotonic()
    for _ in range(10):
        assert (await site.send("GET", GET_ONE)).status == 200
    assert (time.monotonic() - start_s) / 10 < 0.1
    server = site.server._runner.server
    assert len(server.connections) <= 20
    for _, writer in idle:
        writer.close()


async def test_busy_connections_do_not_give_way(sites: Any) -> None:
    site = await sites(limits=EdgeLimits(connections=2))
    held = [await _hold(site, "i-1") for _ in range(2)]
    reply = await site.send("GET", GET_ONE)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    await site.engine.move("i-1", Status.COMPLETED)
    for reader, writer in held:
        assert (await read_reply(reader)).json["completed"] is True
        writer.close()


# F08: parsers

GARBAGE = [
    b"\0" * 100 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"
    b"\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"GET /v1.0/workflows/dapr/\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


@pytest.mark.parametrize("data", GARBAGE)
async def test_garbage(site: Site, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    reply = await send_bytes(site.url, data)
    assert reply.status == 400
    assert reply.text == "400 Bad Request"
    assert "Traceback" not in caplog.text
    assert (await site.send("GET", GET_ONE)).status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 9_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"Z" * 9_000 + b": y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + (b"X: " + b"y" * 100 + b"\r\n") * 50 + b"\r\n",
    ],
)
async def test_large_headers(site: Site, data: bytes) -> None:
    reply = await send_bytes(site.url, data)
    assert (reply.status, reply.text) == (431, "431 Request Header Fields Too Large")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"output":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"output":NaN}',
        b'{"recursive":1}',
        b'{"output":1,"extra":1}',
        b'\xef\xbb\xbf{"output":1}',
        b'{"output":"\xff"}',
        b'{"output":1} x',
        b"{'output':1}",
    ],
)
async def test_hostile_json(site: Site, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for target in ("/actorflow/v1/instances/i-1/terminate", f"{GET_ONE}/pause"):
        reply = await site.send("POST", target, body, headers)
        assert reply.status < 500, reply
        assert b"Traceback" not in reply.body
    reply = await site.send("POST", "/actorflow/v1/instances/i-1/terminate", body, headers)
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")


@pytest.mark.parametrize(
    "payload",
    [
        b"1" * 100_000,
        b"[" * 100_000,
        b'"\\ud800"',
        b'{"a":1,"a":2}',
        b"\xef\xbb\xbf1",
        b"cos\nsystem\n(S'id'\ntR.",  # F13: a pickle stays a text
        b"__import__('os').system('id')",
        b"\0",
    ],
)
async def test_payloads_are_only_text(site: Site, payload: bytes) -> None:
    assert (await site.send("POST", f"{START}?instanceID=p", payload)).status == 202
    shown = (await site.send("GET", "/v1.0/workflows/dapr/p")).json
    assert shown["properties"]["dapr.workflow.input"] == payload.decode()


async def test_compiled_parser_is_in_use() -> None:
    # The other one, in Python, is slower and more lenient.
    assert http_parser.HttpRequestParser.__module__ == "aiohttp._http_parser"


# F09, F14, F16, F21: ids and names


@pytest.mark.parametrize("name", ["a%00b", "a%0d%0ab", "%C2%85", "%1b[2J", "x" * 257])
async def test_names_that_cannot_be_shown(site: Site, name: str) -> None:
    reply = await site.send("POST", f"/v1.0/workflows/dapr/{name}/start")
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_WORKFLOW_NAME_INVALID")
    reply = await site.send("POST", f"{GET_ONE}/raiseEvent/{name}")
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_WORKFLOW_EVENT_NAME_INVALID")


@pytest.mark.parametrize(
    "instance_id",
    [
        "i-1'%20OR%20'1'='1",
        "i-1%22",
        "i-1%3B--",
        "%25",
        "_",
        "I-1",
        "i-1%20",
        "%EF%BD%89-1",
        "*",
        "i-1%00",
    ],
)
async def test_ids_are_exact(site: Site, instance_id: str) -> None:
    assert (await site.send("GET", f"/v1.0/workflows/dapr/{instance_id}")).status == 404
    assert (await site.send("GET", f"/actorflow/v1/instances/{instance_id}")).status == 404
    assert site.engine.instances["i-1"].status is Status.PENDING


@pytest.mark.parametrize("name", ["__class__", "_private", "mro", "__init__"])
async def test_names_are_not_attributes(site: Site, name: str) -> None:
    assert (await site.send("POST", f"/v1.0/workflows/dapr/{name}/start")).status == 202
    assert site.engine.calls[-1][:2] == ("start", name)
    assert (await site.send("POST", f"{GET_ONE}/{name}")).status == 404


async def test_no_input_reaches_a_header(site: Site) -> None:
    target = "/v1.0/workflows/dapr/x%0d%0aSet-Cookie:%20a=b/raiseEvent/y%0d%0aX-Evil:%201"
    reply = await site.send("POST", target)
    assert not {"set-cookie", "x-evil"} & set(reply.headers)
    for key in ("Idempotency-Key", "traceparent"):
        reply = await site.send("POST", START, headers={key: "a\tb\x7f"})
        assert "\x7f" not in str(reply.headers)


async def test_headers_say_little(site: Site) -> None:
    for target in (GET_ONE, "/nope", "/v1.0/healthz", "/metrics"):
        headers = (await site.send("GET", target)).headers
        assert headers["server"] == "actorflow"
        assert headers["x-content-type-options"] == "nosniff"


# F11, F23: limits


async def test_held_back_answers_are_limited(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits_module, "WAITS_MAX", 3)
    held = [await _hold(site, "i-1") for _ in range(3)]
    reply = await site.send("GET", "/actorflow/v1/instances/i-1/wait?timeout=9s")
    assert (reply.status, reply.json["errorCode"]) == (429, "ERR_OVERLOADED")
    assert "retry-after" in reply.headers
    assert (await site.send("GET", GET_ONE)).status == 200
    for _, writer in held:  # clients that go away make room
        writer.close()
    await _eventually(lambda: site.server.edge.waits._count == 0)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=1000000000",
        "limit=99999999999999999999",
        "limit=-1",
        "limit=1e3",
        "limit=%D9%A3",
        "status=OPEN",
        "status=CONTINUED_AS_NEW",
        "createdFrom=yesterday",
        "createdFrom=2026-13-01T00:00:00Z",
        "createdFrom=1969-12-31T23:59:59Z",
        "createdTo=10000-01-01T00:00:00Z",
        "statuss=RUNNING",
        "pageToken=x",
        "pageToken=" + "A" * 64,
        "pageToken=%00",
        "pageToken=%C3%A9",
    ],
)
async def test_bad_filters(site: Site, query: str) -> None:
    reply = await site.send("GET", f"/actorflow/v1/instances?{query}")
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_INVALID_REQUEST")
    assert len(reply.body) < 500


async def test_page_tokens_cannot_be_altered(sites: Any) -> None:
    site = await sites(api_tokens=(TOKEN,))
    headers = {"dapr-api-token": TOKEN}
    await site.engine.start("order", instance_id="i-2")
    page = await site.send("GET", "/actorflow/v1/instances?limit=1", headers=headers)
    token = page.json["nextPageToken"]
    target = "/actorflow/v1/instances?limit=1&pageToken="
    assert (await site.send("GET", target + token, headers=headers)).status == 200
    for index in range(len(token) - 1):  # the last character may hold unused bits
        other = "A" if token[index] != "A" else "B"
        altered = token[:index] + other + token[index + 1 :]
        assert (await site.send("GET", target + altered, headers=headers)).status == 400
    open_site = await sites()
    assert (await open_site.send("GET", target + token)).status == 400, "another key"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OverloadedError("mailbox", 1_000), 429, "ERR_START_WORKFLOW"),
        (StoreUnavailableError("database is locked", written=False), 503, "ERR_START_WORKFLOW"),
    ],
)
async def test_retry_later(site: Site, error: Exception, status: int, code: str) -> None:
    site.engine.fail_next = error
    reply = await site.send("POST", START)
    assert (reply.status, reply.json["errorCode"]) == (status, code)
    assert int(reply.headers["retry-after"]) >= 1


# F18: secrets


async def test_secrets_and_payloads_stay_inside(
    sites: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site = await sites(api_tokens=(TOKEN,))
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


# A stop in the middle


async def test_stop_ends_held_back_answers(site: Site) -> None:
    reader, _ = await _hold(site, "i-1")
    start_s = time.monotonic()
    await site.server.shut_down(drain_s=5)
    reply = await read_reply(reader)
    assert (reply.status, reply.json["errorCode"]) == (503, "ERR_ACTOR_RUNTIME_CLOSED")
    assert time.monotonic() - start_s < 2


async def _hold(site: Site, instance_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin a held-back answer; return when the engine has been asked."""
    reader, writer = await site.connect()
    before = len(site.engine.calls)
    target = f"/actorflow/v1/instances/{instance_id}/wait?timeout=60s"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await _eventually(lambda: len(site.engine.calls) > before)
    return reader, writer


async def _eventually(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_true():  # noqa: ASYNC110 -- what is awaited has no event to wait for
            await asyncio.sleep(0.001)


async def _closed(reader: asyncio.StreamReader, within_s: float) -> bool:
    """Tell whether the server closes the connection in time."""
    try:
        async with asyncio.timeout(within_s):
            return await reader.read() == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True
