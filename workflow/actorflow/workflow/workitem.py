"""PURE. What remote workers are given to do, and the tokens by which their answers find back.

A turn is made of what is committed: of the record of its instance, or of the live instance while it
knows nothing that is not.

A token says all that an answer needs: it is good after a restart, on every host, and when somebody
else has been given the same work since. It is no secret and no proof: when the answer comes, it is
held against the request that is committed (`fitting`) and by the instance against what it is at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, overload

import msgspec

from actorflow.actors.address import ActorId
from actorflow.actors.completion import DeliveryKey
from actorflow.workflow.events import ExecutionStarted, HistoryEvent, TurnStarted
from actorflow.workflow.outbound import SPREAD
from actorflow.workflow.propagation import propagated_of
from actorflow.workflow.records import history_of, inbox_of
from actorflow.workflow.requests import ACTIVITY, WORKER, WorkItem

if TYPE_CHECKING:
    from actorflow.actors.ports import ActorRecord
    from actorflow.workflow.propagation import PropagatedHistory


_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What fits into a message to another host. Whoever holds a token may have changed it."""


class TurnToken(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """Names a turn: the row of the request for a worker, and what the worker was shown."""

    message_id: _Number
    check: _Number
    actor_type: str
    execution_id: str
    history_length: _Number
    fact_count: _Number
    at_ns: _Number

    def key(self, instance_id: str) -> DeliveryKey:
        """Return the key of the request."""
        return DeliveryKey(ActorId(WORKER, instance_id), self.message_id, self.check)

    def instance(self, instance_id: str) -> ActorId:
        """Return whom the answer is for."""
        return ActorId(self.actor_type, instance_id)


class ActivityToken(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """Names an activity: the row of its request, and whom its result is for."""

    message_id: _Number
    check: _Number
    actor_type: str
    execution_id: str
    task_id: int
    task_execution_id: str
    is_spread: bool

    def key(self, instance_id: str) -> DeliveryKey:
        """Return the key of the request."""
        key = f"{instance_id}{SPREAD}{self.task_id}" if self.is_spread else instance_id
        return DeliveryKey(ActorId(ACTIVITY, key), self.message_id, self.check)

    def instance(self, instance_id: str) -> ActorId:
        """Return whom the answer is for."""
        return ActorId(self.actor_type, instance_id)


Token = TurnToken | ActivityToken

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Token] = msgspec.json.Decoder(Token)


def token_text(token: Token) -> str:
    """Return the text that travels with the work."""
    return _encode(token).decode()


def token_of(text: str) -> Token | None:
    """Return the token of a text, None for a text that is none."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


class PastEvents(Sequence[HistoryEvent]):
    """The first events of a history that may grow, not copied: most workers have a memory, and are
    sent the newest of them only."""

    __slots__ = ("_count", "_history")

    def __init__(self, history: Sequence[HistoryEvent], count: int) -> None:
        self._history = history
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> HistoryEvent: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[HistoryEvent]: ...

    def __getitem__(self, index: int | slice) -> HistoryEvent | Sequence[HistoryEvent]:
        if isinstance(index, slice):
            return [self._history[n] for n in range(*index.indices(self._count))]
        return self._history[range(self._count)[index]]


class TurnItem(msgspec.Struct, frozen=True):
    """Facts to run the code of an instance over. `new_events` begins with a TurnStarted."""

    instance_id: str
    execution_id: str
    past_events: Sequence[HistoryEvent]
    new_events: tuple[HistoryEvent, ...]
    token: TurnToken
    propagated: PropagatedHistory | None = None


class ActivityItem(msgspec.Struct, frozen=True):
    """An activity to run."""

    request: WorkItem
    token: ActivityToken


class Asking(msgspec.Struct, frozen=True):
    """The request for a worker that a turn answers.

    Args:
        key: of the request.
        execution_id: as the request says, "" from a release that did not.
        now_ns: UTC.
        shown: what another worker was shown of this turn. It is shown again, and no fact more,
            while that can still be answered: so an answer fits, whichever of them it comes from.
    """

    key: DeliveryKey
    execution_id: str
    now_ns: int
    shown: TurnToken | None = None


def turn_item(record: ActorRecord, asking: Asking) -> TurnItem | None:
    """Return the turn that an instance waits for; None when it does not wait for a remote worker.

    Raises:
        HistoryCorruptError: its data cannot be read.
    """
    past = tuple(history_of(record))
    facts = list(inbox_of(record).values())
    starts = [event for event in facts if isinstance(event, ExecutionStarted)]
    begun = [event for event in past if isinstance(event, ExecutionStarted)]
    if not facts or not (starts or begun):
        return None
    if begun and not any(isinstance(event, TurnStarted) for event in past[: past.index(begun[0])]):
        return None  # in-process code has begun it, and only such code can go on
    present = (starts or begun)[0].execution_id
    newest_ns = max((event.at_ns for event in past), default=0)
    propagated = propagated_of(record)
    return turn_of(record.actor, asking, present, past, facts, newest_ns, propagated)


def turn_of(  # noqa: PLR0913, PLR0917 -- one value each of two sources
    actor: ActorId,
    asking: Asking,
    present: str,
    past: Sequence[HistoryEvent],
    facts: list[HistoryEvent],
    newest_ns: int,
    propagated: PropagatedHistory | None,
) -> TurnItem | None:
    """Return a turn with the facts that wait; None when the request was for another execution.

    Args:
        present: the execution that they are for.
        past: its history.
        newest_ns: the time of the newest event in it.
        propagated: what the instance was shown when it was started.
    """
    if asking.execution_id not in ("", present):
        return None
    shown = asking.shown
    if shown is not None and (shown.execution_id, shown.history_length) == (present, len(past)):
        facts, at_ns = facts[: shown.fact_count], shown.at_ns
    else:
        # INVARIANT: the turn is no older than what came before it, however wrong this clock is.
        at_ns = max(asking.now_ns, newest_ns, *[fact.at_ns for fact in facts])
    key = asking.key
    token = TurnToken(key.message_id, key.check, actor.type, present, len(past), len(facts), at_ns)
    new_events = (TurnStarted(at_ns=at_ns), *facts)
    return TurnItem(actor.key, present, past, new_events, token, propagated)


def activity_item(key: DeliveryKey, request: WorkItem) -> ActivityItem:
    """Return what a worker is given for a request."""
    token = ActivityToken(
        key.message_id,
        key.check,
        request.asker_type,
        request.execution_id,
        request.task_id,
        request.task_execution_id,
        SPREAD in key.target.key,
    )
    return ActivityItem(request, token)
