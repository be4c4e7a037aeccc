"""A flood of starts while the worker stands still: refused with a time to come back, in bounded
memory, and everything that was accepted is done once the worker goes on.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.e2e.test_cli_serve import DEADLINE_S, Server
from tests.servers import Server as RedisServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

BODY = b'"' + b"x" * 100_000 + b'"'
LIMIT_BYTES = 64 * 1024 * 1024
AT_ONCE = 100
AFTER_LIMIT = 400
"""Starts that are sent on after the first refusal."""

GROWTH_MAX = 1.25
"""How much more memory may be used at the end than when the first starts were refused."""

APP = """
import asyncio
from pathlib import Path
from actorflow.workflow import ActivityContext, Registry, WorkflowContext

app = Registry()

@app.activity
async def held(_: ActivityContext, blob: str) -> int:
    while not Path("go").exists():
        await asyncio.sleep(0.1)
    return len(blob)

@app.workflow
async def flood(ctx: WorkflowContext, blob: str) -> int:
    return await ctx.call_activity(held, input=blob)
"""


class Flood:
    """Clients that start instances until enough of them were refused."""

    def __init__(self, server: Server) -> None:
        self._url = f"{server.url}/v1.0/workflows/dapr/flood/start"
        self._process = psutil.Process(server.process.pid)
        self._next = 0
        self.statuses: Counter[int] = Counter()
        self.without_retry = 0
        self.accepted: list[str] = []
        self.rss_at_limit_bytes = 0

    @property
    def refused(self) -> int:
        return self.statuses[429] + self.statuses[503]

    @property
    def rss_bytes(self) -> int:
        rss: int = self._process.memory_info().rss
        return rss

    async def run(self) -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._client(session) for _ in range(AT_ONCE)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while self.refused < AFTER_LIMIT:
            self._next += 1
            name = f"flood-{self._next}"
            params = {"instanceID": name}
            async with session.post(self._url, data=BODY, params=params) as answer:
                self.statuses[answer.status] += 1
                if answer.status == 202:
                    self.accepted.append(name)
                elif int(answer.headers.get("Retry-After", 0)) < 1:
                    self.without_retry += 1
            if self.refused == AT_ONCE:
                self.rss_at_limit_bytes = self.rss_bytes


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield "sqlite:///flood.db"
        return
    with RedisServer("redis", tmp_path / "redis") as redis_server:
        yield redis_server.url


@pytest.fixture
def server(store: str, tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "app.py").write_text(APP)
    started = Server(tmp_path, "--app", "app.py", "--store", store, ACTORFLOW_LOG_LEVEL="error")
    try:
        yield started.wait_until_ready()
    finally:
        if started.process.poll() is None:
            started.end(signal.SIGKILL)


def test_a_flood_is_refused_and_what_was_accepted_is_done(server: Server, tmp_path: Path) -> None:
    flood = Flood(server)
    asyncio.run(flood.run())

    assert set(flood.statuses) <= {202, 429, 503}, flood.statuses
    assert flood.statuses[429] >= AFTER_LIMIT / 2, flood.statuses
    assert flood.without_retry == 0
    overshoot_bytes = len(BODY) * 2 * AT_ONCE
    assert LIMIT_BYTES / 2 < len(flood.accepted) * len(BODY) < LIMIT_BYTES + overshoot_bytes
    assert flood.rss_bytes < GROWTH_MAX * flood.rss_at_limit_bytes

    # Who steers is let in, in the middle of it.
    assert server.cli("terminate", flood.accepted[0]).returncode == 0
    assert server.json("get", flood.accepted[0])["status"] == "TERMINATED"
    assert server.json("why", flood.accepted[1])["waiting"][0]["kind"] == "activity"

    (tmp_path / "go").touch()
    for name in flood.accepted[1:4] + flood.accepted[-3:]:
        assert server.json("wait", name, "--timeout", str(DEADLINE_S))["status"] == "COMPLETED"
    assert server.cli("start", "flood", "--id", "later", "--input", '"x"').returncode == 0
    assert server.json("wait", "later", "--timeout", str(DEADLINE_S))["status"] == "COMPLETED"
    while running := server.json("list", "--status", "RUNNING")["instances"]:
        server.json("wait", running[-1]["instanceID"], "--timeout", str(DEADLINE_S))
    done = server.json("list", "--status", "COMPLETED", "--limit", "10000")["instances"]
    assert len(done) == len(flood.accepted), "one was terminated, one came later"
    assert server.end() == 0
