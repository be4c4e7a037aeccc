"""docs/workflows.md is true: every workflow in it runs, and gives what the page says."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from actorflow.actors.store.memory import MemoryStore
from actorflow.server.loader import load_app
from actorflow.workflow import (
    ChildFailedError,
    Instance,
    InstanceStalledError,
    Limits,
    Registry,
    Status,
    WorkflowClient,
    WorkflowContext,
    WorkflowEngine,
    WorkflowFailedError,
)
from tests.pages import page_text, program_of
from tests.sim.loop import SimClock, SimIds, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

PAGE = "docs/workflows.md"
PEN = {"sku": "pen", "price": 3}
FREE = {"sku": "air", "price": 0}


class Case(NamedTuple):
    """One run of a workflow of the page: its input, the events raised, and its output."""

    workflow: str
    given: Any
    expected: Any
    events: tuple[tuple[str, Any], ...] = ()


CASES = [
    Case("checkout", PEN, "receipt pen"),
    Case("ship", PEN, "label for Oslo"),
    Case("quote", ["pen", "ink"], ["receipt pen", "receipt ink"]),
    Case("quickest", [PEN], "receipt pen"),
    Case("quickest", [], "nobody answered"),
    Case("remind", 2, "2 days later"),
    Case("approval", PEN, "approved", (("approval", True),)),
    Case("approval", PEN, "refused", (("APPROVAL", False),)),
    Case("approval", PEN, "nobody decided"),
    Case("batch", [PEN, FREE], {"done": ["receipt pen"], "failed": [...]}),
    Case("all_or_nothing", [PEN, PEN], ["receipt pen", "receipt pen"]),
    Case("all_or_nothing", [PEN, FREE], ["returned receipt pen"]),
    Case("meter", None, 250 * 2, (("reading", 2),) * 250 + (("reading", -1),)),
    Case("classic", PEN, "receipt pen, an hour ago"),
]


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The program of the page, loaded as the server loads it."""
    path: Path = tmp_path_factory.mktemp("guide") / "guide.py"
    path.write_text(program_of(PAGE))
    return load_app(str(path))


def in_virtual_time(
    app: Registry,
    main: Callable[[WorkflowEngine], Coroutine[Any, Any, None]],
    limits: Limits | None = None,
) -> None:
    async def run(loop: SimLoop) -> None:
        clock = SimClock(loop)
        store = MemoryStore(clock=clock)
        async with WorkflowEngine(
            store, app, clock=clock, ids=SimIds(1), limits=limits or Limits()
        ) as engine:
            await main(engine)

    simulate(2, run)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.workflow)
def test_each_workflow_gives_what_the_page_says(guide: Registry, case: Case) -> None:
    async def main(engine: WorkflowEngine) -> None:
        client = WorkflowClient(engine)
        instance_id = await client.start(case.workflow, case.given)
        for name, data in case.events:
            await client.raise_event(instance_id, name, data)
        output = await client.result(instance_id, timeout_s=None)
        if case.workflow == "batch":
            (reason,) = output["failed"]
            assert "the price of air is 0" in reason
            output["failed"] = [...]
        assert output == case.expected

    in_virtual_time(guide, main)


def test_no_workflow_of_the_page_is_left_out(guide: Registry) -> None:
    assert {case.workflow for case in CASES} == set(guide.workflow_names())


def test_continue_as_new_begins_again_under_the_same_id(guide: Registry) -> None:
    async def main(engine: WorkflowEngine) -> None:
        client = WorkflowClient(engine)
        instance_id = await client.start("meter")
        first = await engine.wait_for_start(instance_id, timeout_s=1)
        for _ in range(100):
            await client.raise_event(instance_id, "reading", 1)
        second = await engine.get(instance_id)
        assert second is not None
        assert second.execution_id != first.execution_id
        assert second.history_length < 10

    in_virtual_time(guide, main)


def test_a_wrong_input_fails_at_once_and_names_the_place(guide: Registry) -> None:
    async def main(engine: WorkflowEngine) -> None:
        instance_id = await engine.start("checkout", input='{"sku": 1}')
        instance = await engine.wait_for_completion(instance_id, timeout_s=1)
        assert instance.status is Status.FAILED
        assert instance.failure is not None
        assert instance.failure.error_type == "PayloadError"
        assert "$.sku" in instance.failure.message

    in_virtual_time(guide, main)


