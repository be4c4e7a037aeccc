"""The floor of HTTP: aiohttp's bare server, which reads the body and answers as a start does.

`python -m bench.http_echo --ready-file FILE`, with or without `--no-uvloop`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path

from aiohttp import web

ANSWER = b'{"instanceID":"00000000-0000-0000-0000-000000000000"}'


async def _answer(request: web.BaseRequest) -> web.Response:
    await request.read()
    return web.Response(status=202, body=ANSWER, content_type="application/json")


async def serve(ready_file: Path) -> None:
    """Listen on a free port of the loopback, say which, and serve until the process ends."""
    runner = web.ServerRunner(web.Server(_answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    draft = ready_file.with_suffix(".part")
    draft.write_text(json.dumps({"pid": os.getpid(), "urls": [runner_url(runner)]}))
    draft.replace(ready_file)
    await asyncio.Event().wait()


def runner_url(runner: web.ServerRunner) -> str:
    """Return where the runner listens."""
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}"


def main() -> None:
    """Run until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--no-uvloop", action="store_true")
    chosen = parser.parse_args()
    factory = asyncio.new_event_loop
    if not chosen.no_uvloop:
        try:
            import uvloop  # noqa: PLC0415 -- optional
        except ImportError:
            pass
        else:
            factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(chosen.ready_file))


if __name__ == "__main__":
    main()
