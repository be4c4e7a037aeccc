"""Letters over a real server: an inbox that takes none holds up nobody else's."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.post import SEND_COUNT, RedisPost
from tests.servers import Server

pytestmark = pytest.mark.asyncio

DAMAGED, WHOLE, OTHER = 1, 2, 3


@pytest_asyncio.fixture
async def post(store: RedisStore) -> AsyncIterator[RedisPost]:
    post = RedisPost(store)
    await post.open("h", lambda error: pytest.fail(str(error)))
    yield post
    await post.close()


def damage(server: Server, store: RedisStore, partition: int) -> None:
    """Put something into an inbox's place that is no stream."""
    server.do("SET", store.partitions[partition].inbox, "no stream")


def letters_in(server: Server, store: RedisStore, partition: int) -> list[bytes]:
    rows = server.do("XRANGE", store.partitions[partition].inbox, "-", "+")
    return [fields[b"d"] for _, fields in rows]


@pytest.mark.parametrize("count", [3, 3 * SEND_COUNT], ids=["one call", "many calls"])
async def test_an_inbox_that_takes_no_letters_does_not_hold_up_the_rest(
    any_server: Server, store: RedisStore, post: RedisPost, count: int
) -> None:
    damage(any_server, store, DAMAGED)
    texts = [b"%d" % number for number in range(count)]
    letters = [(to, text) for text in texts for to in (WHOLE, DAMAGED, OTHER)]
    with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
        await post.send(letters)
    assert letters_in(any_server, store, WHOLE) == texts, "all of them, in order"
    assert letters_in(any_server, store, OTHER) == texts
    assert any_server.do("GET", store.partitions[DAMAGED].inbox) == b"no stream"
    any_server.do("DEL", store.partitions[DAMAGED].inbox)
    await post.send([(DAMAGED, b"again")])
    assert letters_in(any_server, store, DAMAGED) == [b"again"]
