"""The answers of remote workers, on their way to whoever owns what they were given."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actorflow.actors.errors import UnfitCompletionError
from actorflow.workflow.requests import (
    RESULT,
    TURN,
    TurnDone,
    instance_type,
    pack,
    pack_result,
)
from actorflow.workflow.workitem import ActivityToken, TurnToken, token_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors import ActorId, ActorSystem
    from actorflow.workflow.events import HistoryEvent
    from actorflow.workflow.streams import Asked, Key, Work
    from actorflow.workflow.workitem import Token

_log = logging.getLogger(__name__)


class Answers:
    """Finds what an answer is for, and ends it at its owner.

    The token says it. Some SDKs send none back: then it is what was last given to workers of the
    app under the same instance and task id. So that this is no guess, workers of such an app never
    have two such items at once: see `could_be_mistaken`.

    Args:
        app_id: of workers that do not say theirs.
        ended: somebody, this answer or an earlier one, has ended that piece of work.
        failed: nobody can say whether it is ended.
    """

    def __init__(
        self,
        actors: ActorSystem,
        app_id: str,
        *,
        ended: Callable[[Key], None],
        failed: Callable[[Key], None],
    ) -> None:
        self._actors = actors
        self._app_id = app_id
        self._ended = ended
        self._failed = failed
        self._given: dict[Asked, tuple[Key, Token]] = {}
        self._sends_no_tokens: set[str] = set()
        self._has_unfit = False
        self.late_count = 0

    # ---- what workers of this host have --------------------------------------------------------

    def given(self, work: Work, token: Token) -> None:
        """A worker is given a piece of work."""
        self._given[work.asked] = (work.key, token)

    def gone(self, work: Work) -> None:
        """It is done, or no longer this host's."""
        known = self._given.get(work.asked)
        if known is not None and known[0] == work.key:
            del self._given[work.asked]

    def sends_no_tokens(self, app_id: str) -> bool:
        """Whether workers of the app have answered without a token."""
        return app_id in self._sends_no_tokens

    def could_be_mistaken(self, work: Work) -> bool:
        """Whether an answer to this work could be one to what a worker has, of an earlier run."""
        if work.app_id not in self._sends_no_tokens:
            return False
        known = self._given.get(work.asked)
        return known is not None and known[0] != work.key

    def _found(self, text: str, app_id: str, instance_id: str, task_id: int) -> Token | None:
        if text:
            return token_of(text)
        self._sends_no_tokens.add(app_id)
        known = self._given.get((app_id, instance_id, task_id))
        return known[1] if known is not None else None

    # ---- answers -------------------------------------------------------------------------------

    async def finish_turn(self, app_id: str, instance_id: str, token: str, done: TurnDone) -> bool:
        """See `WorkerPool.finish_turn`."""
        found = self._found(token, app_id, instance_id, -1)
        if not isinstance(found, TurnToken) or found.actor_type != instance_type(app_id):
            return self._late()
        shown = TurnDone(
            found.execution_id,
            found.history_length,
            found.fact_count,
            found.at_ns,
            done.actions,
            done.custom_status,
            done.version,
            done.patches,
            done.stalled,
        )
        follow = (found.instance(instance_id), TURN, pack(shown))
        return await self._finish(found, instance_id, follow)

    async def finish_activity(
        self,
        app_id: str,
        instance_id: str,
        task_id: int,
        token: str,
        event: Callable[[str], HistoryEvent],
    ) -> bool:
        """See `WorkerPool.finish_activity`."""
        found = self._found(token, app_id or self._app_id, instance_id, task_id)
        if not isinstance(found, ActivityToken) or found.task_id != task_id:
            return self._late()
        payload = pack_result(found.execution_id, event(found.task_execution_id))
        follow = (found.instance(instance_id), RESULT, payload)
        return await self._finish(found, instance_id, follow)

    async def _finish(
        self, token: Token, instance_id: str, follow: tuple[ActorId, str, bytes]
    ) -> bool:
        key = token.key(instance_id)
        try:
            was_first = await self._actors.complete(key, [follow])
        except UnfitCompletionError:
            self._mention(instance_id)
            return self._late()
        except BaseException:  # the worker may also have hung up: nobody hears how it ends
            self._failed(key)
            raise
        self._ended(key)
        return was_first or self._late()

    def _mention(self, instance_id: str) -> None:
        """Log the first answer that is none to what it names: a worker may send any number."""
        if not self._has_unfit:
            self._has_unfit = True
            extra = {"instance_id": instance_id}
            _log.warning(
                "answer does not fit its work; this and such to come count as late", extra=extra
            )

    def _late(self) -> bool:
        self.late_count += 1
        return False
