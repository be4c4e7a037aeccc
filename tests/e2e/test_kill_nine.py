"""A real server on SQLite, killed with -9 twenty times under load: nothing accepted is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from actorflow.actors.store.sqlite import SqliteStore
from actorflow.workflow import Registry, WorkflowEngine
from actorflow.workflow.events import (
    EventRaised,
    ExecutionCompleted,
    HistoryEvent,
    Status,
    TaskCompleted,
    TaskScheduled,
)
from tests.e2e.kill_nine_app import EVENTS, expected
from tests.sim.invariants import check_history, check_timers

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

APP = Path(__file__).with_name("kill_nine_app.py")
KILLS = 20
CLIENTS = 24
RETRY_S = 0.05
START_UP_S = 120.0


class Service:
    """The server, which somebody starts again whenever it is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self) -> None:
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        log = (self.folder / "server.log").open("ab")
        with log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "actorflow.server", "serve", "--app", str(APP), "--http-port", "0"),
                *("--store", f"sqlite:///{self.folder / 'load.db'}", "--ready-file", str(ready)),
                cwd=self.folder,
                env={**os.environ, "KILL_NINE_LOG": str(self.folder / "side.log")},
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(START_UP_S):
            while not ready.exists():
                assert self.process.returncode is None, (self.folder / "server.log").read_text()
                await asyncio.sleep(0.01)
        self.url = json.loads(ready.read_text())["urls"][0].rstrip("/")

    async def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.url = ""
        self.process.send_signal(number)
        return await self.process.wait()


class Load:
    """Clients that start workflows and raise events, and repeat whatever got no answer."""

    def __init__(self, service: Service, session: aiohttp.ClientSession) -> None:
        self._service = service
        self._session = session
        self._next = 0
        self.accepted: dict[str, int] = {}
        self.retries = 0
        self.enough = asyncio.Event()

    async def client(self) -> None:
        """Run one workflow after the other until there were enough."""
        while not self.enough.is_set():
            number, self._next = self._next, self._next + 1
            instance_id = f"load-{number}"
            await self._post(f"dapr/load/start?instanceID={instance_id}", number, instance_id)
            self.accepted[instance_id] = number
            for event in range(EVENTS):
                key = f"{instance_id}-{event}"
                await self._post(f"dapr/{instance_id}/raiseEvent/go", event, key)
            await self._until_completed(instance_id)

    async def _post(self, path: str, body: object, key: str) -> None:
        await self._ask("POST", path, json.dumps(body), {"Idempotency-Key": key})

    async def _until_completed(self, instance_id: str) -> None:
        while True:
            answer = await self._ask("GET", f"dapr/{instance_id}")
            if answer["runtimeStatus"] == "COMPLETED":
                return
            assert answer["runtimeStatus"] in ("RUNNING", "PENDING"), answer
            await asyncio.sleep(RETRY_S)

    async def _ask(
        self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
    ) -> dict[str, object]:
        while True:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                url = f"{self._service.url}/v1.0/workflows/{path}"
                if self._service.url:
                    request = self._session.request(method, url, data=body, headers=headers)
                    async with request as response:
                        text = await response.text()
                        if response.status in (200, 202):
                            return dict(json.loads(text or "{}"))
                        assert response.status == 503, text
            self.retries += 1
            await asyncio.sleep(RETRY_S)


async def kill_again_and_again(service: Service, choose: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(choose.uniform(0.02, 0.8))
        await service.end(signal.SIGKILL)
        await service.start()


@pytest.mark.asyncio
async def test_twenty_kills_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")  # shown when the test fails
    service = Service(tmp_path)
    await service.start()
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
        load = Load(service, session)
        clients = [group.create_task(load.client()) for _ in range(CLIENTS)]
        await kill_again_and_again(service, random.Random(seed))
        while len(load.accepted) <= 2 * CLIENTS:  # noqa: ASYNC110 -- a number tells nobody
            await asyncio.sleep(RETRY_S)
        load.enough.set()
        await asyncio.gather(*clients)
    assert await service.end(signal.SIGTERM) == 0
    assert load.retries > KILLS
    await check_store(tmp_path / "load.db", load.accepted)
    check_side_log(tmp_path / "side.log", load.accepted)


async def check_store(path: Path, accepted: dict[str, int]) -> None:
    """Every accepted start ended once, with each event and each result in its history once."""
    store = SqliteStore(str(path))
    async with WorkflowEngine(store, Registry()) as engine:
        for instance_id, number in accepted.items():
            instance = await engine.get(instance_id)
            assert instance is not None
            assert instance.status is Status.COMPLETED
            assert json.loads(instance.output or "") == expected(number)
            for each in (instance_id, f"{instance_id}:0002"):
                _check_instance((await engine.history(each)).events)
            events = (await engine.history(instance_id)).events
            raised = [event.dedup_id for event in events if isinstance(event, EventRaised)]
            assert raised == [f"{instance_id}-{event}" for event in range(EVENTS)]
        listed = await engine.list(limit=1_000)
        assert {i.status for i in listed.instances} == {Status.COMPLETED}
        assert (await store.recover(0, horizon_ms=2**60)).messages == ()
        assert (await store.recover(0, horizon_ms=2**60)).reminders == ()


def _check_instance(events: tuple[HistoryEvent, ...]) -> None:
    check_history(events)
    check_timers(events)
    kinds = Counter(type(event) for event in events)
    assert kinds[ExecutionCompleted] == 1
    assert kinds[TaskCompleted] == kinds[TaskScheduled] > 0


def check_side_log(path: Path, accepted: dict[str, int]) -> None:
    """Each activity ran at least once, in one process at most once, once more a kill at most."""
    runs = [line.split() for line in path.read_text().splitlines()]
    ran = Counter((run[0], run[2]) for run in runs)
    assert all(count <= 1 + KILLS for count in ran.values())
    twice = [run for run, count in Counter(map(tuple, runs)).items() if count > 1]
    assert twice == []
    parents = Counter(instance_id for instance_id, _ in ran)
    for instance_id in accepted:
        assert parents[instance_id] == 1 + EVENTS
