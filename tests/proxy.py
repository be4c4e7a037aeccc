"""A TCP proxy on the loop of a test: stalls one direction or both, cuts, swallows answers."""

import asyncio
from contextlib import suppress
from types import TracebackType


class Proxy:
    """Forwards to one port. `async with Proxy(6379) as proxy: ... proxy.port`.

    `up` and `down` are open while bytes pass to and from the server. `swallow_down` drops what the
    server answers. `cut_after_bytes` cuts all connections once so many more bytes went up.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.port = 0
        self.up, self.down = asyncio.Event(), asyncio.Event()
        self.up.set()
        self.down.set()
        self.swallow_down = False
        self.cut_after_bytes: int | None = None
        self.cuts = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.up.set()
        self.down.set()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def lead_to(self, target_port: int) -> None:
        """Bring connections that are made from now on to another port, as a name that moves."""
        self._target_port = target_port

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        """Let every connection that exists now swallow all bytes, and stay open: half-open."""
        self._silent |= self._writers

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        for pump in (
            self._pump(reader, far_writer, self.up, upwards=True),
            self._pump(far_reader, writer, self.down, upwards=False),
        ):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gate: asyncio.Event,
        *,
        upwards: bool,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await gate.wait()
                if writer in self._silent or (not upwards and self.swallow_down):
                    continue
                if upwards and self.cut_after_bytes is not None:
                    data, self.cut_after_bytes = self._up_to_cut(data, self.cut_after_bytes)
                writer.write(data)
                await writer.drain()
                if self.cut_after_bytes == 0:
                    self.cut_after_bytes = None
                    self.cuts += 1
                    self.cut()
        writer.close()
        self._writers.discard(writer)
        self._silent.discard(writer)

    @staticmethod
    def _up_to_cut(data: bytes, left: int) -> tuple[bytes, int]:
        return data[:left], max(0, left - len(data))
