"""F20, F18: TLS, users and their rights, Sentinel, sockets; and no secret in any word of ours."""

import asyncio
import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from actorflow.actors.errors import StoreUnavailableError, UsageError
from actorflow.actors.ports import Query
from actorflow.actors.store.redis import RedisStore
from tests.redis.load import Writer
from tests.servers import KINDS, Kind, Server, cluster, free_port

pytestmark = pytest.mark.asyncio

CANARY = "c4nary-s3cret"

ACL = (
    "on", "resetkeys", "resetchannels", "~af:*", "-@all",
    "+evalsha", "+script|load", "+info", "+time", "+ping", "+wait", "+cluster|slots", "+readonly",
    "+client|setname", "+@read", "+@write", "-keys", "-scan",
)  # fmt: skip
"""What docs/adr tells an administrator to grant."""

CLUSTER_ACL = (*ACL, "+command", "+asking")
"""The same for a Redis Cluster."""


async def works(store: RedisStore) -> None:
    """Write, read, search."""
    await store.open()
    writer = Writer(store, 0)
    await writer.write(3)
    await writer.check()
    assert len(await store.find(Query("Counter", 10, phases=("RUNNING",)))) == 1
    await store.recover(0, horizon_ms=1)
    await store.release((await writer.acquire()).lease)
    await store.close()


