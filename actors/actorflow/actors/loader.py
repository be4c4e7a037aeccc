"""Group load: while one read is under way, the actors that are wanted next collect for the next
one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actorflow.actors.errors import CorruptError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from actorflow.actors.activation import Activation
    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import ActorRecord, Store

_log = logging.getLogger(__name__)

LOAD_GROUP_MAX = 500
"""Actors in one read."""


class Loader:
    """Reads the records of activations of one partition and hands each to `loaded`.

    A store that does not answer is asked again until it does or `stop` is called; `trouble` is told
    each time, so that the partition can refuse new calls meanwhile, and `answered` in the end.
    """

    def __init__(
        self,
        store: Store,
        partition: int,
        *,
        spawn: Callable[[Coroutine[object, object, None], str], object],
        loaded: Callable[[Activation, ActorRecord | CorruptError | None], None],
        trouble: Callable[[StoreUnavailableError], Awaitable[None]],
        answered: Callable[[], None],
    ) -> None:
        self._store = store
        self._partition = partition
        self._spawn = spawn
        self._loaded = loaded
        self._trouble = trouble
        self._answered = answered
        self._wanted: list[Activation] = []
        self._busy = False
        self._life = 0

    def want(self, activation: Activation) -> None:
        """Ask for one activation's record."""
        self._wanted.append(activation)
        if not self._busy:
            self._busy = True
            self._spawn(self._run(self._life), f"load-{self._partition}")

    def stop(self) -> None:
        """Forget what was asked for; answers under way are dropped."""
        self._life += 1
        self._wanted.clear()
        self._busy = False

    async def _run(self, life: int) -> None:
        while self._wanted and life == self._life:
            with_log = self._wanted[0].actor_type.with_log
            group = [a for a in self._wanted if a.actor_type.with_log is with_log][:LOAD_GROUP_MAX]
            taken = set(map(id, group))
            self._wanted = [a for a in self._wanted if id(a) not in taken]
            records = await self._read(group, with_log=with_log, life=life)
            if life != self._life:
                return
            for activation, record in zip(group, records, strict=True):
                self._loaded(activation, record)
        if life == self._life:
            self._busy = False

    async def _read(
        self, group: list[Activation], *, with_log: bool, life: int
    ) -> list[ActorRecord | CorruptError | None]:
        ids = [activation.actor_id for activation in group]
        failed = False
        while life == self._life:
            try:
                records = await self._store.load(self._partition, ids, with_log=with_log)
            except StoreUnavailableError as error:
                if life != self._life:
                    break
                failed = True
                await self._trouble(error)
            except Exception as error:  # noqa: BLE001 -- what one actor's row does must not hurt others
                if len(group) == 1:
                    return [_corrupt(ids[0], error)]
                return [
                    record
                    for one in group
                    for record in await self._read([one], with_log=with_log, life=life)
                ]
            else:
                if failed and life == self._life:
                    self._answered()
                return [*records]
        return [None] * len(group)


def _corrupt(actor: ActorId, error: Exception) -> CorruptError:
    if isinstance(error, CorruptError):
        return error
    _log.critical("reading an actor failed", extra={"actor": str(actor)}, exc_info=error)
    return CorruptError(f"{actor} cannot be read: {error!r}")
