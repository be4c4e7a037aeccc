"""An application of Dapr's Python SDK, worker and client in one process, as its users write it.

Takes orders as JSON lines, see `bench.processes.Peer`. The connection is taken from
DAPR_GRPC_ENDPOINT. Imports nothing of actorflow.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

sdk: Any = importlib.import_module("dapr.ext.workflow")  # it has no types that can be checked
sdk_client: Any = importlib.import_module("dapr.ext.workflow.aio")


def say(_: Any, name: str) -> str:
    """Answer at once."""
    return f"Hello {name}"


def chain(ctx: Any, length: int) -> Generator[Any, Any, Any]:
    """Activities one after another, each with the result before."""
    text = "chain"
    for _ in range(length):
        text = (yield ctx.call_activity("say", input=text))[:40]
    return text


def fanout(ctx: Any, width: int) -> Generator[Any, Any, Any]:
    """Activities at once."""
    results = yield sdk.when_all([ctx.call_activity("say", input=str(n)) for n in range(width)])
    return len(results)


async def loop(client: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Let clients start a workflow and wait for its end, again and again."""
    spent_s: list[float] = []
    left = order.get("count")
    begun_s = time.perf_counter()

    async def one() -> None:
        nonlocal left
        while left is not None or time.perf_counter() - begun_s < order["seconds"]:
            if left is not None:
                left -= 1
                if left < 0:
                    return
            at_s = time.perf_counter()
            key = await client.schedule_new_workflow(order["name"], input=order["size"])
            state = await client.wait_for_workflow_completion(key, timeout_in_seconds=60)
            assert state.runtime_status == sdk.WorkflowStatus.COMPLETED, state
            spent_s.append(time.perf_counter() - at_s)

    await asyncio.gather(*(one() for _ in range(order["clients"])))
    return {"wall_s": time.perf_counter() - begun_s, "spent_s": spent_s}


async def main() -> None:
    """Connect, and do what comes in until there is nothing more."""
    runtime = sdk.WorkflowRuntime()
    runtime.register_activity(say, name="say")
    runtime.register_workflow(chain, name="chain")
    runtime.register_workflow(fanout, name="fanout")
    runtime.start()
    client = sdk_client.DaprWorkflowClient()
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await loop(client, json.loads(line))), flush=True)
    finally:
        runtime.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
