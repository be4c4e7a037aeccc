"""PURE. Whether an answer is one to what was asked: held against the committed request.

A worker's token says for whom the answer is, and whoever has it may have changed it. An answer that
does not fit must not end the request: nobody would ask again, and its instance would wait for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actorflow.workflow.requests import (
    DEFAULT_APP,
    INSTANCE,
    RESULT,
    TURN,
    WORKER_READY,
    instance_type,
)

if TYPE_CHECKING:
    from actorflow.actors.completion import Sends
    from actorflow.actors.message import Message


class _Activity(msgspec.Struct, frozen=True, gc=False):
    """What counts of a `requests.WorkItem`: the rest may be large."""

    instance_id: str
    execution_id: str
    task_id: int
    task_execution_id: str = ""
    asker_type: str = INSTANCE


class _Wanted(msgspec.Struct, frozen=True, gc=False):
    """What counts of a `requests.WorkerWanted`."""

    app_id: str = DEFAULT_APP


class _End(msgspec.Struct, frozen=True, gc=False):
    """What counts of the end of an activity."""

    k: str
    task_id: int
    task_execution_id: str = ""


_ENDS = {"taskok", "taskno"}
_decode_activity = msgspec.json.Decoder(_Activity).decode
_decode_wanted = msgspec.json.Decoder(_Wanted).decode
_decode_end = msgspec.json.Decoder(_End).decode


def fits_activity(request: Message, sends: Sends) -> bool:
    """Whether these sends are the one result of the activity that was asked for."""
    if len(sends) != 1:
        return False
    ((target, method, payload),) = sends
    execution_id, _, record = payload.partition(b"\n")
    try:
        asked = _decode_activity(request.payload)
        end = _decode_end(memoryview(record)[1:])  # without its format version
    except (msgspec.MsgspecError, UnicodeError):
        return False
    return (
        method == RESULT
        and target == (asked.asker_type, asked.instance_id)
        and execution_id == asked.execution_id.encode()
        and end.k in _ENDS
        and (end.task_id, end.task_execution_id) == (asked.task_id, asked.task_execution_id)
    )


def fits_wanted(request: Message, sends: Sends) -> bool:
    """Whether these sends go to the instance that asked for a worker. What a turn that it has not
    asked for does to it, it knows itself; and it may be gone, when there are none."""
    try:
        asked = _decode_wanted(request.payload)
    except (msgspec.MsgspecError, UnicodeError):
        return False
    instance = (instance_type(asked.app_id), request.target.key)
    for target, method, _ in sends:
        if target != instance or method not in (TURN, WORKER_READY):
            return False
    return True
