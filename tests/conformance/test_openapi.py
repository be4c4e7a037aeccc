"""The OpenAPI document: valid, complete, and true when requests are made up from it."""

import asyncio
import queue
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from actorflow.server.app import HttpServer
from actorflow.server.config import Settings
from actorflow.server.http.instances import VISIBLE_STATUSES
from actorflow.server.http.openapi import document
from actorflow.server.http.openapi_schemas import ERROR_CODES
from actorflow.workflow.events import Status
from tests.conformance.wire_worlds import EngineWorld, FakeWorld
from tests.fakes.fake_engine import FakeEngine

EXAMPLES_MAX = 20
"""Requests an operation; some 40 operations take about half a minute."""

NAMED_500_CODES = frozenset(ERROR_CODES) - {"ERROR", "ERR_ENGINE"}
API = schemathesis.openapi.from_dict(document())


def steer(case: "schemathesis.Case[Any]") -> None:
    """Let three of four requests find an instance, and hold no answer back for long."""
    instance_id = case.path_parameters.get("instanceID")
    number = zlib.crc32(str(instance_id).encode())
    if instance_id is not None and number % 4:
        case.path_parameters["instanceID"] = VISIBLE_STATUSES[number % len(VISIBLE_STATUSES)].value
    if case.path.endswith(("/wait", "/run")):
        case.query["timeout"] = "1ms"


@pytest.fixture(scope="module", params=[FakeWorld, EngineWorld], ids=["fake", "real"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve an engine, with an instance in every status, from a thread of its own."""
    found: queue.Queue[str] = queue.Queue()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        world = request.param()
        await world.open()
        # The stalled one last: to stall it, the world is opened again with other code.
        for status in sorted(VISIBLE_STATUSES, key=lambda status: status is Status.STALLED):
            await world.bring(status.value, status)
        found.put(world.url)
        await stop.wait()
        await world.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    yield found.get(timeout=120)
    loop.call_soon_threadsafe(stop.set)
    thread.join(120)
    loop.close()


@pytest.mark.slow
@API.parametrize()
@settings(
    max_examples=EXAMPLES_MAX,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_described(case: "schemathesis.Case[Any]", url: str) -> None:
    steer(case)
    response = case.call(base_url=url, timeout=120)
    case.validate_response(
        response,
        checks=[status_code_conformance, content_type_conformance, response_schema_conformance],
    )
    if response.status_code >= 500:
        assert response.json()["errorCode"] in NAMED_500_CODES
        assert "Traceback" not in response.text


def test_document_is_valid() -> None:
    validate(document())


def test_document_and_routes_are_the_same() -> None:
    server = HttpServer(FakeEngine(), Settings())
    served = {(route.method, route.path) for route in server.edge.router.routes}
    described = {
        (method.upper(), path) for path, item in document()["paths"].items() for method in item
    }
    assert served == described


def test_path_parameters_are_described() -> None:
    server = HttpServer(FakeEngine(), Settings())
    for route in server.edge.router.routes:
        operation = document()["paths"][route.path][route.method.lower()]
        named = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
        assert named == set(route.parameter_names), route.path
