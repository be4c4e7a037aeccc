"""Laws of replay, over every shape of the corpus and random lives of it.

A life is a random sequence of facts that could have happened: results, failures, timers, events,
suspensions, late and foreign completions.
"""

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actorflow.workflow.actions import Action, Complete, CreateChild, CreateTimer, ScheduleTask
from actorflow.workflow.codec import decode_event, encode_event
from actorflow.workflow.events import NEVER_NS, HistoryEvent, Status
from actorflow.workflow.replay import WorkflowRun
from actorflow.workflow.state import InstanceState
from tests.corpus.driving import DrivenRun
from tests.corpus.shapes import shapes

FACTS_MAX = 30

ANSWERED: tuple[type[ScheduleTask | CreateChild | CreateTimer], ...] = (
    ScheduleTask,
    CreateChild,
    CreateTimer,
)

EVENT_NAMES = ("stop", "Approval", "count", "COUNT", "a", "A", "B", "nobody")


def live(data: st.DataObject, name: str) -> DrivenRun:
    """Live a random life of one shape, perhaps to its end."""
    definition = shapes.workflow_named(name)
    assert definition is not None
    driven = DrivenRun(definition)
    if data.draw(st.integers(min_value=0, max_value=9)) == 0:
        driven.suspend()  # before it starts
    driven.start()
    for _ in range(data.draw(st.integers(min_value=0, max_value=FACTS_MAX))):
        if driven.run.is_complete:
            break
        _one_fact(data, driven, data.draw(st.integers(min_value=0, max_value=19)))
    return driven


def continued(driven: DrivenRun) -> bool:
    """Whether the life ended by continue-as-new: then no history of it is kept, nor replayed."""
    ends = driven.asked(Complete)
    return bool(ends) and ends[0].status is Status.CONTINUED_AS_NEW


def _one_fact(data: st.DataObject, driven: DrivenRun, fate: int) -> None:
    state = InstanceState()
    for event in driven.history:
        state.apply(event)
    answerable = [
        action
        for action in driven.asked(*ANSWERED)
        if not isinstance(action, CreateTimer) or action.fire_at_ns != NEVER_NS
    ]
    pending = {*state.open_tasks, *state.open_children, *state.open_timers}
    if fate > 2:  # else any action ever asked for: answers come twice, late, after a cancellation
        answerable = [action for action in answerable if action.id in pending]
    if fate == 0 and answerable:  # of an execution that had this id before
        driven.complete(data.draw(st.sampled_from(answerable)).id, "stale", ref="another")
        return
    waited_for = sorted({t.origin.ref for t in state.open_timers.values() if t.origin.ref})
    if state.suspended and fate % 3 == 0:
        driven.resume()
    elif fate == 3:
        driven.suspend()
    elif fate == 4:
        driven.resume()
    elif fate < 9 or not answerable:
        # Names that are waited for come more often than others, in any case of letters.
        names = st.sampled_from(waited_for * 3 + list(EVENT_NAMES))
        driven.raise_event(data.draw(names), len(driven.facts))
    else:
        _answer(driven, data.draw(st.sampled_from(answerable)), is_good=data.draw(st.booleans()))


def _answer(driven: DrivenRun, action: Action, *, is_good: bool) -> None:
    match action:
        case ScheduleTask():
            ref = action.task_execution_id
            driven.complete(action.id, [ref], ref=ref) if is_good else driven.fail(action.id)
        case CreateChild():
            driven.complete_child(action.id, []) if is_good else driven.fail_child(action.id)
        case CreateTimer():
            driven.fire(action.id)


def facts_with_actions(driven: DrivenRun, cuts: set[int]) -> list[list[Action]]:
    """Feed the same facts again, rebuilding the run by replay before each fact in `cuts`."""
    again = DrivenRun(driven.definition, driven.instance_id)
    told = []
    for index, fact in enumerate(driven.facts):
        if index in cuts:
            again.run.close()
            again.run = again.rebuilt()
        told.append(again.feed(fact))
    return told


shape_names = st.sampled_from(shapes.workflow_names())


@settings(max_examples=300)
@given(data=st.data(), name=shape_names)
def test_any_split_of_facts_into_replay_and_feed_asks_for_the_same(
    data: st.DataObject, name: str
) -> None:
    driven = live(data, name)
    cuts = data.draw(st.sets(st.integers(min_value=1, max_value=FACTS_MAX)))
    assert facts_with_actions(driven, cuts) == facts_with_actions(driven, set())


@given(data=st.data(), name=shape_names)
def test_replay_before_each_fact_is_the_same_as_a_live_run(data: st.DataObject, name: str) -> None:
    driven = live(data, name)
    told = facts_with_actions(driven, set(range(1, FACTS_MAX + 2)))
    assert [action for actions in told for action in actions] == driven.actions


@given(data=st.data(), name=shape_names)
def test_replay_twice_is_replay_once(data: st.DataObject, name: str) -> None:
    driven = live(data, name)
    assume(not continued(driven))
    first, second = driven.rebuilt(), driven.rebuilt()
    assert first.custom_status == second.custom_status == driven.run.custom_status
    assert first.is_complete == second.is_complete == driven.run.is_complete
    first_told = [first.feed(fact) for fact in driven.facts[1:]]
    assert first_told == [second.feed(fact) for fact in driven.facts[1:]]


@given(data=st.data(), name=shape_names)
def test_a_stored_history_replays(data: st.DataObject, name: str) -> None:
    driven = live(data, name)
    assume(not continued(driven))
    stored = [encode_event(event) for event in driven.history]
    history: list[HistoryEvent] = [decode_event(record) for record in stored]
    assert history == driven.history
    run = WorkflowRun(driven.definition, driven.instance_id)
    run.replay(history)
    assert run.is_complete == driven.run.is_complete
    assert run.custom_status == driven.run.custom_status


@given(data=st.data())
def test_a_generator_asks_for_the_same_as_its_coroutine(data: st.DataObject) -> None:
    pair = data.draw(
        st.sampled_from([("chain", "chain_of_yields"), ("fan_out", "fan_out_of_yields")])
    )
    driven = live(data, pair[0])
    twin = shapes.workflow_named(pair[1])
    assert twin is not None
    run = WorkflowRun(twin, driven.instance_id)
    told = [action for fact in driven.facts for action in run.feed(fact)]
    assert [type(action) for action in told] == [type(action) for action in driven.actions]
    assert [a for a in told if isinstance(a, ScheduleTask)] == driven.asked(ScheduleTask)
