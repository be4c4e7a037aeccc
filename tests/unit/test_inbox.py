"""The facts that wait for a worker: in order, each where it was stored, also after a restart."""

from actorflow.actors import ActorId
from actorflow.actors.effects import Effects
from actorflow.actors.ports import ActorRecord
from actorflow.workflow.events import EventRaised, ExecutionStarted, HistoryEvent
from actorflow.workflow.inbox import Inbox

ACTOR = ActorId("workflow", "i")
START = ExecutionStarted(at_ns=1, name="flow", instance_id="i", execution_id="x")


def raised(number: int) -> EventRaised:
    return EventRaised(at_ns=number, name=str(number))


class Stored:
    """An inbox, and the fields that its turns have left in the store."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.fields: dict[str, bytes] = {}

    def turn(self, *facts: HistoryEvent, take: int = 0) -> tuple[list[HistoryEvent], int]:
        """Put facts, then take some; return these, and how many fields were written."""
        effects = Effects(ACTOR)
        for fact in facts:
            self.inbox.put(effects, fact)
        taken = self.inbox.take(effects, take) if take else []
        written = 0
        for name, value in (effects.fields or {}).items():
            if value is None:
                self.fields.pop(name, None)
            else:
                self.fields[name] = value
                written += 1
        assert list(self.again()) == list(self.inbox)
        assert self.again().start == self.inbox.start
        return taken, written

    def again(self) -> Inbox:
        """Return the inbox as a new owner reads it."""
        return Inbox(ActorRecord(ACTOR, 1, None, self.fields, 0))


def test_what_a_turn_leaves_is_not_written_again() -> None:
    stored = Stored()
    assert stored.turn(*map(raised, range(1, 13))) == ([], 12)
    assert stored.turn(take=2) == ([raised(1), raised(2)], 0)
    assert stored.turn(raised(13), take=9) == ([raised(n) for n in range(3, 12)], 1)
    stored.inbox = stored.again()
    assert stored.turn(raised(14), take=3) == ([raised(12), raised(13), raised(14)], 0)
    assert (len(stored.inbox), stored.fields) == (0, {})


def test_the_start_is_known_until_it_is_taken() -> None:
    stored = Stored()
    stored.turn(raised(1), START, raised(2))
    assert stored.again().start == START
    assert stored.turn(take=1) == ([raised(1)], 0)
    assert stored.again().start == START
    assert stored.turn(take=1) == ([START], 0)
    assert stored.again().start is None
    stored.turn(START, take=1)
    assert list(stored.again()) == [START]
