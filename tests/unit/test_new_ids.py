"""A host names instances so that it serves them, until it has enough to do."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import pytest

from actorflow.actors.address import ActorId, partition_of
from actorflow.actors.clock import SystemIds
from actorflow.actors.ports import ActorRecord
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import Registry, WorkflowContext, WorkflowEngine
from actorflow.workflow.new_ids import IN_HAND_MAX, LOOK_AGAIN_NS, TRIES_MAX, NewIds

PARTITIONS = 64
COUNT = 2_000


class FakeHome:
    """A host with some partitions, and work in hand."""

    def __init__(self, owned: set[int], *, others: int = 3) -> None:
        self.owned = owned
        self.is_clustered = others > 0
        self.others = others
        self.in_hand = 0
        self.questions = self.looks = self.now_ns = 0
        self.ids = NewIds(self, SystemIds().uuid, lambda: self.now_ns)

    def partition(self, instance_id: str) -> int:
        return partition_of(ActorId("workflow", instance_id), PARTITIONS)

    def other_hosts(self) -> list[str]:
        return [f"host-{number}" for number in range(self.others)]

    def is_here(self, actor: ActorId) -> bool:
        self.questions += 1
        return self.partition(actor.key) in self.owned

    def gauges(self) -> dict[str, int]:
        self.looks += 1
        return {"ready_actors": self.in_hand // 2, "pending_deliveries": -(-self.in_hand // 2)}

    def take(self, count: int, *, each_ns: int = LOOK_AGAIN_NS) -> Counter[int]:
        """Return the partitions of so many new instances, one after the other in time."""
        found: Counter[int] = Counter()
        for _ in range(count):
            self.now_ns += each_ns
            found[self.partition(self.ids.instance())] += 1
        return found


def test_instances_are_here_and_spread_over_what_is_owned() -> None:
    home = FakeHome(set(range(0, PARTITIONS, 4)))

    found = home.take(COUNT)

    assert set(found) == home.owned
    assert max(found.values()) < 3 * COUNT / len(home.owned)
    assert home.questions < 8 * COUNT  # four on average


def test_a_host_with_all_partitions_takes_its_first_id() -> None:
    home = FakeHome(set(range(PARTITIONS)))

    home.take(COUNT)

    assert home.questions == COUNT


def test_a_host_with_much_in_hand_takes_any_id_until_it_has_room_again() -> None:
    home = FakeHome({3})
    home.in_hand = IN_HAND_MAX
    assert len(home.take(COUNT)) == PARTITIONS
    assert home.questions == 0

    home.in_hand = IN_HAND_MAX - 1
    # One of 64 partitions is not always among the ids that are looked at.
    assert home.take(COUNT)[3] > COUNT / 3


def test_what_begins_between_two_looks_counts() -> None:
    home = FakeHome(set(range(0, PARTITIONS, 2)))
    home.now_ns = 10 * LOOK_AGAIN_NS

    here = sum(
        count for partition, count in home.take(COUNT, each_ns=0).items() if partition % 2 == 0
    )

    assert home.looks == 1
    assert here < IN_HAND_MAX + 0.7 * (COUNT - IN_HAND_MAX)


def test_a_host_without_partitions_seldom_looks() -> None:
    home = FakeHome(set())

    assert len(home.take(COUNT, each_ns=LOOK_AGAIN_NS // 10)) == PARTITIONS

    assert home.questions <= TRIES_MAX * (COUNT // 10 + 1)


def test_a_host_alone_asks_nobody() -> None:
    home = FakeHome(set(range(PARTITIONS)), others=0)

    assert UUID(home.ids.instance()).version == 4
    assert home.ids.request() == ""
    assert home.questions == home.looks == 0


def test_ids_of_requests_are_those_of_no_other_host() -> None:
    homes = [FakeHome({1}), FakeHome({1})]

    ids = [home.ids.request() for home in homes for _ in range(100)]

    assert len(set(ids)) == 200


class ReadStore(MemoryStore):
    """Remembers of whom the histories were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    async def load(
        self, partition: int, actors: Sequence[ActorId], *, with_log: bool
    ) -> list[ActorRecord | None]:
        if with_log:
            self.read += [actor.key for actor in actors]
        return await super().load(partition, actors, with_log=with_log)


@pytest.mark.asyncio
async def test_nothing_is_read_of_an_instance_that_is_new() -> None:
    app = Registry()

    @app.workflow
    async def empty(_: WorkflowContext, __: None) -> str:
        return "done"

    store = ReadStore()
    async with WorkflowEngine(store, app) as engine:
        new = await engine.start("empty")
        await engine.start("empty", instance_id="named")
        ended = await engine.wait_for_completion(new, timeout_s=120)

    assert ended.output == '"done"'
    assert store.read == ["named"]
