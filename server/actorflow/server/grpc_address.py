"""PURE. gRPC addresses as texts."""

from actorflow.server.config import Settings


def addresses_of(settings: Settings, port: int) -> list[str]:
    """Return the addresses of a gRPC port on all hosts of the settings."""
    return [address_of(host, port) for host in settings.grpc_hosts]


def address_of(host: str, port: int) -> str:
    """Return host and port as one text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
