"""Order processing: the workflow that the README walks through.

    actorflow serve --app examples/order_processing.py

An order is announced, checked against the stock, approved by a person if it is expensive, paid, and
taken from the stock; if that last step fails, the payment is given back. Kill the process at any
moment and start it again: every order goes on where it was, and no customer pays twice.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta

from actorflow.workflow import (
    ActivityContext,
    Registry,
    RetryPolicy,
    TaskFailedError,
    WorkflowContext,
)

APPROVAL_ABOVE = 1_000
APPROVAL_TIMEOUT = timedelta(days=3)
STOCK = {"Paperclips": 100, "Cars": 10, "Computers": 50}

# The shop's own database, which actorflow knows nothing of.
SHOP_DB = os.environ.get("SHOP_DB", "shop.db")

# Makes every activity slow, so that there is time to kill the process in the middle of an order.
STEP_SECONDS = float(os.environ.get("STEP_SECONDS", "0"))

app = Registry()


class SoldOutError(Exception):
    """The goods are gone; trying again will not bring them back."""


RETRY = RetryPolicy(
    first_retry_interval=1,
    backoff_coefficient=2,
    max_number_of_attempts=3,
    non_retriable=(SoldOutError,),
)


@dataclass
class Order:
    """What the customer sends. The names are those of its JSON."""

    Name: str
    TotalCost: float
    Quantity: int = 1


@dataclass
class OrderResult:
    """What becomes of it."""

    Processed: bool
    Message: str


@app.workflow(name="OrderProcessingWorkflow")
async def process_order(ctx: WorkflowContext, order: Order) -> OrderResult:
    """Handle one order from its arrival to its delivery."""
    wanted = f"{order.Quantity} {order.Name} for ${order.TotalCost:,.2f}"
    await ctx.call_activity(notify, input=f"Received an order of {wanted}")

    if not await ctx.call_activity(verify_inventory, input=order):
        return await finish(ctx, processed=False, message=f"Not enough {order.Name} in stock")

    if order.TotalCost > APPROVAL_ABOVE and not await is_approved(ctx, order):
        return await finish(ctx, processed=False, message=f"{wanted}: not approved")

    await ctx.call_activity(process_payment, input=order, retry_policy=RETRY)
    try:
        await ctx.call_activity(update_inventory, input=order, retry_policy=RETRY)
    except TaskFailedError as error:
        await ctx.call_activity(refund_payment, input=order, retry_policy=RETRY)
        return await finish(ctx, processed=False, message=f"Payment returned: {error}")

    return await finish(ctx, processed=True, message=f"Delivered {wanted}")


async def is_approved(ctx: WorkflowContext, order: Order) -> bool:
    """Ask for approval, and wait for the event `approval` with the payload true or false."""
    await ctx.call_activity(request_approval, input=order)
    ctx.set_custom_status("waiting for approval")
    try:
        return await ctx.wait_for_external_event("approval", timeout=APPROVAL_TIMEOUT, type=bool)
    except TimeoutError:
        return False
    finally:
        ctx.set_custom_status(None)


async def finish(ctx: WorkflowContext, *, processed: bool, message: str) -> OrderResult:
    """Tell the customer, and give the result of the workflow."""
    await ctx.call_activity(notify, input=message)
    return OrderResult(Processed=processed, Message=message)


# Activities do what has effects outside. After a crash one may run a second time, so each writes
# under the id of its order, and a repetition changes nothing.


@app.activity(name="NotifyActivity")
def notify(ctx: ActivityContext, message: str) -> None:
    """Tell the customer, here on the terminal."""
    time.sleep(STEP_SECONDS)
    print(f"[{ctx.instance_id}] {message}", flush=True)


@app.activity(name="VerifyInventoryActivity")
def verify_inventory(ctx: ActivityContext, order: Order) -> bool:
    """Tell whether there is enough in stock."""
    time.sleep(STEP_SECONDS)
    with shop() as db:
        return in_stock(db, order.Name) >= order.Quantity


@app.activity(name="RequestApprovalActivity")
def request_approval(ctx: ActivityContext, order: Order) -> None:
    """Ask a person; their answer comes back as an event."""
    time.sleep(STEP_SECONDS)
    print(f"[{ctx.instance_id}] ${order.TotalCost:,.2f} needs the event 'approval'", flush=True)


@app.activity(name="ProcessPaymentActivity")
def process_payment(ctx: ActivityContext, order: Order) -> None:
    """Take the money."""
    time.sleep(STEP_SECONDS)
    with shop() as db:
        row = (ctx.instance_id, order.TotalCost)
        db.execute("INSERT OR IGNORE INTO payments VALUES (?, ?)", row)


@app.activity(name="UpdateInventoryActivity")
def update_inventory(ctx: ActivityContext, order: Order) -> None:
    """Take the goods, unless other orders were faster."""
    time.sleep(STEP_SECONDS)
    with shop() as db:
        if in_stock(db, order.Name, but=ctx.instance_id) < order.Quantity:
            raise SoldOutError(f"{order.Name} sold out in the meantime")
        row = (ctx.instance_id, order.Name, order.Quantity)
        db.execute("INSERT OR IGNORE INTO sales VALUES (?, ?, ?)", row)


@app.activity(name="RefundPaymentActivity")
def refund_payment(ctx: ActivityContext, order: Order) -> None:
    """Give the money back: the compensation of ProcessPaymentActivity."""
    time.sleep(STEP_SECONDS)
    with shop() as db:
        db.execute("DELETE FROM payments WHERE order_id = ?", (ctx.instance_id,))


def in_stock(db: sqlite3.Connection, item: str, but: str = "") -> int:
    """Return how many are left, not counting what the order `but` took."""
    query = "SELECT coalesce(sum(quantity), 0) FROM sales WHERE item = ? AND order_id <> ?"
    sold: int = db.execute(query, (item, but)).fetchone()[0]
    return STOCK.get(item, 0) - sold


@contextmanager
def shop() -> Iterator[sqlite3.Connection]:
    """Open the shop's database for one transaction."""
    with closing(sqlite3.connect(SHOP_DB, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE IF NOT EXISTS payments (order_id PRIMARY KEY, dollars)")
        db.execute("CREATE TABLE IF NOT EXISTS sales (order_id PRIMARY KEY, item, quantity)")
        yield db
        db.execute("COMMIT")