def test_a_long_history_is_warned_of_once_and_stalls_at_the_limit(
    guide: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(engine: WorkflowEngine) -> None:
        client = WorkflowClient(engine)
        instance_id = await client.start("meter")
        for _ in range(20):
            with contextlib.suppress(InstanceStalledError):
                await client.raise_event(instance_id, "reading", 1)
        stalled = await engine.get(instance_id)
        assert stalled is not None
        assert stalled.status is Status.STALLED
        assert stalled.history_length < 20
        (reason, _) = await engine.why(instance_id)
        assert "continue-as-new" in reason.detail

    in_virtual_time(guide, main, Limits(history_events_warn=10, history_events_max=15))
    (warning,) = (r for r in caplog.records if "history is long" in r.message)
    assert warning.levelname == "WARNING"


def test_children_end_where_the_limit_is() -> None:
    app = Registry()

    @app.workflow
    async def nest(ctx: WorkflowContext, level: int = 0) -> str:
        try:
            return str(await ctx.call_child_workflow("nest", input=level + 1))
        except ChildFailedError as error:
            return f"{level}: {error.details.message}"

    async def main(engine: WorkflowEngine) -> None:
        output = await WorkflowClient(engine).run("nest")
        assert output.startswith("5: the depth of child workflows")

    in_virtual_time(app, main, Limits(child_depth_max=5))


def naps(first: str) -> Registry:
    """A workflow of one name that calls another activity first, as after a change of its code."""
    app = Registry()

    @app.activity
    async def old(_: object) -> None: ...

    @app.activity
    async def new(_: object) -> None: ...

    @app.workflow
    async def nap(ctx: Any) -> str:
        await ctx.call_activity(first)
        await ctx.sleep(3_600)
        return "rested"

    return app


def test_changed_code_stalls_and_the_old_code_mends_it() -> None:
    async def main(loop: SimLoop) -> None:
        clock = SimClock(loop)
        store = MemoryStore(clock=clock)
        ids = SimIds(1)
        async with WorkflowEngine(store, naps("old"), clock=clock, ids=ids) as engine:
            await engine.start("nap", instance_id="n")
            await asyncio.sleep(1)
        async with WorkflowEngine(store, naps("new"), clock=clock, ids=ids) as engine:
            await asyncio.sleep(7_200)
            stalled = await engine.get("n")
            assert stalled is not None
            assert stalled.status is Status.STALLED
            (reason, _) = await engine.why("n")
            assert reason.kind == "stalled"
            assert "'old'" in reason.detail
            assert "'new'" in reason.detail
        async with WorkflowEngine(store, naps("old"), clock=clock, ids=ids) as engine:
            ended: Instance = await engine.wait_for_completion("n", timeout_s=60)
            assert json.loads(ended.output or "") == "rested"

    simulate(2, main)


@pytest.mark.asyncio
async def test_the_engine_embedded_as_on_the_page(tmp_path: Path) -> None:
    path = tmp_path / "embedded_guide.py"
    path.write_text(program_of(PAGE))
    app = load_app(str(path))
    definition = app.workflow_named("approval")
    assert definition is not None
    assert await definition.function.__globals__["embedded"]() == "approved"


def test_the_page_names_every_limit_with_its_default() -> None:
    rows = [line for line in page_text(PAGE).splitlines() if line.startswith("| `")]
    for field in dataclasses.fields(Limits):
        (row,) = (row for row in rows if f"`{field.name}`" in row)
        assert f" {field.default:,} " in row


def test_every_payload_has_the_size_limit() -> None:
    app = Registry()

    @app.workflow
    async def grow(_: WorkflowContext, size: int) -> str:
        return "x" * size

    async def main(engine: WorkflowEngine) -> None:
        client = WorkflowClient(engine)
        assert await client.run("grow", 98) == "x" * 98
        with pytest.raises(WorkflowFailedError, match="result of workflow 'grow' in bytes"):
            await client.run("grow", 99)  # its quotes make it 101 bytes

    in_virtual_time(app, main, Limits(payload_bytes_max=100))


def test_a_start_at_a_moment_without_a_zone_means_utc(guide: Registry) -> None:
    async def main(engine: WorkflowEngine) -> None:
        moment = datetime(2030, 1, 1, 12)  # noqa: DTZ001 -- what happens without a zone
        instance_id = await WorkflowClient(engine).start("checkout", PEN, start_at=moment)
        instance = await engine.get(instance_id)
        assert instance is not None
        at_noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
        assert instance.scheduled_start_ns == int(at_noon.timestamp()) * 1_000_000_000

    in_virtual_time(guide, main)
