"""What the process can be told: every setting, where it may come from, and what is allowed.

Precedence: flag, then environment, then configuration file (TOML), then default. All sources are
read as text by the same parser, so a bad value gives the same error wherever it was written. Flags
and variables that mean the same as those of the Dapr sidecar carry its names.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from actorflow.actors.errors import UsageError
from actorflow.server.options import (
    DEFAULT_STORE,
    ENV_PREFIX,
    GI,
    KI,
    MI,
    OPTIONS,
    Option,
    StoreUrl,
    parse_bytes,
    parse_tokens,
)
from actorflow.server.workflow_options import (
    NO_NAME_LIMITS,
    NO_RETENTION,
    NameLimits,
    Retention,
)

CLIENT_ENV_NAMES = frozenset({"ACTORFLOW_URL", "ACTORFLOW_CONFIG"})
"""Variables with our prefix that are not settings of the server."""


class ConfigError(UsageError):
    """A setting cannot be used. The text names the setting, its source and what is allowed."""

    code = "CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective settings of one server process. Immutable; the tokens are not in its repr."""

    app: str | None = None
    app_id: str = "default"
    http_port: int = 3500
    listen_addresses: tuple[str, ...] = ("127.0.0.1",)
    grpc: Literal["auto", "on", "off"] = "auto"
    grpc_port: int = 50_001
    grpc_addresses: tuple[str, ...] = ()
    store: StoreUrl = DEFAULT_STORE
    durability: Literal["memory", "local", "fsync", "replicated", "both"] = "local"
    partitions: int | None = None
    processes: int = 1
    lease_s: float = 10.0
    cluster_file: Path = Path("actorflow.cluster")
    max_body_bytes: int = 4 * MI
    read_buffer_bytes: int = 4 * KI
    api_tokens: tuple[str, ...] = field(default=(), repr=False)
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    insecure: bool = False
    start_wait_s: float = 10.0
    strict_status: bool = False
    strict_pending: bool = False
    graceful_shutdown_s: float = 5.0
    state_retention_policy: Retention = NO_RETENTION
    max_concurrent_workflow_invocations: int | None = None
    max_concurrent_activity_invocations: int | None = None
    global_max_concurrent_workflow_invocations: int | None = None
    global_max_concurrent_activity_invocations: int | None = None
    workflow_concurrency_limits: NameLimits = NO_NAME_LIMITS
    activity_concurrency_limits: NameLimits = NO_NAME_LIMITS
    metrics: bool = True
    log_level: str = "info"
    log_format: str = "console"
    access_log: bool = False
    uvloop: bool = True
    ready_file: Path | None = None

    @property
    def is_loopback_only(self) -> bool:
        """True when nothing outside this machine can reach the HTTP API."""
        return all(_is_loopback(address) for address in self.listen_addresses)

    @property
    def grpc_hosts(self) -> tuple[str, ...]:
        """The addresses for gRPC, without the port."""
        return self.grpc_addresses or self.listen_addresses

    @property
    def durability_level(self) -> str:
        """The promise that really holds; `memory` for the memory store, whatever was asked for."""
        return "memory" if self.store.scheme == "memory" else self.durability


class Loaded(NamedTuple):
    """Settings, the source of each by option name, and remarks that are not errors."""

    settings: Settings
    sources: dict[str, str]
    warnings: tuple[str, ...]


def redact_url(text: str) -> str:
    """Return the text with the user and password of every URL in it replaced."""
    return re.sub(r"(://)[^/@\s]+@", r"\1***@", text)


def load_settings(
    flags: Mapping[str, str], environ: Mapping[str, str], config_file: Path | None = None
) -> Loaded:
    """Combine all sources into settings.

    Args:
        flags: option name to text, only for flags that were given.
        environ: the process environment.
        config_file: TOML file; its keys are the option names. None reads no file.

    Raises:
        ConfigError: a value, key or combination that is not allowed; says which, and from where.
    """
    in_file = _read_file(config_file) if config_file else {}
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for option in OPTIONS:
        text, source = _first_set(option, flags, environ, in_file, config_file)
        sources[option.name] = source
        if text is not None:
            values[option.field] = _parsed(option, text, source)
    _settle_grpc(values, sources)
    settings = Settings(**values)  # type: ignore[arg-type]  # each option's parser gives its field's type
    _check_bind(settings, sources)
    _check_store(settings, sources)
    return Loaded(settings, sources, _unknown_variables(environ))


