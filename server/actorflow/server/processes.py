"""Several worker processes behind one port: a small parent that starts, watches and drains them.

The children share the port by SO_REUSEPORT and the instances by the store; the parent serves
nothing and opens no store. If one child cannot start when all begin, all end with its reason. Later
one that crashes is started again after a pause; one that ends on its own account (a shutdown call)
ends all. A parent that is killed takes its children with it: their standard input ends, which a
thread of theirs hears even when their event loop is blocked.

The settings travel to a child through its standard input, where no other user can read them.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from actorflow.server.config import Settings
from actorflow.server.siblings import meeting_place

_log = logging.getLogger(__name__)

_CHILD = "import sys; from actorflow.server.serve import run_child; sys.exit(run_child())"
CHILD_COMMAND = (sys.executable, "-c", _CHILD)
"""What a child runs; it reads its `Order` from standard input."""

RESTART_FIRST_S = 0.5
"""Pause before a crashed child is started again; doubles up to RESTART_MAX_S."""

RESTART_MAX_S = 30.0

STEADY_S = 60.0
"""A child that lived this long crashed for a new reason: the pause begins small again."""

KILL_AFTER_S = 5.0
"""How long a child may take beyond its drain before it is killed."""


FORCED_CODE = 113
"""Exit code of a child that was told to leave at once: all others do so, too."""

REASON_MAX_BYTES = 32_768
"""How much a child may tell about why it cannot start: what a pipe takes without a reader."""

_READY = b"1"
_GOOD_CODES = {0, None, -signal.SIGTERM}
"""Exit codes of children that were stopped in time; one may have had no handler yet."""


class Failure(msgspec.Struct, frozen=True):
    """Why a child cannot start, and what to do about it, for a person."""

    cause: str
    mend: str = ""


class Order(msgspec.Struct, frozen=True):
    """What a child is told. `number` counts from 1; `ready_fd` takes what `say_ready` or
    `say_failed` write; in `folder` the children meet, see `siblings`."""

    number: int
    settings: Settings
    ready_fd: int
    folder: str


def _encode_path(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError


def encode_order(order: Order) -> bytes:
    """Return the bytes of an order."""
    return msgspec.json.encode(order, enc_hook=_encode_path)


def decode_order(data: bytes) -> Order:
    """Return an order. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(data, type=Order, dec_hook=_decode_path)


class Port(NamedTuple):
    """The shared port while the parent keeps it: nobody else can take it between two children."""

    number: int
    sockets: tuple[socket.socket, ...]

    def close(self) -> None:
        """Give the port up."""
        for one in self.sockets:
            one.close()


