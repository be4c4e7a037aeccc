"""Settings: precedence, aliases, errors that name key, source and what is allowed."""

from pathlib import Path

import pytest

from actorflow.server.config import (
    ConfigError,
    Loaded,
    Settings,
    load_settings,
    redact_url,
    shown,
)
from actorflow.server.options import OPTIONS, StoreUrl, parse_bytes, parse_store


def load(
    flags: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    file: Path | None = None,
) -> Loaded:
    return load_settings(flags or {}, environ or {}, file)


def toml(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "actorflow.toml"
    file.write_text(text)
    return file


def test_defaults_are_the_sidecars_where_it_has_them() -> None:
    settings = load().settings
    assert settings == Settings()
    assert settings.http_port == 3500
    assert settings.max_body_bytes == 4 * 1024 * 1024
    assert settings.read_buffer_bytes == 4096
    assert settings.graceful_shutdown_s == 5
    assert settings.listen_addresses == ("127.0.0.1",)
    assert settings.durability_level == "local"


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = toml(tmp_path, 'http-port = 1\napp-id = "file"\nlog-level = "error"\n')
    environ = {"ACTORFLOW_HTTP_PORT": "2", "ACTORFLOW_APP_ID": "env"}
    loaded = load({"http-port": "3"}, environ, file)
    assert loaded.settings.http_port == 3
    assert loaded.settings.app_id == "env"
    assert loaded.settings.log_level == "error"
    assert loaded.sources["http-port"] == "flag --http-port"
    assert loaded.sources["app-id"] == "environment variable ACTORFLOW_APP_ID"
    assert loaded.sources["log-level"] == f"file {file}"
    assert loaded.sources["store"] == "default"


def test_our_variable_beats_dapr_s_and_an_empty_one_counts_as_unset() -> None:
    environ = {"DAPR_HTTP_PORT": "7", "ACTORFLOW_HTTP_PORT": "8", "APP_ID": "shop"}
    assert load(environ=environ).settings.http_port == 8
    environ["ACTORFLOW_HTTP_PORT"] = ""
    loaded = load(environ=environ)
    assert loaded.settings.http_port == 7
    assert loaded.settings.app_id == "shop"


def test_every_option_can_come_from_every_source(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    texts = {
        "app": "orders.py",
        "app-id": "shop",
        "http-port": "81",
        "listen-addresses": "::1,127.0.0.2",
        "grpc": "false",
        "grpc-port": "82",
        "grpc-address": "127.0.0.3",
        "store": "redis://cache",
        "durability": "fsync",
        "partitions": "16",
        "processes": "2",
        "lease-seconds": "1.5",
        "cluster-file": "here.cluster",
        "max-body-size": "1Mi",
        "read-buffer-size": "8Ki",
        "api-token-file": str(token),
        "allowed-origins": "https://a.example",
        "allowed-hosts": "a.example",
        "insecure": "true",
        "start-wait-seconds": "2",
        "strict-status": "true",
        "strict-pending": "true",
        "graceful-shutdown-seconds": "1.5",
        "state-retention-policy": "anyTerminal=720h,completed=90m",
        "max-concurrent-workflow-invocations": "7",
        "max-concurrent-activity-invocations": "8",
        "global-max-concurrent-workflow-invocations": "9",
        "global-max-concurrent-activity-invocations": "10",
        "workflow-concurrency-limits": "order=2",
        "activity-concurrency-limits": "charge=5,ship=20",
        "metrics": "false",
        "log-level": "debug",
        "log-format": "json",
        "access-log": "true",
        "uvloop": "false",
        "ready-file": "ready",
    }
    assert set(texts) == {option.name for option in OPTIONS}
    from_flags = load(texts).settings
    from_env = load(environ={o.env_names[0]: texts[o.name] for o in OPTIONS}).settings
    lines = [f'{name} = "{text}"\n' for name, text in texts.items()]
    from_file = load(file=toml(tmp_path, "".join(lines))).settings
    assert from_flags == from_env == from_file
    for option in OPTIONS:
        assert getattr(from_flags, option.field) != getattr(Settings(), option.field), option.name


def test_file_takes_native_types_and_underscores(tmp_path: Path) -> None:
    file = toml(
        tmp_path,
        "http_port = 81\nmetrics = false\nmax-body-size = 2048\n"
        'listen-addresses = ["127.0.0.1", "::1"]\n',
    )
    settings = load(file=file).settings
    assert settings.http_port == 81
    assert settings.metrics is False
    assert settings.max_body_bytes == 2048
    assert settings.listen_addresses == ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("4194304", 4194304), ("4Mi", 4194304), ("64Ki", 65536), ("1Gi", 1 << 30), (" 1Ki ", 1024)],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "4M", "4MB", "-1", "0", "1.5Mi", "Mi", "2Gi", "1" * 13, "٤Ki"]
)
def test_sizes_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1Ki to 1Gi"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "store"),
    [
        ("memory:", StoreUrl("memory")),
        ("sqlite:///a/b.db", StoreUrl("sqlite", Path("a/b.db"))),
        ("sqlite:////var/b.db", StoreUrl("sqlite", Path("/var/b.db"))),
    ],
)
def test_stores(text: str, store: StoreUrl) -> None:
    assert parse_store(text) == store
    assert str(store) == text


