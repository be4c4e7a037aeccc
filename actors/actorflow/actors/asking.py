"""Admit a message and wait for its answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actorflow.actors.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors.message import Message


async def ask(admit: Callable[[Message], None], message: Message, wait_s: float) -> bytes:
    """Give a message to `admit` and return the answer that it gets within `wait_s` seconds.

    Raises:
        UnavailableError: no answer in time; the turn may still happen.
        ActorflowError: as `admit`, or what the answer is.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    message.reply = answer
    admit(message)
    expiry = loop.call_later(wait_s, _expire, message, wait_s)
    try:
        return await answer
    finally:
        expiry.cancel()
        # An error's traceback keeps this frame. Without the way from here to the error there is no
        # cycle that keeps both, and the payload, until the collector looks.
        del answer, message


def _expire(message: Message, wait_s: float) -> None:
    message.refuse(
        UnavailableError(f"no answer from {message.target} in {wait_s:g} s; the outcome is unknown")
    )
