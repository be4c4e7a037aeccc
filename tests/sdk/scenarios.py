"""What must be observed, whichever SDK is used: the one table that all programs are compared to.

A scenario plays against a program by way of `Site` and returns what it saw; `expect` is what it
must have seen. `rows` are the lines of the feature inventory that it covers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.sdk.program import CallFailed
from tests.sdk.stand import Site

SCENARIOS: list["Scenario"] = []


@dataclass(frozen=True)
class Scenario:
    """One row: its name, what it shows, what must be observed, and how it is played."""

    name: str
    shows: str
    rows: str
    expect: Any
    play: Callable[[Site], Any]


def scenario(
    shows: str, rows: str, expect: Any
) -> Callable[[Callable[[Site], Any]], Callable[[Site], Any]]:
    def add(play: Callable[[Site], Any]) -> Callable[[Site], Any]:
        name = play.__name__
        SCENARIOS.append(Scenario(name=name, shows=shows, rows=rows, expect=expect, play=play))
        return play

    return add


def completed(site: Site, workflow: str, given: Any = None) -> Any:
    """Run an instance to its end and return its output, or its status if that is another."""
    name = site.start(workflow, given)
    state = site.wait(name)
    return state["output"] if state["status"] == "COMPLETED" else (state["status"], state["error"])


def refused(call: Callable[[], Any]) -> str | None:
    """Return the kind of error that a call raises, or None."""
    try:
        call()
    except CallFailed as error:
        return error.kind
    return None


# --- start and look ------------------------------------------------------------------------------


@scenario("start with an id, get, wait; the state holds name, input, output", "1 8 9", ("echo", 7))
def start_and_get(site: Site) -> Any:
    name = site.start("echo", 7)
    state = site.wait(name)
    assert state == site.call("get", id=name)
    assert (state["id"], state["status"], state["output"]) == (name, "COMPLETED", 7)
    return state["name"], state["input"]


@scenario("an id of the SDK's own making", "1", 5)
def start_without_id(site: Site) -> Any:
    name = site.call("start", workflow="echo", input=5)
    return site.wait(name)["output"]


@scenario("inputs and outputs of every JSON kind come back as they were", "1", True)
def payloads(site: Site) -> Any:
    return _echoed(site, [1.5, 'ä\U0001f600\\"\n', True, [], [1, [2]], {"a": {"b": None}}])


@scenario("so do 0, false and the empty text", "1", True)
def payloads_that_are_false(site: Site) -> Any:
    return _echoed(site, [0, False, ""])


def _echoed(site: Site, kinds: list[Any]) -> bool:
    back = [completed(site, "call_child", {"workflow": "echo", "input": one}) for one in kinds]
    return [one.get("result") for one in back] == kinds


@scenario("get of an id that does not exist tells that there is none", "8", None)
def get_missing(site: Site) -> Any:
    return site.call("get", id=site.name())


@scenario("a second start of a live id is refused", "1", True)
def duplicate_start(site: Site) -> Any:
    name = site.start("approval")
    kind = refused(lambda: site.start("approval", name=name))
    site.call("raise_event", id=name, event="approval", data=1)
    return kind is not None and site.wait(name)["output"] == 1


@scenario("an ended instance's id may be used again", "3", [1, 2])
def id_reuse(site: Site) -> Any:
    name = site.start("echo", 1)
    first = site.wait(name)["output"]
    site.start("echo", 2, name=name)
    return [first, site.wait(name)["output"]]


@scenario(
    "an id may be used again only when its children have ended too", "4", ["refused", "taken"]
)
def id_reuse_with_live_child(site: Site) -> Any:
    name = site.name()
    site.start("call_child", {"workflow": "approval", "id": f"{name}-child"}, name=name)
    site.wait_for(f"{name}-child", "RUNNING")
    site.call("terminate", id=name, recursive=False)
    site.wait(name)
    first = refused(lambda: site.start("echo", 1, name=name))
    site.call("terminate", id=f"{name}-child")
    site.wait(f"{name}-child")
    second = refused(lambda: site.start("echo", 1, name=name))
    return ["refused" if first else "taken", "refused" if second else "taken"]


@scenario("a scheduled start waits until its time", "7", ["PENDING", "COMPLETED", True])
def scheduled_start(site: Site) -> Any:
    begin_s = time.monotonic()
    name = site.start("echo", 1, delay_s=2)
    before = site.call("get", id=name)["status"]
    after = site.wait(name)["status"]
    return [before, after, time.monotonic() - begin_s > 1]


@scenario("wait for the start; a wait for the end that times out says so", "9", [True, True])
def waits(site: Site) -> Any:
    name = site.start("approval")
    started = site.call("wait_start", id=name)["status"] == "RUNNING"
    kind = refused(lambda: site.call("wait", id=name, timeout_s=1))
    site.call("terminate", id=name)
    return [started, kind is not None]


# --- what workflows are made of ------------------------------------------------------------------


@scenario("activities one after the other", "21", 10)
def chain(site: Site) -> Any:
    return completed(site, "chain", 7)


@scenario("ten activities at once, and their sum", "21", 285)
def fan_out(site: Site) -> Any:
    return completed(site, "fan_out", 10)


@scenario(
    "three hundred activities at once: no worker is given more than it can hold", "21", 8955050
)
def fan_out_wide(site: Site) -> Any:
    return completed(site, "fan_out", 300)


@scenario("a child workflow with the default id", "22", {"result": 4})
def child(site: Site) -> Any:
    return completed(site, "call_child", {"workflow": "chain", "input": 1})


@scenario(
    "a child workflow with a given id, which can be looked at", "22", [{"result": 4}, "chain"]
)
def child_with_id(site: Site) -> Any:
    name = site.name()
    given = {"workflow": "chain", "input": 1, "id": name}
    return [completed(site, "call_child", given), site.call("get", id=name)["name"]]


@scenario("a child that fails can be caught, and its message arrives", "22", True)
def child_fails(site: Site) -> Any:
    output = completed(site, "call_child", {"workflow": "fail", "input": "broken part"})
    return "broken part" in output["failed"]


@scenario("a child whose id another live instance has: a failure that can be caught", "23", True)
def child_id_taken(site: Site) -> Any:
    name = site.start("approval")
    output = completed(site, "call_child", {"workflow": "echo", "input": 1, "id": name})
    site.call("terminate", id=name)
    return "failed" in output


@scenario("a timer", "26", "rested")
def timer(site: Site) -> Any:
    return completed(site, "nap", 0.3)


@scenario("an event that is waited for, and one that came before", "10", [{"by": "Ada"}, "early"])
def event(site: Site) -> Any:
    name = site.start("approval")
    site.call("raise_event", id=name, event="approval", data={"by": "Ada"})
    early = site.start("approval", delay_s=None)
    site.call("raise_event", id=early, event="approval", data="early")
    return [site.wait(name)["output"], site.wait(early)["output"]]


@scenario("names of events match whatever their case", "10", "yes")
def event_case(site: Site) -> Any:
    name = site.start("approval")
    site.call("raise_event", id=name, event="APPROVAL", data="yes")
    return site.wait(name)["output"]


@scenario("events of one name arrive in order", "10", [1, 2])
def event_order(site: Site) -> Any:
    name = site.start("two_events")
    site.call("raise_event", id=name, event="item", data=1)
    site.call("raise_event", id=name, event="item", data=2)
    return site.wait(name)["output"]


@scenario("an event or a timer, whichever is first", "10 26", [{"timed_out": True}, {"got": 3}])
def event_or_timer(site: Site) -> Any:
    late = completed(site, "deadline", 0.3)
    name = site.start("deadline", 60)
    site.call("raise_event", id=name, event="approval", data=3)
    return [late, site.wait(name)["output"]]


@scenario("an event with the SDK's own time-out", "27", [{"timed_out": True}, {"got": 3}])
def event_timeout(site: Site) -> Any:
    late = completed(site, "event_timeout", 0.3)
    name = site.start("event_timeout", 60)
    site.call("raise_event", id=name, event="approval", data=3)
    return [late, site.wait(name)["output"]]


@scenario("an activity that fails twice and is tried a third time", "21", 3)
def retry_activity(site: Site) -> Any:
    return completed(site, "retry", {"key": site.name(), "fails": 2})


@scenario("an activity that fails more often than it is tried: the workflow fails", "21", "FAILED")
def retry_exhausted(site: Site) -> Any:
    return completed(site, "retry", {"key": site.name(), "fails": 9})[0]


@scenario("a child that fails twice and is tried a third time", "24", 3)
def retry_child(site: Site) -> Any:
    return completed(site, "retry_child", {"key": site.name(), "fails": 2})


@scenario("one task execution id for all tries of an activity", "29", [3, 1, True])
def task_execution_id(site: Site) -> Any:
    key = site.name()
    completed(site, "retry", {"key": key, "fails": 2})
    tasks = [one["task"] for one in site.program.told("flaky", key=key)]
    return [len(tasks), len(set(tasks)), all(tasks)]


@scenario("a workflow that fails, with its message", "8", ["FAILED", True])
def failure(site: Site) -> Any:
    state = site.wait(site.start("fail", "no stock"))
    return [state["status"], "no stock" in state["error"]]


@scenario("an activity that fails can be caught, and its message arrives", "21", True)
def activity_fails(site: Site) -> Any:
    return "no money" in completed(site, "catch", "no money")


@scenario("an activity that nobody registered: the workflow fails", "21", "FAILED")
def activity_unknown(site: Site) -> Any:
    return completed(site, "missing_activity")[0]


@scenario("five generations by continue-as-new", "20", 15)
def continue_as_new(site: Site) -> Any:
    return completed(site, "eternal", {"left": 4, "total": 10})


@scenario("continue-as-new keeps the events that were not waited for yet", "20", ["a", "b", "c"])
def carry_over(site: Site) -> Any:
    name = site.start("collector", [])
    for item in ("a", "b", "c"):
        site.call("raise_event", id=name, event="item", data=item)
    return site.wait(name)["output"]


@scenario("custom status", "28", ["working", "done"])
def custom_status(site: Site) -> Any:
    name = site.start("status")
    during = site.until(name, lambda state: bool(state["custom"]))["custom"]
    site.call("raise_event", id=name, event="go", data=1)
    return [during, site.wait(name)["custom"]]


# --- steer ---------------------------------------------------------------------------------------


@scenario("pause and resume; an event during the pause is kept", "11", ["SUSPENDED", "yes"])
def suspend_and_resume(site: Site) -> Any:
    name = site.start("approval")
    site.call("suspend", id=name)
    site.call("raise_event", id=name, event="approval", data="yes")
    during = site.wait_for(name, "SUSPENDED")["status"]
    site.call("resume", id=name)
    return [during, site.wait(name)["output"]]


@scenario("terminate with an output", "12", ["TERMINATED", "enough"])
def terminate(site: Site) -> Any:
    name = site.start("approval")
    site.call("terminate", id=name, output="enough")
    state = site.wait(name)
    return [state["status"], state["output"]]


@scenario("terminate with all children", "12", ["TERMINATED", "TERMINATED"])
def terminate_recursive(site: Site) -> Any:
    name = site.name()
    given = {"workflow": "approval", "id": f"{name}-child"}
    site.start("call_child", given, name=name)
    site.wait_for(f"{name}-child", "RUNNING")
    site.call("terminate", id=name, recursive=True)
    return [site.wait(name)["status"], site.wait(f"{name}-child")["status"]]


@scenario("terminate without the children", "12", ["TERMINATED", "kept"])
def terminate_alone(site: Site) -> Any:
    name = site.name()
    given = {"workflow": "approval", "id": f"{name}-child"}
    site.start("call_child", given, name=name)
    site.wait_for(f"{name}-child", "RUNNING")
    site.call("terminate", id=name, recursive=False)
    ended = site.wait(name)["status"]
    site.call("raise_event", id=f"{name}-child", event="approval", data="kept")
    return [ended, site.wait(f"{name}-child")["output"]]


@scenario("purge an ended instance", "13", None)
def purge(site: Site) -> Any:
    name = site.start("echo", 1)
    site.wait(name)
    site.call("purge", id=name)
    return site.call("get", id=name)


@scenario("purge with all children", "13", [None, None])
def purge_recursive(site: Site) -> Any:
    name = site.name()
    completed(site, "call_child", {"workflow": "echo", "input": 1, "id": f"{name}-child"})
    site.start("call_child", {"workflow": "echo", "input": 1, "id": f"{name}-child"}, name=name)
    site.wait(name)
    site.call("purge", id=name, recursive=True)
    return [site.call("get", id=name), site.call("get", id=f"{name}-child")]


@scenario("purge of a running instance does nothing", "13", "yes")
def purge_running(site: Site) -> Any:
    name = site.start("approval")
    refused(lambda: site.call("purge", id=name))  # some SDKs raise, some return false
    site.call("raise_event", id=name, event="approval", data="yes")
    return site.wait(name)["output"]


@scenario("a forced purge takes a running instance away", "14", None)
def purge_forced(site: Site) -> Any:
    name = site.start("approval")
    site.call("purge", id=name, force=True)
    return site.call("get", id=name)


@scenario("list the ids, page by page", "17", True)
def list_ids(site: Site) -> Any:
    names = [site.start("echo", number) for number in range(3)]
    for name in names:
        site.wait(name)
    listed = site.call("list", page_size=2)
    return set(names) <= set(listed) and len(listed) == len(set(listed))


@scenario(
    "the history of an instance, event by event",
    "18",
    ["executionStarted", "executionCompleted", 3],
)
def history(site: Site) -> Any:
    name = site.start("chain", 1)
    site.wait(name)
    events = [
        one["type"] for one in site.call("history", id=name) if one["type"] != "workflowStarted"
    ]
    return [events[0], events[-1], events.count("taskCompleted")]


@scenario(
    "run an ended instance again from its second activity, with another input", "19", [4, 102]
)
def rerun(site: Site) -> Any:
    name = site.start("chain", 1)
    first = site.wait(name)["output"]
    scheduled = [one for one in site.call("history", id=name) if one["type"] == "taskScheduled"]
    again = site.call("rerun", id=name, event_id=scheduled[1]["id"], new_id=site.name(), input=100)
    return [first, site.wait(again)["output"]]


# --- versions, sizes, histories handed on --------------------------------------------------------


@scenario("a patch: old instances keep the old code, new ones take the new", "30", ["old", "new"])
def patching(site: Site) -> Any:
    with site.without_worker():
        return _patching(site)


def _patching(site: Site) -> Any:
    with site.variant("one") as before:
        name = site.start("patched", by=before)
    with site.variant("two") as after:
        young = site.start("patched", by=after)
        for one in (name, young):
            after.call("raise_event", id=one, event="go", data=1)
        return [after.call("wait", id=one)["output"] for one in (name, young)]


@scenario(
    "a patch taken back: the instance stalls, and goes on when the patch is back",
    "30 32",
    ["STALLED", "new"],
)
def patch_mismatch(site: Site) -> Any:
    with site.without_worker():
        return _patch_mismatch(site)


def _patch_mismatch(site: Site) -> Any:
    with site.variant("two") as before:
        name = site.start("patched", by=before)
    with site.variant("one") as between:
        between.call("raise_event", id=name, event="go", data=1)
        stalled = site.stalled(name)
    with site.variant("two") as after:
        return [stalled, after.call("wait", id=name)["output"]]


@scenario(
    "named versions: an old instance runs on with its version", "31", ["version one", "version two"]
)
def versions(site: Site) -> Any:
    with site.without_worker():
        return _versions(site)


def _versions(site: Site) -> Any:
    with site.variant("one") as before:
        name = site.start("versioned", by=before)
    with site.variant("both") as after:
        young = site.start("versioned", by=after)
        for one in (name, young):
            after.call("raise_event", id=one, event="go", data=1)
        return [after.call("wait", id=one)["output"] for one in (name, young)]


@scenario(
    "a version that the worker lacks: the instance stalls, and goes on when a worker has it",
    "31 32",
    ["STALLED", "version one"],
)
def version_missing(site: Site) -> Any:
    with site.without_worker():
        return _version_missing(site)


def _version_missing(site: Site) -> Any:
    with site.variant("one") as before:
        name = site.start("versioned", by=before)
    with site.variant("two") as between:
        between.call("raise_event", id=name, event="go", data=1)
        stalled = site.stalled(name)
    with site.variant("both") as after:
        return [stalled, after.call("wait", id=name)["output"]]


@scenario("an activity result of three megabytes", "32", 3_000_000)
def big_result(site: Site) -> Any:
    return completed(site, "sizes", 3_000_000)


@scenario("detached: a workflow that outlives the one that started it", "25", ["COMPLETED", 3])
def detached(site: Site) -> Any:
    other = site.name()
    name = site.start("detach", {"id": other, "input": 3})
    return [site.wait(name)["status"], site.wait(other)["output"]]


@scenario(
    "own history handed on: each sees its caller",
    "47",
    {"child": ["lineage"], "activity": ["lineage_child"]},
)
def history_own(site: Site) -> Any:
    return completed(site, "lineage", "OWN_HISTORY")


@scenario(
    "lineage handed on: each sees all its callers",
    "47",
    {"child": ["lineage"], "activity": ["lineage", "lineage_child"]},
)
def history_lineage(site: Site) -> Any:
    return completed(site, "lineage", "LINEAGE")


# --- workers and other doors ---------------------------------------------------------------------


@scenario("an instance started before its worker: it waits with a reason, and runs", "9", [True, 4])
def start_before_worker(site: Site) -> Any:
    name = site.name()
    with site.without_worker():
        site.http_start("chain", name, "1")
        reasons = [one["kind"] for one in site.waiting(name)]
    return ["worker" in " ".join(reasons), site.wait(name)["output"]]


@scenario("two workers share the activities", "34", True)
def two_workers(site: Site) -> Any:
    with site.variant(""):
        site.until_connected(2)
        output = completed(site, "spread", {"count": 24, "seconds": 0.2})
    return len(set(output)) == 2


@scenario("the number of connected workers in the metadata", "56", 1)
def connected_workers(site: Site) -> Any:
    return site.until_connected(1)


@scenario("the general client: start, pause, resume, raise, get, purge", "1 8 10 11 13", [7, None])
def general_client(site: Site) -> Any:
    name = site.name()
    site.call("general_start", workflow="approval", id=name, input=1)
    site.call("general_suspend", id=name)
    site.call("general_resume", id=name)
    site.call("general_raise_event", id=name, event="approval", data=7)
    output = site.wait(name)["output"]
    assert site.call("general_get", id=name)["status"] == "COMPLETED"
    site.call("general_purge", id=name)
    return [output, site.call("get", id=name)]


@scenario("an activity and a child workflow of another app", "37 38", [6, 8])
def other_app(site: Site) -> Any:
    found = []
    with site.two_apps() as (orders, _):
        for kind in ("activity", "workflow"):
            name = site.name()
            given = {"app": "billing", "kind": kind, "input": 5}
            orders.call("start", workflow="other_app", id=name, input=given)
            found.append(orders.call("wait", id=name)["output"])
    return found


@scenario("start, look at and steer an instance of another app", "40", [4, None])
def steer_other_app(site: Site) -> Any:
    name = site.name()
    with site.two_apps() as (orders, billing):
        start = {"workflow": "chain", "id": name, "input": 1, "app": "billing"}
        site.until_true(lambda: not refused(lambda: orders.call("start", **start)), "not known")
        output = billing.call("wait", id=name)["output"]
        assert orders.call("get", id=name, app="billing")["output"] == output
        return [output, orders.call("get", id=name)]
