"""An application for Dapr's Python SDK, worker and client in one file; it knows no actorflow.

    actorflow run --app-id orders -- python examples/dapr_sdk/orders.py

The SDK (`pip install dapr`) finds the server by the DAPR_ variables. The same file runs with
`dapr run` against a Dapr sidecar.
"""

import sys
from collections.abc import Generator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from dapr.ext.workflow import (
    DaprWorkflowClient,
    DaprWorkflowContext,
    RetryPolicy,
    WorkflowActivityContext,
    WorkflowRuntime,
    when_any,
)

runtime = WorkflowRuntime()
stock = {"paperclips": 100, "car": 10}
patience = RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=3)

APPROVAL_FROM = 50_000
APPROVAL_WITHIN = timedelta(hours=24)


@dataclass
class Order:
    """So many of a thing, and what they cost in all."""

    item: str
    quantity: int
    total_cost: int


@runtime.workflow(name="order_workflow")
def order_workflow(ctx: DaprWorkflowContext, given: dict[str, Any]) -> Generator[Any, Any, Any]:
    """Reserve, ask for approval if it is expensive, charge; say what became of it."""
    order = Order(**given)
    yield ctx.call_activity(notify, input=f"{ctx.instance_id}: {order.quantity} {order.item}")
    if not (yield ctx.call_activity(reserve, input=given, retry_policy=patience)):
        return {"processed": False, "because": f"not enough of {order.item}"}
    if order.total_cost >= APPROVAL_FROM:
        ctx.set_custom_status("waits for approval")
        approval = ctx.wait_for_external_event("approval")
        too_late = ctx.create_timer(APPROVAL_WITHIN)
        if (yield when_any([approval, too_late])) is too_late or not approval.get_result():
            yield ctx.call_activity(put_back, input=given)
            return {"processed": False, "because": "not approved"}
        ctx.set_custom_status("approved")
    yield ctx.call_activity(charge, input=given, retry_policy=patience)
    yield ctx.call_activity(notify, input=f"{ctx.instance_id}: done")
    return {"processed": True, "because": ""}


@runtime.activity(name="notify")
def notify(_ctx: WorkflowActivityContext, text: str) -> None:
    """Tell the people."""
    print(text, flush=True)


@runtime.activity(name="reserve")
def reserve(_ctx: WorkflowActivityContext, given: dict[str, Any]) -> bool:
    """Take the goods off the shelf, if there are enough."""
    order = Order(**given)
    if stock.get(order.item, 0) < order.quantity:
        return False
    stock[order.item] -= order.quantity
    return True


@runtime.activity(name="put_back")
def put_back(_ctx: WorkflowActivityContext, given: dict[str, Any]) -> None:
    """Put the goods back on the shelf."""
    order = Order(**given)
    stock[order.item] += order.quantity


@runtime.activity(name="charge")
def charge(_ctx: WorkflowActivityContext, given: dict[str, Any]) -> None:
    """Take the money."""
    print(f"charged ${Order(**given).total_cost:,}", flush=True)


def main() -> int:
    """Place three orders as a customer would, and show what becomes of them."""
    runtime.start()
    client = DaprWorkflowClient()
    orders = [Order("paperclips", 20, 40), Order("car", 2, 90_000), Order("car", 99, 9)]
    started = [
        client.schedule_new_workflow(order_workflow, input=asdict(order)) for order in orders
    ]
    client.raise_workflow_event(started[1], "approval", data=True)
    succeeded = 0
    for name in started:
        state = client.wait_for_workflow_completion(name, timeout_in_seconds=60)
        assert state is not None
        print(f"{name}: {state.runtime_status.name} {state.serialized_output}", flush=True)
        succeeded += state.runtime_status.name == "COMPLETED"
    runtime.shutdown()
    return 0 if succeeded == len(orders) else 1


if __name__ == "__main__":
    sys.exit(main())
