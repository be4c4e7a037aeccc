"""A small application behind gRPC, with the calls that most tests of it begin with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from actorflow.server.grpc import messages as pb
from actorflow.workflow.context import ActivityContext, WorkflowContext
from actorflow.workflow.registry import Registry
from tests.fakes.grpc_site import GrpcSite

RUNNING, COMPLETED, FAILED, TERMINATED, PENDING, SUSPENDED = 0, 1, 3, 5, 6, 7
"""Statuses of the task hub."""


def registry() -> Registry:
    """Return a workflow that waits for an event, and one with that as its child."""
    app = Registry()

    @app.activity
    async def double(ctx: ActivityContext, value: Any) -> Any:
        return value * 2

    @app.workflow
    async def order(ctx: WorkflowContext, value: Any = None) -> Any:
        ctx.set_custom_status({"step": 1})
        doubled = await ctx.call_activity(double, input=value)
        event = await ctx.wait_for_external_event("finish")
        if event == "fail":
            raise ValueError("no stock")
        return [doubled, event]

    @app.workflow
    async def parent(ctx: WorkflowContext, value: Any = None) -> Any:
        return await ctx.call_child_workflow(order, input=1, instance_id="child")

    return app


def text(value: str) -> Any:
    """Return a text that may be absent."""
    return {"value": value}


def create(instance_id: str = "i-1", name: str = "order", **fields: Any) -> Any:
    """Return the request to start an order."""
    fields = {"input": text("3"), **fields}
    return pb.CreateInstanceRequest(instanceId=instance_id, name=name, **fields)


class OrderSite(GrpcSite):
    """Orders behind gRPC."""

    async def start(self, instance_id: str = "i-1", **fields: Any) -> None:
        """Start an order."""
        await self.call("StartInstance", create(instance_id, **fields))

    async def finish(self, instance_id: str = "i-1", event: str = '"go"') -> Any:
        """Let an order end, and return its state."""
        request = pb.RaiseEventRequest(instanceId=instance_id, name="finish", input=text(event))
        await self.call("RaiseEvent", request)
        return await self.wait(instance_id)

    async def wait(self, instance_id: str = "i-1") -> Any:
        """Return the state of an order when it has ended."""
        request = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
        return (await self.call("WaitForInstanceCompletion", request)).workflowState

    async def status(self, instance_id: str = "i-1") -> int:
        """Return the status of an order."""
        answer = await self.call("GetInstance", pb.GetInstanceRequest(instanceId=instance_id))
        number: int = answer.workflowState.workflowStatus
        return number

    async def reaches(self, instance_id: str, status: int) -> None:
        """Wait until an order is in a status in which it does not end."""
        async with asyncio.timeout(120):
            while await self.status(instance_id) != status:  # noqa: ASYNC110 -- it tells nobody
                await asyncio.sleep(0.005)


@asynccontextmanager
async def orders(**settings: Any) -> AsyncIterator[OrderSite]:
    """Serve orders."""
    async with await OrderSite.open(registry(), app_id="shop", **settings) as site:
        yield site
