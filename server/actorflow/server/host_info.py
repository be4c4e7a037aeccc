"""What a host says of itself in its heartbeats, for `actorflow cluster status`."""

import os
import socket
import time

import msgspec

from actorflow.server.config import Settings


class HostInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything may be absent: other releases say more, or less. `process` counts from 1 with
    `--processes`, else it is 0; `started_ms` is by the machine's own clock."""

    machine: str = ""
    pid: int = 0
    process: int = 0
    addresses: tuple[str, ...] = ()
    app_id: str = ""
    durability: str = ""
    version: str = ""
    started_ms: int = 0


def own_info(settings: Settings, *, version: str, process: int = 0) -> bytes:
    """Return what this process says."""
    port = settings.http_port
    info = HostInfo(
        machine=socket.gethostname(),
        pid=os.getpid(),
        process=process,
        addresses=tuple(f"{host}:{port}" for host in settings.listen_addresses) if port else (),
        app_id=settings.app_id,
        durability=settings.durability_level,
        version=version,
        started_ms=time.time_ns() // 1_000_000,
    )
    return msgspec.json.encode(info)


def read_info(data: bytes) -> HostInfo:
    """Return what a host says; nothing when it cannot be read."""
    try:
        return msgspec.json.decode(data, type=HostInfo)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return HostInfo()