@pytest.mark.parametrize("text", ["", "orders.db", "sqlite:", "sqlite://", "sqlite:///", "memory"])
def test_stores_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///PATH"):
        parse_store(text)


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [
        ("redis://", "redis://"),
        ("redis://cache:6379/2", "redis://cache:6379/2"),
        ("rediss://me:hunter2@cache", "rediss://cache"),
        (
            "redis+sentinel://a:1,b:2/main?sentinel_password=hunter2",
            "redis+sentinel://a:1,b:2/main",
        ),
        ("redis+cluster://a,b:7000", "redis+cluster://a,b:7000"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_redis_stores_are_shared_and_never_show_a_password(text: str, shown_as: str) -> None:
    store = load({"store": text}).settings.store
    assert store.is_shared
    assert store.url == text
    assert str(store) == shown_as
    assert "hunter2" not in repr(store)


@pytest.mark.parametrize(
    "text",
    ["redis+x://a", "redis://me:hunter2@a:b", "redis://me:hunter2@a/x", "redis://hunter2:x@a?b=1"],
)
def test_redis_urls_that_are_refused_do_not_show_the_password(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"store": text})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"processes": "2"}, "only one process can use"),
        ({"processes": "2", "store": "memory:"}, "only one process can use"),
        ({"partitions": "64"}, "leave --partitions out"),
        ({"durability": "replicated"}, "allowed for SQLite: local or fsync"),
        ({"durability": "memory"}, "allowed for SQLite: local or fsync"),
        ({"durability": "memory", "store": "memory:", "partitions": "1"}, ""),
        ({"processes": "4", "partitions": "16", "store": "redis://a", "durability": "both"}, ""),
    ],
)
def test_what_a_store_cannot_do(flags: dict[str, str], text: str) -> None:
    if not text:
        load(flags)
        return
    with pytest.raises(ConfigError, match=text):
        load(flags)


BAD_TEXTS = [
    ("http-port", "70000", "0 to 65535"),
    ("http-port", "", "0 to 65535"),
    ("app-id", "a b", "letters"),
    ("durability", "some", "local or fsync"),
    ("processes", "0", "1 to 64"),
    ("partitions", "2000", "1 to 1,024"),
    ("lease-seconds", "0.1", "0.5 to 300"),
    ("log-level", "DEBUG", "debug or info"),
    ("log-format", "xml", "console or json"),
    ("metrics", "maybe", "true or false"),
    ("graceful-shutdown-seconds", "-1", "seconds from 0"),
    ("graceful-shutdown-seconds", "nan", "seconds from 0"),
    ("listen-addresses", "127.0.0.1,", "without empty items"),
    ("listen-addresses", "http://x", "without ports"),
    ("allowed-origins", "shop.example", "https://"),
    ("api-token-file", "/does/not/exist", "No such file"),
]


