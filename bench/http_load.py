"""A thin HTTP load generator in a process of its own: raw sockets, keep-alive, no pipelining.

`python -m bench.http_load --port N --clients 16 --seconds 3 --mode start|hello|echo`. Prints one
JSON line. A client library would be busier than the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = b'"World"'


@dataclass(slots=True)
class Load:
    """What all connections share. `mode`: `start`, `hello` (start, wait for the end) or `echo`."""

    mode: str
    until_s: float
    spent_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One client: sends the next request when the answer to the last one is complete."""

    def __init__(self, load: Load, ended: asyncio.Future[None]) -> None:
        self._load = load
        self._ended = ended
        self._received = b""
        self._next: Callable[[bytes], None] = self._started
        self._begun_s = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._start()

    def data_received(self, data: bytes) -> None:
        """Collect an answer."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._received = b""
        status = head[9:12]
        if not status.startswith(b"2"):
            self._load.failures.append(f"{status.decode()} {body.decode()}")
            self._end()
            return
        self._next(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, also when the server hung up."""
        if not self._ended.done():
            self._load.failures.append(f"connection lost: {exc}")
            self._ended.set_result(None)

    def _start(self) -> None:
        self._begun_s = time.perf_counter()
        self._next = self._started
        self._send(b"POST /v1.0/workflows/dapr/hello/start HTTP/1.1", BODY)

    def _started(self, body: bytes) -> None:
        if self._load.mode == "hello":
            instance_id = json.loads(body)["instanceID"]
            self._next = self._completed
            path = f"/actorflow/v1/instances/{instance_id}/wait?timeout=30"
            self._send(f"GET {path} HTTP/1.1".encode(), b"")
        else:
            self._completed(body)

    def _completed(self, _: bytes) -> None:
        now_s = time.perf_counter()
        self._load.spent_s.append(now_s - self._begun_s)
        if now_s < self._load.until_s:
            self._start()
        else:
            self._end()

    def _send(self, request: bytes, body: bytes) -> None:
        assert self._transport is not None
        head = b"%b\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (request, len(body))
        self._transport.write(head + body)

    def _end(self) -> None:
        assert self._transport is not None
        if not self._ended.done():
            self._ended.set_result(None)
        self._transport.close()


async def generate(port: int, clients: int, seconds: float, mode: str) -> dict[str, object]:
    """Drive `clients` connections for `seconds`; return times in seconds and failures."""
    loop = asyncio.get_running_loop()
    begun_s = time.perf_counter()
    load = Load(mode, begun_s + seconds)
    ends: list[asyncio.Future[None]] = []
    for _ in range(clients):
        ended: asyncio.Future[None] = loop.create_future()
        ends.append(ended)
        await loop.create_connection(lambda e=ended: Connection(load, e), "127.0.0.1", port)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*ends)
    wall_s = time.perf_counter() - begun_s
    cpu_share = time.process_time() / wall_s
    return {
        "wall_s": wall_s,
        "spent_s": load.spent_s,
        "failures": load.failures[:3],
        "failed": len(load.failures),
        "generator_cpu_share": round(cpu_share, 2),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--mode", choices=["start", "hello", "echo"], default="start")
    chosen = parser.parse_args()
    try:
        import uvloop  # noqa: PLC0415 -- optional: only makes the generator lighter

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    except ImportError:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(
            json.dumps(
                runner.run(generate(chosen.port, chosen.clients, chosen.seconds, chosen.mode))
            )
        )


if __name__ == "__main__":
    main()
