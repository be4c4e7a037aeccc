"""Scenarios: starting, looking, and what workflows are made of."""

import time
from typing import Any

from tests.sdk.scenario import Collector, completed, refused
from tests.sdk.stand import Site

scenario = Collector()

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


@scenario("a start that wants a new id is refused an ended one's", "6", "refused")
def unique_start(site: Site) -> Any:
    name = site.start("echo", 1)
    site.wait(name)
    kind = refused(lambda: site.start("echo", 2, name=name, unique=True))
    return "refused" if kind else "taken"


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
    later = site.start("echo", 1, delay_s=3_600)
    before = site.call("get", id=later)["status"]
    site.call("terminate", id=later)
    begin_s = time.monotonic()
    after = site.wait(site.start("echo", 1, delay_s=2))["status"]
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
