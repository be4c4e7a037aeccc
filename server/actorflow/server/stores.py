"""From a store's URL to a store: which adapter, how many partitions, shared by hosts or not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.errors import (
    ActorflowError,
    CorruptError,
    StoreInUseError,
    StoreUnavailableError,
    UsageError,
)
from actorflow.server.cluster_file import read_cluster_id, write_cluster_id

if TYPE_CHECKING:
    from actorflow.actors.cluster import Cluster
    from actorflow.actors.ports import PartitionStore
    from actorflow.actors.store.redis import StoreLostError
    from actorflow.server.config import Settings
    from actorflow.server.options import StoreUrl


class StartUpError(ActorflowError):
    """The server cannot start. The text is the cause; `mend` says what to do."""

    code = "START_UP"

    def __init__(self, cause: str, mend: str = "") -> None:
        super().__init__(cause)
        self.mend = mend


class Found(NamedTuple):
    """A store that is there and can be used; not open. `cluster` is set when hosts can share it."""

    store: PartitionStore
    partition_count: int
    cluster: Cluster | None = None


async def find_store(settings: Settings) -> Found:
    """Return the store of a server, looked at and closed again; the engine opens it.

    Raises:
        StartUpError: it cannot be used; says why and what to do.
    """
    url = settings.store
    if url.is_shared:
        return await _find_redis(settings)
    if url.path is None:
        from actorflow.actors.store.memory import MemoryStore  # noqa: PLC0415 -- only if chosen

        return Found(MemoryStore(), 1)
    if not url.path.parent.is_dir():
        raise StartUpError(
            f"the folder of --store {url} does not exist", f"mkdir -p {url.path.parent}"
        )
    from actorflow.actors.store.sqlite import SqliteStore  # noqa: PLC0415 -- only if chosen

    syncs = settings.durability == "fsync"
    return Found(SqliteStore(url.path, durability="fsync" if syncs else "local"), 1)


async def _find_redis(settings: Settings) -> Found:
    from actorflow.actors.cluster import Cluster  # noqa: PLC0415 -- only if chosen
    from actorflow.actors.keeper import InThread  # noqa: PLC0415
    from actorflow.actors.store.redis import RedisStore, StoreLostError  # noqa: PLC0415
    from actorflow.actors.store.redis.lifeline import RedisLifeline  # noqa: PLC0415
    from actorflow.actors.store.redis.post import RedisPost  # noqa: PLC0415

    try:
        known = _known_cluster(settings)
    except UsageError as err:
        raise StartUpError(str(err)) from err
    store = RedisStore(
        settings.store.url,
        partition_count=settings.partitions,
        durability=settings.durability,
        cluster_id=known,
    )
    log = logging.getLogger("actorflow.actors.store.redis")
    level = log.level
    log.setLevel(logging.ERROR)  # the engine opens it again, and then its warnings are heard
    try:
        await store.open()
        count = store.partition_count
        await store.close()
    except StoreLostError as err:
        raise _lost_error(err, known, settings) from err
    except (ActorflowError, OSError) as err:
        raise store_error(err, settings.store) from err
    finally:
        log.setLevel(level)
    if not known and _remembers(settings):
        write_cluster_id(settings.cluster_file, store.cluster_id, settings.store)
    post = RedisPost(store)
    home = InThread(lambda: RedisLifeline(store))
    return Found(store, count, Cluster(post, post, home=home))


def _remembers(settings: Settings) -> bool:
    """With durability `memory` an empty store is what was promised."""
    return settings.durability != "memory"


def _known_cluster(settings: Settings) -> str:
    return read_cluster_id(settings.cluster_file) if _remembers(settings) else ""


def _lost_error(err: StoreLostError, known: str, settings: Settings) -> StartUpError:
    if not known:
        return StartUpError(
            f"cannot open --store {settings.store}: {err}", "restore a backup of that Redis"
        )
    return StartUpError(
        f"cannot open --store {settings.store}: {err}. This host belongs to cluster {known}, says "
        f"{settings.cluster_file}",
        "restore a backup of that Redis, or correct --store; to begin a new cluster on purpose, "
        f"stop all hosts and delete {settings.cluster_file} of each",
    )


async def open_store(url: StoreUrl, *, found: bool = False) -> Found:
    """Open a store as it is, for the commands that work on stores.

    Args:
        found: whether a store may be made where there is none.

    Raises:
        StartUpError: as `find_store`.
    """
    store: PartitionStore
    if url.is_shared:
        from actorflow.actors.store.redis import RedisStore  # noqa: PLC0415 -- only if chosen

        # What is promised to callers is the hosts' affair; this one only reads and repairs.
        store = RedisStore(url.url, durability="memory", found=found)
    elif url.path is None:
        raise StartUpError(
            "--store memory: is in the memory of the server, where no other process can look"
        )
    else:
        if not found and not url.path.is_file():
            raise StartUpError(f"there is no store at {url}", "check --store")
        from actorflow.actors.store.sqlite import SqliteStore  # noqa: PLC0415 -- only if chosen

        store = SqliteStore(url.path)
    try:
        await store.open()
    except (ActorflowError, OSError) as err:
        raise store_error(err, url) from err
    return Found(store, getattr(store, "partition_count", 1))


def store_error(err: Exception, url: StoreUrl) -> StartUpError:
    """Return what to tell a person about a store that does not open."""
    if isinstance(err, StartUpError):
        return err
    if isinstance(err, StoreInUseError | UsageError):
        mend = ""  # they say themselves what to do
    elif isinstance(err, CorruptError):
        mend = "restore a backup or choose another store; this one was not changed"
    elif isinstance(err, StoreUnavailableError) and url.is_shared:
        mend = "check that Redis runs, can be reached there and takes writes; and the URL"
    else:
        mend = "check the path, its permissions and the disk"
    return StartUpError(f"cannot open --store {url}: {err}", mend)
