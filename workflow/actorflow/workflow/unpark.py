"""Delivers parked messages once more, one by one, also while hosts run.

Only an owner may write to a partition, so its owner is replaced for a moment: the fence tells it,
it reads the partition again, and with it the message. What ran there runs again, as after any move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.address import ActorId, partition_of
from actorflow.actors.errors import UsageError
from actorflow.workflow.fsck_rows import Parked
from actorflow.workflow.offline import OfflineStore
from actorflow.workflow.requests import INSTANCE

if TYPE_CHECKING:
    from actorflow.actors.clock import IdSource
    from actorflow.actors.ports import MessageRow, PartitionStore


class Wanted(NamedTuple):
    """The parked messages of one instance, or one message of one partition."""

    instance_id: str = ""
    partition: int = 0
    message_id: int = 0

    def is_met(self, row: MessageRow) -> bool:
        """Whether a message is to be delivered once more."""
        if not row.parked:
            return False
        if self.instance_id:
            return row.target.key == self.instance_id
        return row.id == self.message_id


async def unpark(
    store: PartitionStore, partition_count: int, ids: IdSource, wanted: Wanted
) -> list[Parked]:
    """Return what is delivered once more, as it was; empty when nothing like that is parked, and
    then nobody was disturbed.

    Raises:
        UsageError: there is no such partition.
        ContentionError: a host was quicker; nothing was written, do it again.
        StoreUnavailableError: no answer.
    """
    partition = wanted.partition
    if wanted.instance_id:
        # The key alone decides, whichever app the instance belongs to.
        partition = partition_of(ActorId(INSTANCE, wanted.instance_id), partition_count)
    if not 0 <= partition < partition_count:
        raise UsageError(
            f"the store has {partition_count} partitions from 0; there is no partition {partition}"
        )
    if not await _found(store, partition, wanted):
        return []
    async with OfflineStore(store, partition_count, ids, only=partition) as owned:
        found = await _found(store, partition, wanted)
        for row in found:
            anew = row._replace(id=owned.next_message_id(partition), parked="")
            await owned.commit(partition, put_messages=(anew,), delete_messages=(row.id,))
    return [Parked(partition, row) for row in found]


async def _found(store: PartitionStore, partition: int, wanted: Wanted) -> list[MessageRow]:
    recovery = await store.recover(partition, horizon_ms=0)
    return [row for row in recovery.messages if wanted.is_met(row)]
