"""Checks a store against the invariants, and repairs what can be repaired.

Only the ports of the store are used, so that every store can be checked, also while hosts run: what
was found about rows is looked at again, a few times, and counts only if it stays while the instance
does not move.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actorflow.actors.address import ActorId, partition_of
from actorflow.actors.ports import Query
from actorflow.workflow.apps import instance_types
from actorflow.workflow.errors import HistoryCorruptError, NonDeterminismError
from actorflow.workflow.fsck_rows import Parked, Waiting, link_faults, not_arrived
from actorflow.workflow.fsck_rules import (
    Child,
    Examined,
    Finding,
    check_rows,
    child_actor,
    examine,
    name_of,
)
from actorflow.workflow.limits import DEFAULT_LIMITS
from actorflow.workflow.records import head_of
from actorflow.workflow.replay import WorkflowRun

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from actorflow.actors.ports import ActorRecord, PartitionStore, Recovery
    from actorflow.workflow.offline import OfflineStore
    from actorflow.workflow.registry import Registry

HORIZON_MS = 2**53 - 1
"""Later than any reminder."""

PAGE = 500
"""Instances in one search."""

GROUP = 50
"""Instances that are in memory with their logs at once."""

LOOKS = 3
"""How often a finding about rows must be seen while its instance does not move."""

PAUSE_S = 0.5
"""Pause between two looks at a store that hosts use."""

FINDINGS_MAX = 10_000
"""Findings that are kept; more are only counted."""


@dataclass(slots=True)
class Report:
    """What a check found. `suspects` are kept for a repair; notes are among the findings."""

    findings: list[Finding] = field(default_factory=list)
    suspects: list[ActorId] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    partitions: int = 0
    instances: int = 0
    open_instances: int = 0
    events: int = 0
    messages: int = 0
    reminders: int = 0
    on_links: int = 0
    dropped: int = 0

    @property
    def faults(self) -> list[Finding]:
        """The findings that are no notes."""
        return [finding for finding in self.findings if not finding.is_note]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults and not self.dropped

    def add(self, findings: Iterable[Finding]) -> None:
        """Keep findings, up to a bound."""
        for finding in findings:
            if len(self.findings) < FINDINGS_MAX:
                self.findings.append(finding)
            else:
                self.dropped += 1


class Fsck:
    """One check of an open store.

    Args:
        registry: the program's code. With it timers are judged exactly, and an instance that would
            stall because its code has changed is noted.
        is_live: hosts may be running.
        progress: called with the number of instances looked at so far.

    Raises, all methods: StoreUnavailableError.
    """

    def __init__(
        self,
        store: PartitionStore,
        partition_count: int,
        *,
        registry: Registry | None = None,
        is_live: bool = True,
        progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._store = store
        self._count = partition_count
        self._registry = registry
        self._is_live = is_live
        self._progress = progress

    async def check(self) -> Report:
        """Look at everything."""
        report = Report(partitions=self._count)
        waiting = await self._waiting(report)
        report.parked = waiting.parked
        report.messages = waiting.message_count
        report.reminders = waiting.reminder_count
        report.on_links = waiting.on_link_count
        suspects: list[ActorId] = []
        seen_with_reminders: set[ActorId] = set()
        async for group in self._groups(waiting):
            children = await self._children(group)
            for seen in group:
                report.instances += 1
                report.open_instances += seen.is_open
                report.events += seen.record.log_length
                if seen.actor in waiting.numbers:
                    seen_with_reminders.add(seen.actor)
                found = self._row_findings(seen, waiting, children)
                report.add(seen.findings)
                if found:
                    suspects.append(seen.actor)
                elif any(finding.cure for finding in seen.findings):
                    report.suspects.append(seen.actor)
            self._progress(report.instances)
        report.add(self._parked(waiting))
        report.add(await self._lasting_orphans(waiting, seen_with_reminders))
        await self._confirm(suspects, waiting.link_findings, report)
        return report

    # ---- reading -------------------------------------------------------------------------------

    async def _waiting(self, report: Report | None) -> Waiting:
        """Read all rows. Findings about them go to the report if there is one."""
        waiting = Waiting()
        recoveries: list[Recovery] = []
        found: list[Finding] = []
        for partition in range(self._count):
            recovery = await self._store.recover(partition, horizon_ms=HORIZON_MS)
            found += waiting.add_partition(partition, recovery)
            # What matters from now on is the links alone.
            recoveries.append(recovery._replace(messages=(), reminders=()))
        marks = {
            (destination, mark.source): mark
            for destination, recovery in enumerate(recoveries)
            for mark in recovery.marks
        }
        for source, recovery in enumerate(recoveries):
            found += waiting.add_entries(not_arrived(source, recovery.outbox, marks))
            for text in link_faults(source, recovery.outbox, marks, self._count):
                waiting.link_findings.add(Finding("link", f"partition {source}", text))
        if report is not None:
            report.add(found)
        return waiting

    async def _groups(self, waiting: Waiting) -> AsyncIterator[list[Examined]]:
        seen = {actor.type for actor in (*waiting.to_instance, *waiting.workers)}
        for actor_type in await instance_types(self._store, seen):
            after = ""
            while True:
                page = await self._store.find(Query(actor_type, PAGE, after=after))
                for start in range(0, len(page), GROUP):
                    yield await self._examined([r.actor for r in page[start : start + GROUP]])
                if len(page) < PAGE:
                    break
                after = page[-1].actor.key

    async def _examined(self, actors: Sequence[ActorId]) -> list[Examined]:
        records = await self._load(actors, with_log=True)
        return [examine(record) for record in records if record is not None]

    async def _load(self, actors: Sequence[ActorId], *, with_log: bool) -> list[ActorRecord | None]:
        by_partition: dict[int, list[ActorId]] = defaultdict(list)
        for actor in actors:
            by_partition[partition_of(actor, self._count)].append(actor)
        found: dict[ActorId, ActorRecord | None] = {}
        for partition, mine in by_partition.items():
            records = await self._store.load(partition, mine, with_log=with_log)
            found.update(zip(mine, records, strict=True))
        return [found[actor] for actor in actors]

    async def _children(self, group: Iterable[Examined]) -> dict[ActorId, Child | None]:
        actors = {
            child_actor(seen, child)
            for seen in group
            if seen.is_open and seen.state is not None
            for child in seen.state.open_children.values()
        }
        ordered = sorted(actors)
        records = await self._load(ordered, with_log=False)
        return {actor: _child(record) for actor, record in zip(ordered, records, strict=True)}

    # ---- judging -------------------------------------------------------------------------------

    def _row_findings(
        self, seen: Examined, waiting: Waiting, children: dict[ActorId, Child | None]
    ) -> list[Finding]:
        """Apply the rules about rows; leave what they find out of `seen.findings`."""
        open_ids = self._open_ids(seen)
        own = len(seen.findings)
        check_rows(seen, waiting, children, open_ids=open_ids)
        found = seen.findings[own:]
        del seen.findings[own:]
        number = waiting.numbers.get(seen.actor, seen.record.number)
        if number != seen.record.number:
            text = f"reminders of actor number {number}, which is gone; it is {seen.record.number}"
            found.append(Finding("reminder", name_of(seen.actor), text))
        return found

    def _open_ids(self, seen: Examined) -> frozenset[int] | None:
        """Run the code over its history; return what it waits for, or None without the code."""
        state = seen.state
        if self._registry is None or state is None or not seen.is_open or not seen.history:
            return None
        if state.is_remote:
            return None  # its code is elsewhere
        name = state.name
        definition = self._registry.workflow_named(name)
        if definition is None:
            seen.add("code", f"workflow {name!r} is not in the program", is_note=True)
            return None
        run = WorkflowRun(definition, seen.instance_id, DEFAULT_LIMITS)
        try:
            run.replay(seen.history)
        except NonDeterminismError as error:
            seen.add("code", f"the code does not fit the history: {error}", is_note=True)
            return None
        else:
            return run.open_ids
        finally:
            run.close()

    @staticmethod
    def _parked(waiting: Waiting) -> list[Finding]:
        return [
            Finding(
                "parked",
                row.target.key,
                f"message {row.id} in partition {partition}, {row.method!r} for {row.target.type}: "
                f"{row.parked}",
                "with --unpark, --unpark-instance or --unpark-message: deliver it once more",
            )
            for partition, row in waiting.parked
        ]

    async def _lasting_orphans(self, waiting: Waiting, seen: set[ActorId]) -> list[Finding]:
        """In a store in use an instance may be purged after its reminders were read."""
        found = await self._orphans(waiting, set(waiting.numbers) - seen)
        if found and self._is_live:
            now = await self._waiting(None)
            again = await self._orphans(now, (set(waiting.numbers) - seen) & set(now.numbers))
            found = [finding for finding in found if finding in again]
        return found

    async def _orphans(self, waiting: Waiting, missing: set[ActorId]) -> list[Finding]:
        """I13: reminders of actors that are gone. Those of new instances are not among them."""
        found = []
        actors = sorted(missing)
        for actor, record in zip(actors, await self._load(actors, with_log=False), strict=True):
            if record is None or record.number != waiting.numbers[actor]:
                names = ", ".join(waiting.reminders[actor])
                text = f"reminder {names} of a purged instance"
                found.append(Finding("orphan", name_of(actor), text))
        for partition, due in waiting.others:
            (other,) = await self._store.load(partition, [due.actor], with_log=False)
            if other is None or other.number != due.number:
                text = f"reminder {due.reminder.name} of {due.actor.type}, which is gone"
                found.append(Finding("orphan", due.actor.key, text))
        return found

    # ---- looking again -------------------------------------------------------------------------

    async def _confirm(self, suspects: list[ActorId], links: set[Finding], report: Report) -> None:
        """Keep the findings that stay while their instance, or link, does not move."""
        seen_before: dict[ActorId, tuple[ActorRecord, set[Finding]]] = {}
        for look in range(LOOKS if self._is_live else 1):
            if not suspects and not links:
                return
            if look:
                await asyncio.sleep(PAUSE_S)  # noqa: TID251 -- bounded by LOOKS
            now, links_now = await self._look_again(suspects)
            links = links & links_now
            if look:
                now = {
                    key: (record, found & seen_before[key][1])
                    for key, (record, found) in now.items()
                    if record == seen_before[key][0] and found & seen_before[key][1]
                }
            suspects, seen_before = list(now), now
        report.add(sorted(links))
        for key in suspects:
            report.add(sorted(seen_before[key][1]))
            report.suspects.append(key)

    async def _look_again(
        self, ids: list[ActorId]
    ) -> tuple[dict[ActorId, tuple[ActorRecord, set[Finding]]], set[Finding]]:
        """Return the findings about rows of instances, whose records are the same before and after
        the rows were read, and those about links."""
        before: dict[ActorId, ActorRecord] = {}
        for start in range(0, len(ids), GROUP):
            for seen in await self._examined(ids[start : start + GROUP]):
                before[seen.actor] = seen.record._replace(log=())
        waiting = await self._waiting(None)
        result: dict[ActorId, tuple[ActorRecord, set[Finding]]] = {}
        for start in range(0, len(ids), GROUP):
            group = await self._examined(ids[start : start + GROUP])
            children = await self._children(group)
            for seen in group:
                found = set(self._row_findings(seen, waiting, children))
                record = seen.record._replace(log=())
                if found and before.get(seen.actor) == record:
                    result[seen.actor] = (record, found)
        return result, waiting.link_findings

    # ---- repair --------------------------------------------------------------------------------

    async def repair(
        self, report: Report, owned: OfflineStore, *, unpark: bool = False
    ) -> list[Finding]:
        """Commit the cures of what was found; return the findings that were treated.

        Raises:
            FencedOutError: a host started meanwhile.
        """
        waiting = await self._waiting(None)
        treated: list[Finding] = []
        for start in range(0, len(report.suspects), GROUP):
            group = await self._examined(report.suspects[start : start + GROUP])
            children = await self._children(group)
            for seen in group:
                check_rows(seen, waiting, children, open_ids=self._open_ids(seen))
                await _write(seen, owned)
                treated += [finding for finding in seen.findings if finding.cure]
        for parked in report.parked if unpark else ():
            await _unpark(parked, owned)
            treated.append(Finding("parked", parked.row.target.key, parked.row.parked, "delivered"))
        return treated


def _child(record: ActorRecord | None) -> Child | None:
    if record is None or record.summary is None:
        return None
    try:
        return Child(record, head_of(record))
    except HistoryCorruptError:
        return None


async def _write(seen: Examined, owned: OfflineStore) -> None:
    cure = seen.cure
    if cure.writes():
        await owned.commit(owned.partition_of(cure.actor), actors=(cure.to_write(),))
    for message in cure.sends or ():
        partition = owned.partition_of(message.target)
        message.id = owned.next_message_id(partition)
        await owned.commit(partition, put_messages=(message.to_row(),))


async def _unpark(parked: Parked, owned: OfflineStore) -> None:
    row = parked.row._replace(id=owned.next_message_id(parked.partition), parked="")
    await owned.commit(parked.partition, put_messages=(row,), delete_messages=(parked.row.id,))
