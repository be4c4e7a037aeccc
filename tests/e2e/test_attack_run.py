"""A terminal that goes away under `actorflow run`: nothing is left behind."""

import os
import signal
import sys

import pytest

from tests.e2e.test_cli_run import FREE, Run, Start, answers, start

__all__ = ["start"]  # the fixture

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def hung_up(start: Start, on_hang_up: signal.Handlers) -> tuple[Run, str]:
    """Start a program that waits, and hang up; return it and the address of its server.

    Args:
        on_hang_up: what it inherits.
    """
    kept = signal.signal(signal.SIGHUP, on_hang_up)
    try:
        run = start(*FREE, "--", sys.executable, "app.py", "wait")
    finally:
        signal.signal(signal.SIGHUP, kept)
    url = run.variables()["DAPR_HTTP_ENDPOINT"]
    run.out.wait_for("waiting")
    run.process.send_signal(signal.SIGHUP)
    return run, url


def test_a_hang_up_ends_the_app_and_then_the_server(start: Start) -> None:
    run, url = hung_up(start, signal.SIG_DFL)  # these tests may run under nohup
    assert run.wait() == 5
    assert "== APP == ending by SIGTERM" in run.out.all
    assert run.err.all[-1] == "== ACTORFLOW == Stopped."
    assert not answers(url), "the server was left running"


def test_nohup_keeps_both_running(start: Start) -> None:
    run, url = hung_up(start, signal.SIG_IGN)  # as nohup does for what it starts
    assert answers(url)
    os.kill(run.process.pid, signal.SIGTERM)
    assert run.wait() == 5
