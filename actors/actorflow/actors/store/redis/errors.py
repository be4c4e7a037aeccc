"""What Redis' errors mean: was the commit written, and what can a person do about it."""

from __future__ import annotations

import re

from redis.exceptions import (
    ClusterError,
    InvalidResponse,
    MaxConnectionsError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from actorflow.actors.errors import CorruptError, StoreFullError, StoreUnavailableError, UsageError

TEXT_MAX = 200
"""How much of a server's own words stands in an error of ours."""

_IN_SCRIPT = re.compile(r"script: (?:on |[0-9a-f]{40})|@user_script")
"""What the server adds when a call within a script failed, so after the script had started."""

_UNSENT = (MaxConnectionsError, RedisClusterException)
"""What redis-py raises before it sends anything. It raises a bare `ClusterError` when each server
sent the command away."""

_CAUSES = {
    "NOSCRIPT": "Redis forgot a script",
    "MOVED": "the cluster moved the slot",
    "ASK": "the cluster is moving the slot",
    "TRYAGAIN": "the cluster is moving the slot; wait until it is whole",
    "CLUSTERDOWN": "the cluster is down or serves not all slots; check `CLUSTER INFO`",
    "LOADING": "Redis is loading its data; wait",
    "READONLY": "this Redis is a replica; a fail-over is under way, or the address is wrong",
    "MASTERDOWN": "this replica has lost its primary",
    "OOM": "Redis has no memory left; raise `maxmemory` or purge what is finished",
    "NOREPLICAS": "too few replicas are connected for `min-replicas-to-write`",
    "MISCONF": "Redis cannot write to its disk; free space and look into its log",
    "BUSY": "Redis is busy with a long script",
    "NOAUTH": "Redis asks for a password; put it into the URL",
    "WRONGPASS": "Redis refuses user name or password",
    "NOPERM": "the Redis user lacks a right; see the ACL line in the documentation",
}


class StoreRefusedError(UsageError):
    """The server or its settings cannot hold what was promised. The text says what to change."""

    code = "STORE_REFUSED"


class StoreLostError(StoreUnavailableError):
    """The store no longer has the data of this cluster, or it is another one's.

    It is never taken for a new store. Partitions stay down until the data is back.
    """

    code = "STORE_LOST"

    def __init__(self, cause: str) -> None:
        super().__init__(cause, written=False)


def word_of(error: RedisError) -> str:
    """Return the first word of a server's error, which tells the kind; "" when none said it."""
    if error.status_code is None and not isinstance(error, ResponseError):
        return ""
    return error.status_code or str(error).partition(" ")[0]


def refusal(error: RedisError, place: object) -> StoreUnavailableError | CorruptError:
    """Return our error for a server's error in answer to one script or command. It was not carried
    out.

    A script of ours that fails in its middle is a `CorruptError`: its checks did not foresee what
    is stored, so the partition's data must be looked at before anybody goes on.
    """
    word, text = word_of(error), str(error)
    if not text.startswith(word):
        text = f"{word} {text}"
    text = text[:TEXT_MAX]
    if word != "NOPERM" and _IN_SCRIPT.search(str(error)):
        return CorruptError(
            f"{place}: a script failed after its checks ({text}); the partition may be damaged, "
            "stop its owner and check it"
        )
    cause = _CAUSES.get(word, "Redis refused")
    kind = StoreFullError if word == "OOM" else StoreUnavailableError
    return kind(f"{place}: {cause} ({text})", written=False)


def failure(
    error: BaseException, place: object, *, sent: bool = True, single: bool = True
) -> StoreUnavailableError | CorruptError:
    """Return our error for what redis-py raised instead of an answer.

    Args:
        sent: whether anything may have reached a server.
        single: whether it concerns one command; others may have been carried out.
    """
    if isinstance(error, RedisError) and (word := word_of(error)):
        refused = refusal(error, place)
        if word == "LOADING" and sent and not single:
            return StoreUnavailableError(str(refused), written=None)
        return refused
    text = str(error) or type(error).__name__
    if isinstance(error, InvalidResponse):
        return unanswered(place, f"it does not speak Redis' protocol ({text})")
    if sent and not isinstance(error, _UNSENT) and type(error) is not ClusterError:
        return unanswered(place, text)
    return StoreUnavailableError(f"cannot connect to {place}: {text}", written=False)


def unanswered(place: object, why: str) -> StoreUnavailableError:
    """Return our error for a request that was sent and got no answer."""
    return StoreUnavailableError(f"no answer from {place}: {why}", written=None)
