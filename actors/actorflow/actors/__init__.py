"""Virtual actors on asyncio: one turn at a time, durable by atomic, fenced group commits.

    async with ActorSystem(SqliteStore("counters.db"), [Counter]) as system:
        value = await system.actor(Counter, "a").call("add", 2)

Application authors need `Actor`, `ActorSystem`, `ActorId` and the errors; docs/actors.md is the
guide. The other names are for engines built on the runtime. Nothing here knows of workflows, HTTP
or gRPC.
"""

from actorflow.actors.actor import ActorServices, ActorType, Delivery, TurnActor, WorkerType
from actorflow.actors.address import ActorId, checked_actor_id, partition_of
from actorflow.actors.author import Actor
from actorflow.actors.effects import Effects
from actorflow.actors.errors import (
    ActorCallError,
    ActorflowError,
    CallCycleError,
    CorruptError,
    LimitExceededError,
    OverloadedError,
    PayloadError,
    UnavailableError,
    UsageError,
)
from actorflow.actors.limits import Limits
from actorflow.actors.message import Message
from actorflow.actors.partition import REMIND
from actorflow.actors.ports import ActorRecord, PartitionStore, Query, Reminder, Summary
from actorflow.actors.reference import ActorRef
from actorflow.actors.roster import ERASE
from actorflow.actors.runtime import ActorSystem

__all__ = [
    "ERASE",
    "REMIND",
    "Actor",
    "ActorCallError",
    "ActorId",
    "ActorRecord",
    "ActorRef",
    "ActorServices",
    "ActorSystem",
    "ActorType",
    "ActorflowError",
    "CallCycleError",
    "CorruptError",
    "Delivery",
    "Effects",
    "LimitExceededError",
    "Limits",
    "Message",
    "OverloadedError",
    "PartitionStore",
    "PayloadError",
    "Query",
    "Reminder",
    "Summary",
    "TurnActor",
    "UnavailableError",
    "UsageError",
    "WorkerType",
    "checked_actor_id",
    "partition_of",
]