@pytest.mark.parametrize(("name", "text", "allowed"), BAD_TEXTS)
def test_a_bad_value_names_setting_source_and_what_is_allowed(
    name: str, text: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load({name: text})
    assert name in str(caught.value)
    assert f"flag --{name}" in str(caught.value)
    assert allowed in str(caught.value)


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="environment variable DAPR_HTTP_PORT"):
        load(environ={"DAPR_HTTP_PORT": "x"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http-prot = 1", "did you mean 'http-port'"),
        ("zzz = 1", "known keys: access-log"),
        ('api-token = "s3cret"', "api-token-file"),
        ("http-port = [1]", "list of text"),
        ("http-port = 2020-01-01", "allowed"),
        ("http-port = true", "0 to 65535"),
        ("[serve]\nhttp-port = 1", "unknown key 'serve'"),
        ("http-port", "is not TOML"),
    ],
)
def test_a_bad_file_says_what_is_wrong_and_shows_no_secret(
    tmp_path: Path, text: str, expected: str
) -> None:
    file = toml(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file=file)
    assert expected in str(caught.value)
    assert str(file) in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(file=tmp_path / "none.toml")


# --- security row F02: the start matrix ---------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_token(address: str) -> None:
    assert load({"listen-addresses": address}).settings.is_loopback_only


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "::", "192.0.2.1", "shop.example", "127.0.0.1,0.0.0.0", "localhost.evil"]
)
def test_another_address_needs_a_token_or_insecure(address: str, tmp_path: Path) -> None:
    flags = {"listen-addresses": address}
    with pytest.raises(ConfigError, match=r"listen-addresses.*--insecure"):
        load(flags)
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    assert load(flags | {"insecure": "true"}).settings.insecure
    assert load(flags, {"DAPR_API_TOKEN": "t"}).settings.api_tokens == ("t",)
    assert load(flags | {"api-token-file": str(token)}).settings.api_tokens == ("s3cret",)
    assert not load(flags | {"insecure": "true"}).settings.is_loopback_only


def test_an_empty_token_is_no_token() -> None:
    with pytest.raises(ConfigError, match="no API token"):
        load({"listen-addresses": "0.0.0.0"}, {"ACTORFLOW_API_TOKEN": "", "DAPR_API_TOKEN": ""})


# --- tokens --------------------------------------------------------------------------------------


def test_several_tokens_are_valid_at_once() -> None:
    assert load(environ={"ACTORFLOW_API_TOKEN": "old, new"}).settings.api_tokens == ("old", "new")


@pytest.mark.parametrize("name", ["ACTORFLOW_API_TOKEN", "DAPR_API_TOKEN"])
@pytest.mark.parametrize("text", [",", " ", "s3cret,", "s3 cret", "s3crét", "s3cret\n"])
def test_a_bad_token_is_refused_and_not_shown(name: str, text: str) -> None:
    if text == "s3cret\n":  # surrounding blanks, such as the line end of a file, are no part of it
        assert load(environ={name: text}).settings.api_tokens == ("s3cret",)
        return
    with pytest.raises(ConfigError, match=name) as caught:
        load(environ={name: text})
    assert "s3" not in str(caught.value)


def test_an_empty_token_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match="api-token-file"):
        load({"api-token-file": str(tmp_path / "token")})


def test_no_flag_takes_a_token() -> None:
    assert "--api-token" not in {flag for o in OPTIONS for flag in (o.flag, *o.flag_aliases)}


def test_secrets_are_not_shown() -> None:
    loaded = load(environ={"DAPR_API_TOKEN": "s3cret"})
    assert loaded.sources["api-token-file"] == "environment variable DAPR_API_TOKEN"
    texts = [shown(option, loaded.settings) for option in OPTIONS]
    assert "1 set, not shown" in texts
    assert "s3cret" not in repr(loaded.settings) + str(loaded) + "".join(texts)
    assert redact_url("x redis://u:p@h/0 y") == "x redis://***@h/0 y"


