"""Where a store URL leads, and that no error or repr repeats a secret."""

from pathlib import Path

import pytest
import trustme

from actorflow.actors.errors import UsageError
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.url import Account, Address, parse_url, redacted

CANARY = "c4nary"


@pytest.mark.parametrize(
    ("url", "address", "account"),
    [
        ("redis://", Address("localhost", 6379), Account()),
        ("redis://h", Address("h", 6379), Account()),
        ("redis://h:1", Address("h", 1), Account()),
        ("redis://h/3", Address("h", 6379), Account(database=3)),
        ("redis://h?db=3", Address("h", 6379), Account(database=3)),
        ("redis://:p@h", Address("h", 6379), Account(password="p")),
        ("redis://u:p@h", Address("h", 6379), Account("u", "p")),
        ("redis://u%3A:p%40%2F@h", Address("h", 6379), Account("u:", "p@/")),
        ("redis://[::1]:7", Address("::1", 7), Account()),
        ("unix:///run/redis%20a.sock", Address("/run/redis a.sock", 0), Account()),
        ("unix://:p@/run/redis.sock?db=2", Address("/run/redis.sock", 0), Account("", "p", 2)),
    ],
)
def test_one_server(url: str, address: Address, account: Account) -> None:
    location = parse_url(url)
    assert location.topology == "server"
    assert location.addresses == (address,)
    assert location.account == account


def test_cluster() -> None:
    location = parse_url("redis+cluster://u:p@a:1,b,[::1]:3?namespace=shop")
    assert location.topology == "cluster"
    assert location.addresses == (Address("a", 1), Address("b", 6379), Address("::1", 3))
    assert location.account == Account("u", "p")
    assert location.namespace == "shop"


def test_sentinel() -> None:
    location = parse_url("redis+sentinel://u:p@a:1,b/main/2?sentinel_password=s")
    assert location.topology == "sentinel"
    assert location.addresses == (Address("a", 1), Address("b", 26379))
    assert (location.service, location.account) == ("main", Account("u", "p", 2))
    assert location.sentinel_account == Account("", "s")


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster", "rediss+sentinel"])
def test_tls_verifies(scheme: str) -> None:
    path = "/main" if "sentinel" in scheme else ""
    account = parse_url(f"{scheme}://h{path}").account
    assert account.tls
    assert account.authority == ""


def test_authority_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    location = parse_url(f"rediss+sentinel://h/main?ca={file}")
    assert location.account.authority == location.sentinel_account.authority == str(file)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "begins with ''"),
        ("http://u:c4nary@h", "begins with 'http'"),
        ("h:6379", "begins with 'h'"),
        ("redis://u:c4nary@h:x", "host or port"),
        ("redis://u:c4nary@h:99999", "host or port"),
        ("redis://u:c4nary@h/x", "database 'x'"),
        ("redis://u:c4nary@h/-1", "database '-1'"),
        ("redis://u:c4nary@h?ssl_cert_reqs=none", "unknown options: ssl_cert_reqs"),
        ("redis+cluster://u:c4nary@h/1", "database 0 only"),
        ("redis+sentinel://u:c4nary@h", "names the service"),
        ("redis://u:c4nary@h?namespace={a}", "namespace '{a}'"),
        ("redis://u:c4nary@h?namespace=", "namespace ''"),
    ],
)
def test_what_cannot_be_read_is_refused_without_secrets(url: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_url(url)
    assert CANARY not in str(caught.value)


def test_nothing_repeats_a_secret() -> None:
    url = f"redis://user:{CANARY}@h:1/2?sentinel_password={CANARY}"
    store = RedisStore(url)
    assert redacted(url) == "redis://h:1/2"
    assert repr(store) == "RedisStore(redis://h:1/2)"
    assert CANARY not in repr(parse_url(url))
    assert CANARY not in repr(vars(store))


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("h", 1), "h:1"),
        (Address("::1", 1), "[::1]:1"),
        (Address("/run/a", 0), "/run/a"),
    ],
)
def test_addresses_read_well(address: Address, text: str) -> None:
    assert str(address) == text
