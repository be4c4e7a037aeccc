"""The worker half of `TaskHubSidecarService`: streams of work, and the answers to it.

What is given to whom, and which answer counts, is the engine's; a late answer is as good as any to
its sender, since an error would make SDKs alarm or send something else.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from actorflow.actors.errors import ActorflowError, OverloadedError, UnavailableError
from actorflow.server.config import Settings
from actorflow.server.grpc import messages as pb
from actorflow.server.grpc.gate import Rpc, RpcCall, RpcStream, message_max_bytes
from actorflow.server.grpc.status import Code, RpcError, of_engine_error
from actorflow.server.grpc.workitems import (
    activity_event,
    activity_message,
    turn_done,
    turn_message,
)
from actorflow.server.http.waits import Waits
from actorflow.workflow.events import HistoryEvent
from actorflow.workflow.remote import PAYLOAD_SIZE_EXCEEDED
from actorflow.workflow.requests import TurnDone
from actorflow.workflow.streams import WorkerStream
from actorflow.workflow.workitem import ActivityItem, TurnItem

STREAMS_MAX = 3_000
"""Workers that may be connected to one process; a worker has one stream."""

WARM_MAX = 10_000
"""Instances of which a stream remembers how much history its worker has."""

NODE_AGENT = "grpc-node"
"""What the agent of a JavaScript worker says, among other things."""

NODE_PEERS_MAX = 10_000
"""Connections of JavaScript workers that are remembered."""

_STATEFUL_HISTORY = 2
_TAKEN = pb.CompleteTaskResponse()  # of all calls: it has nothing to fill in


class Pool(Protocol):
    """What this half asks of the engine's workers: `workflow.workers.WorkerPool`."""

    def connect(self, app_id: str) -> WorkerStream:
        """Return a new stream of work."""
        ...

    async def finish_turn(self, app_id: str, instance_id: str, token: str, done: TurnDone) -> bool:
        """Take what a worker made of a turn."""
        ...

    async def finish_activity(
        self,
        instance_id: str,
        task_id: int,
        token: str,
        event: Callable[[str], HistoryEvent],
        *,
        app_id: str,
    ) -> bool:
        """Take the end of an activity."""
        ...


