"""redis-py's clients for a location: one server, the primary that Sentinel names, or a cluster.

No client made here sends anything again by itself, but for redirections of a cluster: what became
of a commit is found out by whoever sent it. docs/adr/0007 has the figures.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, TypeAlias

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from actorflow.actors.store.redis.url import Account, Location

Network: TypeAlias = Redis | RedisCluster
"""A client of redis-py."""

CONNECT_TIMEOUT_S = 3.0
"""For name resolution, TCP and TLS."""

CONNECTIONS_MAX = 2_048
"""To one server: more than there are inboxes, each of which a read may wait for."""

_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3}
"""A dead peer of an idle connection is noticed after 14 seconds."""

_UNTRANSLATED = ("HGETALL", "INFO", "TIME", "XREAD")
"""Commands whose answers are taken as Redis sends them, as those of scripts are."""


def connect(location: Location, *, timeout_s: float, in_cluster: bool = False) -> Network:
    """Return a client that connects when it is used.

    Args:
        timeout_s: silence after which a connection of a cluster is dropped; the caller sees to
            that elsewhere.
        in_cluster: the one server of the location is known to be a node of a cluster.
    """
    redis: Network
    if in_cluster or location.topology == "cluster":
        redis = _cluster(location, timeout_s)
    elif location.topology == "sentinel":
        redis = _primary(location, timeout_s)
    else:
        redis = Redis.from_pool(_pool(location))
    for command in _UNTRANSLATED:
        redis.set_response_callback(command, _as_it_is)
    return redis


def _cluster(location: Location, timeout_s: float) -> RedisCluster:
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in location.addresses],
        reinitialize_steps=0,  # a slot that moved is no reason to drop connections
        require_full_coverage=False,  # what still has its slots is served
        ssl=location.account.tls,
        **_settings(location.account, timeout_s),
    )


def _primary(location: Location, timeout_s: float) -> Redis:
    guard, account = location.sentinel_account, location.account
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py's own
        list(location.addresses),
        sentinel_kwargs={**_settings(guard, timeout_s), "ssl": guard.tls},
    )
    found: Redis = sentinel.master_for(
        location.service,
        ssl=account.tls,
        db=account.database,
        **_settings(account, None),
    )
    return found


def _pool(location: Location) -> ConnectionPool:
    account, address = location.account, location.addresses[0]
    settings = _settings(account, None)
    if address.port:
        kind = SSLConnection if account.tls else Connection
        settings |= {"host": address.host, "port": address.port, "connection_class": kind}
    else:
        del settings["socket_keepalive_options"]
        settings |= {"path": address.host, "connection_class": UnixDomainSocketConnection}
    return ConnectionPool(db=account.database, **settings)


def _settings(account: Account, timeout_s: float | None) -> dict[str, Any]:
    keepalive = {getattr(socket, k): v for k, v in _KEEPALIVE.items() if hasattr(socket, k)}
    settings: dict[str, Any] = {
        "client_name": account.client_name,
        "max_connections": CONNECTIONS_MAX,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive_options": keepalive,
        "socket_timeout": timeout_s,
    }
    if account.password:
        settings |= {"username": account.username or None, "password": account.password}
    if account.tls and account.authority:
        settings["ssl_ca_certs"] = account.authority
    return settings


def _as_it_is(response: Any, **_: Any) -> Any:
    return response
