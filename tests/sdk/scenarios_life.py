"""Scenarios: steering, versions, sizes, histories handed on, workers and other doors."""

from typing import Any

from tests.sdk.scenario import Collector, completed, refused
from tests.sdk.stand import Site

scenario = Collector()

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


@scenario("a result beyond the limit of a message: its task fails, nothing hangs", "32", "FAILED")
def oversized_result(site: Site) -> Any:
    return completed(site, "sizes", 5_000_000)[0]


@scenario(
    "work beyond the limit of a message: its instance stalls, others run", "32", ["STALLED", 4]
)
def oversized_item(site: Site) -> Any:
    name = site.start("two_events")
    with site.without_worker():
        for _ in range(2):
            site.call("raise_event", id=name, event="item", data="x" * 3_000_000)
    return [site.stalled(name), completed(site, "chain", 1)]


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


@scenario("the server is stopped and started again under a worker: it comes back", "57", "yes")
def server_restart(site: Site) -> Any:
    name = site.start("approval")
    site.server.end()
    site.server.start()
    site.until_true(lambda: site.connected() == 1, "the worker does not come back")
    site.call("raise_event", id=name, event="approval", data="yes")
    return site.wait(name)["output"]


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
