"""PURE. Events to bytes and back: one record an event, its format version in the first byte.

A record is the version digit followed by JSON, so that a person can read a store with any tool. A
reader ignores fields it does not know; a kind of event that it does not know is an error, because
a history with a hole cannot be replayed.
"""

import msgspec

from actorflow.workflow.errors import HistoryCorruptError
from actorflow.workflow.events import HistoryEvent

FORMAT_VERSION = b"1"
"""First byte of every record that this release writes."""

_READABLE_VERSIONS = b"1"
_SHOWN_BYTES = 80

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[HistoryEvent] = msgspec.json.Decoder(HistoryEvent)
_decode = _decoder.decode


def encode_event(event: HistoryEvent) -> bytes:
    """Return the stored form of `event`.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate; such text is refused at every door.
    """
    return FORMAT_VERSION + _encode(event)


def decode_event(record: bytes) -> HistoryEvent:
    """Return the event stored as `record`.

    Raises:
        HistoryCorruptError: the record is empty, of a newer format, damaged, or of a kind that this
            release does not know. The text says which.
    """
    if not record or record[0] not in _READABLE_VERSIONS:
        raise _unreadable_version(record)
    try:
        # A view, because a slice would copy the payload.
        return _decode(memoryview(record)[1:])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise HistoryCorruptError(
            f"a history record cannot be decoded: {error}; the record begins {_shown(record)}. "
            "It is kept as it is: restore it from a backup, or purge the instance"
        ) from error


def _unreadable_version(record: bytes) -> HistoryCorruptError:
    if not record:
        return HistoryCorruptError("a history record is empty: its bytes were lost by the store")
    return HistoryCorruptError(
        f"a history record begins {_shown(record)}, and {record[:1]!r} is not a format version "
        f"that this release reads ({_READABLE_VERSIONS.decode()}): it is damaged, or was written "
        "by a newer release; upgrade this host"
    )


def _shown(record: bytes) -> str:
    return repr(record[:_SHOWN_BYTES]) + ("..." if len(record) > _SHOWN_BYTES else "")
