"""The floor of gRPC: a bare `grpc.aio` server with the calls of an engine and nothing behind them.

`python -m bench.grpc_echo --ready-file FILE`. A client opens `/bench.Echo/Work` with a JSON object,
see `Sizes`, and gets the items of all rounds on that stream. A round stands for a workflow: `Start`
puts its first items on the stream, each `Answer` the next one, and `Wait`, which is held back, is
answered when all are. A message is the number of its round, filled up to its size: nothing is
encoded, decoded, checked or kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

NUMBER_BYTES = 8
ANSWERED = b""


def message(number: int, size_bytes: int) -> bytes:
    """Return a message of a round, at least as large as a number."""
    return number.to_bytes(NUMBER_BYTES, "big").ljust(size_bytes, b"\0")


def number_in(data: bytes) -> int:
    """Return the number of the round that a message is of."""
    return int.from_bytes(data[:NUMBER_BYTES], "big")


@dataclass(frozen=True, slots=True)
class Sizes:
    """A round has `items`, of which `at_once` are under way. The others are bytes: of an item, and
    of what `Start` and `Wait` answer."""

    items: int
    at_once: int
    item_bytes: int
    started_bytes: int
    waited_bytes: int


class _Round:
    """What is left of a round."""

    __slots__ = ("ended", "unanswered", "unsent")

    def __init__(self, items: int) -> None:
        self.unsent = self.unanswered = items
        self.ended = asyncio.Event()


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """One stream at a time."""

    def __init__(self) -> None:
        self._due: asyncio.Queue[bytes] = asyncio.Queue()
        self._sizes = Sizes(1, 1, 0, 0, 0)
        self._rounds: dict[int, _Round] = {}
        self._number = 0
        unary = grpc.unary_unary_rpc_method_handler
        self._handlers = {
            "/bench.Echo/Work": grpc.unary_stream_rpc_method_handler(self._work),
            "/bench.Echo/Answer": unary(self._answer),
            "/bench.Echo/Start": unary(self._start),
            "/bench.Echo/Wait": unary(self._wait),
        }

    def service(self, handler_call_details: Any) -> Any:
        """See `grpc.GenericRpcHandler`."""
        return self._handlers.get(handler_call_details.method)

    async def _work(self, request: bytes, context: Any) -> None:
        self._sizes = Sizes(**json.loads(request))
        self._due = asyncio.Queue()
        await context.write(b"")  # from now on rounds may start
        while True:
            await context.write(await self._due.get())

    async def _start(self, _: bytes, __: Any) -> bytes:
        self._number += 1
        begun = self._rounds[self._number] = _Round(self._sizes.items)
        for _n in range(min(self._sizes.at_once, self._sizes.items)):
            self._send(self._number, begun)
        return message(self._number, self._sizes.started_bytes)

    async def _answer(self, data: bytes, _: Any) -> bytes:
        number = number_in(data)
        begun = self._rounds[number]
        begun.unanswered -= 1
        if begun.unsent:
            self._send(number, begun)
        elif not begun.unanswered:
            begun.ended.set()
        return ANSWERED

    def _send(self, number: int, begun: _Round) -> None:
        begun.unsent -= 1
        self._due.put_nowait(message(number, self._sizes.item_bytes))

    async def _wait(self, data: bytes, _: Any) -> bytes:
        number = number_in(data)
        await self._rounds[number].ended.wait()
        del self._rounds[number]
        return message(number, self._sizes.waited_bytes)


async def serve(ready_file: Path) -> None:
    """Listen on a free port of the loopback, say which, and serve until the process ends."""
    server = grpc.aio.server(handlers=[Echo()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    draft = ready_file.with_suffix(".part")
    draft.write_text(json.dumps({"pid": os.getpid(), "grpc": [f"127.0.0.1:{port}"]}))
    draft.replace(ready_file)
    await server.wait_for_termination()


def main() -> None:
    """Run until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ready-file", type=Path, required=True)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(chosen.ready_file))


if __name__ == "__main__":
    main()
