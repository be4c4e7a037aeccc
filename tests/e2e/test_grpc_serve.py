"""gRPC of a real server: its port, its options, its log, several processes, and restarts."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from actorflow.server.grpc import messages as pb
from tests.e2e.test_cli_serve import EXAMPLE, Serve, Server, actorflow, serve
from tests.fakes.grpc_site import answer_of, path_of
from tests.servers import Server as RedisServer

__all__ = ["serve"]  # the fixture

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DEADLINE_S = 120.0


class Client:
    """A raw, blocking client."""

    def __init__(self, address: str) -> None:
        # A connection of its own: by default, all channels of a process to one address share one.
        options = (("grpc.use_local_subchannel_pool", 1),)
        self.channel = grpc.insecure_channel(address, options=options)

    def call(self, method: str, request: Any = b"", timeout_s: float = DEADLINE_S) -> Any:
        rpc = self.channel.unary_unary(
            path_of(method),
            request_serializer=_bytes,
            response_deserializer=answer_of(method).FromString,
        )
        return rpc(request, timeout=timeout_s, wait_for_ready=True)

    def stream(self, method: str, request: Any = b"") -> Any:
        rpc = self.channel.unary_stream(
            path_of(method),
            request_serializer=_bytes,
            response_deserializer=answer_of(method).FromString,
        )
        return rpc(request, wait_for_ready=True)


def _bytes(request: Any) -> bytes:
    data: bytes = request if isinstance(request, bytes) else request.SerializeToString()
    return data


@pytest.fixture
def clients() -> Iterator[list[Client]]:
    opened: list[Client] = []
    yield opened
    for client in opened:
        client.channel.close()


def address_of(folder: Path) -> str:
    address: str = json.loads((folder / "ready").read_text())["grpc"][0]
    return address


@pytest.fixture
def connect(tmp_path: Path, clients: list[Client]) -> Any:
    def to(address: str = "") -> Client:
        clients.append(Client(address or address_of(tmp_path)))
        return clients[-1]

    return to


def start(client: Client, instance_id: str, name: str = "order", value: str = "1") -> None:
    request = pb.CreateInstanceRequest(instanceId=instance_id, name=name, input={"value": value})
    client.call("StartInstance", request)


def answer(client: Client, turn: Any, action: dict[str, Any]) -> None:
    """Answer a turn as its worker does."""
    response = pb.WorkflowResponse(
        instanceId=turn.workflowRequest.instanceId,
        completionToken=turn.completionToken,
        actions=[action],
    )
    client.call("CompleteOrchestratorTask", response)


def wait(client: Client, instance_id: str) -> Any:
    request = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
    return client.call("WaitForInstanceCompletion", request).workflowState


def test_an_order_is_started_by_grpc_and_seen_by_http(serve: Serve, connect: Any) -> None:
    server = serve("--app", str(EXAMPLE), "--access-log")
    order = json.dumps({"Name": "Paperclips", "TotalCost": 9.5, "Quantity": 1})
    client = connect()
    start(client, "o-1", "OrderProcessingWorkflow", order)
    assert wait(client, "o-1").workflowStatus == 1
    assert server.json("get", "o-1")["status"] == "COMPLETED"
    line = server.err.wait_for("method=/TaskHubSidecarService/StartInstance")
    assert "code=OK" in line
    assert "Paperclips" not in "".join(server.err.all)


def test_a_name_that_the_code_of_the_server_lacks_waits_for_a_worker(
    serve: Serve, connect: Any
) -> None:
    server = serve("--app", str(EXAMPLE), "--start-wait-seconds", "0")
    client = connect()
    start(client, "b-1", "Billing")
    assert server.json("get", "b-1")["status"] == "PENDING"
    (reason,) = server.json("why", "b-1")["waiting"]
    assert "a worker for workflow 'Billing': no worker of app 'default' is" in reason["detail"]
    assert "no workflow 'Billing', only 'OrderProcessingWorkflow'" in reason["detail"]
    assert "name_wanted=Billing" in server.err.wait_for("nobody has this workflow")
    turn = next(client.stream("GetWorkItems"))
    complete = {"workflowStatus": 1, "result": {"value": "8"}}
    answer(client, turn, {"id": 1, "completeWorkflow": complete})
    assert wait(client, "b-1").output.value == "8"
    client.channel.close()


def test_work_outlives_a_kill_and_an_answer_to_the_old_server_counts_at_the_new_one(
    serve: Serve, connect: Any, tmp_path: Path
) -> None:
    server = serve("--store", "sqlite:///work.db", "--start-wait-seconds", "0")
    client = connect()
    work = client.stream("GetWorkItems")
    start(client, "i-1")
    turn = next(work)
    answer(client, turn, {"id": 1, "scheduleTask": {"name": "pay"}})
    asked = next(work)
    server.process.kill()
    server.wait()
    with pytest.raises(grpc.RpcError):
        next(work)
    again = serve("--store", "sqlite:///work.db", "--start-wait-seconds", "0")
    client = connect()
    # As the Python SDK does: the result first, with the token of before, and then a new stream.
    client.call(
        "CompleteActivityTask",
        pb.ActivityResponse(
            instanceId="i-1",
            taskId=1,
            result={"value": "7"},
            completionToken=asked.completionToken,
        ),
    )
    turn = next(client.stream("GetWorkItems"))
    assert turn.workflowRequest.newEvents[1].taskCompleted.result.value == "7"
    complete = {"workflowStatus": 1, "result": {"value": "8"}}
    answer(client, turn, {"id": 2, "completeWorkflow": complete})
    assert wait(client, "i-1").output.value == "8"
    client.channel.close()
    assert again.end() == 0


def test_a_taken_port_is_named_with_what_to_do(serve: Serve, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = actorflow(
            *("serve", "--store", "memory:", "--http-port", "0", "--grpc-port", str(port)),
            cwd=tmp_path,
        )
    assert done.returncode == 1
    assert f"cannot listen for gRPC on 127.0.0.1 port {port}: Address already in use" in done.stderr
    assert "--no-grpc" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_server_does_not_share_the_port_of_the_first(serve: Serve, tmp_path: Path) -> None:
    serve("--store", "memory:")
    port = address_of(tmp_path).rpartition(":")[2]
    done = actorflow(
        *("serve", "--store", "memory:", "--http-port", "0", "--grpc-port", port), cwd=tmp_path
    )
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


def test_it_can_be_left_out(serve: Serve, tmp_path: Path) -> None:
    server = serve("--store", "memory:", "--no-grpc")
    assert "gRPC" not in server.err.wait_for("listens")
    assert json.loads((tmp_path / "ready").read_text())["grpc"] == []


def test_it_listens_on_an_address_of_its_own(serve: Serve, tmp_path: Path, connect: Any) -> None:
    serve("--store", "memory:", "--grpc-address", "127.0.0.2,127.0.0.3")
    addresses = json.loads((tmp_path / "ready").read_text())["grpc"]
    assert [address.partition(":")[0] for address in addresses] == ["127.0.0.2", "127.0.0.3"]
    for address in addresses:
        connect(address).call("Hello")


# A finder that hides a package, put in before anything else is imported.
HIDE = """
import importlib.metadata, sys
real = importlib.metadata.distribution
def hidden(name):
    if name == "dapr":
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)
importlib.metadata.distribution = hidden
from actorflow.server.cli import main
sys.argv[0] = "actorflow"
main()
"""


def test_without_the_extra_one_line_says_so_and_http_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HIDE, "serve", "--store", "memory:", "--http-port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(4)]
        process.terminate()
        process.stderr.read()
    assert "listens on http://" in lines[0]
    (line,) = [line for line in lines if "gRPC" in line]
    assert line.startswith("gRPC cannot be served: the package dapr")
    assert "pip install 'actorflow[grpc]'" in line
    asked = subprocess.run(
        [*command, "--grpc-port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert asked.returncode == 1
    assert "pip install 'actorflow[grpc]'" in asked.stderr


def test_a_stop_with_workers_and_waiting_clients_is_quick_and_clean(
    serve: Serve, connect: Any
) -> None:
    server = serve(
        *("--store", "memory:", "--graceful-shutdown-seconds", "20", "--start-wait-seconds", "0")
    )
    client = connect()
    start(client, "i-1")
    work = client.stream("GetWorkItems")
    turn = next(work)
    pending = client.channel.unary_unary(
        path_of("WaitForInstanceCompletion"), request_serializer=_bytes
    ).future(pb.GetInstanceRequest(instanceId="i-1"), timeout=DEADLINE_S)
    answer(client, turn, {"id": 1, "completeWorkflow": {"workflowStatus": 1}})
    pending.result(timeout=DEADLINE_S)
    assert server.end() == 0
    assert list(work) == [], "the stream ends without an error, so that every worker comes back"
    assert not [line for line in server.err.all if "Traceback" in line or "Error" in line]


def test_several_processes_share_the_grpc_port(tmp_path: Path, connect: Any) -> None:
    with RedisServer("redis", tmp_path / "redis") as redis:
        arguments = ("--store", redis.url, "--processes", "2", "--partitions", "4")
        # No start waits for a worker: there is none yet.
        server = Server(tmp_path, *arguments, "--start-wait-seconds", "0").wait_until_ready()
        try:
            address = address_of(tmp_path)
            found = []
            for number in range(12):
                client = Client(address)
                start(client, f"i-{number}")
                request = pb.ListInstanceIDsRequest()
                found.append(set(client.call("ListInstanceIDs", request).instanceIds))
                client.channel.close()
            assert found[-1] == {f"i-{number}" for number in range(12)}
            # Workers of one process do the work of the other.
            client = connect(address)
            work = client.stream("GetWorkItems")
            for _ in range(12):
                answer(client, next(work), {"id": 1, "completeWorkflow": {"workflowStatus": 1}})
            assert all(wait(client, f"i-{number}").workflowStatus == 1 for number in range(12))
            client.channel.close()
            assert server.end() == 0
        finally:
            if server.process.poll() is None:
                server.process.kill()
                server.wait()
