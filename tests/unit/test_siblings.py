"""Metrics of several processes: whichever is asked answers for all."""

import asyncio
import os
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actorflow.server import siblings
from actorflow.server.metrics import Snapshot, exposition
from actorflow.server.siblings import Siblings, meeting_place


def told(number: int) -> Snapshot:
    requests = [("GET", "/metrics", 200, number)]
    return Snapshot({"turns": 10 * number}, {"live_actors": number}, requests)


def member(folder: str, number: int, count: int = 3) -> Siblings:
    return Siblings(folder, number, count, lambda: told(number))


def samples(text: bytes) -> dict[tuple[str, str], float]:
    """Return values by name and number of process, as Prometheus reads them."""
    return {
        (sample.name, sample.labels.get("process", "")): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@pytest.mark.asyncio
async def test_each_knows_the_numbers_of_all() -> None:
    with meeting_place() as folder:
        async with AsyncExitStack() as stack:
            for number in (1, 2, 3):
                await stack.enter_async_context(member(folder, number).listening())
            for number in (1, 2, 3):
                assert await member(folder, number).ask_all() == {
                    "1": told(1),
                    "2": told(2),
                    "3": told(3),
                }
        assert os.listdir(folder) == []


def test_the_folder_is_for_this_user_alone_and_removed() -> None:
    with meeting_place() as folder:
        assert Path(folder).stat().st_mode & 0o777 == 0o700
    assert not Path(folder).exists()


@pytest.mark.asyncio
async def test_who_is_gone_or_silent_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings, "ANSWER_S", 0.05)

    over = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        over.set()

    with meeting_place() as folder:
        deaf = await asyncio.start_unix_server(silent, Path(folder) / "2.sock")
        try:
            found = await member(folder, 1).ask_all()
            await over.wait()
        finally:
            deaf.close()
    assert found == {"1": told(1)}


@pytest.mark.asyncio
async def test_the_socket_of_a_crashed_process_is_replaced() -> None:
    with meeting_place() as folder:
        crashed = await asyncio.start_unix_server(lambda *_: None, Path(folder) / "2.sock")
        crashed.close()
        async with member(folder, 2, 2).listening(), member(folder, 1, 2).listening():
            assert set(await member(folder, 1, 2).ask_all()) == {"1", "2"}


@pytest.mark.asyncio
async def test_the_text_of_many_is_one_family_a_name() -> None:
    text = exposition({"1": told(1), "3": told(3)})
    assert len(re.findall(rb"^# TYPE actorflow_turns_total counter$", text, re.M)) == 1
    found = samples(text)
    assert found["actorflow_turns_total", "1"] == 10
    assert found["actorflow_turns_total", "3"] == 30
    assert found["actorflow_live_actors", "3"] == 3
    assert found["actorflow_http_requests_total", "1"] == 1
    assert found["actorflow_processes", ""] == 2


@pytest.mark.asyncio
async def test_one_process_has_no_label() -> None:
    found = samples(exposition({"": told(2)}))
    assert found["actorflow_turns_total", ""] == 20
    assert {process for _, process in found} == {""}
