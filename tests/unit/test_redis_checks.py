"""Which servers are refused, which are warned about, and what each error reply means."""

from typing import Any

import pytest
from redis._parsers import BaseParser
from redis.exceptions import (
    ClusterError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)

from actorflow.actors.errors import CorruptError, StoreUnavailableError
from actorflow.actors.store.redis.checks import Durability, Server, check_server, parse_info
from actorflow.actors.store.redis.errors import StoreRefusedError, failure, refusal

REDIS = {"redis_version": "8.2.2", "maxmemory_policy": "noeviction", "aof_enabled": "1"}
VALKEY = {**REDIS, "redis_version": "7.2.4", "valkey_version": "9.1.2"}


def check(
    info: dict[str, str],
    settings: dict[str, str] | None = None,
    durability: Durability = "local",
    *,
    offset_ms: float = 0,
) -> list[str]:
    server = Server("Redis at h:1", info, settings or {}, offset_ms)
    return check_server(server, durability, replicas=1, clock_limit_ms=2_000)


def answered(text: str) -> RedisError:
    """Return what redis-py makes of a server's error."""
    error: RedisError = BaseParser.parse_error(text)  # type: ignore[no-untyped-call]  # redis-py's own
    return error


@pytest.mark.parametrize("info", [REDIS, VALKEY])
def test_good_server_is_taken_without_a_word(info: dict[str, str]) -> None:
    assert check(info) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"redis_version": "6.2.20"}, "Redis 6.2.20 is too old, install 7.0.0"),
        ({"valkey_version": "7.2.12"}, "Valkey 7.2.12 is too old, install 8.0.0"),
        ({"maxmemory_policy": "allkeys-lru"}, "set `maxmemory-policy noeviction`"),
        ({"maxmemory_policy": "volatile-ttl"}, "set `maxmemory-policy noeviction`"),
        ({"aof_enabled": "0"}, "set `appendonly yes`"),
        ({"role": "slave"}, "address of the primary"),
    ],
)
def test_server_that_cannot_hold_the_promise_is_refused(change: dict[str, str], why: str) -> None:
    with pytest.raises(StoreRefusedError, match=why):
        check(REDIS | change)


def test_every_problem_is_named_at_once() -> None:
    bad = {"redis_version": "5.0.1", "maxmemory_policy": "allkeys-lru", "aof_enabled": "0"}
    with pytest.raises(StoreRefusedError, match=r"too old.*noeviction.*appendonly"):
        check(bad)


def test_memory_needs_no_file_and_says_so() -> None:
    (warning,) = check(REDIS | {"aof_enabled": "0"}, durability="memory")
    assert "may lose everything" in warning


def test_fsync_needs_a_sync_for_each_write() -> None:
    assert check(REDIS, {"appendfsync": "always"}, "fsync") == []
    with pytest.raises(StoreRefusedError, match="appendfsync is everysec"):
        check(REDIS, {"appendfsync": "everysec"}, "fsync")
    (warning,) = check(REDIS, {}, "fsync")
    assert "may not read appendfsync" in warning


@pytest.mark.parametrize("durability", ["replicated", "both"])
def test_replication_needs_a_replica_and_a_primary_that_stops_alone(durability: Durability) -> None:
    info = REDIS | {"connected_slaves": "1"}
    settings = {"min-replicas-to-write": "1", "appendfsync": "always"}
    assert check(info, settings, durability) == []
    with pytest.raises(StoreRefusedError, match="0 replicas are connected"):
        check(REDIS, settings, durability)
    with pytest.raises(StoreRefusedError, match="set `min-replicas-to-write 1`"):
        check(info, settings | {"min-replicas-to-write": "0"}, durability)


@pytest.mark.parametrize("offset_ms", [-2_001.0, 2_001.0])
def test_clocks_must_agree(offset_ms: float) -> None:
    assert check(REDIS, offset_ms=offset_ms / 2) == []
    with pytest.raises(StoreRefusedError, match=r"[+-]2\.0 s.*NTP"):
        check(REDIS, offset_ms=offset_ms)


@pytest.mark.parametrize(
    ("info", "version", "warned"),
    [
        (REDIS, "7.0.15", True),
        (REDIS, "7.2.10", True),
        (REDIS, "7.2.11", False),
        (REDIS, "8.0.3", True),
        (REDIS, "8.4.0", False),
        (VALKEY, "8.1.5", True),
        (VALKEY, "8.1.6", False),
        (VALKEY, "9.0.1", True),
        (VALKEY, "9.2.0", False),
    ],
)
def test_known_holes_are_warned_about(info: dict[str, str], version: str, *, warned: bool) -> None:
    name = "valkey_version" if "valkey_version" in info else "redis_version"
    assert [("CVE-2025-49844" in text) for text in check(info | {name: version})] == [True] * warned


def test_info_is_read() -> None:
    text = "# Server\r\nredis_version:7.0.15\r\n\r\nexecutable:/a:b\r\n"
    assert parse_info(text) == {"redis_version": "7.0.15", "executable": "/a:b"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("MOVED 866 127.0.0.1:7001", "moved the slot"),
        ("ASK 866 127.0.0.1:7001", "moving the slot"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "moving the slot"),
        ("CLUSTERDOWN Hash slot not served", "CLUSTER INFO"),
        ("LOADING Redis is loading the dataset in memory", "loading"),
        ("READONLY You can't write against a read only replica.", "replica"),
        ("OOM allow-oom flag is not set on the script, can not run it", "raise `maxmemory`"),
        ("NOREPLICAS Not enough good replicas to write.", "min-replicas-to-write"),
        ("MISCONF Errors writing to the AOF file: No space left on device", "free space"),
        ("BUSY Redis is busy running a script.", "long script"),
        ("NOPERM User flow has no permissions", "ACL"),
        ("ERR unknown command", "Redis refused"),
    ],
)
def test_refusals_say_that_nothing_was_written(text: str, why: str) -> None:
    error = refusal(answered(text), "Redis at h:1")
    assert isinstance(error, StoreUnavailableError)
    assert error.written is False
    assert why in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "WRONGTYPE Operation against a key script: 8e4a1b0a8e4a1b0a8e4a1b0a8e4a1b0a8e4a1b0a, on 2.",
        "ERR user_script:151: attempt to index script: on @user_script:151.",
    ],
)
def test_failure_in_the_middle_of_a_script_is_no_refusal(text: str) -> None:
    error: Any = refusal(answered(text), "Redis at h:1")
    assert isinstance(error, CorruptError)
    assert "stop its owner" in str(error)


@pytest.mark.parametrize(
    ("error", "sent", "single", "written"),
    [
        (RedisConnectionError("Connection closed by server."), True, True, None),
        (RedisConnectionError("Error 111 connecting to h:1."), False, True, False),
        (TimeoutError(), True, True, None),
        (answered("LOADING Redis is loading"), True, True, False),
        (answered("LOADING Redis is loading"), True, False, None),
        (answered("NOAUTH Authentication required."), True, False, False),
        (ClusterError("TTL exhausted."), True, True, False),
        (RedisClusterException("no node"), True, True, False),
    ],
)
def test_failures_say_whether_anything_may_be_written(
    error: Exception, written: bool | None, *, sent: bool, single: bool
) -> None:
    found: Any = failure(error, "Redis at h:1", sent=sent, single=single)
    assert found.written is written
