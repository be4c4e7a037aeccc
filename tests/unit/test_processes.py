"""The parent of several worker processes, with children that are a few lines long."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from actorflow.server import processes
from actorflow.server.config import Settings
from actorflow.server.options import StoreUrl
from actorflow.server.processes import (
    Failure,
    Order,
    Supervisor,
    decode_order,
    encode_order,
    reserve_port,
)

T = TypeVar("T")
LIMIT_S = 120.0

SERVES = """
import asyncio, os, signal, sys, time
from actorflow.server.processes import (
    FORCED_CODE, Failure, read_order, say_failed, say_ready, stop_with_parent
)

async def main():
    order = read_order()
    if order.number in BAD:
        say_failed(order, Failure("no store", "start it"))
        sys.exit(1)
    name = f"{order.number} {os.getpid()}".encode()
    end = asyncio.Event()

    async def answer(reader, writer):
        word = await reader.readline()
        writer.write(name)
        writer.close()
        if word == b"crash\\n":
            os._exit(7)
        if word == b"shutdown\\n":
            end.set()
        if word == b"force\\n":
            os._exit(FORCED_CODE)
        if word == b"block\\n":
            asyncio.get_running_loop().call_later(0.05, time.sleep, 600)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, STOP)
    stop_with_parent(order, end.set)
    server = await asyncio.start_server(
        answer, "127.0.0.1", order.settings.http_port, reuse_port=True
    )
    say_ready(order)
    await end.wait()

asyncio.run(main())
"""
GOOD = SERVES.replace("STOP", "end.set").replace("BAD", "()")
STUBBORN = SERVES.replace("STOP", "print, 'no'").replace("BAD", "()")
FAILS = "import sys; sys.exit(3)"


def command(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


class Site:
    """A supervisor under test."""

    def __init__(self, script: str, count: int = 3, *, port: int = 0, drain_s: float = 5.0) -> None:
        self.settings = Settings(
            store=StoreUrl("redis", url="redis://none"),
            processes=count,
            http_port=port,
            graceful_shutdown_s=drain_s,
        )
        self.port = 0
        self.ready = asyncio.Event()
        self.reasons: list[str] = []
        self.supervisor = Supervisor(
            self.settings,
            on_ready=self._on_ready,
            on_stop=self.reasons.append,
            command=command(script),
        )

    def _on_ready(self, port: int) -> None:
        self.port = port
        self.ready.set()

    async def ask(self, word: str = "") -> tuple[int, int]:
        """Return number and process id of whichever child answers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(word.encode() + b"\n")
            number, pid = (await reader.read()).split()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return int(number), int(pid)

    async def ask_all(self, count: int) -> dict[int, int]:
        """Ask until so many children have answered; return process ids by number."""
        found: dict[int, int] = {}
        while len(found) < count:
            with contextlib.suppress(OSError, ValueError):
                number, pid = await self.ask()
                found[number] = pid
            await asyncio.sleep(0)
        return found


def on_site(site: Callable[[], Site], play: Callable[[Site], Awaitable[None]]) -> tuple[int, Site]:
    """Run a supervisor, play with it, end it; return its exit code."""

    async def main() -> tuple[int, Site]:
        built = site()
        running = asyncio.get_running_loop().create_task(built.supervisor.run())
        async with asyncio.timeout(LIMIT_S):
            ready = asyncio.get_running_loop().create_task(built.ready.wait())
            await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
            try:
                if ready.done():
                    await play(built)
            except BaseException:
                for child in built.supervisor._children.values():
                    child.signal(signal.SIGKILL)
                running.cancel()
                raise
            ready.cancel()
            return await running, built

    return asyncio.run(main())


def end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_all_children_share_the_port_and_end_together() -> None:
    pids: list[int] = []

    async def play(site: Site) -> None:
        found = await site.ask_all(3)
        assert set(found) == {1, 2, 3}
        pids.extend(found.values())
        end()

    code, site = on_site(lambda: Site(GOOD), play)
    assert code == 0
    assert site.reasons == ["SIGTERM"]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", site.port)):
        pass


@pytest.mark.parametrize("how", ["crash", "kill"])
def test_a_child_that_crashed_is_started_again(
    how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "RESTART_FIRST_S", 0.01)

    async def play(site: Site) -> None:
        before = await site.ask_all(2)
        if how == "crash":
            number, _ = await site.ask("crash")
        else:
            number = 1
            os.kill(before[1], signal.SIGKILL)
        while True:
            after = await site.ask_all(2)
            if after[number] != before[number]:
                break
        other = 3 - number
        assert after[other] == before[other]
        end()

    code, site = on_site(lambda: Site(GOOD, 2), play)
    assert code == 0
    assert site.supervisor.restarts == 1
    assert "will be started again" in caplog.text


def test_a_child_that_was_shut_down_ends_all() -> None:
    async def play(site: Site) -> None:
        await site.ask("shutdown")

    code, site = on_site(lambda: Site(GOOD), play)
    assert code == 0
    assert "was shut down" in site.reasons[0]


def test_what_the_first_child_cannot_do_no_other_one_tries() -> None:
    async def play(site: Site) -> None:
        raise AssertionError("it is not ready")

    code, site = on_site(lambda: Site(FAILS), play)
    assert code == 3
    assert list(site.supervisor._children) == [1]
    cause = "process 1 ended before it was ready (exit code 3)"
    assert site.supervisor.failure == Failure(cause)