# --- remarks -------------------------------------------------------------------------------------


def test_a_misspelt_variable_gives_a_warning() -> None:
    loaded = load(environ={"ACTORFLOW_HTPP_PORT": "1", "ACTORFLOW_URL": "x", "PATH": "/"})
    assert len(loaded.warnings) == 1
    assert "did you mean ACTORFLOW_HTTP_PORT" in loaded.warnings[0]


def test_shown_texts_can_be_read_again() -> None:
    settings = Settings()
    for option in OPTIONS:
        text = shown(option, settings)
        if text != "none":
            assert option.parse(text) == getattr(settings, option.field)


def test_the_memory_store_promises_less() -> None:
    assert load({"store": "memory:", "durability": "fsync"}).settings.durability_level == "memory"


# ---- gRPC ----------------------------------------------------------------------------------------


def test_grpc_is_served_where_the_extra_is_installed_unless_somebody_says_so() -> None:
    assert load({}).settings.grpc == "auto"
    assert load({"grpc": "true"}).settings.grpc == "on"
    assert load({"grpc": "false"}).settings.grpc == "off"


@pytest.mark.parametrize("flags", [{"grpc-port": "50001"}, {"grpc-address": "127.0.0.1"}])
def test_who_names_a_place_for_grpc_wants_it(flags: dict[str, str]) -> None:
    assert load(flags).settings.grpc == "on"
    assert load({**flags, "grpc": "false"}).settings.grpc == "off"


def test_any_http_port_means_any_grpc_port() -> None:
    assert load({"http-port": "0"}).settings.grpc_port == 0
    assert load({"http-port": "0", "grpc-port": "7"}).settings.grpc_port == 7
    assert load({}).settings.grpc_port == 50_001


def test_grpc_listens_where_http_does_unless_told_otherwise() -> None:
    assert load({"listen-addresses": "::1"}).settings.grpc_hosts == ("::1",)
    assert load({"grpc-address": "127.0.0.5"}).settings.grpc_hosts == ("127.0.0.5",)


def test_an_address_for_grpc_beyond_loopback_needs_a_token() -> None:
    with pytest.raises(ConfigError, match=r"grpc-address .flag --grpc-address. is '0\.0\.0\.0'"):
        load({"grpc-address": "0.0.0.0"})
    assert load({"grpc-address": "0.0.0.0", "grpc": "false"})
    assert load({"grpc-address": "0.0.0.0", "insecure": "true"})


# ---- Dapr's workflow configuration ---------------------------------------------------------------


def test_retention_is_written_as_in_dapr() -> None:
    policy = load({"state-retention-policy": "anyTerminal=1h30m,failed=0s,completed=250ms"})
    assert dict(policy.settings.state_retention_policy.seconds) == {
        "anyTerminal": 5_400.0,
        "failed": 0.0,
        "completed": 0.25,
    }


@pytest.mark.parametrize(
    ("option", "text", "allowed"),
    [
        ("state-retention-policy", "always=1h", "anyTerminal"),
        ("state-retention-policy", "failed=1 h", "a duration such as 720h"),
        ("state-retention-policy", "failed=", "a duration such as 720h"),
        ("state-retention-policy", "failed=1h,failed=2h", "each name once"),
        ("state-retention-policy", "failed=999999999h", "at most 100 years"),
        ("activity-concurrency-limits", "charge", "comma-separated pairs"),
        ("activity-concurrency-limits", "charge=0", "a number from 1"),
        ("max-concurrent-activity-invocations", "-1", "a number from 1"),
    ],
)
def test_limits_that_are_refused(option: str, text: str, allowed: str) -> None:
    with pytest.raises(ConfigError, match=allowed):
        load({option: text})
