"""PURE. Texts, times, failures and statuses between the engine and the protocol.

A text that may be absent is a wrapper message: absent and empty differ. Times are UTC nanoseconds
here and seconds with nanoseconds there.
"""

from typing import Any

from actorflow.workflow.events import NEVER_NS, FailureDetails, ParentRef, Status, TimerOrigin

NS_PER_S = 1_000_000_000

_STATUS_NUMBERS = {
    Status.RUNNING: 0,
    Status.COMPLETED: 1,
    Status.CONTINUED_AS_NEW: 2,
    Status.FAILED: 3,
    # 4 is CANCELED, which no engine sets
    Status.TERMINATED: 5,
    Status.PENDING: 6,
    Status.SUSPENDED: 7,
    Status.STALLED: 8,
}
_STATUSES = {number: status for status, number in _STATUS_NUMBERS.items()}

_STALL_NUMBERS = {"PATCH_MISMATCH": 0, "VERSION_NOT_AVAILABLE": 1, "PAYLOAD_SIZE_EXCEEDED": 2}
_STALLS = {number: reason for reason, number in _STALL_NUMBERS.items()}
_PROPAGATION_NUMBERS = {"own": 1, "lineage": 2}
_PROPAGATIONS = {number: name for name, number in _PROPAGATION_NUMBERS.items()}
_STALL_DEFAULT = _STALL_NUMBERS["VERSION_NOT_AVAILABLE"]


def fill_time(message: Any, at_ns: int) -> None:
    """Fill a `Timestamp`."""
    message.seconds, message.nanos = divmod(at_ns, NS_PER_S)


def time_ns(message: Any) -> int:
    """Return a time from outside, moved into the years 1970 to 9999."""
    at_ns: int = message.seconds * NS_PER_S + message.nanos
    return min(max(at_ns, 0), NEVER_NS)


def optional_time_ns(holder: Any, field: str) -> int | None:
    """Return the time in a field, None when it is not set."""
    return time_ns(getattr(holder, field)) if holder.HasField(field) else None


def unwrapped(holder: Any, field: str) -> str | None:
    """Return the text in a wrapper field, None when it is not set."""
    if not holder.HasField(field):
        return None
    text: str = getattr(holder, field).value
    return text


def fill_failure(message: Any, failure: FailureDetails) -> None:
    """Fill a `TaskFailureDetails`."""
    message.errorType = failure.error_type
    message.errorMessage = failure.message
    if failure.stack:
        message.stackTrace.value = failure.stack
    message.isNonRetriable = failure.non_retriable
    if failure.inner is not None:
        fill_failure(message.innerFailure, failure.inner)


def failure_details(message: Any) -> FailureDetails:
    """Return a failure from outside. Its depth is bounded by that of a message."""
    return FailureDetails(
        error_type=message.errorType,
        message=message.errorMessage,
        stack=message.stackTrace.value,
        non_retriable=message.isNonRetriable,
        inner=failure_details(message.innerFailure) if message.HasField("innerFailure") else None,
    )


def optional_failure(holder: Any) -> FailureDetails | None:
    """Return the `failureDetails` of a message, None when they are not set."""
    return failure_details(holder.failureDetails) if holder.HasField("failureDetails") else None


def status_number(status: Status) -> int:
    """Return the number of a status."""
    return _STATUS_NUMBERS[status]


def status_of(number: int) -> Status | None:
    """Return the status of a number from outside, None for one that we do not know."""
    return _STATUSES.get(number)


def stall_number(reason: str) -> int:
    """Return the number of a reason to stall. The protocol has three: all others count as code
    that is not there, and the description says what it is."""
    return _STALL_NUMBERS.get(reason, _STALL_DEFAULT)


def stall_reason(number: int) -> str:
    """Return the reason of a number from outside."""
    return _STALLS.get(number, _STALLS[_STALL_DEFAULT])


def fill_trace(message: Any, trace_parent: str, trace_state: str | None = None) -> None:
    """Fill a `TraceContext` with a W3C trace parent; its third part is said twice, for old SDKs."""
    message.traceParent = trace_parent
    parts = trace_parent.split("-")
    if len(parts) == 4:
        message.spanID = parts[2]
    if trace_state is not None:
        message.traceState.value = trace_state


def trace_parent(holder: Any) -> str | None:
    """Return the W3C trace parent in `parentTraceContext`, None when it is not set.

    Go's client says the two ids apart; what it sends, it samples.
    """
    said = holder.parentTraceContext
    if said.spanID and "-" not in said.traceParent:
        return f"00-{said.traceParent}-{said.spanID}-01"
    return said.traceParent or None


def trace_state(holder: Any) -> str | None:
    """Return the W3C trace state in `parentTraceContext`, None when it is not set."""
    return unwrapped(holder.parentTraceContext, "traceState")


def target_app_id(holder: Any) -> str:
    """Return the app in `router` that something is for, "" for the sender's own."""
    router = holder.router
    target: str = router.targetAppID
    return "" if target == router.sourceAppID else target


def propagation_number(propagation: str) -> int | None:
    """Return which history is shown to an activity or child; None is not set."""
    return _PROPAGATION_NUMBERS.get(propagation)


def fill_propagation(holder: Any, propagation: str) -> None:
    """Set `historyPropagationScope`, as `propagation_number`."""
    number = propagation_number(propagation)
    if number is not None:
        holder.historyPropagationScope = number


def propagation_of(holder: Any) -> str:
    """Return `historyPropagationScope` in our words, "" for none."""
    return _PROPAGATIONS.get(holder.historyPropagationScope, "")


def fill_parent(message: Any, parent: ParentRef) -> None:
    """Fill the `ParentInstanceInfo` of a child."""
    message.taskScheduledId = parent.task_id
    message.name.value = parent.name
    if parent.app_id:
        message.appID = parent.app_id
    message.workflowInstance.instanceId = parent.instance_id
    message.workflowInstance.executionId.value = parent.execution_id


def parent_ref(message: Any) -> ParentRef:
    """Return the parent of a child from outside."""
    return ParentRef(
        instance_id=message.workflowInstance.instanceId,
        execution_id=message.workflowInstance.executionId.value,
        task_id=message.taskScheduledId,
        name=message.name.value,
        app_id=message.appID,
    )


def fill_origin(holder: Any, origin: TimerOrigin) -> None:
    """Set the field that says why a timer exists; none for a timer that came without."""
    match origin.kind:
        case "timer":
            holder.createTimer.SetInParent()
        case "event":
            holder.externalEvent.name = origin.ref
        case "activity_retry":
            holder.activityRetry.taskExecutionId = origin.ref
        case "child_retry":
            holder.childWorkflowRetry.instanceId = origin.ref


def timer_origin(holder: Any) -> TimerOrigin:
    """Return why a timer exists. Kind "" says that the SDK did not tell: one that replays the
    history must not be told either."""
    match holder.WhichOneof("origin"):
        case "createTimer":
            return TimerOrigin(kind="timer")
        case "externalEvent":
            return TimerOrigin(kind="event", ref=holder.externalEvent.name)
        case "activityRetry":
            return TimerOrigin(kind="activity_retry", ref=holder.activityRetry.taskExecutionId)
        case "childWorkflowRetry":
            return TimerOrigin(kind="child_retry", ref=holder.childWorkflowRetry.instanceId)
    return TimerOrigin(kind="")
