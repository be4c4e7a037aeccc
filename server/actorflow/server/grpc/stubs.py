"""Message classes of the protocol, read out of the installed `dapr` distribution.

The one place that knows where they come from. Its generated modules are not imported: they put
names without a package, such as `HistoryEvent`, into the pool of the whole process, where those of
other SDKs have the same names, and a user's workflow in this process may import any of them. The
descriptors that the generated files hold as bytes go into a pool of our own instead, which is also
several times as fast, since the SDK around them stays out.
"""

import ast
import functools
import importlib.metadata
import os
import re
from collections.abc import Iterable
from typing import Any

from actorflow.actors.errors import UsageError

EXTRA = "pip install 'actorflow[grpc]'"
"""How people get what this package needs."""

DAPR_VERSIONS = (1, 19)
"""Releases of the distribution `dapr` whose descriptors are known to fit: 1.19.x."""

_TASK_HUB = "dapr/ext/workflow/_durabletask/internal"
_RUNTIME = "dapr/proto/runtime/v1"
_FILES = (
    f"{_TASK_HUB}/orchestration_pb2.py",
    f"{_TASK_HUB}/attestation_pb2.py",
    f"{_TASK_HUB}/history_events_pb2.py",
    f"{_TASK_HUB}/orchestrator_actions_pb2.py",
    f"{_TASK_HUB}/orchestrator_service_pb2.py",
    f"{_RUNTIME}/workflow_pb2.py",
    f"{_RUNTIME}/metadata_pb2.py",
)
"""Generated files with the descriptors, each after those that it needs."""

_DESCRIPTOR = re.compile(r"AddSerializedFile\((b'(?:[^'\\]|\\.)*')\)")


class GrpcMissingError(UsageError):
    """The extra `grpc` is not installed, or something of another version is. `mend` is the fix."""

    code = "GRPC_MISSING"

    def __init__(self, cause: str, mend: str = EXTRA) -> None:
        super().__init__(f"gRPC cannot be served: {cause}")
        self.mend = mend


class Stubs:
    """Message classes and service descriptors by full name, of a pool of their own.

    A message of this pool cannot be put into one of the process-wide pool, or the other way round;
    that holds for `google.protobuf.Timestamp` and the like too, so take those from here as well.
    """

    def __init__(self, files: Iterable[bytes]) -> None:
        from google.protobuf import descriptor_pool  # noqa: PLC0415 -- part of the extra

        self._pool: Any = descriptor_pool.DescriptorPool()
        for data in files:
            self._pool.AddSerializedFile(data)

    def message(self, name: str) -> Any:
        """Return the class of a message. Raises KeyError."""
        from google.protobuf import message_factory  # noqa: PLC0415 -- part of the extra

        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))

    def service(self, name: str) -> Any:
        """Return the descriptor of a service. Raises KeyError."""
        return self._pool.FindServiceByName(name)


def check() -> None:
    """Look whether what is needed is installed, without importing it.

    Raises:
        GrpcMissingError: it is not, or not in a version that fits.
    """
    for name in ("grpcio", "protobuf", "googleapis-common-protos"):
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise GrpcMissingError(f"the package {name} is not installed", EXTRA) from None
    _dapr()


@functools.cache
def load() -> Stubs:
    """Return the stubs; they are read once.

    Raises:
        GrpcMissingError: the extra is not installed, or the installed `dapr` is none that we know.
    """
    check()
    # The core writes lines of its own to stderr, past our log; it is told before its import.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import grpc.aio  # noqa: F401, PLC0415 -- part of the extra; only to see that it is there

        return Stubs([*_well_known(), *_of_dapr(), _health()])
    except ImportError as err:
        raise GrpcMissingError(f"a package is broken: {err}") from err


def _well_known() -> list[bytes]:
    from google.protobuf import (  # noqa: PLC0415 -- part of the extra
        empty_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )

    return [module.DESCRIPTOR.serialized_pb for module in (empty_pb2, timestamp_pb2, wrappers_pb2)]


def _dapr() -> importlib.metadata.Distribution:
    try:
        dapr = importlib.metadata.distribution("dapr")
    except importlib.metadata.PackageNotFoundError:
        raise GrpcMissingError("the package dapr, which has its messages, is missing") from None
    wanted = ".".join(map(str, DAPR_VERSIONS))
    if dapr.version.split(".")[:2] != wanted.split("."):
        raise GrpcMissingError(
            f"it needs dapr {wanted}, and {dapr.version} is installed",
            f"{EXTRA}, in an environment of its own if another program needs the other version",
        )
    return dapr


def _of_dapr() -> list[bytes]:
    dapr = _dapr()
    found = []
    for name in _FILES:
        try:
            text = dapr.locate_file(name).read_text()
        except OSError as err:
            raise _unfit(dapr.version, name, err.strerror or "cannot be read") from err
        match = _DESCRIPTOR.search(text)
        if match is None:
            raise _unfit(dapr.version, name, "holds no descriptor")
        found.append(ast.literal_eval(match[1]))
    return found


def _unfit(version: str, name: str, problem: str) -> GrpcMissingError:
    return GrpcMissingError(
        f"the installed dapr {version} is not as expected: {name} {problem}",
        f"pip install --force-reinstall 'dapr=={version}', or {EXTRA}",
    )


def _health() -> bytes:
    """Return the descriptor of `grpc.health.v1`, which no package that we need brings along."""
    from google.protobuf import descriptor_pb2  # noqa: PLC0415 -- part of the extra

    file: Any = descriptor_pb2.FileDescriptorProto(
        name="grpc/health/v1/health.proto", package="grpc.health.v1", syntax="proto3"
    )
    field = descriptor_pb2.FieldDescriptorProto
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    response = file.message_type.add(name="HealthCheckResponse")
    status = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        status.value.add(name=name, number=number)
    response.field.add(
        name="status",
        number=1,
        type=field.TYPE_ENUM,
        label=field.LABEL_OPTIONAL,
        type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus",
    )
    data: bytes = file.SerializeToString()
    return data
