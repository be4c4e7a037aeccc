"""Scenarios: what a server is told to do with ended and waiting work, and traces through it."""

import time
from typing import Any

from tests.sdk.scenario import Collector
from tests.sdk.stand import Site

scenario = Collector()

KEPT_S = 4.0
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

# --- retention and limits ------------------------------------------------------------------------


@scenario(
    "retention: an ended instance is gone in time, a running one and a kept status are not",
    "16",
    ["COMPLETED", True, "FAILED", "RUNNING", "yes"],
)
def retention(site: Site) -> Any:
    with site.with_options(
        "--state-retention-policy", f"anyTerminal={KEPT_S:g}s,failed=1h"
    ) as keeping:
        running = keeping.start("approval")
        failed = keeping.start("fail", "kept")
        keeping.wait(failed)
        begin_s = time.monotonic()
        ended = keeping.start("echo", 1)
        status = keeping.wait(ended)["status"]
        keeping.until_true(lambda: keeping.call("get", id=ended) is None, f"{ended} is still there")
        was_kept = time.monotonic() - begin_s >= KEPT_S
        others = [keeping.call("get", id=name)["status"] for name in (failed, running)]
        keeping.call("raise_event", id=running, event="approval", data="yes")
        return [status, was_kept, *others, keeping.wait(running)["output"]]


@scenario("a limit for one activity: so many run at once, and all complete", "43", [2, 6])
def limit_by_name(site: Site) -> Any:
    return _at_once(site, "--activity-concurrency-limits", "slow=2")


@scenario("a limit for all activities: so many run at once, and all complete", "43", [3, 6])
def limit_for_all(site: Site) -> Any:
    return _at_once(site, "--global-max-concurrent-activity-invocations", "3")


def _at_once(site: Site, *options: str) -> list[int]:
    """Return how many activities ran at once at most, and how many ran to their end."""
    with site.with_options(*options) as limited:
        given = {"count": 3, "seconds": 1}
        names = [limited.start("spread", given) for _ in range(2)]
        results = sum(len(limited.wait(name)["output"]) for name in names)
        now = most = 0
        for one in limited.program.told_in_order("begin", "end"):
            now += 1 if one["event"] == "begin" else -1
            most = max(most, now)
        return [most, results]


# --- traces --------------------------------------------------------------------------------------


@scenario("the trace context of a start by HTTP arrives in the SDK's activity", "54", TRACE)
def trace_by_http(site: Site) -> Any:
    name = site.name()
    site.http_start("spread", name, '{"count": 1, "seconds": 0}', traceparent=TRACE)
    return _trace_of(site, name)


@scenario("the trace context of a start by the SDK's client arrives in its activity", "54", TRACE)
def trace_by_client(site: Site) -> Any:
    return _trace_of(site, site.start("spread", {"count": 1, "seconds": 0}, trace=TRACE))


def _trace_of(site: Site, name: str) -> Any:
    site.wait(name)
    return site.program.told("begin", id=name)[0]["trace"]
