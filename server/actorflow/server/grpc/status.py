"""What the engine refuses, as status codes and texts of gRPC.

The two services word it differently. That of the sidecar uses the very texts of Dapr's HTTP API,
with the code that goes with their status. The task hub gives most errors as UNKNOWN with the bare
text, and SDKs look for some of them; where a client can act on a code, ours is more exact.
"""

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from actorflow.actors.errors import (
    ActorflowError,
    ContentionError,
    LimitExceededError,
    OverloadedError,
    StoppingError,
    UnavailableError,
    UsageError,
)
from actorflow.server.config import redact_url
from actorflow.server.errors import WireError
from actorflow.workflow.errors import (
    HistoryEventNotFoundError,
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStalledError,
    InvalidRequestError,
    NotTerminalError,
)

Code: Any = grpc.StatusCode

TEXT_MAX_BYTES = 1_024
"""A status text travels as a header, escaped; clients refuse headers that are too large."""

_BY_HTTP_STATUS = {
    400: Code.INVALID_ARGUMENT,
    404: Code.NOT_FOUND,
    409: Code.ALREADY_EXISTS,
    429: Code.RESOURCE_EXHAUSTED,
    500: Code.INTERNAL,
    503: Code.UNAVAILABLE,
}

_TASK_HUB: dict[type[ActorflowError], Any] = {
    InstanceExistsError: Code.ALREADY_EXISTS,
    HistoryEventNotFoundError: Code.NOT_FOUND,
    InvalidRequestError: Code.INVALID_ARGUMENT,
    LimitExceededError: Code.INVALID_ARGUMENT,
    OverloadedError: Code.RESOURCE_EXHAUSTED,
    UnavailableError: Code.UNAVAILABLE,
    ContentionError: Code.UNAVAILABLE,
    # Dapr says UNKNOWN for these, and SDKs look at the texts.
    InstanceNotFoundError: Code.UNKNOWN,
    InstanceStalledError: Code.UNKNOWN,
    NotTerminalError: Code.UNKNOWN,
    UsageError: Code.INVALID_ARGUMENT,
    ActorflowError: Code.UNKNOWN,
}
"""The nearest base class decides."""

CLOSED_TEXT = "actor runtime is closed"


class RpcError(Exception):
    """The end of a call that is no success. `trailing` are metadata that go with it."""

    def __init__(self, code: Any, text: str, trailing: tuple[tuple[str, bytes], ...] = ()) -> None:
        super().__init__(text)
        self.code = code
        self.text = _cut(text)
        self.trailing = trailing


def invalid(text: str) -> RpcError:
    """Return the answer to a request that cannot be used."""
    return RpcError(Code.INVALID_ARGUMENT, text)


def closed() -> RpcError:
    """Return the answer of a server that is stopping."""
    return RpcError(Code.UNAVAILABLE, CLOSED_TEXT)


def of_wire_error(err: WireError) -> RpcError:
    """Return an answer of the HTTP API as one of gRPC."""
    return RpcError(_BY_HTTP_STATUS.get(err.status, Code.UNKNOWN), err.message)


def of_engine_error(err: ActorflowError, prefix: str = "") -> RpcError:
    """Return an error of the engine in the way of the task hub. `prefix` comes before the text."""
    if isinstance(err, StoppingError):
        return closed()
    code = next(_TASK_HUB[base] for base in type(err).__mro__ if base in _TASK_HUB)
    return RpcError(code, prefix + redact_url(str(err)))


def unauthenticated(problem: str) -> RpcError:
    """Return the answer to a call without a valid token, in Dapr's words and details."""
    info = error_details_pb2.ErrorInfo(
        reason="Unauthorized",
        domain="dapr.io",
        metadata={"http.code": "401", "http.error_message": problem},
    )
    status = status_pb2.Status(code=Code.UNAUTHENTICATED.value[0], message="Unauthorized")
    status.details.add().Pack(info)
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    return RpcError(Code.UNAUTHENTICATED, "Unauthorized", details)


def _cut(text: str) -> str:
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= TEXT_MAX_BYTES:
        return text
    return data[:TEXT_MAX_BYTES].decode("utf-8", "ignore") + "..."
