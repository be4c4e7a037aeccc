"""What holds for each id that a host makes for an instance, whatever partitions it has."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from actorflow.actors.address import ActorId, partition_of
from actorflow.workflow.new_ids import TRIES_MAX, near_id

PARTITIONS = 64


def partition(instance_id: str) -> int:
    return partition_of(ActorId("workflow", instance_id), PARTITIONS)


@given(st.uuids(version=4).map(str), st.sets(st.integers(0, PARTITIONS - 1)))
def test_a_near_id_is_here_and_as_good_as_the_first(first: str, owned: set[int]) -> None:
    looked: list[str] = []

    def is_here(instance_id: str) -> bool:
        looked.append(instance_id)
        return partition(instance_id) in owned

    near = near_id(first, is_here)

    assert looked[0] == first
    assert len(set(looked)) == len(looked) <= TRIES_MAX
    if near is None:
        assert len(looked) == TRIES_MAX
        assert not {partition(one) for one in looked} & owned
    else:
        assert near == looked[-1]
        assert partition(near) in owned
        assert str(UUID(near)) == near
        assert UUID(near).version == 4
        assert near[:-4] == first[:-4]


@given(st.uuids(version=4).map(str), st.sets(st.integers(0, PARTITIONS - 1), min_size=16))
def test_a_fourth_of_the_partitions_is_always_found(first: str, owned: set[int]) -> None:
    assert near_id(first, lambda instance_id: partition(instance_id) in owned) is not None
