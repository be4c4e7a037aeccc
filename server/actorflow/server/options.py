"""Every setting as people write it: names, aliases, help, and the parser of its text.

A parser raises ValueError, and its text says what is allowed; it never repeats what was found,
which may be a secret. `config.py` adds the setting and the source.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from actorflow.server.option import ENV_PREFIX as ENV_PREFIX
from actorflow.server.option import Option as Option
from actorflow.server.option import parse_count
from actorflow.server.workflow_options import WORKFLOW_OPTIONS

KI = 1_024
MI = 1_024 * KI
GI = 1_024 * MI
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("console", "json")
DURABILITIES = ("memory", "local", "fsync", "replicated", "both")
SURVIVES = {
    "memory": "nothing that ends the store",
    "local": "kill -9 of anything, not a power cut",
    "fsync": "kill -9 of anything and a power cut",
    "replicated": "kill -9 of anything and the loss of the primary, not a power cut of all",
    "both": "kill -9 of anything, a power cut, and the loss of the primary",
}
"""What accepted calls survive, by level of durability."""

PROCESSES_MAX = 64
PARTITIONS_MAX = 1_024


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where durable data lives: `path` of a file, `url` of a shared store; neither is memory, which
    forgets at exit. `url` may hold a password: it is not in the repr, and not in the text."""

    scheme: str
    path: Path | None = None
    url: str = field(default="", repr=False)

    @property
    def is_shared(self) -> bool:
        """Whether several processes can use it at once."""
        return bool(self.url)

    def __str__(self) -> str:
        if self.url:
            parts = urlsplit(self.url)
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        return "memory:" if self.path is None else f"{self.scheme}:///{self.path}"


DEFAULT_STORE = StoreUrl("sqlite", Path("actorflow.db"))


def parse_bytes(text: str) -> int:
    """Return a size in bytes: `4194304`, `4096Ki`, `4Mi` or `1Gi`. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,12})(Ki|Mi|Gi)?", text.strip())
    size_bytes = int(match[1]) * {None: 1, "Ki": KI, "Mi": MI, "Gi": GI}[match[2]] if match else 0
    if not 1 * KI <= size_bytes <= 1 * GI:
        raise ValueError("a size from 1Ki to 1Gi, such as 4194304, 64Ki or 4Mi")
    return size_bytes


def parse_store(text: str) -> StoreUrl:
    """Return where the store is: `sqlite:///PATH`, `redis://HOST` and the like, or `memory:`.

    Raises ValueError.
    """
    if text == "memory:":
        return StoreUrl("memory")
    scheme, _, rest = text.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1 and "\0" not in rest:
        return StoreUrl("sqlite", Path(rest[1:]))
    if scheme.partition("+")[0] in ("redis", "rediss") or scheme == "unix":
        return _redis_url(scheme, text)
    raise ValueError(
        "sqlite:///PATH (three slashes and a relative path, four for an absolute one), "
        "redis://HOST:PORT (also rediss, redis+sentinel, redis+cluster, unix) or memory:"
    )


def _redis_url(scheme: str, text: str) -> StoreUrl:
    # Only if it is chosen: the client commands read a setting or two, and must start fast.
    from actorflow.actors.errors import UsageError  # noqa: PLC0415
    from actorflow.actors.store.redis.url import parse_url  # noqa: PLC0415

    try:
        parse_url(text)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return StoreUrl(scheme, url=text)


def _parse_port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65_535:
        raise ValueError("a port from 0 to 65535; 0 means any free port")
    return int(text)


def _parse_seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) or float(text) > 3_600:
        raise ValueError("seconds from 0 to 3600")
    return float(text)


def _parse_lease(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) or not 0.5 <= float(text) <= 300:
        raise ValueError("seconds from 0.5 to 300")
    return float(text)


def _parse_switch(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True}
    known |= {"false": False, "0": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError("true or false")
    return known[text.lower()]


def _parse_grpc(text: str) -> str:
    if text.lower() == "auto":
        return "auto"
    try:
        return "on" if _parse_switch(text) else "off"
    except ValueError:
        raise ValueError("true, false or auto") from None


def parse_app_id(text: str) -> str:
    """Return the id of an app. Raises ValueError with what is allowed."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise ValueError("1 to 64 letters, digits, dashes and underscores")
    return text


