"""The floor of gRPC: a bare `grpc.aio` server that streams items and takes answers.

`python -m bench.grpc_echo --ready-file FILE`. A client opens `/bench.Echo/Work` with a JSON object:
`size_bytes` of each item and how many are `at_once` under way. Each call of `/bench.Echo/Answer`
puts the next item on the stream. Nothing is encoded, decoded, checked or kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

ANSWER = b""


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """One stream at a time."""

    def __init__(self) -> None:
        self._due: asyncio.Queue[bytes] = asyncio.Queue()
        self._item = b""
        self._handlers = {
            "/bench.Echo/Work": grpc.unary_stream_rpc_method_handler(self._work),
            "/bench.Echo/Answer": grpc.unary_unary_rpc_method_handler(self._answer),
        }

    def service(self, handler_call_details: Any) -> Any:
        """See `grpc.GenericRpcHandler`."""
        return self._handlers.get(handler_call_details.method)

    async def _work(self, request: bytes, context: Any) -> None:
        asked = json.loads(request)
        self._item = bytes(asked["size_bytes"])
        self._due = asyncio.Queue()
        for _ in range(asked["at_once"]):
            self._due.put_nowait(self._item)
        while True:
            await context.write(await self._due.get())

    async def _answer(self, _: bytes, __: Any) -> bytes:
        self._due.put_nowait(self._item)
        return ANSWER


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
