"""An application written for Dapr's Python SDK starts by `actorflow run`, as it is."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.lines import LINES, ROOT

pytestmark = [pytest.mark.sdk, pytest.mark.e2e, pytest.mark.timeout(1_000)]

ORDERS = ROOT / "examples" / "dapr_sdk" / "orders.py"
FREE = ("--http-port", "0", "--grpc-port", "0", "--store", "memory:")
LABEL = "== APP == "


@pytest.mark.parametrize("line", LINES[:3], ids=lambda line: line.name)
@pytest.mark.parametrize("environ", [{}, {"ACTORFLOW_API_TOKEN": "canary"}], ids=["open", "token"])
def test_worker_and_client_in_one_file(line: Any, environ: dict[str, str], tmp_path: Path) -> None:
    python = line.installed().words[0]
    command = (sys.executable, "-m", "actorflow.server", "run", "--app-id", "orders", *FREE)
    done = subprocess.run(
        [*command, "--", python, str(ORDERS)],
        cwd=tmp_path,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [one.removeprefix(LABEL) for one in done.stdout.splitlines() if one.startswith(LABEL)]
    # Threads of the application may share a line.
    ends = re.findall(r"COMPLETED \{[^}]*\}", "\n".join(said))
    assert ends == [
        'COMPLETED {"processed": true, "because": ""}',
        'COMPLETED {"processed": true, "because": ""}',
        'COMPLETED {"processed": false, "because": "not enough of car"}',
    ]
    assert any("charged $90,000" in one for one in said)
    assert done.stderr.splitlines()[-1] == "== ACTORFLOW == Stopped."
