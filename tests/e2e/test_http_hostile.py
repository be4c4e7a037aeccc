"""What hostile bytes, slow clients and floods get over HTTP, and that others are still served."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from aiohttp import http_parser

from actorflow.actors.errors import OverloadedError, StoreUnavailableError
from actorflow.server.http import call as call_module
from actorflow.server.http.listener import EdgeLimits
from actorflow.workflow.events import Status
from tests.fakes.http_site import Site, Sites
from tests.fakes.raw_http import read_reply, send_bytes

pytestmark = pytest.mark.asyncio

TOKEN = "correct-horse-battery"
GET_ONE = "/v1.0/workflows/dapr/i-1"
START = "/v1.0/workflows/dapr/order/start"


@pytest_asyncio.fixture
async def sites() -> AsyncIterator[Sites]:
    """Serve what a test asks for."""
    async with Sites() as sites:
        yield sites


@pytest_asyncio.fixture
async def site(sites: Sites) -> Site:
    """Serve on loopback, without a token."""
    return await sites.serve()


# F06: bodies


async def test_declared_size_is_believed_when_too_large(site: Site) -> None:
    reply = await site.send("POST", START, headers={"Content-Length": "100000000"})
    assert (reply.status, reply.json) == (
        400,
        {"errorCode": "ERR_BODY_READ", "message": "failed to read request body: stream too large"},
    )


async def test_limit_is_exact(sites: Sites) -> None:
    site = await sites.serve(max_body_bytes=1_024)
    assert (await site.send("POST", START, b"x" * 1_024)).status == 202
    for method, target in (("POST", START), ("GET", GET_ONE), ("POST", f"{GET_ONE}/pause")):
        reply = await site.send(method, target, b"x" * 1_025)
        assert (reply.status, reply.json["errorCode"]) == (400, "ERR_BODY_READ")


async def test_chunks_without_end_are_cut(sites: Sites) -> None:
    site = await sites.serve(max_body_bytes=100_000)
    reader, writer = await site.connect()
    writer.write(
        f"POST {START} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    for _ in range(100):
        writer.write(chunk)
    reply = await read_reply(reader)
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_BODY_READ")


async def test_memory_for_bodies_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "BODIES_MAX_BYTES", 200_000)
    head = f"POST {START} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 150001\r\n\r\n"
    first = await site.connect()
    first[1].write(head.encode() + b"x" * 150_000)
    bodies = site.server.edge._bodies
    await _eventually(lambda: bodies.held_bytes == 150_000)
    second = await site.connect()
    second[1].write(head.encode() + b"x" * 150_000)
    refused = await read_reply(second[0])
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    first[1].write(b"x")
    assert (await read_reply(first[0])).status == 202
    assert bodies.held_bytes == 0


async def test_body_shorter_than_it_said(site: Site) -> None:
    reader, writer = await site.connect()
    writer.write(
        f"POST {START} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc".encode()
    )
    writer.write_eof()
    assert await _closed(reader, 60)
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


async def test_slow_header_is_cut(sites: Sites) -> None:
    site = await sites.serve(limits=EdgeLimits(header_s=0.2))
    reader, writer = await site.connect()
    writer.write(b"GET / HTTP/1.1\r\n")
    while not await _closed(reader, 0.05):  # each line must not give it more time
        writer.write(b"X: y\r\n")


async def test_silent_connection_is_closed(sites: Sites) -> None:
    site = await sites.serve(limits=EdgeLimits(header_s=0.1))
    reader, _ = await site.connect()
    assert await _closed(reader, 60)


async def test_second_header_on_a_kept_connection_is_timed_too(sites: Sites) -> None:
    site = await sites.serve(limits=EdgeLimits(header_s=0.2, idle_s=60))
    reader, writer = await site.connect()
    writer.write(f"GET {GET_ONE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert (await read_reply(reader)).status == 200
    assert not await _closed(reader, 0.4), "an idle connection stays"
    writer.write(b"GET / HTTP/1.1\r\nX:")
    assert await _closed(reader, 60)


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


async def test_client_that_does_not_read_is_cut(sites: Sites) -> None:
    site = await sites.serve(limits=EdgeLimits(write_s=0.2))
    await site.engine.start("order", instance_id="big", input="x" * 30_000_000)
    reader, writer = await site.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a real transport has it
    writer.write(b"GET /v1.0/workflows/dapr/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
    runner = site.server._runner
    assert runner is not None
    server = runner.server
    assert server is not None
    await _eventually(lambda: len(server.connections) == 1)
    await _eventually(lambda: len(server.connections) == 0)
    assert not reader.at_eof()


async def test_idle_connections_give_way(sites: Sites) -> None:
    site = await sites.serve(limits=EdgeLimits(connections=20))
    for _ in range(60):
        await site.connect()
    for _ in range(10):
        assert (await site.send("GET", GET_ONE)).status == 200
    runner = site.server._runner
    assert runner is not None
    assert runner.server is not None
    assert len(runner.server.connections) <= 20


async def test_busy_connections_do_not_give_way(sites: Sites) -> None:
    site = await sites.serve(limits=EdgeLimits(connections=2))
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


async def test_held_back_answers_are_limited(site: Site) -> None:
    site.server.edge.waits._most = 3
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


async def test_page_tokens_cannot_be_altered(sites: Sites) -> None:
    site = await sites.serve(api_tokens=(TOKEN,))
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
    open_site = await sites.serve()
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


# A stop in the middle


async def test_stop_ends_held_back_answers(site: Site) -> None:
    reader, _ = await _hold(site, "i-1")
    await site.server.shut_down(drain_s=3_600)
    reply = await read_reply(reader)
    assert (reply.status, reply.json["errorCode"]) == (503, "ERR_ACTOR_RUNTIME_CLOSED")


async def _hold(site: Site, instance_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin a held-back answer; return when the engine has been asked."""
    reader, writer = await site.connect()
    before = len(site.engine.calls)
    target = f"/actorflow/v1/instances/{instance_id}/wait?timeout=60s"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await _eventually(lambda: len(site.engine.calls) > before)
    return reader, writer


async def _eventually(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
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
