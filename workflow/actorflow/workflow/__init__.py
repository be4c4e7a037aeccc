"""Durable workflows on virtual actors.

app = Registry()

@app.activity
async def greet(ctx: ActivityContext, name: str) -> str:
    return f"Hello, {name}"

@app.workflow
async def hello(ctx: WorkflowContext, name: str) -> str:
    return await ctx.call_activity(greet, input=name)

async with WorkflowEngine(SqliteStore("hello.db"), app) as engine:
    result = await WorkflowClient(engine).run(hello, "world")
"""

from actorflow.workflow.client import WorkflowClient
from actorflow.workflow.context import ActivityContext, WorkflowContext
from actorflow.workflow.engine import WorkflowEngine
from actorflow.workflow.errors import (
    ChildFailedError,
    NonRetriableError,
    TaskFailedError,
    WorkflowFailedError,
)
from actorflow.workflow.registry import Registry
from actorflow.workflow.retry import RetryPolicy

__all__ = [
    "ActivityContext",
    "ChildFailedError",
    "NonRetriableError",
    "Registry",
    "RetryPolicy",
    "TaskFailedError",
    "WorkflowClient",
    "WorkflowContext",
    "WorkflowEngine",
    "WorkflowFailedError",
]
