"""What must hold whatever breaks, as functions that raise AssertionError with the evidence.

I1  histories have neither gaps nor repetitions       I7  what waits has a row that will wake it
I2  one owner at a time, commits without gaps         I8  after quiet nothing is left over
I3  every accepted start ends once, as modelled       I9  a parent hears of a child's end once
I4  every accepted event is in the history once       I11 nothing leaks (`loop.simulate` sees to it)
I5  one recorded result for each activity             I13 a purge leaves nothing
I6  timers fire once, and never early
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.address import ActorId
from actorflow.actors.ports import MessageRow
from actorflow.actors.store.memory import MemoryStore, _record
from actorflow.workflow.events import (
    NEVER_NS,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    EventRaised,
    ExecutionResumed,
    ExecutionStalled,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    Status,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
    TurnStarted,
)
from actorflow.workflow.records import head_of, history_of, inbox_of
from actorflow.workflow.requests import (
    ACTIVITY,
    GO_ON,
    INSTANCE,
    RESULT,
    START,
    TURN,
    WORKER,
    WORKER_READY,
    StartRequest,
    WorkerWanted,
    WorkItem,
    instance_type,
    unpack,
    unpack_result,
)
from actorflow.workflow.state import InstanceState
from tests.sim.ledger import expected_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from actorflow.actors.ports import ActorRecord, Reminder
    from actorflow.workflow.events import ParentRef
    from tests.sim.faulty_store import Applied, Audit
    from tests.sim.ledger import Ledger


class Stored(NamedTuple):
    """One workflow instance as committed, decoded."""

    record: ActorRecord
    history: list[HistoryEvent]
    inbox: dict[int, HistoryEvent]
    state: InstanceState
    reminders: dict[str, Reminder]

    @property
    def instance_id(self) -> str:
        return self.record.actor.key

    @property
    def actor(self) -> ActorId:
        return self.record.actor


class Waking(NamedTuple):
    """What the stored messages will wake, by what they name. `looks` are messages by which the
    facts that an instance keeps come to its code."""

    work: Counter[tuple[ActorId, str, int]]
    results: Counter[tuple[ActorId, str, int]]
    starts: Counter[tuple[ActorId, ParentRef | None]]
    looks: Counter[ActorId]


def stored_instances(store: MemoryStore) -> Iterator[Stored]:
    """Yield every committed workflow instance."""
    for partition in store._partitions.values():
        for actor in partition.actors.values():
            if actor.actor.type.partition("@")[0] != INSTANCE:
                continue
            record = _record(actor, with_log=True)
            history, state = history_of(record), InstanceState()
            for event in history:
                state.apply(event)
            yield Stored(record, history, inbox_of(record), state, actor.reminders)


def stored_messages(store: MemoryStore) -> list[MessageRow]:
    """Return every committed message."""
    return [row for part in store._partitions.values() for row in part.messages.values()]


def messages_on_links(store: MemoryStore) -> list[MessageRow]:
    """Return every message that one partition has sent and another has not stored yet."""
    return [
        MessageRow(0, entry.target, entry.method, entry.payload, entry.sender)
        for source, part in list(store._partitions.items())
        for entry in part.outbox.values()
        if (mark := store._partition(entry.destination).marks.get(source)) is None
        or entry.id > mark.id
    ]


def stored_reminders(store: MemoryStore) -> list[Reminder]:
    """Return every committed reminder."""
    return [
        reminder
        for part in store._partitions.values()
        for actor in part.actors.values()
        for reminder in actor.reminders.values()
    ]


# ---- of every committed state --------------------------------------------------------------------


def check_committed(store: MemoryStore, *, cancels_timers: bool = False) -> None:
    """I1, I6 and I7 hold after every single commit, since a commit is whole.

    Args:
        cancels_timers: the code does, which no history records: a timer may have no reminder.
    """
    waking = _waking([*stored_messages(store), *messages_on_links(store)])
    instances = {stored.actor: stored for stored in stored_instances(store)}
    for stored in instances.values():
        check_history(stored.history)
        check_timers(stored.history)
        if stored.inbox and stored.state.terminal_status is None:
            _check_will_look(stored, waking)
        if not stored.inbox:
            head = head_of(stored.record)
            assert head.history_length == len(stored.history) == stored.record.log_length
            assert head.execution_id == stored.state.execution_id
        if stored.state.terminal_status is None and stored.state.started:
            _check_will_wake(stored, waking, instances)
            if not cancels_timers:
                _check_will_fire(stored)


def check_history(history: Sequence[HistoryEvent]) -> None:
    """I1 of one execution, and the part of I5 that the history shows."""
    ids = [event.event_id for event in history if event.event_id >= 0]
    if is_remote(history):
        assert len(ids) == len(set(ids)), f"an action id comes twice: {ids}"
        check_turns(history)
    else:
        assert ids == list(range(1, len(ids) + 1)), f"action ids have a gap: {ids}"
        times = [event.at_ns for event in history]
        assert times == sorted(times), "time runs backwards"
    tasks: set[int] = set()
    children: set[int] = set()
    for event in history:
        match event:
            case TaskScheduled():
                tasks.add(event.event_id)
            case ChildCreated():
                children.add(event.event_id)
            case TaskCompleted() | TaskFailed():
                assert event.task_id in tasks, f"a result without a call, or a second one: {event}"
                tasks.remove(event.task_id)
            case ChildCompleted() | ChildFailed():
                assert event.task_id in children, f"a second end of a child: {event}"
                children.remove(event.task_id)


def is_remote(history: Sequence[HistoryEvent]) -> bool:
    """Whether remote workers run the code: the first turn stands before the start."""
    kinds = [type(event) for event in history]
    return TurnStarted in kinds and kinds.index(TurnStarted) < kinds.index(ExecutionStarted)


_FACTS = (
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionResumed,
    TaskCompleted,
    TaskFailed,
    ChildCompleted,
    ChildFailed,
    TimerFired,
    EventRaised,
)


def check_turns(history: Sequence[HistoryEvent]) -> None:
    """A turn begins, then come its facts, which are older, then what the code asks for."""
    newest_ns = 0
    before: HistoryEvent | None = None
    for event in history:
        if isinstance(event, _FACTS):
            if isinstance(before, TurnStarted):
                assert event.at_ns <= before.at_ns, f"a fact is younger than its turn: {event}"
            continue
        assert event.at_ns >= newest_ns, f"time runs backwards: {event}"
        newest_ns, before = event.at_ns, event
    first = next(e for e in history if not isinstance(e, ExecutionStalled))
    assert isinstance(first, TurnStarted), f"begins with {first}"


def check_timers(history: Sequence[HistoryEvent]) -> None:
    """I6 of one execution."""
    due = {event.event_id: event.fire_at_ns for event in history if isinstance(event, TimerCreated)}
    for event in history:
        if isinstance(event, TimerFired):
            assert event.timer_id in due, f"a timer fired twice: {event}"
            assert event.at_ns >= due.pop(event.timer_id), f"a timer fired early: {event}"


def _waking(messages: Iterable[MessageRow]) -> Waking:
    waking = Waking(Counter(), Counter(), Counter(), Counter())
    for row in messages:
        if row.parked:
            continue
        if row.target.type == ACTIVITY:
            item = unpack(WorkItem, row.payload)
            asker = ActorId(item.asker_type, item.instance_id)
            waking.work[asker, item.execution_id, item.task_id] += 1
        elif row.target.type == WORKER:
            wanted = unpack(WorkerWanted, row.payload)
            waking.looks[ActorId(instance_type(wanted.app_id), row.target.key)] += 1
        elif row.method == RESULT:
            execution_id, event = unpack_result(row.payload)
            waking.results[row.target, execution_id, getattr(event, "task_id", 0)] += 1
        elif row.method == START:
            waking.starts[row.target, unpack(StartRequest, row.payload).parent] += 1
        elif row.method in (TURN, WORKER_READY, GO_ON):
            waking.looks[row.target] += 1
    return waking


def _check_will_look(stored: Stored, waking: Waking) -> None:
    """I7: facts that are kept come to the code some day."""
    assert waking.looks[stored.actor] or "start" in stored.reminders, (
        f"{stored.actor}: nothing will look at its facts {stored.inbox}"
    )


def _check_will_wake(stored: Stored, waking: Waking, instances: dict[ActorId, Stored]) -> None:
    """I7: each thing that an open instance waits for has exactly one row that brings it on."""
    state, key = stored.state, stored.actor
    kept = Counter(getattr(fact, "task_id", 0) for fact in stored.inbox.values())
    for task_id in state.open_tasks:
        name = (key, state.execution_id, task_id)
        rows = waking.work[name] + waking.results[name] + kept[task_id]
        assert rows == 1, f"{key}: activity {task_id} has {rows} rows"
    for task_id, child in state.open_children.items():
        rows = waking.results[key, state.execution_id, task_id] + kept[task_id]
        actor = ActorId(
            instance_type(child.app_id) if child.app_id else key.type, child.instance_id
        )
        rows += sum(count for (target, _), count in waking.starts.items() if target == actor)
        living = instances.get(actor)
        if living is not None and living.state.terminal_status is None:
            rows += 1
        assert rows >= 1, f"{key}: nothing will end child {child.instance_id}"
    waits = (state.open_tasks, state.open_timers, state.open_children, stored.inbox)
    assert any(waits) or state.suspended or state.stalled_reason, f"{key} waits for nothing"


def _check_will_fire(stored: Stored) -> None:
    """I7 for timers: each has a reminder, unless it is the guard of a wait without end, or has
    fired and the fact waits for a worker."""
    state = stored.state
    fired = {fact.timer_id for fact in stored.inbox.values() if isinstance(fact, TimerFired)}
    for timer_id, timer in state.open_timers.items():
        if timer.fire_at_ns < NEVER_NS and timer_id not in fired:
            assert f"timer:{state.generation}:{timer_id}" in stored.reminders, (
                f"{stored.instance_id}: timer {timer_id} has no reminder"
            )


# ---- of the whole run ----------------------------------------------------------------------------


def check_ownership(audit: Audit) -> None:
    """I2. A store that was rolled back has no say."""
    if audit.rolled_back:
        return
    for partition in {commit.partition for commit in audit.applied}:
        applied = [commit for commit in audit.applied if commit.partition == partition]
        _check_sequence(applied)


def _check_sequence(applied: list[Applied]) -> None:
    numbers = [commit.seq for commit in applied]
    assert numbers == list(range(1, len(numbers) + 1)), f"commits have a gap: {numbers}"
    epochs = [commit.epoch for commit in applied]
    assert epochs == sorted(epochs), f"epochs decrease: {epochs}"
    owners = {(commit.epoch, commit.token) for commit in applied}
    assert len(owners) == len(set(epochs)), "two owners in one epoch"
    assert len({commit.commit_id for commit in applied}) == len(applied), "a commit applied twice"


def check_quiet(store: MemoryStore) -> None:
    """I8: when everything has ended, nothing waits any more. I9 on the way."""
    assert stored_messages(store) == []
    assert messages_on_links(store) == []
    assert stored_reminders(store) == []
    instances = {stored.actor: stored for stored in stored_instances(store)}
    for stored in instances.values():
        assert stored.state.terminal_status is not None, f"{stored.actor} has not ended"
        assert stored.inbox == {}
        children = [e for e in stored.history if isinstance(e, ChildCreated)]
        ended = [e for e in stored.history if isinstance(e, ChildCompleted | ChildFailed)]
        if stored.state.terminal_status is Status.COMPLETED:
            assert len(children) == len(ended)
        for child in children:
            kind = instance_type(child.app_id) if child.app_id else stored.actor.type
            assert instances[ActorId(kind, child.instance_id)].state.terminal_status is not None


def check_ledger(ledger: Ledger, store: MemoryStore, *, faults: int) -> None:
    """I3, I4 and I5 of the standard workload. `faults` may each have repeated any activity."""
    instances = {stored.instance_id: stored for stored in stored_instances(store)}
    assert set(ledger.finished) == set(ledger.acknowledged)
    for instance_id, order in ledger.acknowledged.items():
        stored = instances[instance_id]
        ((event_id, value),) = ledger.events[instance_id]
        raised = [e for e in stored.history if isinstance(e, EventRaised)]
        assert [e.dedup_id for e in raised] == [event_id]
        expected = expected_output(order, value)
        for output in (ledger.finished[instance_id].output, stored.state.output):
            assert output is not None
            assert json.loads(output) == expected
    check_activities(ledger, instances.values(), faults=faults)


def check_activities(ledger: Ledger, instances: Iterable[Stored], *, faults: int) -> None:
    """I5: at least one execution, at most one more for each fault; and none before its commit."""
    ran = Counter(run.task_execution_id for run in ledger.side_log.runs)
    events = [event for stored in instances for event in stored.history]
    results = Counter(e.task_execution_id for e in events if isinstance(e, TaskCompleted))
    asked = {event.task_execution_id for event in events if isinstance(event, TaskScheduled)}
    assert set(ran) <= asked, "an activity ran that no history asks for"
    assert set(results) <= set(ran)
    assert all(count == 1 for count in results.values())
    assert all(count <= 1 + faults for count in ran.values()), ran
    if faults == 0:
        assert ledger.side_log.most_at_once == 1, "an activity ran twice at once"
