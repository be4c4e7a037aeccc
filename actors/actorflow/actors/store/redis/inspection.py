"""Asks servers what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from actorflow.actors.store.redis.checks import Server, parse_info
from actorflow.actors.store.redis.errors import refusal

if TYPE_CHECKING:
    from actorflow.actors.clock import Clock
    from actorflow.actors.store.redis.client import RedisClient

_SECTIONS = ("server", "memory", "persistence", "replication", "cluster")
_SETTINGS = ("appendfsync", "min-replicas-to-write")
_REQUESTS = (
    *(("INFO", section) for section in _SECTIONS),
    *(("CONFIG", "GET", name) for name in _SETTINGS),
    ("TIME",),
)


async def inspect(client: RedisClient, clock: Clock) -> list[Server]:
    """Read version, settings and clock of each primary.

    CONFIG may be forbidden to our user; what it would tell is then unknown.

    Raises:
        StoreUnavailableError: no answer, or one refuses INFO.
    """
    return [await _inspect(client, place, clock) for place in await client.primaries()]


async def _inspect(client: RedisClient, place: str, clock: Clock) -> Server:
    sent_ns = clock.now_ns()
    replies = await client.ask_at(place, *_REQUESTS)
    answered_ns = clock.now_ns()
    info: dict[str, str] = {}
    for reply in replies[: len(_SECTIONS)]:
        if isinstance(reply, RedisError):
            raise refusal(reply, f"Redis at {place}")
        info |= parse_info(reply.decode(errors="replace"))
    settings: dict[str, str] = {}
    for reply in replies[len(_SECTIONS) : -1]:
        if not isinstance(reply, RedisError) and len(reply) == 2:
            settings[reply[0].decode()] = reply[1].decode()
    if isinstance(replies[-1], RedisError):
        raise refusal(replies[-1], f"Redis at {place}")
    seconds, microseconds = map(int, replies[-1])
    server_ms = seconds * 1e3 + microseconds / 1e3
    # Somewhere between sending and answering the two clocks were read at once.
    offset_ms = 0.0
    if server_ms < sent_ns / 1e6:
        offset_ms = server_ms - sent_ns / 1e6
    elif server_ms > answered_ns / 1e6:
        offset_ms = server_ms - answered_ns / 1e6
    return Server(f"Redis at {place}", info, settings, offset_ms)
