"""A saga: book a trip step by step, and undo what was booked when a later step fails.

    actorflow serve --app examples/saga.py --store memory:
    actorflow workflow start book_trip --input '{"city": "Oslo"}' --wait
    actorflow workflow start book_trip --input '{"city": "Atlantis"}' --wait

The list of compensations is an ordinary local variable: the engine keeps it across any crash.
"""

from dataclasses import dataclass

from actorflow.workflow import ActivityContext, Registry, TaskFailedError, WorkflowContext

app = Registry()


@dataclass
class Trip:
    """What the traveller wants."""

    city: str


@dataclass
class Outcome:
    """What was booked, or undone, in order."""

    booked: list[str]
    undone: list[str]
    error: str | None = None


@app.workflow
async def book_trip(ctx: WorkflowContext, trip: Trip) -> Outcome:
    """Book everything or nothing."""
    outcome = Outcome(booked=[], undone=[])
    try:
        for step in ("hotel", "train", "opera"):
            outcome.booked.append(await ctx.call_activity(book, input=f"{step} in {trip.city}"))
    except TaskFailedError as error:
        outcome.error = str(error)
        for booked in reversed(outcome.booked):
            outcome.undone.append(await ctx.call_activity(cancel, input=booked))
    return outcome


@app.activity
async def book(ctx: ActivityContext, what: str) -> str:
    """Book one thing."""
    if what == "opera in Atlantis":
        raise LookupError("Atlantis has no opera")
    return what


@app.activity
async def cancel(ctx: ActivityContext, what: str) -> str:
    """Undo one booking; must succeed in the end, so retry it in real life."""
    return what
