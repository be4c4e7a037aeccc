"""Why a port cannot be had, and what to do about it."""

import errno
import os

from actorflow.server.config import Settings
from actorflow.server.stores import StartUpError


def http_port_error(err: OSError, settings: Settings) -> StartUpError:
    """Return the error of `--http-port` at `--listen-addresses`."""
    place = f"on {','.join(settings.listen_addresses)} port {settings.http_port}"
    return _port_error(err, place, "--http-port", "--listen-addresses")


def grpc_port_error(err: OSError, settings: Settings) -> StartUpError:
    """Return the error of `--grpc-port` at `--grpc-address`."""
    place = f"for gRPC on {','.join(settings.grpc_hosts)} port {settings.grpc_port}"
    return _port_error(err, place, "--grpc-port", "--grpc-address", ", or say --no-grpc")


def _port_error(
    err: OSError, place: str, port: str, address: str, otherwise: str = ""
) -> StartUpError:
    mends = {
        errno.EADDRINUSE: f"another program listens there: stop it, take another {port} (0 means "
        f"any free one){otherwise}",
        errno.EACCES: f"ports below 1024 need privileges: take another {port}",
        errno.EADDRNOTAVAIL: f"that is no address of this machine: check {address}",
    }
    # Of several texts for one cause the system's own is the shortest; resolvers use negatives.
    number = err.errno or 0
    reason = os.strerror(number) if number > 0 else err.strerror or str(err)
    return StartUpError(f"cannot listen {place}: {reason}", mends.get(number, f"check {address}"))
