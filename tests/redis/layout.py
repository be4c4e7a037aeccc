"""I14: what every key in a server must be like."""

import re

from redis.crc import key_slot

from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.keys import slot_of
from tests.servers import Server

KEY = re.compile(
    rb"^af:\{(\d+)\.\d+\}:(meta|messages|parked|due|reminders|outbox|marks|inbox|[xsl]:)"
)


def check_keys(server: Server, store: RedisStore, *, root: bool = True) -> int:
    """Each key has its partition's tag, hashes to its slot, and never expires. Returns how many.

    `root`: whether this server must hold the root of the cluster.
    """
    with server.client() as client:
        keys = client.keys("*")
        assert b"af:cluster" in keys or not root
        for key in keys:
            assert client.ttl(key) == -1, key
            if key != b"af:cluster":
                match = KEY.match(key)
                assert match, key
                slot = slot_of(key)
                assert slot == store.partitions[int(match[1])].slot
                assert slot == key_slot(key)
    return len(keys)
