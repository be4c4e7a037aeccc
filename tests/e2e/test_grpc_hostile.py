"""What hostile and broken clients may do to the gRPC port, and that all others go on."""

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from actorflow.server.grpc import messages as pb
from tests.e2e.test_cli_serve import Serve, Server, serve
from tests.e2e.test_grpc_serve import Client, _bytes, address_of, start
from tests.fakes.grpc_site import path_of

__all__ = ["serve"]  # the fixture

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DEADLINE_S = 120.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PING, SETTINGS, GOAWAY = 6, 4, 7


class Site:
    """A server, its gRPC address, and a client that must never notice anything."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.address = address_of(folder)
        self.bystander = Client(self.address)

    def check(self) -> None:
        """Show that others are served, and that nothing was logged as unexpected."""
        self.bystander.call("Hello")
        assert not [line for line in self.server.err.all if "Traceback" in line], (
            self.server.err.all
        )

    def connect(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=DEADLINE_S)


@pytest.fixture
def site(serve: Serve, tmp_path: Path) -> Iterator[Site]:
    made = Site(serve("--store", "memory:", "--start-wait-seconds", "0"), tmp_path)
    made.check()
    yield made
    made.check()
    made.bystander.channel.close()
    assert made.server.end() == 0


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """Return a frame of HTTP/2."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes((kind, flags))
        + struct.pack(">I", stream)
        + payload
    )


def read_all(connection: socket.socket) -> bytes:
    """Return everything until the other side closes."""
    data = b""
    try:
        while piece := connection.recv(65_536):
            data += piece
    except ConnectionError:
        pass
    return data


def flood(connection: socket.socket, data: bytes) -> None:
    """Send it again and again."""
    while True:
        connection.sendall(data)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 600,  # TLS
        b"\x00" * 4_096,
        PREFACE + b"\xff" * 4_096,
        PREFACE + frame(SETTINGS) + frame(9, b"\x00" * 100, stream=1),  # a header from nowhere
    ],
)
def test_bytes_that_are_not_grpc_end_their_connection(site: Site, data: bytes) -> None:
    with site.connect() as connection:
        connection.sendall(data)
        read_all(connection)


def test_a_flood_of_pings_ends_its_connection(site: Site) -> None:
    with site.connect() as connection:
        connection.sendall(PREFACE + frame(SETTINGS))
        with pytest.raises(ConnectionError):
            flood(connection, frame(PING, b"12345678") * 1_000)


def test_metadata_beyond_the_limit_is_refused(site: Site) -> None:
    client = Client(site.address)
    rpc = client.channel.unary_unary(path_of("Hello"))
    for size_bytes in (20_000, 200_000):
        with pytest.raises(grpc.RpcError) as caught:
            rpc(b"", metadata=(("x-large", "x" * size_bytes),), timeout=DEADLINE_S)
        assert caught.value.code() in (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.INTERNAL,  # what the core makes of a header that it will not read
            grpc.StatusCode.UNAVAILABLE,
        )
    client.channel.close()


def test_a_message_beyond_the_limit_is_refused(site: Site) -> None:
    client = Client(site.address)
    huge = pb.CreateInstanceRequest(instanceId="i", name="n", input={"value": "x" * 20_000_000})
    with pytest.raises(grpc.RpcError) as caught:
        client.call("StartInstance", huge)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    client.channel.close()


def test_a_connection_has_a_thousand_streams_and_no_more(site: Site) -> None:
    client = Client(site.address)
    streams = [client.stream("GetWorkItems") for _ in range(1_000)]
    metadata = f"{pb.DAPR}/GetMetadata"

    def connected() -> int:
        count: int = site.bystander.call(metadata).workflows.connected_workers
        return count

    tick = threading.Event()
    while connected() < 1_000:
        tick.wait(0.02)
    with pytest.raises(grpc.RpcError) as caught:  # it waits its turn, and its deadline comes first
        client.call("Hello", timeout_s=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    site.check()
    for stream in streams:
        stream.cancel()
    while connected():
        tick.wait(0.02)
    client.call("Hello")
    client.channel.close()


def test_streams_that_are_opened_and_reset_leave_nothing_behind(site: Site) -> None:
    client = Client(site.address)
    process = psutil.Process(site.server.process.pid)
    tick = threading.Event()

    def storm(count: int) -> None:
        for _ in range(count):
            client.stream("GetWorkItems").cancel()
            client.stream(f"{pb.HEALTH}/Watch").cancel()
            waiting: Any = client.channel.unary_unary(
                path_of("WaitForInstanceStart"), request_serializer=_bytes
            ).future(pb.GetInstanceRequest(instanceId="never"))
            waiting.cancel()
        while site.bystander.call(f"{pb.DAPR}/GetMetadata").workflows.connected_workers:
            tick.wait(0.02)

    storm(300)
    before = process.memory_info().rss
    storm(2_000)
    assert process.memory_info().rss - before < 64 * 1_024 * 1_024
    start(client, "after")
    client.channel.close()


def test_a_client_that_does_not_read_holds_up_nobody_else(site: Site) -> None:
    # It opens a stream of work in raw frames and reads nothing more, ever.
    with site.connect() as connection:
        connection.sendall(PREFACE + frame(SETTINGS, struct.pack(">HI", 4, 0)))  # no window
        for number in range(20):
            start(site.bystander, f"i-{number}", value="1" * 10_000)
        work = site.bystander.stream("GetWorkItems")
        seen = {next(work).workflowRequest.instanceId for _ in range(20)}
        assert seen == {f"i-{number}" for number in range(20)}
        work.cancel()
