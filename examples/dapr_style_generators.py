"""Workflows as Dapr's Python SDK writes them: generators that `yield` what they wait for.

actorflow serve --app examples/dapr_style_generators.py --store memory:
actorflow workflow start greet_all --input '["Ada", "Grace", "Barbara"]' --wait
"""

from collections.abc import Generator
from typing import Any

from actorflow.workflow import ActivityContext, Registry, WorkflowContext

app = Registry()


@app.workflow
def greet_all(ctx: WorkflowContext, names: list[str]) -> Generator[Any, Any, list[str]]:
    """Greet everybody at once, then look at the clock."""
    greetings = yield ctx.when_all([ctx.call_activity(greet, input=name) for name in names])
    yield ctx.create_timer(1)
    return [*greetings, f"done at {ctx.current_utc_datetime:%H:%M:%S} UTC"]


@app.activity
def greet(ctx: ActivityContext, name: str) -> str:
    """Greet one person."""
    return f"Hello {name}!"
