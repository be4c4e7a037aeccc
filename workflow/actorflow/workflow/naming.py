"""PURE. Ids, names and times from outside, checked and turned into what the engine uses."""

from actorflow.actors.address import ActorId, checked_actor_id
from actorflow.actors.errors import InvalidActorIdError
from actorflow.workflow.errors import InstanceNotFoundError, InvalidRequestError
from actorflow.workflow.requests import DEFAULT_APP, instance_type

RESERVED_PREFIX = "dapr.internal."
"""Workflow names that Dapr reserves; refused at the door."""


def instance_actor(instance_id: str, app_id: str = DEFAULT_APP) -> ActorId:
    """Return the actor of an instance id. Raises InvalidRequestError."""
    try:
        return checked_actor_id(instance_type(app_id), instance_id)
    except InvalidActorIdError as error:
        raise InvalidRequestError(str(error).replace("actor key", "instance id")) from None


def known_actor(instance_id: str, app_id: str = DEFAULT_APP) -> ActorId:
    """Return the actor of an id that should exist. Raises InstanceNotFoundError."""
    try:
        return instance_actor(instance_id, app_id)
    except InvalidRequestError:
        raise InstanceNotFoundError(instance_id) from None  # no instance can have such an id


def check_workflow_name(name: str) -> None:
    """Check the name of a workflow to start. Raises InvalidRequestError."""
    check_name("workflow name", name)
    if name.startswith(RESERVED_PREFIX):
        raise InvalidRequestError(
            f"workflow name {name!r}: names that begin with {RESERVED_PREFIX!r} are reserved"
        )


def check_name(what: str, name: str) -> None:
    """Check a name from outside. Raises InvalidRequestError, naming `what`."""
    try:
        checked_actor_id(name, name)
    except InvalidActorIdError as error:
        raise InvalidRequestError(str(error).replace("actor type", what)) from None


def ceil_ms(time_ns: int | None) -> int | None:
    """Return milliseconds, rounded up."""
    return -(-time_ns // 1_000_000) if time_ns is not None else None
