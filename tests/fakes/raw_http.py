"""A client that sends exactly the bytes it is given: no clean paths, no added headers."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

REPLY_S = 120.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. Header names are lower-case; of repeated headers the last one counts."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


async def send(
    url: str,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """Send one request whose target is not touched, and return the answer."""
    lines = {"Host": urlsplit(url).netloc, "Connection": "close", **(headers or {})}
    if body is not None:
        lines.setdefault("Content-Length", str(len(body)))
    head = f"{method} {target} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return await send_bytes(url, head.encode("utf-8") + b"\r\n" + (body or b""))


async def send_bytes(url: str, data: bytes) -> Reply:
    """Send bytes and return the answer, which must end within REPLY_S."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(data)
        async with asyncio.timeout(REPLY_S):
            return await read_reply(reader)
    finally:
        writer.close()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """Read one answer with a Content-Length, or without a body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.rstrip().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    status = int(status_line.split(" ")[1])
    if status == 100:
        return await read_reply(reader)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Reply(status, headers, body)
