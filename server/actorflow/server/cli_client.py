"""The command line's connection to a running server: one small synchronous HTTP client.

The standard library's client keeps the start of a command short. Every failure becomes a `CliError`
with a cause, a mend and one of the exit codes below.
"""

import http.client
import json
import os
import sys
from enum import IntEnum
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import click

DEFAULT_URL = "http://127.0.0.1:3500"
DAPR = "/v1.0/workflows/dapr"
OURS = "/actorflow/v1"
TIMEOUT_S = 30.0
"""How long one request may take beyond the time that it asked the server to wait."""

BODY_MAX_BYTES = 256 * 1_024 * 1_024


class Exit(IntEnum):
    """Exit codes of the command line; part of its interface."""

    OK = 0
    FAILED = 1  # the workflow ended FAILED or TERMINATED, or the server answered with an error
    USAGE = 2  # options, arguments, configuration
    NOT_FOUND = 3  # no such instance
    UNREACHABLE = 4  # no server at the URL, or it cannot answer now
    REFUSED = 5  # the API token is missing or wrong
    CONFLICT = 6  # the id is taken, or the instance has not ended
    TIMEOUT = 7  # the wait took longer than --timeout


class CliError(click.ClickException):
    """Ends the command with one line of cause, one of mend, and an exit code."""

    def __init__(self, cause: str, mend: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(cause)
        self.mend = mend
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error on stderr."""
        from actorflow.server.cli_show import plain  # noqa: PLC0415 -- only when it is needed

        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(plain(self.message), err=True)
        if self.mend:
            click.echo(f"       {plain(self.mend)}", err=True)


class Client:
    """Calls to one server. Not for use from several threads."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CliError(f"--url {url!r} is not a URL", f"such as {DEFAULT_URL}", Exit.USAGE)
        try:
            port = parts.port
        except ValueError:
            raise CliError(f"--url {url!r} has no valid port", code=Exit.USAGE) from None
        self._url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._prefix = parts.path.rstrip("/")
        https = parts.scheme == "https"
        connection = http.client.HTTPSConnection if https else http.client.HTTPConnection
        self._connection = connection(parts.hostname, port, timeout=TIMEOUT_S)
        self._headers = {"dapr-api-token": token} if token else {}

    def get(self, path: str, **query: str | int | tuple[str, ...] | None) -> Any:
        """GET a path and return its JSON.

        Query members that are None are left out, tuples are repeated.
        """
        return self._call("GET", _with_query(path, query), None)

    def post(self, path: str, body: str | None = None, **query: str | int | None) -> Any:
        """POST a body (JSON text) and return the answer's JSON."""
        data = None if body is None else body.encode("utf-8", "surrogatepass")
        return self._call("POST", _with_query(path, query), data)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, method: str, path: str, body: bytes | None) -> Any:
        headers = dict(self._headers)
        if method == "POST":
            headers["Content-Type"] = "application/json"
        try:
            self._connection.request(method, self._prefix + path, body, headers)
            response = self._connection.getresponse()
            data = response.read(BODY_MAX_BYTES)
        except (OSError, http.client.HTTPException) as err:
            self._connection.close()
            raise self._unreachable(err) from None
        text = data.decode(errors="replace")
        if response.status >= http.client.BAD_REQUEST:
            self._raise(response.status, text)
        return self._json(text)

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise CliError(
                f"{self._url} answers, but not as an actorflow server", "check --url", Exit.FAILED
            ) from None

    def _unreachable(self, err: Exception) -> CliError:
        reason = getattr(err, "strerror", None) or str(err) or type(err).__name__
        if isinstance(err, TimeoutError):
            return CliError(f"{self._url} did not answer in time", code=Exit.UNREACHABLE)
        return CliError(
            f"no server at {self._url} ({reason})",
            "start one with `actorflow serve --app FILE.py`, or say where it is: --url or "
            "ACTORFLOW_URL",
            Exit.UNREACHABLE,
        )

    def _raise(self, status: int, text: str) -> NoReturn:
        try:
            record = json.loads(text)
            error, message = str(record["errorCode"]), str(record["message"])
        except (ValueError, TypeError, KeyError):
            error, message = "", text.strip()[:500] or http.client.responses.get(status, "")
        if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            raise CliError(
                f"{self._url} refused the call ({status} {message})",
                "set ACTORFLOW_API_TOKEN (or DAPR_API_TOKEN) to the server's token",
                Exit.REFUSED,
            )
        if error == "ERR_DIRECT_INVOKE":
            message = "the server has no such route; is it an older actorflow, or a Dapr sidecar?"
        raise CliError(message, code=_code(status, error, message))


def _code(status: int, error: str, message: str) -> Exit:
    # The Dapr API answers 500 for much that is no server error; its texts are a contract.
    if error == "ERR_INSTANCE_ID_NOT_FOUND" or "no such instance exists" in message:
        return Exit.NOT_FOUND
    known = {404: Exit.NOT_FOUND, 409: Exit.CONFLICT, 400: Exit.USAGE, 422: Exit.USAGE}
    known |= {429: Exit.UNREACHABLE, 503: Exit.UNREACHABLE, 504: Exit.TIMEOUT}
    return Exit.FAILED if error == "ERR_DIRECT_INVOKE" else known.get(status, Exit.FAILED)


def segment(text: str) -> str:
    """Return user text as one path segment. Raises CliError for what no URL can carry."""
    if text in ("", ".", ".."):
        raise CliError(f"{text!r} cannot be an id or a name", code=Exit.USAGE)
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise CliError(f"{text!r} is not valid Unicode", code=Exit.USAGE) from None


def token_from_environment() -> str | None:
    """Return the API token to send: the first one of ACTORFLOW_API_TOKEN or DAPR_API_TOKEN."""
    from actorflow.server.options import parse_tokens, read_token_file  # noqa: PLC0415 -- as above

    try:
        for name in ("ACTORFLOW_API_TOKEN", "DAPR_API_TOKEN"):
            if text := os.environ.get(name):
                return parse_tokens(text)[0]
        if file := os.environ.get("ACTORFLOW_API_TOKEN_FILE"):
            return read_token_file(file)[0]
    except ValueError as err:
        raise CliError(f"the API token cannot be used; allowed: {err}", code=Exit.USAGE) from None
    return None


def read_json(option: str, text: str) -> str:
    """Return the JSON text that an option gives: itself, `@FILE`, or `-` for standard input."""
    try:
        if text == "-":
            text = sys.stdin.buffer.read().decode()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "not UTF-8 text"
        raise CliError(f"{option} {text}: {reason}", code=Exit.USAGE) from None
    try:
        json.loads(text)
    except (ValueError, RecursionError) as err:
        raise CliError(
            f"{option} is not JSON: {err}",
            "quote it for the shell, as '{\"Quantity\": 4}' or '\"text\"'; or give @FILE or -",
            Exit.USAGE,
        ) from None
    return text


def _with_query(path: str, query: dict[str, Any]) -> str:
    given = {key: value for key, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path