class TestUsers:
    """ACL users and passwords."""

    @pytest.fixture(params=KINDS)
    def server(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
        with Server(request.param, tmp_path) as server:
            server.do("ACL", "SETUSER", "flow", f">{CANARY}", *ACL)
            server.do("ACL", "SETUSER", "default", "off")
            yield server

    async def test_f20_user_with_the_documented_rights(self, server: Server) -> None:
        await works(RedisStore(f"redis://flow:{CANARY}@127.0.0.1:{server.port}", partition_count=2))

    @pytest.mark.parametrize("kind", KINDS)
    async def test_f20_user_of_a_cluster(self, tmp_path: Path, kind: Kind) -> None:
        with cluster(kind, tmp_path, 2) as nodes:
            for node in nodes:
                node.do("ACL", "SETUSER", "flow", f">{CANARY}", *CLUSTER_ACL)
            url = f"redis+cluster://flow:{CANARY}@127.0.0.1:{nodes[0].port}"
            await works(RedisStore(url, partition_count=2))

    @pytest.mark.parametrize(
        ("login", "why"),
        [
            (f"flow:{CANARY}x@", "refuses user name or password"),
            (f"other:{CANARY}@", "refuses user name or password"),
            ("", "asks for a password"),
        ],
    )
    async def test_f18_refused_log_in_says_why_and_no_secret(
        self, server: Server, login: str, why: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = RedisStore(f"redis://{login}127.0.0.1:{server.port}")
        with pytest.raises(StoreUnavailableError, match=why) as caught:
            await store.open()
        assert CANARY not in f"{caught.value!s}{caught.value!r}{store!r}{caplog.text}"
        assert CANARY not in f"{caught.value.__cause__!r}{vars(store)!r}"


class TestTls:
    """Certificates are verified unless nobody asks for TLS."""

    @pytest.fixture(scope="class")
    @classmethod
    def authority(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return make_certificates(tmp_path_factory.mktemp("certificates"))

    def server(self, directory: Path, authority: Path, certificate: str) -> Server:
        port = free_port()
        return Server(
            "redis",
            directory,
            {
                "tls-port": str(port),
                "tls-cert-file": str(authority / f"{certificate}.crt"),
                "tls-key-file": str(authority / f"{certificate}.key"),
                "tls-ca-cert-file": str(authority / "ca.crt"),
                "tls-auth-clients": "no",
            },
        )

    async def test_f20_right_certificate(self, tmp_path: Path, authority: Path) -> None:
        with self.server(tmp_path, authority, "good") as server:
            port = server.settings["tls-port"]
            url = f"rediss://127.0.0.1:{port}?ca={authority / 'ca.crt'}"
            await works(RedisStore(url, partition_count=1))

    @pytest.mark.parametrize(
        ("certificate", "ca"), [("good", "other"), ("expired", "ca"), ("elsewhere", "ca")]
    )
    async def test_f20_wrong_certificate(
        self, tmp_path: Path, authority: Path, certificate: str, ca: str
    ) -> None:
        with self.server(tmp_path, authority, certificate) as server:
            port = server.settings["tls-port"]
            store = RedisStore(f"rediss://127.0.0.1:{port}?ca={authority / f'{ca}.crt'}")
            with pytest.raises(StoreUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                await store.open()

    async def test_missing_authority_is_the_callers_fault(self) -> None:
        with pytest.raises(UsageError, match="certificate authority"):
            RedisStore("rediss://127.0.0.1:1?ca=/no/such/file")


class TestSentinel:
    """The address of the primary comes from Sentinel, also after a fail-over."""

    async def test_store_follows_a_fail_over(self, tmp_path: Path) -> None:
        with Server("redis", tmp_path / "one") as one, Server("redis", tmp_path / "two") as two:
            two.do("REPLICAOF", "127.0.0.1", one.port)
            for server in (one, two):
                server.do("CONFIG", "SET", "min-replicas-to-write", "1")
            await one.reaches(Server.has_good_replica)
            with sentinel(tmp_path / "sentinel", one.port) as watch:
                await watch.reaches(_knows_replica)
                url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{watch.port}/main"
                store = RedisStore(url, partition_count=2, durability="replicated")
                await store.open()
                writer = Writer(store, 0)
                await writer.write(3)  # now the replica has the lease as well
                stop = asyncio.Event()
                async with asyncio.TaskGroup() as group:
                    group.create_task(writer.write_until(stop, at_least=20))
                    await asyncio.sleep(0.1)
                    await asyncio.to_thread(watch.do, "SENTINEL", "FAILOVER", "main")
                    await two.reaches(lambda server: server.do("ROLE")[0] == b"master")
                    # Sentinel would do the same, some seconds later.
                    one.do("REPLICAOF", "127.0.0.1", two.port)
                    stop.set()
                done = writer.done
                await writer.write(5)
                assert writer.done == done + 5
                await writer.check()
                assert int(two.do("HGET", store.partitions[0].meta, "seq")) == done + 5
                await store.close()

    async def test_unknown_service(self, tmp_path: Path) -> None:
        with Server("redis", tmp_path / "one") as one, sentinel(tmp_path / "s", one.port) as watch:
            store = RedisStore(f"redis+sentinel://127.0.0.1:{watch.port}/typo")
            with pytest.raises(StoreUnavailableError, match="No master found for 'typo'"):
                await store.open()


async def test_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with Server("redis", tmp_path / "one", {"unixsocket": str(path)}):
        await works(RedisStore(f"unix://{path}", partition_count=1))


async def test_nobody_listens() -> None:
    store = RedisStore(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailableError, match="cannot connect") as caught:
        await store.open()
    assert caught.value.written is False


async def test_something_else_listens() -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(StoreUnavailableError, match="does not speak Redis"):
        await RedisStore(f"redis://127.0.0.1:{port}").open()
    server.close()


def sentinel(directory: Path, primary_port: int) -> Server:
    """Return a Sentinel that watches one primary by the name of `main`."""
    directory.mkdir()
    port = free_port()
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
        f"sentinel monitor main 127.0.0.1 {primary_port} 1\n"
        "sentinel down-after-milliseconds main 60000\nsentinel failover-timeout main 60000\n"
    )
    server = Server("redis", directory, arguments=[str(configuration), "--sentinel"])
    server.port = port
    return server


def _knows_replica(watch: Server) -> bool:
    with watch.client() as client:
        found = client.sentinel_slaves("main")
    return any(one["master-link-status"] == "ok" for one in found)


def make_certificates(directory: Path) -> Path:
    """Write two authorities, and certificates of the first: good, expired, for another host."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.crt")
    trustme.CA().cert_pem.write_to_path(directory / "other.crt")
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    for name, certificate in (
        ("good", authority.issue_cert("127.0.0.1")),
        ("expired", authority.issue_cert("127.0.0.1", not_before=past, not_after=past)),
        ("elsewhere", authority.issue_cert("elsewhere.example")),
    ):
        certificate.private_key_pem.write_to_path(directory / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(directory / f"{name}.crt")
    return directory