class WorkerService:
    """See the module docstring."""

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        waits: Waits,
        *,
        now_ns: Callable[[], int],
    ) -> None:
        self._pool = pool
        self._app_id = settings.app_id
        self._waits = waits
        self._now_ns = now_ns
        self._item_max_bytes = settings.max_body_bytes
        self._answer_max_bytes = message_max_bytes(settings)
        self._streams: set[WorkerStream] = set()
        self._node_peers: OrderedDict[str, None] = OrderedDict()

    def rpcs(self) -> list[Rpc]:
        """Return the methods."""
        return [
            Rpc(
                f"/{pb.TASK_HUB}/GetWorkItems",
                pb.GetWorkItemsRequest,
                self.get_work_items,
                is_stream=True,
            ),
            Rpc(
                f"/{pb.TASK_HUB}/CompleteActivityTask",
                pb.ActivityResponse,
                self.complete_activity,
                _completion_error,
                takes_oversized=True,
            ),
            # The second name is the older one, which all SDKs but that of Go still use.
            *(
                Rpc(
                    f"/{pb.TASK_HUB}/{name}",
                    pb.WorkflowResponse,
                    self.complete_turn,
                    _completion_error,
                    takes_oversized=True,
                )
                for name in ("CompleteWorkflowTask", "CompleteOrchestratorTask")
            ),
        ]

    @property
    def unanswered_count(self) -> int:
        """Items that workers connected here were given, or were until a moment ago."""
        return sum(len(stream.given) for stream in self._streams)

    def close_streams(self) -> None:
        """End all streams; their workers may still answer."""
        for stream in self._streams:
            stream.close()

    async def get_work_items(self, request: Any, call: RpcStream) -> None:
        """Send work as it comes, until the worker goes or the server stops, which is no error."""
        self._waits.check_running()
        if self._is_to_come_again(call):
            return
        connected = {stream for stream in self._streams if not stream.is_closed}
        if len(connected) >= STREAMS_MAX:
            raise OverloadedError("the number of connected workers", STREAMS_MAX)
        # Those that have ended are kept while somebody may still answer for them.
        self._streams = connected | {stream for stream in self._streams if stream.given}
        app_id = call.app_id() or self._app_id
        stream = self._pool.connect(app_id)
        self._streams.add(stream)
        writer = _Writer(app_id, has_memory=_STATEFUL_HISTORY in request.capabilities)
        with contextlib.closing(stream):
            while (item := await stream.next()) is not None:
                data = writer.encode(item)
                if len(data) <= self._item_max_bytes:
                    await call.write(data)
                    writer.sent(item)
                else:
                    stream.refuse(item, self._oversized(item, len(data)))
        # Without an error: all SDKs then connect again, while the JavaScript worker gives up for
        # good when its first stream ends with one.

    def _is_to_come_again(self, call: RpcCall) -> bool:
        """Whether to end this stream at once, without an error: the first one of a connection of a
        JavaScript worker. It gives up for good when its very first stream breaks, which a server
        that is killed would do to it; after this end it comes back a second later, and always."""
        peer = call.peer()
        if NODE_AGENT not in call.first("user-agent") or peer in self._node_peers:
            return False
        self._node_peers[peer] = None
        if len(self._node_peers) > NODE_PEERS_MAX:
            self._node_peers.popitem(last=False)
        return True

    async def complete_turn(self, response: Any, call: RpcCall) -> Any:
        """Take what a worker made of a turn."""
        app_id = call.app_id() or self._app_id
        done = turn_done(response)
        if call.size_bytes > self._answer_max_bytes:
            text = f"the worker's answer to a turn {self._size(call.size_bytes)}"
            done = TurnDone("", 0, 0, 0, stalled=(PAYLOAD_SIZE_EXCEEDED, text))
        await self._pool.finish_turn(app_id, response.instanceId, response.completionToken, done)
        return _TAKEN

    async def complete_activity(self, response: Any, call: RpcCall) -> Any:
        """Take the end of an activity."""
        too_large = ""
        if call.size_bytes > self._answer_max_bytes:
            too_large = f"the result of the activity {self._size(call.size_bytes)}"
        await self._pool.finish_activity(
            response.instanceId,
            response.taskId,
            response.completionToken,
            activity_event(response, self._now_ns(), too_large=too_large),
            app_id=call.app_id() or self._app_id,
        )
        return _TAKEN

    def _size(self, size_bytes: int) -> str:
        return (
            f"has {size_bytes:,} bytes as a message, and the limit is {self._answer_max_bytes:,}; "
            "raise --max-body-size, or store it elsewhere and return a reference"
        )

    def _oversized(self, item: TurnItem | ActivityItem, size_bytes: int) -> str:
        what = "the history of the workflow" if isinstance(item, TurnItem) else "the activity"
        return (
            f"{what} has {size_bytes:,} bytes as a message, and a worker takes at most "
            f"{self._item_max_bytes:,}; raise --max-body-size and the worker's limit, or pass less "
            "data through the workflow"
        )


class _Writer:
    """Turns the items of one stream into bytes, and knows how much of a history its worker has."""

    def __init__(self, app_id: str, *, has_memory: bool) -> None:
        self._app_id = app_id
        self._has_memory = has_memory
        self._warm: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def encode(self, item: TurnItem | ActivityItem) -> bytes:
        if isinstance(item, TurnItem):
            message = turn_message(item, self._app_id, self._known(item))
        else:
            message = activity_message(item)
        data: bytes = message.SerializeToString()
        return data

    def sent(self, item: TurnItem | ActivityItem) -> None:
        """Note that the worker has the past events of an item."""
        if self._has_memory and isinstance(item, TurnItem):
            self._warm[item.instance_id] = (item.execution_id, len(item.past_events))
            self._warm.move_to_end(item.instance_id)
            if len(self._warm) > WARM_MAX:
                self._warm.popitem(last=False)

    def _known(self, item: TurnItem) -> int:
        execution_id, count = self._warm.get(item.instance_id, ("", 0))
        is_same = execution_id == item.execution_id and count <= len(item.past_events)
        return count if is_same else 0


def _completion_error(_: Any, err: ActorflowError) -> RpcError:
    """RESOURCE_EXHAUSTED would tell an SDK that its answer is too large: it would send a failure
    in its place."""
    if isinstance(err, UnavailableError):
        return RpcError(Code.UNAVAILABLE, str(err))
    return of_engine_error(err)
