"""PURE. Who an actor is, and which partition owns it."""

from typing import NamedTuple
from zlib import crc32

from actorflow.actors.errors import InvalidActorIdError

KEY_MAX_BYTES = 1_024
"""Longest actor key, in UTF-8 bytes. Dapr's SDKs send up to 64; child ids grow by 5 a level."""

TYPE_MAX_BYTES = 256
"""Longest actor type, in UTF-8 bytes."""


class ActorId(NamedTuple):
    """The address of one virtual actor: a type and a key, unique together.

    Equality is exact: no case folding and no Unicode normalisation. Any text is allowed except
    control characters and lone surrogates; stores must bind or encode it, never splice it.
    """

    type: str
    key: str

    def __str__(self) -> str:
        return f"{self.type}/{self.key}"


def checked_actor_id(actor_type: str, key: str) -> ActorId:
    """Build an `ActorId` from untrusted text.

    Raises:
        InvalidActorIdError: a part is empty, too long, not encodable, or has a control character.
    """
    _check_part("type", actor_type, TYPE_MAX_BYTES)
    _check_part("key", key, KEY_MAX_BYTES)
    return ActorId(actor_type, key)


def partition_of(actor: ActorId, partition_count: int) -> int:
    """Return the partition, from 0, that owns `actor`. Stable across processes and releases.

    The key alone decides, so that actors of different types with one key live together and reach
    each other without leaving their partition.
    """
    if partition_count == 1:
        return 0
    return crc32(actor.key.encode()) % partition_count


def _check_part(part: str, text: str, max_bytes: int) -> None:
    if not isinstance(text, str):
        raise InvalidActorIdError(part, repr(text), "is no text")
    if not text:
        raise InvalidActorIdError(part, text, "is empty")
    if text.isascii() and text.isprintable() and len(text) <= max_bytes:
        return  # nearly every id; the rest decides about all others
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidActorIdError(part, text, "is not valid Unicode") from None
    if size_bytes > max_bytes:
        raise InvalidActorIdError(part, text[:64], f"is longer than {max_bytes} bytes")
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in text):
        raise InvalidActorIdError(part, text, "contains a control character")