def shown(option: Option, settings: Settings) -> str:
    """Return the option's effective value as text for people, without secrets."""
    value = getattr(settings, option.field)
    if option.field == "api_tokens":
        return f"{len(value)} set, not shown" if value else "none"
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if option.parse is parse_bytes:
        return _as_size(value)
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _first_set(
    option: Option,
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    in_file: Mapping[str, str],
    config_file: Path | None,
) -> tuple[str | None, str]:
    if option.name in flags:
        return flags[option.name], f"flag {option.flag}"
    names = option.env_names
    if option.field == "api_tokens":
        names = ("ACTORFLOW_API_TOKEN", "DAPR_API_TOKEN", *names)
    for name in names:
        if environ.get(name):
            return environ[name], f"environment variable {name}"
    if option.name in in_file:
        return in_file[option.name], f"file {config_file}"
    return None, "default"


def _parsed(option: Option, text: str, source: str) -> object:
    is_token = option.field == "api_tokens" and source.endswith("_API_TOKEN")
    try:
        return parse_tokens(text) if is_token else option.parse(text)
    except ValueError as err:
        found = "" if is_token else f" is {redact_url(text)!r}, which"
        name = source.rpartition(" ")[2] if is_token else option.name
        raise ConfigError(f"{name} ({source}){found} cannot be used; allowed: {err}") from None


def _read_file(path: Path) -> dict[str, str]:
    try:
        data = tomllib.loads(path.read_text())
    except OSError as err:
        raise ConfigError(f"configuration file {path} cannot be read: {err.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"configuration file {path} is not TOML: {err}") from None
    known = {option.name for option in OPTIONS}
    texts: dict[str, str] = {}
    for key, value in data.items():
        name = key.replace("_", "-")
        if name not in known:
            raise ConfigError(f"file {path}: unknown key {key!r}; {_hint(name, sorted(known))}")
        texts[name] = _toml_text(path, key, value)
    return texts


def _hint(name: str, known: list[str]) -> str:
    if name == "api-token":
        return "a token stays out of this file: use api-token-file or ACTORFLOW_API_TOKEN"
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"


def _toml_text(path: Path, key: str, value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float():
            return str(value)
        case list() if all(isinstance(item, str) for item in value):
            return ",".join(value)
    raise ConfigError(
        f"file {path}: {key!r} cannot be used; allowed: text, a number, true, false or a list of "
        "text"
    )


def _settle_grpc(values: dict[str, object], sources: dict[str, str]) -> None:
    """Who names a port or an address for gRPC wants it; who takes any port for HTTP does so for
    gRPC as well, and several servers run side by side."""
    is_named = any(sources[name] != "default" for name in ("grpc-port", "grpc-address"))
    if is_named and sources["grpc"] == "default":
        values["grpc"] = "on"
    if sources["grpc-port"] == "default" and values.get("http_port") == 0:
        values["grpc_port"] = 0


def _check_bind(settings: Settings, sources: Mapping[str, str]) -> None:
    if settings.api_tokens or settings.insecure:
        return
    name = "listen-addresses"
    if settings.is_loopback_only:
        if settings.grpc == "off" or all(map(_is_loopback, settings.grpc_hosts)):
            return
        name = "grpc-address"
    addresses = settings.grpc_hosts if name == "grpc-address" else settings.listen_addresses
    raise ConfigError(
        f"{name} ({sources[name]}) is "
        f"{','.join(addresses)!r}, which other machines can reach, and no API "
        "token is set; set ACTORFLOW_API_TOKEN or --api-token-file, listen on 127.0.0.1, or say "
        "--insecure"
    )


def _check_store(settings: Settings, sources: Mapping[str, str]) -> None:
    if settings.store.is_shared:
        return
    place = f"store ({sources['store']}) is {settings.store}"
    if settings.processes > 1:
        raise ConfigError(
            f"processes ({sources['processes']}) is {settings.processes}, but {place}, which only "
            "one process can use; take --store redis://HOST, or leave --processes out"
        )
    if settings.partitions not in (None, 1):
        raise ConfigError(
            f"partitions ({sources['partitions']}) is {settings.partitions}, but {place}, which "
            "has one; leave --partitions out"
        )
    if settings.store.path is not None and settings.durability not in ("local", "fsync"):
        raise ConfigError(
            f"durability ({sources['durability']}) is {settings.durability!r}, but {place}; "
            "allowed for SQLite: local or fsync"
        )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _unknown_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    known = {name for option in OPTIONS for name in option.env_names} | CLIENT_ENV_NAMES
    known.add("ACTORFLOW_API_TOKEN")
    remarks = []
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            remarks.append(f"environment variable {name} is not a setting{hint}")
    return tuple(remarks)


def _as_size(size_bytes: int) -> str:
    for unit, name in ((GI, "Gi"), (MI, "Mi"), (KI, "Ki")):
        if size_bytes % unit == 0:
            return f"{size_bytes // unit}{name}"
    return str(size_bytes)
