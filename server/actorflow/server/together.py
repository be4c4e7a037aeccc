"""Two processes that belong together: an application and the server that it talks to.

Both run in process groups of their own, so that a Ctrl-C in the terminal reaches neither of them
directly: the application gets it from here, and the server after the application has ended.
"""

import asyncio
import contextlib
import http.client
import ipaddress
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import click

from actorflow.server.cli_client import CliError, Exit
from actorflow.server.config import Settings

APP_STOP_S = 10.0
"""How long the application may take to end after the first signal; then it is killed."""

NOTICE_S = 1.0
"""An application that takes longer than that is spoken of."""

_SERVER_STOP_S = 5.0  # on top of its own time to drain
_POLL_S = 0.02
_PROBE_S = 2.0
_OUTPUT_END_S = 1.0
_CHUNK_BYTES = 64 * 1_024
_LINE_MAX_BYTES = 1_024 * 1_024
_COLOURS = {"APP": "cyan", "ACTORFLOW": "green"}


@dataclass(frozen=True, slots=True)
class Doors:
    """Where a server is reached from this machine: host and port of its HTTP and its gRPC side.

    `grpc` is empty where gRPC is off.
    """

    http: str
    grpc: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the doors of a server with these settings."""
        http = f"{settings.listen_addresses[0]}:{settings.http_port}"
        grpc = f"{settings.grpc_hosts[0]}:{settings.grpc_port}"
        return cls(_near(http), "" if settings.grpc == "off" else _near(grpc))

    @classmethod
    def told(cls, record: Mapping[str, Any]) -> Self:
        """Return the doors that a server's ready file tells."""
        grpc = record["grpc"]
        return cls(_near(urlsplit(record["urls"][0]).netloc), _near(grpc[0]) if grpc else "")

    def environ(self, settings: Settings, app_port: int | None) -> dict[str, str]:
        """Return the variables by which a Dapr SDK finds this server."""
        found = {
            "APP_ID": settings.app_id,
            "DAPR_HTTP_PORT": self.http.rpartition(":")[2],
            "DAPR_HTTP_ENDPOINT": f"http://{self.http}",
        }
        if self.grpc:
            found["DAPR_GRPC_PORT"] = self.grpc.rpartition(":")[2]
            found["DAPR_GRPC_ENDPOINT"] = self.grpc
        if settings.api_tokens:
            found["DAPR_API_TOKEN"] = settings.api_tokens[0]
        if app_port is not None:
            found["APP_PORT"] = str(app_port)
        return found


def find_server(settings: Settings) -> Doors | None:
    """Return the doors of a server of this app that listens already, or None. Blocks.

    Raises:
        CliError: something else has one of the ports.
    """
    if not settings.http_port:
        return None
    doors = Doors.of(settings)
    if not _listens(doors.http):
        return None  # is only the other port taken, the server that is started says so
    host, _, port = doors.http.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_PROBE_S)
    try:
        connection.request("GET", f"/v1.0/healthz?appid={settings.app_id}")
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        raise _taken(doors.http, "no actorflow server") from None
    finally:
        connection.close()
    if "ERR_HEALTH_APPID_NOT_MATCH" in text:
        raise _taken(doors.http, f"a server of another app than {settings.app_id!r}")
    if answer.status != http.client.NO_CONTENT:
        raise _taken(doors.http, f"no server that is ready ({answer.status})")
    if doors.grpc and not _listens(doors.grpc):
        raise CliError(
            f"the server on {doors.http} does not listen for gRPC on {doors.grpc}",
            "give its --grpc-port, or stop it: a server with gRPC is started instead",
        )
    return doors


def _taken(door: str, what: str) -> CliError:
    return CliError(
        f"on {door} answers {what}",
        "stop it, or take other ports: --http-port and --grpc-port (0 means any free one)",
        Exit.CONFLICT,
    )


def _listens(door: str) -> bool:
    host, _, port = door.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