def reserve_port(addresses: Sequence[str], port: int) -> Port:
    """Bind the port, without listening, on all addresses; 0 takes a free one.

    Raises:
        OSError: it is taken, or an address is not this machine's.
    """
    sockets: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        for address in addresses:
            info = socket.getaddrinfo(
                address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            one = socket.socket(info[0], info[1], info[2])
            undo.callback(one.close)
            if info[0] == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            _refuse_listeners(info, port)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((*info[4][:1], port, *info[4][2:]))
            port = port or one.getsockname()[1]
            sockets.append(one)
        undo.pop_all()
    return Port(port, tuple(sockets))


def _refuse_listeners(info: Any, port: int) -> None:
    """SO_REUSEPORT would share a port with a forgotten server of the same user, half of the calls
    each: bind it once without."""
    if port:
        with socket.socket(info[0], info[1], info[2]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if info[0] == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((*info[4][:1], port, *info[4][2:]))


class Child:
    """One worker process, from start to end."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, ready_fd: int) -> None:
        self.number = number
        self.process = process
        self._ready_fd = ready_fd

    @classmethod
    async def start(
        cls, number: int, settings: Settings, folder: str, command: Sequence[str]
    ) -> "Child":
        """Start a process and give it its order."""
        read_fd, write_fd = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(write_fd,),
                # A Ctrl-C goes to the parent alone, which passes it on.
                start_new_session=True,
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        child = cls(number, process, read_fd)
        if process.stdin is not None:
            data = encode_order(Order(number, settings, write_fd, folder))
            process.stdin.write(len(data).to_bytes(8, "big") + data)
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
        return child

    async def wait_ready(self) -> Failure | None:
        """Return None when it listens, or why it does not and never will."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._ready_fd, readable.set)
        try:
            await readable.wait()
            data = os.read(self._ready_fd, REASON_MAX_BYTES)
        finally:
            loop.remove_reader(self._ready_fd)
            os.close(self._ready_fd)
        if data == _READY:
            return None
        try:
            return msgspec.json.decode(data, type=Failure)
        except msgspec.MsgspecError:
            code = await self.wait()
            return Failure(f"process {self.number} ended before it was ready ({_ending(code)})")

    async def wait(self) -> int:
        """Return the exit code; negative for a signal."""
        return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Pass a signal on; harmless when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Supervisor:
    """Runs `settings.processes` children until a signal, or the end of one of them, ends all.

    Args:
        on_ready: called once, when all listen.
        command: what a child runs, for tests.

    Concurrency: one event loop, in its main thread, since it takes signals.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_ready: Callable[[int], None] = lambda port: None,
        on_stop: Callable[[str], None] = lambda reason: None,
        command: Sequence[str] = CHILD_COMMAND,
    ) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._command = command
        self._children: dict[int, Child] = {}
        self._stopping = asyncio.Event()
        self._forced_code = 0
        self._folder = ""
        self.restarts = 0
        self.failure: Failure | None = None
        """Why it did not come to work, after `run`."""

    async def run(self) -> int:
        """Return the exit code of all.

        Raises:
            OSError: the port cannot be had.
        """
        loop = asyncio.get_running_loop()
        port = reserve_port(self._settings.listen_addresses, self._settings.http_port)
        settings = replace(self._settings, http_port=port.number, ready_file=None)
        with _signals(loop, self._on_signal), meeting_place() as self._folder:
            try:
                return await self._run(settings, port)
            finally:
                port.close()

    async def _run(self, settings: Settings, port: Port) -> int:
        # The first one alone: what is wrong with a setting or the store is then said once.
        first = await self._start(1, settings)
        self.failure = await first.wait_ready()
        if self.failure is not None:
            return self._forced_code or _code_of(await first.wait())
        watchers = [asyncio.ensure_future(self._guard(first, settings))]
        others = [await self._start(n, settings) for n in range(2, self._settings.processes + 1)]
        failures = await asyncio.gather(*(child.wait_ready() for child in others))
        watchers += [asyncio.ensure_future(self._guard(child, settings)) for child in others]
        failure = next((found for found in failures if found is not None), None)
        if failure is None and not self._stopping.is_set():
            self._on_ready(port.number)
        elif failure is not None and not self._stopping.is_set():
            self.failure = failure
            self._stop("a process cannot start")
        await self._stopping.wait()
        port.close()
        codes = await self._drained(watchers)
        is_good = self.failure is None and set(codes) <= _GOOD_CODES
        return self._forced_code or int(not is_good)

    async def _start(self, number: int, settings: Settings) -> Child:
        child = await Child.start(number, settings, self._folder, self._command)
        self._children[number] = child
        if self._stopping.is_set():
            child.signal(signal.SIGKILL if self._forced_code else signal.SIGTERM)
        return child

    async def _guard(self, child: Child, settings: Settings) -> int | None:
        try:
            return await self._watch(child, settings)
        except BaseException:
            self._stop(f"process {child.number} cannot be watched")
            raise

    async def _watch(self, child: Child, settings: Settings) -> int | None:
        """Start the child again whenever it crashes; return its last exit code."""
        loop = asyncio.get_running_loop()
        pause_s, failure = RESTART_FIRST_S, None
        while True:
            began_s = loop.time()
            code = await child.wait()
            if self._stopping.is_set():
                return code
            if code == 0:
                self._stop(f"process {child.number} was shut down")
                return code
            if code == FORCED_CODE:
                self._leave(1)
                self._stop(f"process {child.number} was told to leave at once")
                return code
            if loop.time() - began_s > STEADY_S:
                pause_s = RESTART_FIRST_S
            cause = failure.cause if failure is not None else _ending(code)
            _log.error(
                "process ended; will be started again",
                extra={"child": child.number, "code": code, "cause": cause, "pause_s": pause_s},
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            if self._stopping.is_set():
                return None
            pause_s = min(2 * pause_s, RESTART_MAX_S)
            self.restarts += 1
            child = await self._start(child.number, settings)
            failure = await child.wait_ready()

    async def _drained(self, watchers: Sequence["asyncio.Future[int | None]"]) -> list[int | None]:
        limit_s = self._settings.graceful_shutdown_s + KILL_AFTER_S
        _, late = await asyncio.wait(watchers, timeout=limit_s)
        if late:
            _log.error("processes do not end; they are killed", extra={"count": len(late)})
            for child in self._children.values():
                child.signal(signal.SIGKILL)
        return list(await asyncio.gather(*watchers))

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            self._leave(128 + number)
        self._stop(number.name)

    def _leave(self, code: int) -> None:
        """End all children now: one whose event loop is held up would not hear a signal."""
        self._forced_code = code
        for child in self._children.values():
            child.signal(signal.SIGKILL)

    def _stop(self, reason: str) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            for child in self._children.values():
                child.signal(signal.SIGTERM)
            self._on_stop(reason)

    @property
    def left_at_once(self) -> bool:
        """Whether the children were not given the time to drain."""
        return bool(self._forced_code)


@contextlib.contextmanager
def _signals(
    loop: asyncio.AbstractEventLoop, handler: Callable[[signal.Signals], None]
) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, handler, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _code_of(code: int) -> int:
    return 128 - code if code < 0 else code or 1


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def read_order() -> Order:
    """Return the order that the parent wrote. What follows it on standard input is its end."""
    data = os.read(0, 8)
    size, chunks = int.from_bytes(data, "big"), b""
    while len(chunks) < size and (more := os.read(0, size - len(chunks))):
        chunks += more
    return decode_order(chunks)


def say_ready(order: Order) -> None:
    """Tell the parent that this child listens."""
    _tell(order, _READY)


def say_failed(order: Order, failure: Failure) -> None:
    """Tell the parent why this child cannot start; it says so once for all."""
    most = REASON_MAX_BYTES // 8  # characters may be long
    _tell(order, msgspec.json.encode(Failure(failure.cause[:most], failure.mend[:most])))


def _tell(order: Order, data: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(order.ready_fd, data)
        os.close(order.ready_fd)


def stop_with_parent(order: Order, stop: Callable[[], None]) -> None:
    """Call `stop` on the running loop when the parent is gone, and end the process if it then does
    not end in time: nobody is left who would, and its loop may be blocked for good."""
    loop = asyncio.get_running_loop()
    limit_s = order.settings.graceful_shutdown_s + KILL_AFTER_S

    def end() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it ends already
            loop.call_soon_threadsafe(stop)
        time.sleep(limit_s)
        _log.critical("the parent is gone and this process did not end in time; it is ended")
        os._exit(FORCED_CODE)

    when_input_ends(end)


def when_input_ends(end: Callable[[], None]) -> None:
    """Call `end` on a thread of its own once standard input ends: whoever started this process is
    gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4_096):
                pass
        end()

    threading.Thread(target=watch, name="actorflow-parent", daemon=True).start()