def _parse_list(text: str) -> tuple[str, ...]:
    items = tuple(item.strip() for item in text.split(","))
    if not all(items):
        raise ValueError("a comma-separated list without empty items")
    return items


def _parse_addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(item.strip("[]") for item in _parse_list(text))
    if not all(re.fullmatch(r"[0-9A-Za-z.:%_-]+", address) for address in addresses):
        raise ValueError("comma-separated addresses without ports, such as 127.0.0.1,::1")
    return addresses


def _parse_origins(text: str) -> tuple[str, ...]:
    origins = _parse_list(text)
    if not all(item == "*" or re.fullmatch(r"https?://[^/\s]+", item) for item in origins):
        raise ValueError("* or comma-separated origins, such as https://shop.example:8443")
    return origins


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(" or ".join(allowed))
        return text

    return parse


def read_token_file(path: str) -> tuple[str, ...]:
    """Read the API tokens in a file. Raises ValueError with what is allowed."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "not a text file"
        raise ValueError(f"a readable file with the token ({reason})") from None
    return parse_tokens(text)


def parse_tokens(text: str) -> tuple[str, ...]:
    """Return the comma-separated API tokens. Raises ValueError, which never shows them."""
    tokens = tuple(token.strip() for token in text.split(","))
    if not all(re.fullmatch(r"[\x21-\x7e]+", token) for token in tokens):
        raise ValueError("comma-separated tokens of visible ASCII characters, without blanks")
    return tokens


OPTIONS: tuple[Option, ...] = (
    Option(
        name="app",
        field="app",
        parse=str,
        metavar="FILE_OR_MODULE[:NAME]",
        help="Your workflows and activities: a Python file or module with a Registry in it. "
        "Without it the server accepts calls, and instances wait for a worker.",
    ),
    Option(
        name="app-id",
        field="app_id",
        parse=parse_app_id,
        metavar="ID",
        env_aliases=("APP_ID",),
        help="Name of this application, as in Dapr.",
    ),
    Option(
        name="http-port",
        field="http_port",
        parse=_parse_port,
        metavar="PORT",
        flag_aliases=("--dapr-http-port",),
        env_aliases=("DAPR_HTTP_PORT",),
        help="Port of the HTTP API; 0 takes any free port and prints it.",
    ),
    Option(
        name="listen-addresses",
        field="listen_addresses",
        parse=_parse_addresses,
        metavar="ADDRESSES",
        flag_aliases=("--dapr-listen-addresses",),
        help="Comma-separated addresses to listen on. Other than loopback needs an API token.",
    ),
    Option(
        name="grpc",
        field="grpc",
        parse=_parse_grpc,
        is_switch=True,
        help="Serve gRPC, for Dapr's SDKs. Default: where the extra is installed "
        "(pip install 'actorflow[grpc]').",
    ),
    Option(
        name="grpc-port",
        field="grpc_port",
        parse=_parse_port,
        metavar="PORT",
        flag_aliases=("--dapr-grpc-port",),
        env_aliases=("DAPR_GRPC_PORT",),
        help="Port of the gRPC API; 0, or no word on it beside --http-port 0, takes any free port "
        "and prints it.",
    ),
    Option(
        name="grpc-address",
        field="grpc_addresses",
        parse=_parse_addresses,
        metavar="ADDRESSES",
        help="Comma-separated addresses for gRPC. Default: those of --listen-addresses.",
    ),
    Option(
        name="store",
        field="store",
        parse=parse_store,
        metavar="URL",
        help="Where instances live: sqlite:///PATH; redis://HOST:PORT, which many processes share "
        "(put a URL with a password into ACTORFLOW_STORE); or memory: which forgets at exit.",
    ),
    Option(
        name="durability",
        field="durability",
        parse=_one_of(*DURABILITIES),
        metavar="LEVEL",
        help="What accepted calls survive: local, a kill -9; fsync, also a power cut. With Redis "
        "also replicated, the loss of the primary; both, of fsync and replicated; memory, nothing.",
    ),
    Option(
        name="partitions",
        field="partitions",
        parse=parse_count(PARTITIONS_MAX),
        metavar="COUNT",
        help="Redis: into how many parts the store is cut when it is founded, 64 unless told "
        "otherwise. It never changes; a host that asks for another number refuses to start.",
    ),
    Option(
        name="processes",
        field="processes",
        parse=parse_count(PROCESSES_MAX),
        metavar="COUNT",
        help="Worker processes behind the one port; more than one needs a Redis store.",
    ),
    Option(
        name="lease-seconds",
        field="lease_s",
        parse=_parse_lease,
        metavar="SECONDS",
        help="Redis: how long a host that falls silent keeps its partitions.",
    ),
    Option(
        name="cluster-file",
        field="cluster_file",
        parse=Path,
        metavar="FILE",
        help="Redis: where this host keeps which cluster it belongs to, so that a Redis that lost "
        "its data is not taken for a new one.",
    ),
    Option(
        name="max-body-size",
        field="max_body_bytes",
        parse=parse_bytes,
        metavar="SIZE",
        flag_aliases=("--dapr-max-body-size",),
        help="Largest request body, such as 4Mi.",
    ),
    Option(
        name="read-buffer-size",
        field="read_buffer_bytes",
        parse=parse_bytes,
        metavar="SIZE",
        flag_aliases=("--dapr-read-buffer-size",),
        help="Largest request header, such as 4Ki.",
    ),
    Option(
        name="api-token-file",
        field="api_tokens",
        parse=read_token_file,
        metavar="FILE",
        help="File with the API token. Or set ACTORFLOW_API_TOKEN or DAPR_API_TOKEN; a token is "
        "never an argument, where others could read it. Several, comma-separated, are all valid.",
    ),
    Option(
        name="allowed-origins",
        field="allowed_origins",
        parse=_parse_origins,
        metavar="ORIGINS",
        help="Comma-separated web origins that browsers may call from. Default: none.",
    ),
    Option(
        name="allowed-hosts",
        field="allowed_hosts",
        parse=_parse_list,
        metavar="HOSTS",
        help="Comma-separated Host names to answer to. Default: on loopback the loopback names, "
        "else every name.",
    ),
    Option(
        name="insecure",
        field="insecure",
        parse=_parse_switch,
        is_switch=True,
        help="Allow listening beyond loopback without an API token: everybody who reaches the port "
        "can start, read and delete everything.",
    ),
    Option(
        name="start-wait-seconds",
        field="start_wait_s",
        parse=_parse_seconds,
        metavar="SECONDS",
        help="How long an accepted start holds back its answer while no worker is connected.",
    ),
    Option(
        name="strict-status",
        field="strict_status",
        parse=_parse_switch,
        is_switch=True,
        help="Answer 409 to the start of a taken id or the purge of an open instance, and 404 to "
        "any call on a missing one, instead of Dapr's 500.",
    ),
    Option(
        name="strict-pending",
        field="strict_pending",
        parse=_parse_switch,
        is_switch=True,
        help="Show a pending instance as Dapr does, without its name, input and times.",
    ),
    Option(
        name="graceful-shutdown-seconds",
        field="graceful_shutdown_s",
        parse=_parse_seconds,
        metavar="SECONDS",
        flag_aliases=("--dapr-graceful-shutdown-seconds",),
        help="How long running turns and activities may take to finish at the first Ctrl-C.",
    ),
    *WORKFLOW_OPTIONS,
    Option(
        name="metrics",
        field="metrics",
        parse=_parse_switch,
        is_switch=True,
        help="Serve Prometheus metrics at /metrics on the same port.",
    ),
    Option(
        name="log-level",
        field="log_level",
        parse=_one_of(*LOG_LEVELS),
        metavar="LEVEL",
        help="debug, info, warning or error.",
    ),
    Option(
        name="log-format",
        field="log_format",
        parse=_one_of(*LOG_FORMATS),
        metavar="FORMAT",
        help="console (key=value) or json; one line an event, on stderr.",
    ),
    Option(
        name="access-log",
        field="access_log",
        parse=_parse_switch,
        is_switch=True,
        help="Log every request, without bodies.",
    ),
    Option(
        name="uvloop",
        field="uvloop",
        parse=_parse_switch,
        is_switch=True,
        help="Use the faster uvloop event loop where it is installed.",
    ),
    Option(
        name="ready-file",
        field="ready_file",
        parse=Path,
        metavar="FILE",
        help="Written when the server listens: JSON with its URLs and process id.",
    ),
)
