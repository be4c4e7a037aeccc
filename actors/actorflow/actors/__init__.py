"""Virtual actors on asyncio: one turn at a time, durable by atomic, fenced group commits.

    async with ActorSystem(SqliteStore("counters.db"), [Counter]) as system:
        answer = await system.call(ActorId("Counter", "a"), "add", b"2")

Application authors need `Actor`, `ActorSystem` and `ActorId`; the other names are for engines built
on the runtime. Nothing here knows of workflows, HTTP or gRPC.
"""

from actorflow.actors.actor import ActorServices, ActorType, Delivery, TurnActor, WorkerType
from actorflow.actors.address import ActorId, checked_actor_id, partition_of
from actorflow.actors.author import Actor
from actorflow.actors.effects import Effects
from actorflow.actors.limits import Limits
from actorflow.actors.message import Message
from actorflow.actors.partition import REMIND
from actorflow.actors.ports import ActorRecord, PartitionStore, Query, Reminder, Summary
from actorflow.actors.runtime import ActorSystem

__all__ = [
    "REMIND",
    "Actor",
    "ActorId",
    "ActorRecord",
    "ActorServices",
    "ActorSystem",
    "ActorType",
    "Delivery",
    "Effects",
    "Limits",
    "Message",
    "PartitionStore",
    "Query",
    "Reminder",
    "Summary",
    "TurnActor",
    "WorkerType",
    "checked_actor_id",
    "partition_of",
]
