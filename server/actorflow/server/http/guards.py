"""Who may call: Host names, browsers' origins, API tokens; decided on the parsed request."""

import hmac
from collections.abc import Sequence

from aiohttp import web
from multidict import CIMultiDictProxy

from actorflow.server.config import Settings
from actorflow.server.errors import WireError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CLIENT_HEADER = "X-Actorflow-Client"
"""A header that no web page can send without asking first (CORS); its value does not matter."""

SEEN_MAX = 64
"""Allowed Host values that need no second look."""

_Headers = CIMultiDictProxy[str]


class HostGuard:
    """Against DNS rebinding: a page that resolves its own name to this machine is refused."""

    def __init__(self, settings: Settings) -> None:
        names = settings.allowed_hosts
        if not names and settings.is_loopback_only:
            names = (*LOOPBACK_NAMES, *settings.listen_addresses)
        self._open = not names or "*" in names
        self._allowed = frozenset(name.lower().strip("[]").rstrip(".") for name in names)
        self._seen: set[str] = set()

    def check(self, headers: _Headers) -> None:
        """Raise WireError 421 for a name that is not ours. HTTP/1.0 may come without one."""
        if self._open:
            return
        host = headers.get("Host")
        if host is None or host in self._seen:
            return
        if _host_name(host) in self._allowed:
            if len(self._seen) < SEEN_MAX:  # the ports are many, those that are used are few
                self._seen.add(host)
        else:
            raise WireError(
                421,
                "ERR_HOST_NOT_ALLOWED",
                "this server does not answer to that Host; allow its name with --allowed-hosts",
            )


class OriginGuard:
    """CORS for the origins of the settings, and none for all others.

    A browser adds Origin to every call across sites that could change something, even to those
    that need no permission (a form, `text/plain`). Programs other than browsers send none.
    """

    def __init__(self, allowed_origins: Sequence[str]) -> None:
        self._all = "*" in allowed_origins
        self._allowed = frozenset(origin.lower() for origin in allowed_origins)

    def check(self, method: str, headers: _Headers) -> None:
        """Raise WireError 403 for a change that another web site asks for."""
        origin = headers.get("Origin")
        if origin is None or method in SAFE_METHODS or self._allows(origin):
            return
        if origin.partition("://")[2].lower() != headers.get("Host", "").lower():
            raise WireError(
                403,
                "ERR_ORIGIN_NOT_ALLOWED",
                "web pages of that origin may not call; allow it with --allowed-origins",
            )

    def preflight(self, headers: _Headers) -> dict[str, str] | None:
        """Return the headers of the answer to a browser's OPTIONS; None when it is no question."""
        origin = headers.get("Origin")
        if origin is None or not self._allows(origin):
            return None
        if "Access-Control-Request-Method" not in headers:
            return None
        asked = headers.get("Access-Control-Request-Headers")
        allowed = {
            **self.permission(headers),
            "Access-Control-Allow-Methods": "HEAD, GET, POST, PUT, PATCH, DELETE",
        }
        return {**allowed, "Access-Control-Allow-Headers": asked} if asked else allowed

    def permission(self, headers: _Headers) -> dict[str, str]:
        """Return the headers that let a page of an allowed origin read the answer."""
        origin = headers.get("Origin")
        if origin is None or not self._allows(origin):
            return {}
        return {"Access-Control-Allow-Origin": "*" if self._all else origin, "Vary": "Origin"}

    def _allows(self, origin: str) -> bool:
        return self._all or origin.lower() in self._allowed


class TokenGuard:
    """API tokens: any of several is valid, so that they can be exchanged without a pause."""

    def __init__(self, api_tokens: Sequence[str]) -> None:
        self._tokens = [token.encode() for token in api_tokens]

    def allows(self, headers: _Headers) -> bool:
        """Tell whether the call carries exactly one credential, and a valid one.

        `Authorization: Bearer` counts only where there is no `dapr-api-token`.
        """
        if not self._tokens:
            return True
        given = headers.getall("dapr-api-token", [])
        if not given:
            given = [bearer_token(value) for value in headers.getall("Authorization", [])]
        return self.accepts(given)

    def accepts(self, given: Sequence[str]) -> bool:
        """Tell whether these credentials are exactly one, and a valid one."""
        if not self._tokens:
            return True
        if len(given) != 1:
            return False
        data = given[0].encode("utf-8", "surrogateescape")
        # No early end: the time must not tell which token it was, or how much of it is right.
        return sum(hmac.compare_digest(data, token) for token in self._tokens) > 0


def check_custom(request: web.BaseRequest) -> None:
    """Refuse a change that a web page could have sent without asking first.

    Raises:
        WireError: 415, neither JSON nor a header that only programs send.
    """
    headers = request.headers
    if request.content_type == "application/json" or CLIENT_HEADER in headers:
        return
    if "dapr-api-token" in headers or "Authorization" in headers:
        return
    raise WireError(
        415,
        "ERR_CONTENT_TYPE",
        f"send Content-Type: application/json, or the header {CLIENT_HEADER} with any value",
    )


def bearer_token(value: str) -> str:
    """Return the token in an `Authorization` header, "" when it holds none."""
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
