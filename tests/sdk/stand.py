"""A server process on real ports, and a program of an SDK that is connected to it."""

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import servers
from tests.sdk.lines import Line
from tests.sdk.program import Program

START_UP_S = 120.0
STOP_S = 120.0
REACH_S = 120.0
_LOG_TAIL_CHARS = 4_000


class Server:
    """One `actorflow serve` process. Started again it keeps its ports and its store."""

    def __init__(self, folder: Path, name: str = "server", *arguments: str) -> None:
        self.folder = folder
        self.http_port = servers.free_port()
        self.grpc_port = servers.free_port()
        self.log = folder / f"{name}.log"
        self._ready = folder / f"{name}.ready"
        self._arguments = arguments or ("--store", f"sqlite:///{folder}/{name}.db")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def environ(self) -> dict[str, str]:
        """What an application is given to find the server, as `dapr run` would."""
        return {
            "DAPR_HTTP_PORT": str(self.http_port),
            "DAPR_GRPC_PORT": str(self.grpc_port),
            "DAPR_HTTP_ENDPOINT": self.url,
            "DAPR_GRPC_ENDPOINT": f"127.0.0.1:{self.grpc_port}",
        }

    def start(self) -> "Server":
        """Start it and wait until it listens."""
        self.launch()
        return self.wait_until_ready()

    def launch(self) -> None:
        """Start it."""
        self._ready.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "actorflow.server", "serve"),
            *("--http-port", str(self.http_port), "--grpc-port", str(self.grpc_port)),
            *("--start-wait-seconds", "1", "--ready-file", str(self._ready)),
            *self._arguments,
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def wait_until_ready(self) -> "Server":
        """Wait until it listens."""
        assert self._process is not None
        end_s = time.monotonic() + START_UP_S
        while not self._ready.exists():
            assert self._process.poll() is None, self.tail()
            assert time.monotonic() < end_s, self.tail()
            time.sleep(0.02)
        return self

    def send(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes it."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(STOP_S)

    def kill(self) -> None:
        """End it as `kill -9` does; may be called again."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-_LOG_TAIL_CHARS:]

    def get(self, path: str) -> Any:
        """GET a path of its HTTP API."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=REACH_S) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: str, **headers: str) -> Any:
        """POST to its HTTP API."""
        request = urllib.request.Request(f"{self.url}{path}", body.encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=REACH_S) as answer:
            return json.loads(answer.read())


def new_program(
    line: Line, server: Server, variant: str = "", *, worker: bool = True, grpc_port: int = 0
) -> Program:
    """Start a program of an SDK beside a server.

    Args:
        grpc_port: of a proxy before the server's own.
    """
    command = line.installed()
    environ = {
        **server.environ,
        **command.environ,
        "VARIANT": variant,
        "WORKER": "yes" if worker else "no",
    }
    if grpc_port:
        environ |= {
            "DAPR_GRPC_ENDPOINT": f"127.0.0.1:{grpc_port}",
            "DAPR_GRPC_PORT": str(grpc_port),
        }
    return Program(command.words, server.folder, environ)


class Site:
    """What a scenario plays on: a server, a program with client and worker, and fresh names."""

    def __init__(self, line: Line, server: Server) -> None:
        self.line = line
        self.server = server
        self.program = self.new_program()
        self._scenario = ""
        self._numbers = itertools.count()

    def begin(self, scenario: str) -> None:
        """Give what follows the names of one scenario."""
        self._scenario = scenario.replace("_", "-")

    def new_program(self, variant: str = "", *, worker: bool = True) -> Program:
        """Start one more program: a worker, if wanted, and a client."""
        return new_program(self.line, self.server, variant, worker=worker)

    @contextlib.contextmanager
    def variant(self, variant: str) -> Iterator[Program]:
        """Have one more program, with the older or newer state of the code."""
        program = self.new_program(variant)
        try:
            yield program
        finally:
            program.kill()

    @contextlib.contextmanager
    def without_worker(self) -> Iterator[None]:
        """Have a client without a worker; an SDK may take a minute to stop one in good order."""
        self._replace_program(worker=False)
        self.until_connected(0)
        try:
            yield
        finally:
            self._replace_program(worker=True)

    def _replace_program(self, *, worker: bool) -> None:
        self.program.kill()
        self.program = self.new_program(worker=worker)

    @contextlib.contextmanager
    def two_apps(self) -> Iterator[tuple[Program, Program]]:
        """Run two apps of other names, each with a host of its own, in one cluster."""
        with contextlib.ExitStack() as stack:
            folder = self.server.folder / f"cluster-{self.name()}"
            store = stack.enter_context(servers.Server("valkey", folder))
            programs = []
            for app in ("orders", "billing"):
                where = ("--store", store.url, "--partitions", "8", "--app-id", app)
                host = Server(folder, app, *where)
                stack.callback(host.kill)
                program = new_program(self.line, host.start())
                stack.callback(program.kill)
                programs.append(program)
            yield programs[0], programs[1]

    @contextlib.contextmanager
    def with_options(self, *options: str) -> Iterator["Site"]:
        """Have a site beside this one, whose server is started with these options."""
        folder, name = self.server.folder, self.name()
        store = ("--store", f"sqlite:///{folder}/{name}.db")
        server = Server(folder, name, *store, *options)
        with contextlib.ExitStack() as stack:
            stack.callback(server.kill)
            site = Site(self.line, server.start())
            stack.callback(site.close)
            site.begin(self._scenario)
            yield site

    def name(self) -> str:
        """Return an id that no instance has."""
        return f"{self._scenario}-{next(self._numbers)}"

    def call(self, verb: str, **given: Any) -> Any:
        """Call the SDK's client. Raises CallFailed."""
        return self.program.call(verb, **given)

    def start(
        self,
        workflow: str,
        given: Any = None,
        *,
        name: str | None = None,
        by: Program | None = None,
        **more: Any,
    ) -> str:
        """Start an instance by the SDK's client and return its id."""
        name = name or self.name()
        (by or self.program).call("start", workflow=workflow, id=name, input=given, **more)
        return name

    def wait(self, name: str) -> Any:
        """Wait for the end of an instance by the SDK's client."""
        return self.program.call("wait", id=name)

    def until(self, name: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Look again and again until the state of an instance is as wanted."""
        found: list[Any] = [None]

        def looks_so() -> bool:
            found[0] = self.call("get", id=name)
            return found[0] is not None and condition(found[0])

        self.until_true(looks_so, f"{name} is {found}")
        state: dict[str, Any] = found[0]
        return state

    def wait_for(self, name: str, status: str) -> dict[str, Any]:
        """Wait until an instance has a status."""
        return self.until(name, lambda state: state["status"] == status)

    def stalled(self, name: str) -> str:
        """Wait until the server says that an instance has stalled; not every SDK knows the word."""

        def is_so() -> bool:
            return bool(self.instance(name)["status"] == "STALLED")

        self.until_true(is_so, f"{name} does not stall")
        return "STALLED"

    def instance(self, name: str) -> Any:
        """Return what the server's own API tells of an instance."""
        return self.server.get(f"/actorflow/v1/instances/{name}")

    def waiting(self, name: str) -> Any:
        """Return why an instance waits, by the server's own API."""
        return self.server.get(f"/actorflow/v1/instances/{name}/waiting")["waiting"]

    def http_start(self, workflow: str, name: str, given: str, **headers: str) -> None:
        """Start an instance by HTTP."""
        path = f"/v1.0/workflows/dapr/{workflow}/start?instanceID={name}"
        self.server.post(path, given, **headers)

    def metadata(self) -> Any:
        """Return the server's metadata."""
        return self.server.get("/v1.0/metadata")

    def connected(self) -> int:
        """Return how many workers are connected."""
        return int(self.metadata().get("workflows", {}).get("connectedWorkers", 0))

    def until_connected(self, count: int) -> int:
        """Wait until so many workers are connected."""
        self.until_true(lambda: self.connected() == count, f"not {count} workers are connected")
        return self.connected()

    def until_true(self, condition: Callable[[], bool], text: str) -> None:
        """Ask again and again until something is so; `text` says what it is otherwise."""
        end_s = time.monotonic() + REACH_S
        while not condition():
            assert time.monotonic() < end_s, f"{text}\n{self.server.tail()}"
            time.sleep(0.05)

    def close(self) -> None:
        """End program and server."""
        self.program.kill()
        self.server.kill()
