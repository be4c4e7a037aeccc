"""Asks a server what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.actors.store.redis.checks import Server, parse_info
from actorflow.actors.store.redis.errors import ErrorReply, refusal
from actorflow.actors.store.redis.script import pack

if TYPE_CHECKING:
    from actorflow.actors.clock import Clock
    from actorflow.actors.store.redis.client import RedisClient
    from actorflow.actors.store.redis.wire import Address

_SECTIONS = ("server", "memory", "persistence", "replication", "cluster")
_SETTINGS = ("appendfsync", "min-replicas-to-write")
_REQUESTS = (
    *(pack(("INFO", section)) for section in _SECTIONS),
    *(pack(("CONFIG", "GET", name)) for name in _SETTINGS),
    pack(("TIME",)),
)


async def inspect(client: RedisClient, address: Address, clock: Clock) -> Server:
    """Read version, settings and clock of one server.

    CONFIG may be forbidden to our user; what it would tell is then unknown.

    Raises:
        StoreUnavailableError: no answer, or it refuses INFO.
    """
    sent_ns = clock.now_ns()
    replies = await client.ask_at(address, *_REQUESTS)
    answered_ns = clock.now_ns()
    info: dict[str, str] = {}
    for reply in replies[: len(_SECTIONS)]:
        if isinstance(reply, ErrorReply):
            raise refusal(reply, address)
        info |= parse_info(reply.decode(errors="replace"))
    settings: dict[str, str] = {}
    for reply in replies[len(_SECTIONS) : -1]:
        if not isinstance(reply, ErrorReply) and len(reply) == 2:
            settings[reply[0].decode()] = reply[1].decode()
    if isinstance(replies[-1], ErrorReply):
        raise refusal(replies[-1], address)
    seconds, microseconds = map(int, replies[-1])
    server_ms = seconds * 1e3 + microseconds / 1e3
    # Somewhere between sending and answering the two clocks were read at once.
    offset_ms = 0.0
    if server_ms < sent_ns / 1e6:
        offset_ms = server_ms - sent_ns / 1e6
    elif server_ms > answered_ns / 1e6:
        offset_ms = server_ms - answered_ns / 1e6
    return Server(str(address), info, settings, offset_ms)
