"""A worker and client on raw gRPC: what the SDKs do without what they cost.

Takes orders as JSON lines, see `bench.processes.Peer`; `do` is `echo`, `work`, `idle` or `close`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc.aio

from actorflow.server.grpc import messages as pb
from bench.grpc_echo import message, number_in

STATEFUL_HISTORY = 2
COMPLETED = 1


def _channel(address: str) -> Any:
    # A connection of its own, as each worker has; channels of a process would share one.
    return grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))


class Code:
    """Answers the items of `fanout`s: `width` activities at once; and of `chain`s, one by one.

    Announces that it keeps histories, as the SDK for Python does, but counts results only.
    """

    def __init__(self, size: int, at_once: int) -> None:
        self._size = size
        self._at_once = at_once
        self._past: dict[str, list[bool]] = {}  # of each event, whether it is a result

    def turn(self, item: Any) -> Any:
        """Return the answer to a turn."""
        asked = item.workflowRequest
        key = asked.instanceId
        past = self._past.get(key, [])[: asked.cachedHistory.eventCount]
        past += [event.HasField("taskCompleted") for event in asked.pastEvents]
        self._past[key] = past
        done = sum(past) + sum(event.HasField("taskCompleted") for event in asked.newEvents)
        is_first = any(event.HasField("executionStarted") for event in asked.newEvents)
        answer = pb.WorkflowResponse(instanceId=key, completionToken=item.completionToken)
        if done == self._size:
            del self._past[key]
            end = answer.actions.add(id=self._size + 1)
            end.completeWorkflow.workflowStatus = COMPLETED
            end.completeWorkflow.result.value = '"Hello chain"'
        elif self._at_once == 1 or is_first:
            for n in range(self._at_once):
                task = answer.actions.add(id=done + n + 1).scheduleTask
                task.name = "say"
                task.input.value = '"chain"'
        return answer

    def activity(self, item: Any) -> Any:
        """Return the answer to an activity."""
        asked = item.activityRequest
        return pb.ActivityResponse(
            instanceId=asked.workflowInstance.instanceId,
            taskId=asked.taskId,
            result={"value": '"Hello chain"'},
            completionToken=item.completionToken,
        )


class Worker:
    """A connected worker. Counts items, and the bytes of each kind of message."""

    def __init__(self, channel: Any, code: Code) -> None:
        self._code = code
        self._work = channel.unary_stream(f"/{pb.TASK_HUB}/GetWorkItems")(
            pb.GetWorkItemsRequest(capabilities=[STATEFUL_HISTORY]).SerializeToString()
        )
        self._turn = channel.unary_unary(f"/{pb.TASK_HUB}/CompleteOrchestratorTask")
        self._activity = channel.unary_unary(f"/{pb.TASK_HUB}/CompleteActivityTask")
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Answer each item in a task of its own, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            async for data in self._work:
                tasks.create_task(self._answer(data))

    async def _answer(self, data: bytes) -> None:
        item = pb.WorkItem.FromString(data)
        is_turn = item.HasField("workflowRequest")
        answer = (self._code.turn if is_turn else self._code.activity)(item).SerializeToString()
        self.counts.update(items=1, item_bytes=len(data), answer_bytes=len(answer))
        await (self._turn if is_turn else self._activity)(answer)


async def work(order: dict[str, Any]) -> dict[str, Any]:
    """Run `count` workflows of `name` and `size` to their end, with `clients` at a time."""
    left = order["count"]
    at_once = order["size"] if order["name"] == "fanout" else 1
    async with _channel(order["address"]) as channel:
        worker = Worker(channel, Code(order["size"], at_once))
        running = asyncio.create_task(worker.run())
        start = channel.unary_unary(f"/{pb.TASK_HUB}/StartInstance")
        wait = channel.unary_unary(f"/{pb.TASK_HUB}/WaitForInstanceCompletion")

        async def client() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                asked = pb.CreateInstanceRequest(name=order["name"]).SerializeToString()
                started = await start(asked)
                made = pb.CreateInstanceResponse.FromString(started)
                waits = pb.GetInstanceRequest(
                    instanceId=made.instanceId, getInputsAndOutputs=True
                ).SerializeToString()
                ended = await wait(waits)
                worker.counts.update(
                    workflows=1,
                    start_bytes=len(asked),
                    started_bytes=len(started),
                    wait_bytes=len(waits),
                    waited_bytes=len(ended),
                )

        begun_s = time.perf_counter()
        clients = asyncio.gather(*(client() for _ in range(order["clients"])))
        await asyncio.wait((clients, running), return_when=asyncio.FIRST_COMPLETED)
        await (clients if clients.done() else running)
        wall_s = time.perf_counter() - begun_s
        running.cancel()
        await asyncio.wait((running,))
    return {"wall_s": wall_s, **worker.counts}


async def echo(order: dict[str, Any]) -> dict[str, Any]:
    """Take part in the rounds of `bench.grpc_echo` for `seconds`, with `clients` at a time; return
    the time of each answer.

    With `per_s`, no more items a second than that, spread evenly.
    """
    clients, seconds, per_s = order["clients"], order["seconds"], order["per_s"]
    answer_bytes, wait_bytes = order["answer_bytes"], order["wait_bytes"]
    request = bytes(order["start_bytes"])
    async with _channel(order["address"]) as channel:
        stream = channel.unary_stream("/bench.Echo/Work")(json.dumps(order["sizes"]).encode())
        items = aiter(stream)
        start, wait, answer = (
            channel.unary_unary(f"/bench.Echo/{name}") for name in ("Start", "Wait", "Answer")
        )
        spent_s: list[float] = []
        gap_s = 1 / per_s if per_s else 0.0

        async def one(reply: bytes, wait_s: float) -> None:
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            at_s = time.perf_counter()
            await answer(reply)
            spent_s.append(time.perf_counter() - at_s)

        async def worker() -> None:
            due_s = time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                async for item in items:
                    now_s = time.perf_counter()
                    due_s = max(now_s, due_s + gap_s)
                    reply = message(number_in(item), answer_bytes)
                    tasks.create_task(one(reply, due_s - now_s))

        async def client() -> None:
            while time.perf_counter() - begun_s < seconds:
                number = number_in(await start(request))
                await wait(message(number, wait_bytes))

        await anext(items)  # it serves
        begun_s = time.perf_counter()
        running = asyncio.create_task(worker())
        rounds = asyncio.gather(*(client() for _ in range(clients)))
        await asyncio.wait((rounds, running), return_when=asyncio.FIRST_COMPLETED)
        await (rounds if rounds.done() else running)
        wall_s = time.perf_counter() - begun_s
        running.cancel()
        await asyncio.wait((running,))
    return {"wall_s": wall_s, "items": len(spent_s), "spent_s": spent_s}


_idle: list[Any] = []


async def idle(order: dict[str, Any]) -> dict[str, Any]:
    """Connect `streams` workers, each by a connection of its own, and keep them."""
    for n in range(order["streams"]):
        channel = _channel(order["address"])
        await channel.channel_ready()
        request = pb.GetWorkItemsRequest(capabilities=[STATEFUL_HISTORY])
        call = channel.unary_stream(f"/{pb.TASK_HUB}/GetWorkItems")(request.SerializeToString())
        _idle.append((channel, call, asyncio.create_task(call.read(), name=f"worker-{n}")))
    return {"streams": len(_idle), "ended": sum(task.done() for _, _, task in _idle)}


async def close(_: dict[str, Any]) -> dict[str, Any]:
    """Close what `idle` has opened; return how many were still connected."""
    alive = sum(not task.done() for _, _, task in _idle)
    for channel, call, task in _idle:
        call.cancel()
        await asyncio.wait((task,))
        await channel.close()
    _idle.clear()
    return {"alive": alive}


async def main() -> None:
    """Do what comes in until there is nothing more."""
    orders = {"echo": echo, "work": work, "idle": idle, "close": close}
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        print(json.dumps(await orders[order["do"]](order)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
