"""R11 when no host runs: what hosts remember decides whether an empty Redis is a new one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from actorflow.server.config import Settings
from actorflow.server.options import StoreUrl
from actorflow.server.stores import Found, StartUpError, find_store
from tests.servers import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("redis", tmp_path_factory.mktemp("redis")) as server:
        yield server


class Machine:
    """A host that is started again and again."""

    def __init__(self, server: Server, file: Path) -> None:
        server.do("FLUSHALL")
        self.server = server
        self.file = file

    async def start(self, **settings: object) -> Found:
        url = StoreUrl("redis", url=self.server.url)
        given = {"store": url, "partitions": 2, "cluster_file": self.file, **settings}
        return await find_store(Settings(**given))  # type: ignore[arg-type]  # by name

    def root(self) -> str:
        return str(self.server.do("HGET", "af:cluster", "id").decode())


@pytest.fixture
def machine(server: Server, tmp_path: Path) -> Machine:
    return Machine(server, tmp_path / "cluster")


@pytest.mark.asyncio
async def test_the_first_start_founds_and_remembers(machine: Machine) -> None:
    await machine.start()
    lines = machine.file.read_text().splitlines()
    assert lines[0] == machine.root()
    assert machine.server.url in lines[1]
    await machine.start()
    assert [path.name for path in machine.file.parent.iterdir()] == ["cluster"]


@pytest.mark.asyncio
async def test_r11_an_emptied_redis_is_refused_by_who_knew_it(machine: Machine) -> None:
    await machine.start()
    cluster_id = machine.root()
    machine.server.do("FLUSHALL")
    for _ in range(2):
        with pytest.raises(StartUpError, match=f"lost its data: cluster {cluster_id}") as caught:
            await machine.start()
        assert str(machine.file) in str(caught.value)
        assert f"delete {machine.file}" in caught.value.mend
        assert machine.server.do("DBSIZE") == 0, "and nothing was founded"


@pytest.mark.asyncio
async def test_r11_another_cluster_in_its_place_is_refused(machine: Machine) -> None:
    await machine.start()
    machine.server.do("FLUSHALL")
    await machine.start(cluster_file=machine.file.with_name("stranger"))
    with pytest.raises(StartUpError, match=f"another cluster, {machine.root()}"):
        await machine.start()


@pytest.mark.asyncio
async def test_a_new_cluster_begins_when_the_file_is_deleted(machine: Machine) -> None:
    await machine.start()
    before = machine.root()
    machine.server.do("FLUSHALL")
    machine.file.unlink()
    await machine.start()
    assert machine.root() != before
    await machine.start()


@pytest.mark.asyncio
async def test_where_nothing_was_promised_nothing_is_remembered(machine: Machine) -> None:
    await machine.start(durability="memory")
    machine.server.do("FLUSHALL")
    await machine.start(durability="memory")
    assert not machine.file.exists()


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_written_costs_a_warning(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    await machine.start(cluster_file=machine.file / "no" / "such" / "folder")
    (record,) = [r for r in caplog.records if "not remembered" in r.getMessage()]
    assert record.levelname == "WARNING"


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["", "\n", "two words\n", "\0\n"])
async def test_a_file_that_says_nothing_is_not_taken_for_none(machine: Machine, text: str) -> None:
    machine.file.write_text(text)
    with pytest.raises(StartUpError, match="does not begin with the id") as caught:
        await machine.start()
    assert f"delete {machine.file}" in str(caught.value)
    machine.file.write_bytes(b"\xff\xfe")
    with pytest.raises(StartUpError, match="not text"):
        await machine.start()
