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

Everything that authors and clients name is here; docs/workflows.md is the guide.
"""

from actorflow.actors.errors import (
    ActorflowError,
    LimitExceededError,
    OverloadedError,
    PayloadError,
    UnavailableError,
)
from actorflow.workflow.client import WorkflowClient
from actorflow.workflow.context import ActivityContext, ContinueAsNew, WorkflowContext
from actorflow.workflow.engine import WorkflowEngine
from actorflow.workflow.errors import (
    ChildFailedError,
    ForeignAwaitError,
    HistoryEventNotFoundError,
    IdempotencyConflictError,
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStalledError,
    InvalidRequestError,
    NonDeterminismError,
    NonRetriableError,
    NotTerminalError,
    RegistrationError,
    TaskCancelledError,
    TaskFailedError,
    WorkflowFailedError,
)
from actorflow.workflow.events import FailureDetails, Status
from actorflow.workflow.limits import Limits
from actorflow.workflow.model import (
    History,
    Instance,
    InstanceFilter,
    InstancePage,
    PurgeResult,
    WaitReason,
)
from actorflow.workflow.registry import Registry
from actorflow.workflow.retry import RetryPolicy
from actorflow.workflow.task import DurableTask

__all__ = [
    "ActivityContext",
    "ActorflowError",
    "ChildFailedError",
    "ContinueAsNew",
    "DurableTask",
    "FailureDetails",
    "ForeignAwaitError",
    "History",
    "HistoryEventNotFoundError",
    "IdempotencyConflictError",
    "Instance",
    "InstanceExistsError",
    "InstanceFilter",
    "InstanceNotFoundError",
    "InstancePage",
    "InstanceStalledError",
    "InvalidRequestError",
    "LimitExceededError",
    "Limits",
    "NonDeterminismError",
    "NonRetriableError",
    "NotTerminalError",
    "OverloadedError",
    "PayloadError",
    "PurgeResult",
    "RegistrationError",
    "Registry",
    "RetryPolicy",
    "Status",
    "TaskCancelledError",
    "TaskFailedError",
    "UnavailableError",
    "WaitReason",
    "WorkflowClient",
    "WorkflowContext",
    "WorkflowEngine",
    "WorkflowFailedError",
]
