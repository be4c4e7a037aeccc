"""Names of keys. All keys of a partition carry its hash tag, so that they live in one slot.

A name begins with the tag; what comes from users stands at its end and cannot change the slot. A
type is written with its length, so that no type and key meet in one name.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.errors import UsageError

if TYPE_CHECKING:
    from actorflow.actors.address import ActorId

SLOTS = 16_384
"""Hash slots of a Redis Cluster."""

PARTITIONS_MAX = 1_024
"""Most partitions of one cluster."""

NAMESPACE_MAX = 32
"""Longest namespace, in characters."""

_NAMESPACE_CHARACTERS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
)


def checked_namespace(namespace: str) -> str:
    """Return the namespace if it can begin the names of keys, else raise UsageError."""
    if not 0 < len(namespace) <= NAMESPACE_MAX or not _NAMESPACE_CHARACTERS.issuperset(namespace):
        raise UsageError(
            f"namespace {namespace[:64]!r} is not usable; take 1 to {NAMESPACE_MAX} letters, "
            "digits, '_', '-' or '.'"
        )
    return namespace


def slot_of(key: bytes) -> int:
    """Return the hash slot of a key, as Redis Cluster computes it."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


@lru_cache(maxsize=4_096)
def tag_of(partition: int, partition_count: int) -> str:
    """Return the text between the braces for one partition: its number, a dot and a serial.

    The slots are cut into as many equal ranges as there are partitions; the serial is the first
    that brings the tag into the range of its partition.
    """
    low = partition * SLOTS // partition_count
    high = (partition + 1) * SLOTS // partition_count
    start = crc_hqx(b"%d." % partition, 0)
    serial = 0
    while not low <= crc_hqx(b"%d" % serial, start) % SLOTS < high:
        serial += 1
    return f"{partition}.{serial}"


class TypeNames(NamedTuple):
    """Names of one type in one partition; `state_bytes` is the length of `state`."""

    state: str
    log: str
    index_key: str
    state_bytes: int


class PartitionKeys:
    """The names of one partition's keys, each in the partition's `slot`."""

    __slots__ = (
        "_prefix",
        "due",
        "inbox",
        "marks",
        "messages",
        "meta",
        "outbox",
        "parked",
        "reminders",
        "shared",
        "slot",
    )

    def __init__(self, namespace: str, partition: int, partition_count: int) -> None:
        prefix = f"{namespace}:{{{tag_of(partition, partition_count)}}}:"
        self._prefix = prefix
        self.slot = slot_of(prefix.encode())
        self.meta = prefix + "meta"
        """Hash: lease, sequence number, next numbers, and what cluster this is."""
        self.messages = prefix + "messages"
        """Hash: message id to row."""
        self.parked = prefix + "parked"
        """Hash: message id to the reason why it is no longer delivered."""
        self.due = prefix + "due"
        """Sorted set: reminder to the time when it is due."""
        self.reminders = prefix + "reminders"
        """Hash: reminder to row."""
        self.outbox = prefix + "outbox"
        """Sorted set, all scores 0: destination and id in fixed width, then the row."""
        self.marks = prefix + "marks"
        """Hash: source partition to how far its link is stored."""
        self.inbox = prefix + "inbox"
        """Stream: letters to the partition; see `post`. No commit touches it."""
        self.shared = (
            self.meta,
            self.messages,
            self.parked,
            self.due,
            self.reminders,
            self.outbox,
            self.marks,
        )
        """What every commit declares, in the order of `commit.lua`."""

    def names_of(self, actor_type: str) -> TypeNames:
        """Return what a commit needs of a type. Raises UnicodeEncodeError."""
        return _type_names(self._prefix, actor_type)

    def index(self, actor_type: str) -> str:
        """Sorted set of one type, all scores 0: `k` and key, and `p`, length, `:`, phase, key."""
        return f"{self._prefix}x:{actor_type}"

    def state_prefix(self, actor_type: str) -> str:
        """What the names of all state hashes of a type begin with; the key follows."""
        return f"{self._prefix}s:{_counted(actor_type)}"

    def log_prefix(self, actor_type: str) -> str:
        """What the names of all logs of a type begin with; the key follows."""
        return f"{self._prefix}l:{_counted(actor_type)}"

    def pair(self, actor: ActorId) -> tuple[str, str]:
        """Return the names of an actor's state hash and log list."""
        counted = _counted(actor.type) + actor.key
        return f"{self._prefix}s:{counted}", f"{self._prefix}l:{counted}"


def host_inbox_name(namespace: str, host: str) -> str:
    """Return the name of the stream of letters to a host, in a slot of its own."""
    return f"{namespace}:{{host.{host}}}:inbox"


def members_name(namespace: str) -> str:
    """Return the name of the hash of hosts that were heard of lately."""
    return f"{namespace}:members"


def root_key(namespace: str) -> str:
    """Return the name of the hash that says which cluster lives here."""
    return f"{namespace}:cluster"


@lru_cache(maxsize=4_096)
def _type_names(prefix: str, actor_type: str) -> TypeNames:
    counted = _counted(actor_type)
    state = f"{prefix}s:{counted}"
    return TypeNames(state, f"{prefix}l:{counted}", f"{prefix}x:{actor_type}", len(state.encode()))


@lru_cache(maxsize=1_024)
def _counted(actor_type: str) -> str:
    return f"{len(actor_type.encode())}:{actor_type}:"
