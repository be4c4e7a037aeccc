"""What happens to a turn that raised: who is told, what is tried again, what is parked."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.activation import Activation, ActivationState
from actorflow.actors.errors import (
    ActorCallError,
    ActorflowError,
    CorruptError,
    StoreFullError,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.actors.address import ActorId
    from actorflow.actors.environment import Environment
    from actorflow.actors.message import Message

_log = logging.getLogger(__name__)


DOUBLINGS_MAX = 30
"""The pause between attempts doubles so many times at most: a float has an end."""


SLOW_S = 1.0
"""Turns that hold the event loop for longer are named in the log: nobody is served meanwhile."""


FULL_S = 1.0
"""Pause before a durable message that creates an actor is tried again in a full store."""


class Verdict(NamedTuple):
    """`answer` goes to the caller, if any. A parked message is kept and delivered no more. A
    reminder that is set aside rings again after the pause, and its actor goes on meanwhile."""

    answer: ActorflowError
    park: bool
    reason: str
    pause_s: float
    aside: bool = False


class TurnFailures:
    """Holds activations that must be read again, until their earlier turns are committed."""

    def __init__(self, env: Environment, reload: Callable[[Activation], None]) -> None:
        self._env = env
        self._reload = reload
        self._waiting: list[tuple[Activation, float]] = []
        self._pauses: set[asyncio.TimerHandle] = set()

    def judge(self, actor: ActorId, message: Message, error: Exception) -> Verdict:
        """Decide about a failed turn and log it once."""
        durable = message.id != 0 or message.reminder is not None
        if isinstance(error, StoreFullError):  # not the turn's fault: it is no attempt
            return Verdict(error, park=False, reason="", pause_s=FULL_S if durable else 0.0)
        message.attempt += 1
        limits = self._env.limits
        park = message.id != 0 and message.attempt >= limits.message_attempts
        reason = f"{type(error).__name__}: {text_of(error)}"
        level = logging.ERROR if durable else logging.INFO
        _log.log(
            level,
            "turn failed",
            extra={
                "actor": str(actor),
                "method": message.method,
                "attempt": message.attempt,
                "parked": park,
                "error": reason,
            },
            exc_info=error if durable and not isinstance(error, ActorflowError) else None,
        )
        pause_s = 0.0
        if durable and not park:
            doublings = min(message.attempt - 1, DOUBLINGS_MAX)
            pause_s = min(limits.retry_first_s * 2**doublings, limits.retry_max_s)
        aside = message.reminder is not None and message.attempt >= limits.message_attempts
        return Verdict(answer_of(error), park, reason, pause_s, aside)

    def check_pace(self, actor: ActorId, began_s: float) -> None:
        """The turns of an actor are over: name it if they held the event loop for too long."""
        self._env.pulse.doing = None
        took_s = self._env.loop.time() - began_s
        if took_s <= SLOW_S:
            return
        _log.warning(
            "an actor held the event loop; move blocking code to an activity or a thread",
            extra={"actor": str(actor), "seconds": round(took_s, 3)},
        )

    def broken(self, actor: ActorId, error: Exception) -> CorruptError:
        """Log that an actor cannot be activated, and return what its callers are told."""
        text = text_of(error)
        _log.error("actor cannot be activated", extra={"actor": str(actor), "error": text})
        if isinstance(error, CorruptError):
            return error
        problem = CorruptError(f"{actor} cannot be activated: {type(error).__name__}: {text}")
        problem.__cause__ = error
        return problem

    def reload_after_commit(self, activation: Activation, pause_s: float) -> None:
        """Read the activation again once its last committed turn is in the store, after a pause."""
        self._waiting.append((activation, pause_s))

    def committed(self, seq: int) -> None:
        """All commits up to `seq` are in the store."""
        if not self._waiting:
            return
        due = [entry for entry in self._waiting if entry[0].last_seq <= seq]
        self._waiting = [entry for entry in self._waiting if entry[0].last_seq > seq]
        for activation, pause_s in due:
            if pause_s:
                self._pause(activation, pause_s)
            else:
                self._reload(activation)

    def call_later(self, pause_s: float, callback: Callable[[], None]) -> None:
        """Call back after a pause, unless everything is forgotten before."""

        def resume() -> None:
            self._pauses.discard(handle)
            callback()

        handle = self._env.loop.call_later(pause_s, resume)
        self._pauses.add(handle)

    def stop(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        for handle in self._pauses:
            handle.cancel()
        self._pauses.clear()

    def _pause(self, activation: Activation, pause_s: float) -> None:
        activation.move(ActivationState.BACKOFF)
        self.call_later(pause_s, lambda: self._reload(activation))


async def own_cancellation_raised(turn: Awaitable[bytes], is_void: Callable[[], bool]) -> bytes:
    """Await a turn; when its code raises CancelledError, SystemExit or such, make an error of it.

    Code raises CancelledError when something that it awaits was cancelled, or when it cancels its
    own task. Unless the host has dropped the turn (`is_void`), it must end like any other that
    raises; and no actor ends the process.
    """
    try:
        return await turn
    except (Exception, GeneratorExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        text = text_of(error)
        if isinstance(error, asyncio.CancelledError):
            if is_void():
                raise
            text = "the method, or something that it awaited, was cancelled"
        raise ActorCallError(type(error).__name__, text, _stack_of(error)) from error


def answer_of(error: Exception) -> ActorflowError:
    """Turn any exception of an actor's code into what its caller gets: text, never the object."""
    if isinstance(error, ActorflowError):
        return error
    return ActorCallError(type(error).__name__, text_of(error), _stack_of(error))


def _stack_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
