"""What the actor runtime asks of the world outside: three narrow ports of a store.

A store adapter implements all three on one object. It stores bytes and integers and knows nothing
of actors beyond their address. `tests/conformance/store_kit.py` is this file in executable form.

The commit rule (docs: ARCHITECTURE.md): one commit holds every effect of many turns of one
partition. It is applied as a whole or not at all, and only while epoch, token and the previous
sequence number are those of the present owner. Sending the same commit again is always safe.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from actorflow.actors.address import ActorId


class Lease(NamedTuple):
    """Ownership of one partition. `epoch` grows with each owner; `token` is unique to this one."""

    partition: int
    epoch: int
    token: str


class Acquired(NamedTuple):
    """Answer to a successful `acquire`: the lease, and where the partition's commits stand.

    `abandoned` is 0 when the last owner has given the partition up in good order. Else it counts
    the owners in a row that have not, the last one included; one that was in office for a minute
    begins a new row. Such an owner was killed, ended by its own code, or frozen: nobody can tell.
    """

    lease: Lease
    seq: int
    next_actor_number: int
    next_message_id: int
    abandoned: int = 0


class Held(NamedTuple):
    """Answer to `acquire` while another owner's lease runs. `left_ms` is the time until it ends.

    `owner` is that owner's token; with `epoch` it makes a lease that can be released on behalf of
    an owner that is dead. That is always safe, because of the fence.
    """

    owner: str
    left_ms: int
    epoch: int = 0


class Summary(NamedTuple):
    """What can be read and searched of an actor without its log; at most 16 KiB in all.

    `label` and `phase` are filters of `find`. `head` is opaque to the store.
    """

    label: str
    phase: str
    created_ms: int
    updated_ms: int
    head: bytes


class Reminder(NamedTuple):
    """A wake-up that survives a crash. `period_ms` is 0 for one that fires once."""

    name: str
    due_ms: int
    period_ms: int
    payload: bytes


class MessageRow(NamedTuple):
    """A message that was sent by a committed turn and is not yet consumed.

    `id` rises within the partition, in the order of sending. `parked` is empty, or the reason why
    the message is no longer delivered.
    """

    id: int
    target: ActorId
    method: str
    payload: bytes
    sender: ActorId | None = None
    parked: str = ""


class EntryId(NamedTuple):
    """Position on a link; compares in the order of sending. See `link.py`."""

    epoch: int
    n: int


class LinkEntry(NamedTuple):
    """One message on its way to another partition, as it is stored in the sender's outbox.

    `lineage` is a checksum of the token of the owner that sent it.
    """

    destination: int
    id: EntryId
    lineage: int
    prev: EntryId
    target: ActorId
    method: str
    payload: bytes
    sender: ActorId | None = None


class LinkMark(NamedTuple):
    """How far a receiver has stored a link: id and lineage of the last entry. An epoch number that
    comes back with another lineage means that the sender's store lost data."""

    source: int
    id: EntryId
    lineage: int


class ActorWrite(NamedTuple):
    """The net effect of a batch on one actor.

    `number` is chosen by the owner when the actor is first written, rises within the partition and
    is never used again; a purged and re-created actor gets a new one. None and empty mean
    "unchanged".

    Order of application: `delete` (everything of this number; all other members are then empty);
    else `log_reset` (drop the whole log); then the rest. `log_start` is the index of the first
    appended entry, and equals the stored log length after the reset: a store checks it.
    """

    actor: ActorId
    number: int
    create: bool = False
    delete: bool = False
    summary: Summary | None = None
    put_fields: tuple[tuple[str, bytes], ...] = ()
    delete_fields: tuple[str, ...] = ()
    log_reset: bool = False
    log_start: int = 0
    log_append: tuple[bytes, ...] = ()
    put_reminders: tuple[Reminder, ...] = ()
    delete_reminders: tuple[str, ...] = ()


class Commit(NamedTuple):
    """One atomic write of many finished turns of a partition.

    `commit_id` is unique to this commit and the same on every resend. `seq` is `prev_seq + 1`. All
    deletions of actors are applied before all creations, and `delete_messages` and `park_messages`
    before `put_messages`.

    BAD is the answer to: an actor number written twice; `create` of an actor that exists or of a
    number that is not above all used before; any other write to an actor that does not exist under
    this number; a field, reminder or message named twice; ids in `put_messages` that do not rise
    above all used before; deleting or parking a message that is not stored; parking without a
    reason; a summary that is too large; a `log_start` that does not fit; a negative period; an
    empty `commit_id`; text that is not valid Unicode; an integer beyond 64 bits. Deleting a field
    or a reminder that does not exist is no fault.
    """

    lease: Lease
    prev_seq: int
    seq: int
    commit_id: str
    actors: tuple[ActorWrite, ...] = ()
    put_messages: tuple[MessageRow, ...] = ()
    delete_messages: tuple[int, ...] = ()
    park_messages: tuple[tuple[int, str], ...] = ()
    put_outbox: tuple[LinkEntry, ...] = ()
    trim_outbox: tuple[tuple[int, EntryId], ...] = ()  # destination, last entry to forget
    put_marks: tuple[LinkMark, ...] = ()
    cursor: str = ""  # how far the partition's inbox of letters was read; "" leaves it as it is


