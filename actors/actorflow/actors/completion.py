"""PURE. The call that ends a delivery: made by whoever did the work, on whichever host.

It names the durable message by the id of its row, which outlives restarts and moves of the
partition. So it can be made late, and twice: the first that is committed consumes the message,
every other one finds it gone. A store that lost its newest commits gives ids once more: a check of
the payload tells the messages apart.
"""

from typing import NamedTuple
from zlib import crc32

import msgspec

from actorflow.actors.address import ActorId
from actorflow.actors.errors import UnfitCompletionError

COMPLETE = "actorflow.complete"
"""Method name of the call. Its target is that of the message which it ends."""

CONSUMED = b"consumed"
"""Answer: the message was there, and is consumed; what follows from it is committed."""

GONE = b"gone"
"""Answer: somebody else has ended the delivery."""

UNFIT = b"unfit"
"""Answer: what is to follow is not what follows from such a message. It goes on."""


class DeliveryKey(NamedTuple):
    """What a delivery is known by on all hosts: target, id and check of its message."""

    target: ActorId
    message_id: int
    check: int


def key_of(target: ActorId, message_id: int, payload: bytes) -> DeliveryKey:
    """Return the key of the delivery of a message."""
    return DeliveryKey(target, message_id, crc32(payload))


def was_consumed(answer: bytes, key: DeliveryKey) -> bool:
    """Whether the call ended the delivery. Raises UnfitCompletionError."""
    if answer == UNFIT:
        raise UnfitCompletionError(key.target)
    return answer == CONSUMED


Sends = list[tuple[ActorId, str, bytes]]
"""What follows from a delivery: messages as target, method and payload."""

Completion = tuple[DeliveryKey, Sends]
"""A delivery, and what follows from it."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, int, list[tuple[tuple[str, str], str, bytes]]]).decode


def pack_completion(key: DeliveryKey, sends: Sends) -> bytes:
    """Return the payload of the call to the target of the key."""
    return _encode((key.message_id, key.check, sends))


def unpack_completion(target: ActorId, payload: bytes) -> Completion:
    """Return the key, and what to send. Raises msgspec.DecodeError."""
    message_id, check, sends = _decode(payload)
    follow = [(ActorId(*actor), method, body) for actor, method, body in sends]
    return DeliveryKey(target, message_id, check), follow
