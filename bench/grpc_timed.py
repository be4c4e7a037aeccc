"""`actorflow serve` with a stopwatch at its gRPC port: how long the next item of an instance takes.

`python -m bench.grpc_timed serve ...`. A time begins when grpc hands over the answer to an item and
ends when the write of the next item of the same instance has returned. Both edges are those of
grpc, so all that is ours is between them, and nothing of the worker or of the network. When the
server stops it writes the times, in milliseconds, to the file in BENCH_TIMES. For workflows that
wait for one thing at a time.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from actorflow.server.cli import main as actorflow
from actorflow.server.grpc import messages as pb


class Stopwatch(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Notes times and bytes while the server runs; decodes them when it has stopped."""

    def __init__(self) -> None:
        self._notes: list[tuple[float, Any, bytes]] = []

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(details)
        if details.method.endswith("/GetWorkItems"):

            async def streamed(request: bytes, context: Any) -> None:
                await handler.unary_stream(request, _Written(context, self))

            return grpc.unary_stream_rpc_method_handler(streamed)
        if "/Complete" in details.method:
            of = (
                pb.ActivityResponse
                if details.method.endswith("ActivityTask")
                else pb.WorkflowResponse
            )

            async def answered(request: bytes, context: Any) -> Any:
                self.note(of, request)
                return await handler.unary_unary(request, context)

            return grpc.unary_unary_rpc_method_handler(answered)
        return handler

    def note(self, of: Any, data: bytes) -> None:
        """Note that a message has arrived or was written."""
        self._notes.append((time.perf_counter(), of, data))

    def times_ms(self) -> dict[str, list[float]]:
        """Return the times until a turn was written, and until an activity was."""
        answered: dict[str, float] = {}
        found: dict[str, list[float]] = {"turn": [], "activity": []}
        for at_s, of, data in self._notes:
            message = of.FromString(data)
            if of is not pb.WorkItem:
                answered[message.instanceId] = at_s
                continue
            is_turn = message.HasField("workflowRequest")
            instance_id = (
                message.workflowRequest.instanceId
                if is_turn
                else message.activityRequest.workflowInstance.instanceId
            )
            if instance_id in answered:
                spent_ms = (at_s - answered.pop(instance_id)) * 1e3
                found["turn" if is_turn else "activity"].append(spent_ms)
        return found

    def write_down(self) -> None:
        """Write the times to the file of the environment."""
        Path(os.environ["BENCH_TIMES"]).write_text(json.dumps(self.times_ms()))


class _Written:
    """The context of a stream, whose writes are noted."""

    def __init__(self, context: Any, watch: Stopwatch) -> None:
        self._context = context
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, data: bytes) -> None:
        await self._context.write(data)
        self._watch.note(pb.WorkItem, data)


def main() -> None:
    """Run the command line of actorflow, and write down what was seen when its port closes."""
    made = grpc.aio.server

    def server(**options: Any) -> Any:
        watch = Stopwatch()
        timed = made(interceptors=[watch], **options)
        stop = timed.stop

        async def stopped(grace_s: float | None) -> None:
            await stop(grace_s)
            watch.write_down()

        timed.stop = stopped
        return timed

    grpc.aio.server = server
    actorflow()


if __name__ == "__main__":
    main()