class CommitResult(StrEnum):
    """A store's final answer to a commit. Everything else is a `StoreUnavailableError`."""

    OK = "ok"
    ALREADY = "already"  # this very commit was applied before
    FENCED = "fenced"  # epoch or token are not the owner's; nothing written
    SEQ = "seq"  # the stored sequence number is not `prev_seq`; nothing written
    BAD = "bad"  # a check failed before the first write: a bug of ours; nothing written


class ActorRecord(NamedTuple):
    """Committed data of one actor. `log` is empty unless asked for; `log_length` is exact."""

    actor: ActorId
    number: int
    summary: Summary | None
    fields: dict[str, bytes]
    log_length: int
    log: tuple[bytes, ...] = ()


class DueReminder(NamedTuple):
    """A stored reminder together with its actor."""

    actor: ActorId
    number: int
    reminder: Reminder


class Recovery(NamedTuple):
    """All that a new owner must know: what waits. Cost is of the pending, not of all instances."""

    messages: tuple[MessageRow, ...]  # by rising id, parked ones included
    reminders: tuple[DueReminder, ...]  # due before the horizon, earliest first
    outbox: tuple[LinkEntry, ...] = ()  # by destination, then by id
    marks: tuple[LinkMark, ...] = ()  # by source
    cursor: str = ""


class Query(NamedTuple):
    """A bounded search over actors of one type, in order of key (by Unicode code point).

    Every filter that is set must match. `after` is exclusive. `limit` is 1 to 1,000.
    """

    actor_type: str
    limit: int
    after: str = ""
    phases: tuple[str, ...] = ()
    label: str = ""
    key_prefix: str = ""
    created_from_ms: int | None = None  # inclusive
    created_to_ms: int | None = None  # exclusive


class Ownership(Protocol):
    """Who may commit for a partition."""

    async def acquire(self, partition: int, token: str, *, ttl_ms: int) -> Acquired | Held:
        """Take the partition under a new, higher epoch, unless a lease of another owner runs.

        Raises:
            StoreUnavailableError: not done, or unknown; ask again with a new token.
        """
        ...

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        """Extend the lease; False when it is no longer ours, or the store was found to have lost
        commits of it: what the owner has in memory is void. Raises as `acquire`."""
        ...

    async def release(self, lease: Lease, *, dead: bool = False) -> None:
        """Give the partition up. Harmless when it is no longer ours. Raises as `acquire`.

        Args:
            dead: the owner is believed dead, and somebody else ends its lease: it counts as one
                that has abandoned the partition.
        """
        ...


class Store(Protocol):
    """Durable data of partitions. All reads return committed data only."""

    async def open(self) -> None:
        """Prepare for use. Raises StoreInUseError, StoreUnavailableError; CorruptError for a
        foreign or newer format."""
        ...

    async def close(self) -> None:
        """Release files, threads and connections. Commits in flight are finished first."""
        ...

    async def commit(self, commit: Commit) -> CommitResult:
        """Apply the commit as a whole, or nothing of it.

        Raises:
            StoreUnavailableError: not written or unknown; the caller sends the same commit again.
        Concurrency: at most one commit a partition is in flight.
        """
        ...

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        """Read what waits: all messages, and the reminders due before `horizon_ms`."""
        ...

    async def due(
        self, partition: int, *, from_ms: int, until_ms: int, limit: int
    ) -> Sequence[DueReminder]:
        """Read reminders with `from_ms <= due < until_ms`, earliest first, at most `limit`."""
        ...

    async def load(
        self, partition: int, actors: Sequence[ActorId], *, with_log: bool
    ) -> list[ActorRecord | None]:
        """Read many actors at once, in the order asked for; None where there is none."""
        ...

    async def find(self, query: Query) -> list[ActorRecord]:
        """Search all partitions. Records come without their log and without their fields."""
        ...


@runtime_checkable
class CommitsAtOnce(Protocol):
    """A store that can apply most commits without waiting for anything. Optional."""

    def commit_at_once(self, commit: Commit) -> CommitResult | None:
        """Do as `Store.commit`, or nothing, and return None, when that would have to wait."""
        ...


class PartitionStore(Store, Ownership, Protocol):
    """What one adapter implements."""