@pytest.mark.parametrize("bad", ["(1,)", "(2, 3)"])
def test_a_child_that_cannot_start_ends_all_with_its_reason(bad: str) -> None:
    async def play(site: Site) -> None:
        raise AssertionError("it is not ready")

    script = SERVES.replace("STOP", "end.set").replace("BAD", bad)
    code, site = on_site(lambda: Site(script), play)
    assert code == 1
    assert site.supervisor.failure == Failure("no store", "start it")
    assert site.supervisor.restarts == 0
    ended = [child.process.returncode for child in site.supervisor._children.values()]
    assert None not in ended


def test_a_child_that_cannot_start_again_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "RESTART_FIRST_S", 0.01)
    bad = tmp_path / "bad"
    script = SERVES.replace("STOP", "end.set").replace(
        "order.number in BAD", f"os.path.exists({str(bad)!r})"
    )

    async def play(site: Site) -> None:
        await site.ask_all(2)
        bad.touch()
        number, pid = await site.ask("crash")
        while site.supervisor.restarts < 2:  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0)
        bad.unlink()
        while (await site.ask_all(2))[number] == pid:
            pass
        end()

    code, _ = on_site(lambda: Site(script, 2), play)
    assert code == 0
    assert "no store" in [getattr(record, "cause", "") for record in caplog.records]


def test_a_second_signal_ends_children_that_cannot_hear_it() -> None:
    async def play(site: Site) -> None:
        await site.ask_all(3)
        await site.ask("block")
        end()
        while not site.reasons:  # noqa: ASYNC110 -- the signal comes when the loop turns
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)

    began_s = time.monotonic()
    code, site = on_site(lambda: Site(STUBBORN, drain_s=600.0), play)
    assert code == 128 + signal.SIGINT
    assert site.supervisor.left_at_once
    assert time.monotonic() - began_s < LIMIT_S
    ended = {child.process.returncode for child in site.supervisor._children.values()}
    assert ended == {-signal.SIGKILL}


def test_a_child_that_must_leave_at_once_takes_all_with_it() -> None:
    async def play(site: Site) -> None:
        await site.ask_all(3)
        await site.ask("force")

    code, site = on_site(lambda: Site(STUBBORN, drain_s=600.0), play)
    assert code == 1
    assert site.supervisor.left_at_once
    assert "leave at once" in site.reasons[0]
    assert site.supervisor.restarts == 0


def test_children_that_do_not_end_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "KILL_AFTER_S", 0.2)

    async def play(site: Site) -> None:
        await site.ask_all(2)
        end()

    code, site = on_site(lambda: Site(STUBBORN, 2, drain_s=0.0), play)
    assert code == 1
    assert all(child.process.returncode for child in site.supervisor._children.values())


def parent_of(child: str, **settings: float) -> str:
    """Return a program that supervises two processes of another one, and prints their port."""
    return (
        "import asyncio, sys\n"
        "from actorflow.server.config import Settings\n"
        "from actorflow.server.processes import Supervisor\n"
        f"settings = Settings(processes=2, http_port=0, **{settings!r})\n"
        f"site = Supervisor(settings, command=(sys.executable, '-c', {child!r}),\n"
        "    on_ready=lambda port: print(port, flush=True))\n"
        "asyncio.run(site.run())\n"
    )


def test_children_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = parent_of(GOOD)
    with subprocess.Popen(command(script), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        parent.kill()
        # Its end is that of the last child: they inherited standard output.
        assert parent.stdout.read() == ""
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass


def test_a_child_whose_loop_is_blocked_ends_with_a_parent_that_was_killed() -> None:
    child = "from actorflow.server import processes\nprocesses.KILL_AFTER_S = 0.2\n" + GOOD
    script = parent_of(child, graceful_shutdown_s=0.1)
    with subprocess.Popen(command(script), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as call:
            call.sendall(b"block\n")
            assert call.makefile().read(), "and then its loop is blocked for minutes"
        parent.kill()
        assert parent.stdout.read() == ""  # once both have ended, before the one is free again


def test_a_port_in_use_is_refused_and_a_free_one_is_kept() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            reserve_port(["127.0.0.1"], number)
    port = reserve_port(["127.0.0.1", "127.0.0.2"], 0)
    assert [one.getsockname()[1] for one in port.sockets] == [port.number] * 2
    with pytest.raises(OSError, match="in use"), socket.socket() as other:
        other.bind(("127.0.0.1", port.number))
    port.close()


def test_an_order_is_read_as_it_was_written() -> None:
    settings = Settings(
        app="orders.py",
        store=StoreUrl("redis", url="redis://me:secret@cache"),
        api_tokens=("t",),
        ready_file=Path("x"),
        processes=4,
        lease_s=1.5,
    )
    order = Order(3, settings, 9, "/tmp/x")
    assert decode_order(encode_order(order)) == order
    for store in (StoreUrl("sqlite", Path("a/b")), StoreUrl("memory")):
        changed = Order(1, Settings(store=store), 0, "")
        assert decode_order(encode_order(changed)) == changed
