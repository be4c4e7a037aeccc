"""PURE. The call that ends a delivery: made by whoever did the work, on whichever host.

It names the durable message by the id of its row, which no other message of the partition ever
gets. So it can be made late, twice, after a restart and after the partition has moved: the first
that is committed consumes the message, every other one finds it gone.
"""

import msgspec

from actorflow.actors.address import ActorId

COMPLETE = "actorflow.complete"
"""Method name of the call. Its target is that of the message which it ends."""

CONSUMED = b"consumed"
"""Answer: the message was there, and is consumed; what follows from it is committed."""

GONE = b"gone"
"""Answer: somebody else has ended the delivery."""

Sends = list[tuple[ActorId, str, bytes]]
"""What follows from a delivery: messages as target, method and payload."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, list[tuple[tuple[str, str], str, bytes]]]).decode


def pack_completion(message_id: int, sends: Sends) -> bytes:
    """Return the payload of the call."""
    return _encode((message_id, sends))


def unpack_completion(payload: bytes) -> tuple[int, Sends]:
    """Return message id and what to send. Raises msgspec.DecodeError."""
    message_id, sends = _decode(payload)
    return message_id, [(ActorId(*target), method, body) for target, method, body in sends]