def _near(door: str) -> str:
    """Return how this machine reaches an address to listen on, which may mean all of them."""
    host, _, port = door.rpartition(":")
    host = host.strip("[]")
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(host)
        if found.is_unspecified:
            host = "127.0.0.1" if found.version == 4 else "::1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Child:
    """A process whose output is shown line by line, each with its label."""

    def __init__(self, label: str, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._prefix = click.style(f"== {label} == ", fg=_COLOURS[label])
        self._output = [
            asyncio.create_task(self._show(stream, is_error), name=f"output of {label}")
            for stream, is_error in ((process.stdout, False), (process.stderr, True))
            if stream is not None
        ]

    @classmethod
    async def start(
        cls,
        label: str,
        words: Sequence[str],
        environ: Mapping[str, str] | None = None,
        *,
        has_lifeline: bool = False,
    ) -> Self:
        """Start a process in a process group of its own. Its standard input is empty, or with a
        lifeline ends when this process does, however that happens."""
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                env=environ,
                stdin=asyncio.subprocess.PIPE if has_lifeline else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as err:
            raise CliError(f"cannot run {words[0]!r}: {err.strerror}", code=Exit.USAGE) from None
        return cls(label, process)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and to its children; nothing happens if it has ended."""
        if not self.is_over:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    async def wait(self) -> int:
        """Return the exit code once it has ended and its output is shown; as shells count it."""
        code = await self._process.wait()
        # A grandchild may keep the pipes open for ever.
        await asyncio.wait(self._output, timeout=_OUTPUT_END_S)
        for task in self._output:
            task.cancel()
        return code if code >= 0 else 128 - code

    async def _show(self, stream: asyncio.StreamReader, is_error: bool) -> None:
        rest = b""
        while chunk := await stream.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LINE_MAX_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._echo(line, is_error)
        if rest:
            self._echo(rest, is_error)

    def _echo(self, line: bytes, is_error: bool) -> None:
        # Nobody reads any more: the processes must not block.
        with contextlib.suppress(OSError):
            click.echo(self._prefix + line.decode(errors="replace"), err=is_error)


class Together:
    """Runs an application beside a server, and ends both in the right order.

    Args:
        drain_s: the server's own time to drain.
    """

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._server: Child | None = None
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    def listen(self) -> None:
        """Take SIGINT, SIGTERM and the end of the terminal, which the processes cannot hear: they
        have sessions of their own. Under `nohup` they are to stay."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._signals.put_nowait, signal.SIGTERM)

    async def start_server(self, words: Sequence[str]) -> None:
        """Start the server; `wait_for` tells when it listens."""
        self._server = await Child.start("ACTORFLOW", words, has_lifeline=True)

    async def wait_for(self, ready: Path) -> bool:
        """Return whether the server's ready file appeared; False if it ended, or shall end."""
        assert self._server is not None
        while not ready.exists():  # noqa: ASYNC240 -- a file tells nobody
            if self._server.is_over:
                return False
            with contextlib.suppress(asyncio.QueueEmpty):
                self._signals.get_nowait()
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def run_app(self, words: Sequence[str], environ: Mapping[str, str]) -> int:
        """Run the application to its end, then end the server. Returns the application's code."""
        try:
            app = await Child.start("APP", words, environ)
        except CliError:
            await self.end_server()
            raise
        code = await self._watch(app)
        if self._server is not None and self._server.is_over:
            return code or Exit.FAILED
        await self.end_server()
        return code

    async def end_server(self) -> int:
        """Drain the server, if it was started here, and return its exit code."""
        if self._server is None:
            return 0
        self._server.send(signal.SIGTERM)
        ended = asyncio.create_task(self._server.wait(), name="end of the server")
        again = asyncio.create_task(self._next_signal(), name="one more signal")
        await asyncio.wait(
            (ended, again),
            timeout=self._drain_s + _SERVER_STOP_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        again.cancel()
        if not ended.done():
            self._server.send(signal.SIGKILL)
        return await ended

    async def _next_signal(self) -> signal.Signals:
        return await self._signals.get()

    async def _watch(self, app: Child) -> int:
        ended = asyncio.create_task(app.wait(), name="end of the application")
        waits: set[asyncio.Task[Any]] = {ended}
        if self._server is not None:
            lost = asyncio.create_task(self._server.wait(), name="end of the server")
            lost.add_done_callback(lambda _: self._on_server_lost(app))
            waits.add(lost)
        is_asked = False
        loop = asyncio.get_running_loop()
        notice: asyncio.TimerHandle | None = None
        try:
            while not ended.done():
                signalled = asyncio.create_task(self._next_signal(), name="next signal")
                limit_s = APP_STOP_S if is_asked else None
                await asyncio.wait(
                    (ended, signalled), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
                )
                if signalled.done() and not is_asked:
                    is_asked = True
                    app.send(signalled.result())
                    notice = loop.call_later(NOTICE_S, _say_waiting)
                elif not ended.done():
                    app.send(signal.SIGKILL)
                signalled.cancel()
            return ended.result()
        finally:
            if notice is not None:
                notice.cancel()
            for task in waits:
                task.cancel()

    def _on_server_lost(self, app: Child) -> None:
        if not app.is_over:
            click.echo("The server has ended; the application is ended too.", err=True)
            self._signals.put_nowait(signal.SIGTERM)


def _say_waiting() -> None:
    text = f"Waiting for the application to end, at most {APP_STOP_S:g} s; Ctrl-C again kills it."
    click.echo(text, err=True)
