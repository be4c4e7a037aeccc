"""What several processes behind one port tell each other: their metrics, over sockets in a folder.

Any of them may be asked for `/metrics`, and must answer for all. Each listens on a socket in a
folder that only this user can enter, and writes its numbers to whoever connects.
"""

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec

from actorflow.server.metrics import Snapshot

_log = logging.getLogger(__name__)

ANSWER_S = 2.0
"""How long all others may take to tell their numbers; whoever takes longer is left out."""

PATH_MAX = 100
"""Longest path of a socket, less than what systems take, in bytes."""

_decode = msgspec.json.Decoder(Snapshot).decode


@contextlib.contextmanager
def meeting_place() -> Iterator[str]:
    """Make a folder for the sockets, and remove it at the end."""
    usual = tempfile.gettempdir()
    base = usual if len(usual.encode()) < PATH_MAX - 32 else "/tmp"  # noqa: S108 -- mkdtemp is safe there
    with tempfile.TemporaryDirectory(
        prefix="actorflow-", dir=base, ignore_cleanup_errors=True
    ) as folder:
        yield folder


class Siblings:
    """One of `count` processes. `number` counts from 1; `snapshot` returns its own numbers."""

    def __init__(
        self, folder: str, number: int, count: int, snapshot: Callable[[], Snapshot]
    ) -> None:
        self._folder = Path(folder)
        self._number = number
        self._count = count
        self._snapshot = snapshot

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Tell the others our numbers whenever they ask."""
        path = self._path(self._number)
        path.unlink(missing_ok=True)  # of a process that crashed
        server = await asyncio.start_unix_server(self._answer, path)
        try:
            yield
        finally:
            server.close()
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    async def ask_all(self) -> dict[str, Snapshot]:
        """Return the numbers of every process that answers in time, by its number."""
        others = [n for n in range(1, self._count + 1) if n != self._number]
        answers = await asyncio.gather(*map(self._ask, others))
        found = dict(zip(others, answers, strict=True))
        found[self._number] = self._snapshot()
        return {str(n): told for n, told in sorted(found.items()) if told is not None}

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(msgspec.json.encode(self._snapshot()))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def _ask(self, number: int) -> Snapshot | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                try:
                    return _decode(await reader.read())
                finally:
                    writer.close()
        except (OSError, TimeoutError, msgspec.MsgspecError) as error:
            _log.warning(
                "a process does not tell its metrics",
                extra={"child": number, "cause": str(error) or type(error).__name__},
            )
            return None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.sock"
