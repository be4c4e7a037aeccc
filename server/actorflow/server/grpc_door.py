"""Whether this process serves gRPC, which is an extra, and how it is brought up.

Nothing of the extra is imported before it is known to be wanted and there.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import NamedTuple

from actorflow.server.app import HttpServer
from actorflow.server.config import Settings
from actorflow.server.grpc.stubs import GrpcMissingError, check
from actorflow.server.listening import grpc_port_error
from actorflow.server.stores import StartUpError
from actorflow.workflow.engine import WorkflowEngine


class Door(NamedTuple):
    """`settings` with `grpc` "on" or "off"; `remark` says why it is off though nobody said so."""

    settings: Settings
    remark: str = ""


def settle(settings: Settings) -> Door:
    """Decide whether to serve gRPC.

    Raises:
        StartUpError: it was asked for, and the extra is not there.
    """
    if settings.grpc == "off":
        return Door(settings)
    try:
        check()
    except GrpcMissingError as err:
        if settings.grpc == "on":
            raise StartUpError(str(err), err.mend) from err
        return Door(replace(settings, grpc="off"), f"{err}; for Dapr's SDKs: {err.mend}")
    return Door(replace(settings, grpc="on"))


@contextlib.asynccontextmanager
async def open_door(
    engine: WorkflowEngine,
    settings: Settings,
    http: HttpServer,
    *,
    request_shutdown: Callable[[bool], None],
    left_s: Callable[[], float],
) -> AsyncIterator[list[str]]:
    """Serve gRPC inside the `async with` block, if the settings say so.

    Args:
        http: the HTTP server, whose long polls, metadata and metrics are shared.
        left_s: says at the end how long running calls may take.

    Yields:
        The addresses; none when it is off.

    Raises:
        StartUpError: a port cannot be had, or the extra is not there.
    """
    if settings.grpc != "on":
        yield []
        return
    try:
        from actorflow.server.grpc.server import GrpcServer  # noqa: PLC0415 -- an extra, and heavy
    except GrpcMissingError as err:
        raise StartUpError(str(err), err.mend) from err
    server = GrpcServer(engine, settings, http.edge, request_shutdown=request_shutdown)
    try:
        await server.start_up()
    except OSError as err:
        raise grpc_port_error(err, settings) from err
    try:
        yield server.addresses
    finally:
        await server.shut_down(drain_s=left_s())
