"""What one run of author code costs, without engine and store: one JSON line a figure.

Run it with `python -m bench.run_costs`. Each time is the best of several passes over 1,000 awaits.
"""

import gc
import json
import time
import tracemalloc
from collections.abc import Callable, Sequence

from actorflow.workflow.codec import decode_event, encode_event
from actorflow.workflow.context import ActivityContext, WorkflowContext
from actorflow.workflow.events import ExecutionStarted, HistoryEvent, TaskCompleted, TaskScheduled
from actorflow.workflow.registry import Registry, WorkflowDefinition
from actorflow.workflow.replay import WorkflowRun
from actorflow.workflow.state import InstanceState
from actorflow.workflow.turn import record

AWAITS = 1_000
PASSES = 9
PARKED = 10_000

app = Registry()


@app.activity
async def work(ctx: ActivityContext, value: int) -> int:
    """Never run: only its calls are measured."""
    return value


@app.workflow
async def chain(ctx: WorkflowContext, length: int) -> int:
    """One activity after the other."""
    total = 0
    for step in range(length):
        total += await ctx.call_activity(work, input=step)
    return total


def started(number: int, length: int) -> ExecutionStarted:
    """Return the first fact of a chain."""
    return ExecutionStarted(
        at_ns=1,
        name="chain",
        instance_id=f"chain-{number}",
        execution_id=f"{number:08x}-6c0c-4d8a-9b5e-0a6d4c1f2e3d",
        input=str(length),
    )


def lived(definition: WorkflowDefinition) -> tuple[list[HistoryEvent], list[HistoryEvent]]:
    """Return the history of a whole chain, and the facts in it."""
    run = WorkflowRun(definition, "chain-0")
    facts: list[HistoryEvent] = [started(0, AWAITS)]
    facts += [TaskCompleted(at_ns=1, task_id=n + 1, result=str(n)) for n in range(AWAITS)]
    history: list[HistoryEvent] = []
    for fact in facts:
        history.append(fact)
        history += record(run.feed(fact), instance_id="chain-0", at_ns=fact.at_ns)
    return history, facts


def best_us(action: Callable[[], object], count: int) -> float:
    """Return the microseconds of one of `count` parts of the fastest pass."""
    fastest = float("inf")
    for _ in range(PASSES):
        begin = time.perf_counter()
        action()
        fastest = min(fastest, time.perf_counter() - begin)
    return round(fastest / count * 1e6, 3)


def parked_bytes(definition: WorkflowDefinition) -> tuple[float, float]:
    """Return the bytes of a run, and of a state, that wait for one activity."""
    starts = [started(number, 1) for number in range(PARKED)]
    scheduled = TaskScheduled(event_id=1, name="work")
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    runs = [WorkflowRun(definition, start.instance_id) for start in starts]
    for run, start in zip(runs, starts, strict=True):
        run.feed(start)
    between = tracemalloc.get_traced_memory()[0]
    states = [InstanceState() for _ in starts]
    for state, start in zip(states, starts, strict=True):
        state.apply(start)
        state.apply(scheduled)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (between - before) / PARKED, (after - between) / PARKED


def feed_all(definition: WorkflowDefinition, facts: Sequence[HistoryEvent]) -> None:
    """Live through all facts."""
    run = WorkflowRun(definition, "chain-0")
    for fact in facts:
        run.feed(fact)


def main() -> None:
    """Measure and print."""
    definition = app.workflow_of(chain)
    history, facts = lived(definition)
    records = [encode_event(event) for event in history]

    def rebuild() -> None:
        WorkflowRun(definition, "chain-0").replay(map(decode_event, records))

    def fold() -> None:
        state = InstanceState()
        for event in history:
            state.apply(event)

    run_bytes, state_bytes = parked_bytes(definition)
    figures = {
        "feed_us_a_step": best_us(lambda: feed_all(definition, facts), AWAITS),
        "replay_us_an_event": best_us(
            lambda: WorkflowRun(definition, "chain-0").replay(history), len(history)
        ),
        "decode_and_replay_us_an_event": best_us(rebuild, len(history)),
        "encode_us": best_us(lambda: [encode_event(event) for event in history], len(history)),
        "decode_us": best_us(lambda: [decode_event(each) for each in records], len(records)),
        "apply_us": best_us(fold, len(history)),
        "parked_run_bytes": run_bytes,
        "parked_state_bytes": state_bytes,
    }
    for name, value in figures.items():
        print(json.dumps({"figure": name, "value": round(value, 3)}))


if __name__ == "__main__":
    main()
