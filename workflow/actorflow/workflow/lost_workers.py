"""Gives work to others after its worker was lost: at once, and more slowly each next time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.workflow.streams import Key, Work

_log = logging.getLogger(__name__)

PAUSES_S = (0.0, 1.0, 5.0, 30.0)
"""Pause after the first, second, ... worker that was lost with the same work, which may be what has
ended them. The last one stays."""


def give_again(
    works: list[Work],
    take_back: Callable[[list[Work]], None],
    known: Callable[[Key], Work | None],
) -> None:
    """Let work wait again, now or after its pause.

    Args:
        works: what a lost worker had.
        take_back: lets work wait for the next worker.
        known: finds work that is still to be done.
    """
    at_once = []
    for work in works:
        pause_s = PAUSES_S[min(work.losses, len(PAUSES_S) - 1)]
        work.losses += 1
        if not pause_s:
            at_once.append(work)
            continue
        work.holder = None
        _log.warning(
            "workers were lost one after the other with the same work; it waits",
            extra={
                "instance_id": work.asked[1],
                work.kind: work.request.name,
                "lost_workers": work.losses,
                "seconds": pause_s,
            },
        )
        asyncio.get_running_loop().call_later(pause_s, _again, work, take_back, known)
    take_back(at_once)


def _again(
    work: Work,
    take_back: Callable[[list[Work]], None],
    known: Callable[[Key], Work | None],
) -> None:
    if known(work.key) is work:
        take_back([work])
