"""Waiting on the loop for work on a thread, without ever cancelling it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


async def settled(job: Future[T]) -> Future[T]:
    """Wait until the job is done, whatever its outcome. Cancelling the wait lets the job go on."""
    if not job.done():
        waiter = asyncio.wrap_future(job)
        waiter.add_done_callback(_retrieve)
        await asyncio.wait([waiter])
    return job


def _retrieve(waiter: asyncio.Future[T]) -> None:
    """Mark an exception as seen: who asks for it asks the job itself."""
    if not waiter.cancelled():
        waiter.exception()
