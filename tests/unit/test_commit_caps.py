"""The engine keeps to the size of commits that its store likes."""

from __future__ import annotations

from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import WorkflowEngine


class _SlowStore(MemoryStore):
    batch_turns = 3
    batch_bytes = 4_096


def test_a_store_says_how_large_commits_may_be() -> None:
    limits = WorkflowEngine(_SlowStore()).actors.limits
    assert (limits.batch_turns, limits.batch_bytes) == (3, 4_096)
    usual = WorkflowEngine(MemoryStore()).actors.limits
    assert usual.batch_turns > limits.batch_turns
    assert usual.payload_bytes == limits.payload_bytes
