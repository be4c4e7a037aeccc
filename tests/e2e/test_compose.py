"""What docker-compose.yml and the Dockerfile describe, without a container engine.

The files are checked by the real tools (`docker-compose config`, `haproxy -c`), the image's steps
are run outside a container, and the same topology is started as processes: Redis with the file's
command, hosts with the file's environment, HAProxy with the file's configuration, one port each for
HTTP and gRPC before them.
"""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own

from tests.sdk.program import Program
from tests.servers import Server as RedisServer
from tests.servers import free_port

pytestmark = pytest.mark.e2e

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
HAPROXY_CFG = ROOT / "deploy" / "haproxy.cfg"
DEADLINE_S = 120.0
SDK_PROGRAM = ROOT / "tests" / "sdk" / "python" / "app.py"
ORDER = '{"Name": "Paperclips", "TotalCost": 99.95, "Quantity": 1}'
WORKFLOW = "OrderProcessingWorkflow"


def tool(name: str, mend: str) -> str:
    """Return a program, or skip the test; with CI=true fail instead."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed; {mend}")
        pytest.skip(f"{name} is not installed; {mend}")
    return path


def haproxy() -> str:
    return tool("haproxy", "on Debian: apt-get install haproxy")


def interpolated(value: Any, variables: dict[str, str]) -> Any:
    """Do what compose does with ${NAME:-default} and ${NAME-default} in every text."""
    if isinstance(value, dict):
        return {key: interpolated(member, variables) for key, member in value.items()}
    if isinstance(value, list):
        return [interpolated(member, variables) for member in value]
    if not isinstance(value, str):
        return value

    def filled(found: re.Match[str]) -> str:
        name, colon, default = found.groups(default="")
        given = variables.get(name)
        return default if given is None or (colon and not given) else given

    return re.sub(r"\$\{(\w+)(?:(:?)-([^}]*))?\}", filled, value)


def compose(**variables: str) -> Any:
    return interpolated(yaml.safe_load(COMPOSE.read_text()), variables)


# ---- the files -----------------------------------------------------------------------------------


def test_the_compose_file_is_valid_and_says_what_we_think() -> None:
    program = tool("docker-compose", "it comes with the test extra")
    done = subprocess.run(
        [program, "-f", str(COMPOSE), "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower(), done.stderr
    real = json.loads(done.stdout)["services"]
    ours = compose()["services"]
    assert set(real) == set(ours) == {"redis", "actorflow", "proxy"}
    assert real["redis"]["command"] == ours["redis"]["command"]
    assert real["actorflow"]["environment"] == ours["actorflow"]["environment"]
    published = [(p["host_ip"], p["published"], p["target"]) for p in real["proxy"]["ports"]]
    assert published == [("127.0.0.1", "3500", 3500), ("127.0.0.1", "50001", 50001)]


def test_hosts_listen_where_the_proxy_looks_for_them_and_the_image_says_so() -> None:
    environ = compose()["services"]["actorflow"]["environment"]
    ports = [environ["ACTORFLOW_HTTP_PORT"], environ["ACTORFLOW_GRPC_PORT"]]
    text = HAPROXY_CFG.read_text()
    assert re.findall(r"^    bind :(\d+)$", text, re.MULTILINE) == ports
    assert re.findall(r"^    server-template .* actorflow:(\d+) ", text, re.MULTILINE) == ports
    exposed = re.findall(r"^EXPOSE (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert exposed == [" ".join(ports)]


def test_hosts_can_be_scaled_and_drain_before_docker_kills_them() -> None:
    service = compose()["services"]["actorflow"]
    assert "container_name" not in service
    assert "ports" not in service
    drain_s = float(service["environment"]["ACTORFLOW_GRACEFUL_SHUTDOWN_SECONDS"])
    assert float(service["stop_grace_period"].rstrip("s")) >= drain_s + 10
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert re.search(r"^USER [1-9]", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_every_variable_of_the_hosts_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from actorflow.server.config import load_settings  # noqa: PLC0415 -- this test alone needs it

    loaded = load_settings(
        {}, compose(ACTORFLOW_API_TOKEN="t")["services"]["actorflow"]["environment"]
    )
    assert loaded.warnings == ()
    assert loaded.settings.store.is_shared
    assert loaded.settings.api_tokens == ("t",)
    assert (loaded.settings.grpc, loaded.settings.app) == ("on", "/app/order_processing.py")
    bare = load_settings({}, compose(ACTORFLOW_APP="")["services"]["actorflow"]["environment"])
    assert bare.settings.app is None


def test_the_proxy_s_configuration_is_valid() -> None:
    done = subprocess.run(
        [haproxy(), "-c", "-f", str(HAPROXY_CFG)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr


# ---- the image -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Dockerfile's first stage makes, from what .dockerignore lets through."""
    folder = tmp_path_factory.mktemp("image")
    source, target = folder / "src", folder / "opt"
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            kept = ROOT / line[1:]
            copy = source / line[1:]
            copy.parent.mkdir(parents=True, exist_ok=True)
            if kept.is_dir():
                shutil.copytree(kept, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(kept, copy)
    done = subprocess.run(
        ["sh", str(source / "deploy" / "build-image.sh"), str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "VIRTUAL_ENV")
        }
        | {"PYTHON": sys.executable},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "actorflow " in done.stdout
    shutil.rmtree(source)
    return target


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_image_has_what_the_server_needs_and_no_more(image: Path) -> None:
    bin_folder = image / "bin"
    assert (bin_folder / "actorflow").is_file()
    assert not (bin_folder / "pip").exists()
    assert not (bin_folder / "hatchling").exists()
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", (ROOT / "Dockerfile").read_text(), re.M)[0])
    assert entry == ["actorflow"]
    for module in (
        *("actorflow.server.serve", "actorflow.server.grpc.server"),
        *("actorflow.actors.store.redis.post", "uvloop"),
    ):
        command = [str(bin_folder / "python"), "-c", f"import {module}"]
        subprocess.run(command, check=True, timeout=DEADLINE_S, env={"PATH": "/usr/bin:/bin"})


# ---- the topology --------------------------------------------------------------------------------


class Topology:
    """The services of the compose file as processes on loopback.

    Args:
        app: the code of the hosts; "" leaves all to remote workers.
    """

    def __init__(
        self,
        folder: Path,
        hosts: int,
        program: tuple[str, ...],
        *,
        app: str = str(ROOT / "examples" / "order_processing.py"),
        token: str = "",
    ) -> None:
        self.folder = folder
        self.ports = [free_port() for _ in range(hosts)]
        self.grpc_ports = [free_port() for _ in range(hosts)]
        self.port = free_port()
        self.grpc_port = free_port()
        self.token = token
        self._app = app
        self._program = program
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        command = compose()["services"]["redis"]["command"][1:]
        settings = {
            command[i].removeprefix("--"): command[i + 1] for i in range(0, len(command), 2)
        }
        self.redis = RedisServer("redis", folder / "redis", settings)

    def __enter__(self) -> "Topology":
        with contextlib.ExitStack() as undo:
            undo.push(self.__exit__)
            self.redis.start()
            for number in range(len(self.ports)):
                self.start_host(number)
            self._start("proxy", [haproxy(), "-f", str(self._proxy_file())], dict(os.environ))
            self.until(lambda: self.call("GET", "/v1.0/healthz"), "the proxy finds no host")
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self.redis.kill()

    def start_host(self, number: int) -> None:
        variables = {"ACTORFLOW_APP": self._app, "ACTORFLOW_API_TOKEN": self.token}
        environ = compose(**variables)["services"]["actorflow"]["environment"] | {
            "ACTORFLOW_STORE": self.redis.url,
            "ACTORFLOW_HTTP_PORT": str(self.ports[number]),
            "ACTORFLOW_GRPC_PORT": str(self.grpc_ports[number]),
            "ACTORFLOW_LISTEN_ADDRESSES": "127.0.0.1",
            "SHOP_DB": str(self.folder / "shop.db"),
            "STEP_SECONDS": "0.2",
            "PATH": os.environ["PATH"],
        }
        if self._program[0] == sys.executable:
            environ["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        self._start(f"host-{number}", [*self._program, "serve"], environ)

    def end_host(self, number: int, signal_number: signal.Signals) -> int:
        process = self._processes.pop(f"host-{number}")
        process.send_signal(signal_number)
        return process.wait(DEADLINE_S)

    def _start(self, name: str, command: list[str], environ: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=environ, cwd=self.folder
            )

    def _proxy_file(self) -> Path:
        text = HAPROXY_CFG.read_text().replace("bind :3500", f"bind 127.0.0.1:{self.port}")
        text = text.replace("bind :50001", f"bind 127.0.0.1:{self.grpc_port}")
        both = [*zip(self.ports, self.grpc_ports, strict=True)]
        servers = {
            "host": [f"    server h{http} 127.0.0.1:{http}" for http, _ in both],
            "grpc-host": [
                f"    server g{grpc} 127.0.0.1:{grpc} check port {http}" for http, grpc in both
            ],
        }
        for name, lines in servers.items():
            pattern = rf"^    server-template {name} .*$"
            text, count = re.subn(pattern, "\n".join(lines), text, flags=re.MULTILINE)
            assert count == 1
        path = self.folder / "haproxy.cfg"
        path.write_text(text)
        return path

    def call(self, method: str, path: str, body: str | None = None, **headers: str) -> Any:
        """Call through the one port; repeat what says that it may be repeated."""
        end_s = time.monotonic() + DEADLINE_S
        while True:
            data = None if body is None else body.encode()
            if self.token:
                headers["dapr-api-token"] = self.token
            request = Request(f"http://localhost:{self.port}{path}", data, headers, method=method)
            try:
                with urlopen(request, timeout=DEADLINE_S) as answer:
                    text = answer.read()
                    return json.loads(text) if text else None
            except HTTPError as err:
                reason: Exception = err
                with err:
                    if err.code not in (502, 503, 504):
                        raise
            except (URLError, OSError) as err:
                reason = err
            assert time.monotonic() < end_s, f"{method} {path}: {reason}"
            time.sleep(0.05)

    def until(self, look: Callable[[], T], complaint: str) -> T:
        end_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                return look()
            except (HTTPError, AssertionError):
                assert time.monotonic() < end_s, f"{complaint}; {self.logs()}"
                time.sleep(0.1)

    def order(self, instance_id: str) -> None:
        path = f"/v1.0/workflows/dapr/{WORKFLOW}/start?instanceID={instance_id}"
        self.call("POST", path, ORDER, **{"Idempotency-Key": instance_id})

    def status(self, instance_id: str) -> str:
        shown = self.call("GET", f"/actorflow/v1/instances/{instance_id}/wait?timeout=120s")
        return str(shown["status"])

    def host_with_worker(self) -> int:
        """Return the number of the host that a remote worker has reached through the proxy."""
        for number, port in enumerate(self.ports):
            request = Request(f"http://localhost:{port}/metrics")
            request.add_header("dapr-api-token", self.token)
            with urlopen(request, timeout=DEADLINE_S) as answer:
                if "actorflow_connected_workers 1.0" in answer.read().decode():
                    return number
        raise AssertionError(f"no host has a worker; {self.logs()}")

    def fsck(self) -> Any:
        done = subprocess.run(
            [*self._program, "fsck", "--store", self.redis.url, "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def logs(self) -> str:
        tails = [path.read_text()[-2_000:] for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(tails)


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Topology]:
    with Topology(tmp_path, 3, (sys.executable, "-m", "actorflow.server")) as running:
        yield running


@pytest.mark.timeout(600)
def test_three_hosts_behind_one_port_lose_one_and_restart_one(topology: Topology) -> None:
    first = [f"order-{n}" for n in range(10)]
    for name in first:
        topology.order(name)
    assert topology.end_host(0, signal.SIGKILL) == -signal.SIGKILL
    second = [f"order-{n}" for n in range(10, 20)]
    for name in second:
        topology.order(name)
    assert topology.end_host(1, signal.SIGTERM) == 0
    topology.start_host(1)
    topology.start_host(0)
    for name in (*first, *second):
        assert topology.status(name) == "COMPLETED", topology.logs()
    report = topology.fsck()
    assert report["findings"] == []
    assert (report["instances"], report["open_instances"], report["messages"]) == (20, 0, 0)


@pytest.mark.timeout(600)
def test_a_dapr_sdk_connects_to_the_one_grpc_port_and_survives_the_loss_of_a_host(
    tmp_path: Path,
) -> None:
    if importlib.util.find_spec("dapr") is None:
        if os.environ.get("CI"):
            pytest.fail("the package dapr is not installed; it comes with the test extra")
        pytest.skip("the package dapr is not installed; it comes with the test extra")
    program = (sys.executable, "-m", "actorflow.server")
    with contextlib.ExitStack() as stack:
        topology = stack.enter_context(Topology(tmp_path, 3, program, app="", token="canary"))
        # As the head of the compose file says.
        environ = {
            "DAPR_GRPC_ENDPOINT": f"localhost:{topology.grpc_port}",
            "DAPR_HTTP_ENDPOINT": f"http://localhost:{topology.port}",
            "DAPR_API_TOKEN": topology.token,
            "WORKER": "yes",
        }
        sdk = Program([sys.executable, "-u", str(SDK_PROGRAM)], tmp_path, environ)
        stack.callback(sdk.kill)
        names = [f"chain-{number}" for number in range(6)]
        for name in names:
            sdk.call("start", workflow="chain", id=name, input=1)
        assert sdk.call("wait", id=names[0])["output"] == 4
        assert topology.end_host(topology.host_with_worker(), signal.SIGKILL) == -signal.SIGKILL
        path = "/v1.0/workflows/dapr/chain/start?instanceID=after"
        topology.call("POST", path, "1")
        for name in (*names, "after"):
            assert topology.status(name) == "COMPLETED", topology.logs()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_image_s_own_program_serves_behind_the_port(image: Path, tmp_path: Path) -> None:
    with Topology(tmp_path, 1, (str(image / "bin" / "actorflow"),)) as topology:
        topology.order("order-1")
        assert topology.status("order-1") == "COMPLETED"
        assert topology.end_host(0, signal.SIGTERM) == 0
