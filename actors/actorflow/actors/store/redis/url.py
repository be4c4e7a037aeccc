"""Where the store is, from one URL. Nothing here prints a password.

redis://, rediss://                    one server, or any node of a cluster
redis+cluster://, rediss+cluster://    several nodes of a cluster, separated by commas
redis+sentinel://, rediss+sentinel://  host:port,host:port/service/database
unix:///path/to/socket

rediss verifies the server's certificate; `?ca=FILE` names an authority besides the system's. More
options: `namespace`, `db`, and for Sentinel `sentinel_user` and `sentinel_password`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from actorflow.actors.errors import UsageError
from actorflow.actors.store.redis.keys import checked_namespace

PORT = 6379
SENTINEL_PORT = 26379
DEFAULT_NAMESPACE = "af"
"""What the names of all keys begin with."""

Topology = Literal["server", "cluster", "sentinel"]

_SCHEMES: dict[str, tuple[Topology, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("server", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
}
_OPTIONS = {"ca", "db", "namespace", "sentinel_user", "sentinel_password"}


class Address(NamedTuple):
    """Where a server listens: a host and a port, or a socket file with port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Account:
    """How to log in. Neither name nor password appears in a repr. `authority` is the file of a
    certificate authority, "" for the system's alone."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    database: int = 0
    tls: bool = False
    authority: str = ""
    client_name: str = "actorflow"


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed URL. `service` and `sentinel_account` are for Sentinel only."""

    topology: Topology
    addresses: tuple[Address, ...]
    account: Account
    namespace: str = DEFAULT_NAMESPACE
    service: str = ""
    sentinel_account: Account = Account()


def parse_url(url: str) -> Location:
    """Read a store URL.

    Raises:
        UsageError: it cannot be read. The text repeats nothing that may be a secret.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise UsageError(f"store URL begins with {parts.scheme[:20]!r}; known are {known}")
    topology, secure = _SCHEMES[parts.scheme]
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(set(options) - _OPTIONS):
        raise UsageError(
            f"store URL has unknown options: {', '.join(unknown)}; known: "
            f"{', '.join(sorted(_OPTIONS))}"
        )
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    path = [unquote(part) for part in parts.path.split("/") if part]
    service = ""
    if parts.scheme == "unix":
        addresses = [Address(unquote(parts.path), 0)]
        path = []
    else:
        default_port = SENTINEL_PORT if topology == "sentinel" else PORT
        addresses = [_address(host, default_port) for host in hosts.split(",")]
    if topology == "sentinel":
        if not path:
            raise UsageError("a Sentinel URL names the service: redis+sentinel://host:port/service")
        service = path.pop(0)
    authority = options.get("ca", "") if secure else ""
    if secure:
        _check_authority(authority)
    return Location(
        topology=topology,
        addresses=tuple(addresses),
        account=Account(
            unquote(username),
            unquote(password),
            _database(options.get("db", path[0] if path else "0"), topology),
            secure,
            authority,
        ),
        namespace=checked_namespace(options.get("namespace", DEFAULT_NAMESPACE)),
        service=service,
        sentinel_account=Account(
            options.get("sentinel_user", ""),
            options.get("sentinel_password", ""),
            tls=secure,
            authority=authority,
        ),
    )


def redacted(url: str) -> str:
    """Return the URL without user, password and options, for logs and errors."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{hosts}{parts.path}"


def _address(text: str, default_port: int) -> Address:
    parts = urlsplit(f"//{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        text = "its port"
    if not host and port is None and text:
        raise UsageError("store URL has a host or port that cannot be read; write host:port")
    return Address(host or "localhost", port or default_port)


def _database(text: str, topology: Topology) -> int:
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"store URL has database {text[:20]!r}; it is a number from 0")
    if topology == "cluster" and int(text):
        raise UsageError("a Redis Cluster has database 0 only; leave the number out of the URL")
    return int(text)


def _check_authority(path: str) -> None:
    try:
        ssl.create_default_context(cafile=path or None)
    except OSError as error:
        raise UsageError(f"cannot read the certificate authority {path!r}: {error}") from error
