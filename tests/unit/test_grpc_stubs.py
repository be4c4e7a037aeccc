"""What we rely on in the package that ships the messages, and what happens without it."""

import importlib.metadata
import subprocess
import sys
from typing import Any

import pytest

from actorflow.server.config import Settings
from actorflow.server.grpc import messages as pb
from actorflow.server.grpc import stubs
from actorflow.server.grpc_door import settle
from actorflow.server.stores import StartUpError

SV, TS = "google.protobuf.StringValue", "google.protobuf.Timestamp"

FIELDS: dict[str, str] = {
    "ActivityRequest": "name 1 string, version 2 SV, input 3 SV, workflowInstance 4 "
    "WorkflowInstance, taskId 5 int32, parentTraceContext 6 TraceContext, taskExecutionId 7 "
    "string, propagatedHistory 8 PropagatedHistory",
    "ActivityResponse": "instanceId 1 string, taskId 2 int32, result 3 SV, failureDetails 4 "
    "TaskFailureDetails, completionToken 5 string",
    "CachedHistory": "eventCount 1 int32",
    "ChildWorkflowInstanceCompletedEvent": "taskScheduledId 1 int32, result 2 SV",
    "ChildWorkflowInstanceCreatedEvent": "instanceId 1 string, name 2 string, version 3 SV, input "
    "4 SV, parentTraceContext 5 TraceContext, rerunParentInstanceInfo 6 RerunParentInstanceInfo, "
    "historyPropagationScope 7 enum, retryParentInstanceInfo 8 RetryParentInstanceInfo",
    "ChildWorkflowInstanceFailedEvent": "taskScheduledId 1 int32, failureDetails 2 "
    "TaskFailureDetails",
    "CompleteWorkflowAction": "workflowStatus 1 enum, result 2 SV, carryoverEvents 5 "
    "HistoryEvent*, failureDetails 6 TaskFailureDetails",
    "CreateChildWorkflowAction": "instanceId 1 string, name 2 string, version 3 SV, input 4 SV, "
    "historyPropagationScope 6 enum, retryParentInstanceInfo 7 RetryParentInstanceInfo",
    "CreateDetachedWorkflowAction": "instanceId 1 string, name 2 string, version 3 SV, input 4 SV, "
    "scheduledStartTimestamp 5 TS, tags 7 map, parentTraceContext 8 TraceContext",
    "CreateInstanceRequest": "instanceId 1 string, name 2 string, version 3 SV, input 4 SV, "
    "scheduledStartTimestamp 5 TS, tags 8 map, parentTraceContext 9 TraceContext, "
    "enforceUniqueInstanceId 10 bool, router 11 TaskRouter",
    "CreateInstanceResponse": "instanceId 1 string",
    "CreateTimerAction": "fireAt 1 TS, name 2 string, createTimer 3 TimerOriginCreateTimer, "
    "externalEvent 4 TimerOriginExternalEvent, activityRetry 5 TimerOriginActivityRetry, "
    "childWorkflowRetry 6 TimerOriginChildWorkflowRetry",
    "DetachedWorkflowInstanceCreatedEvent": "instanceId 1 string",
    "EventRaisedEvent": "name 1 string, input 2 SV",
    "EventSentEvent": "instanceId 1 string, name 2 string, input 3 SV",
    "ExecutionCompletedEvent": "workflowStatus 1 enum, result 2 SV, failureDetails 3 "
    "TaskFailureDetails",
    "ExecutionResumedEvent": "input 1 SV",
    "ExecutionStalledEvent": "reason 1 enum, description 2 string",
    "ExecutionStartedEvent": "name 1 string, version 2 SV, input 3 SV, workflowInstance 4 "
    "WorkflowInstance, parentInstance 5 ParentInstanceInfo, scheduledStartTimestamp 6 TS, "
    "parentTraceContext 7 TraceContext, tags 9 map",
    "ExecutionSuspendedEvent": "input 1 SV",
    "ExecutionTerminatedEvent": "input 1 SV, recurse 2 bool",
    "GetInstanceHistoryRequest": "instanceId 1 string",
    "GetInstanceHistoryResponse": "events 1 HistoryEvent*",
    "GetInstanceRequest": "instanceId 1 string, getInputsAndOutputs 2 bool, router 3 TaskRouter",
    "GetInstanceResponse": "exists 1 bool, workflowState 2 WorkflowState",
    "GetWorkItemsRequest": "capabilities 4 enum*",
    "HistoryEvent": "eventId 1 int32, timestamp 2 TS, executionStarted 3 ExecutionStartedEvent, "
    "executionCompleted 4 ExecutionCompletedEvent, executionTerminated 5 "
    "ExecutionTerminatedEvent, taskScheduled 6 TaskScheduledEvent, taskCompleted 7 "
    "TaskCompletedEvent, taskFailed 8 TaskFailedEvent, childWorkflowInstanceCreated 9 "
    "ChildWorkflowInstanceCreatedEvent, childWorkflowInstanceCompleted 10 "
    "ChildWorkflowInstanceCompletedEvent, childWorkflowInstanceFailed 11 "
    "ChildWorkflowInstanceFailedEvent, timerCreated 12 TimerCreatedEvent, timerFired 13 "
    "TimerFiredEvent, workflowStarted 14 WorkflowStartedEvent, eventSent 16 EventSentEvent, "
    "eventRaised 17 EventRaisedEvent, executionSuspended 21 ExecutionSuspendedEvent, "
    "executionResumed 22 ExecutionResumedEvent, router 30 TaskRouter, executionStalled 31 "
    "ExecutionStalledEvent, detachedWorkflowInstanceCreated 32 "
    "DetachedWorkflowInstanceCreatedEvent",
    "ListInstanceIDsRequest": "continuationToken 1 string, pageSize 2 uint32",
    "ListInstanceIDsResponse": "instanceIds 1 string*, continuationToken 2 string",
    "ParentInstanceInfo": "taskScheduledId 1 int32, name 2 SV, workflowInstance 4 "
    "WorkflowInstance, appID 5 string",
    "PropagatedHistory": "scope 1 enum, chunks 2 PropagatedHistoryChunk*",
    "PropagatedHistoryChunk": "rawEvents 1 bytes*, appId 2 string, instanceId 3 string, "
    "workflowName 4 string",
    "PurgeInstancesRequest": "instanceId 1 string, purgeInstanceFilter 2 PurgeInstanceFilter, "
    "recursive 3 bool, force 4 bool, router 5 TaskRouter",
    "PurgeInstancesResponse": "deletedInstanceCount 1 int32, "
    "isComplete 2 google.protobuf.BoolValue",
    "RaiseEventRequest": "instanceId 1 string, name 2 string, input 3 SV, router 4 TaskRouter",
    "RerunParentInstanceInfo": "instanceID 1 string",
    "RerunWorkflowFromEventRequest": "sourceInstanceID 1 string, eventID 2 uint32, newInstanceID 3 "
    "string, input 4 SV, overwriteInput 5 bool, newChildWorkflowInstanceID 6 string, router 7 "
    "TaskRouter",
    "RerunWorkflowFromEventResponse": "newInstanceID 1 string",
    "ResumeRequest": "instanceId 1 string, reason 2 SV, router 3 TaskRouter",
    "RetryParentInstanceInfo": "instanceID 1 string",
    "ScheduleTaskAction": "name 1 string, version 2 SV, input 3 SV, taskExecutionId 5 string, "
    "historyPropagationScope 6 enum",
    "SendEventAction": "instance 1 WorkflowInstance, name 2 string, data 3 SV",
    "SuspendRequest": "instanceId 1 string, reason 2 SV, router 3 TaskRouter",
    "TaskCompletedEvent": "taskScheduledId 1 int32, result 2 SV, taskExecutionId 3 string",
    "TaskFailedEvent": "taskScheduledId 1 int32, failureDetails 2 TaskFailureDetails, "
    "taskExecutionId 3 string",
    "TaskFailureDetails": "errorType 1 string, errorMessage 2 string, stackTrace 3 SV, "
    "innerFailure 4 TaskFailureDetails, isNonRetriable 5 bool",
    "TaskRouter": "sourceAppID 1 string, targetAppID 2 string",
    "TaskScheduledEvent": "name 1 string, version 2 SV, input 3 SV, parentTraceContext 4 "
    "TraceContext, taskExecutionId 5 string, rerunParentInstanceInfo 6 RerunParentInstanceInfo, "
    "historyPropagationScope 7 enum",
    "TerminateRequest": "instanceId 1 string, output 2 SV, recursive 3 bool, router 4 TaskRouter",
    "TimerCreatedEvent": "fireAt 1 TS, name 2 string, rerunParentInstanceInfo 3 "
    "RerunParentInstanceInfo, createTimer 4 TimerOriginCreateTimer, externalEvent 5 "
    "TimerOriginExternalEvent, activityRetry 6 TimerOriginActivityRetry, childWorkflowRetry 7 "
    "TimerOriginChildWorkflowRetry",
    "TimerFiredEvent": "fireAt 1 TS, timerId 2 int32",
    "TimerOriginActivityRetry": "taskExecutionId 1 string",
    "TimerOriginChildWorkflowRetry": "instanceId 1 string",
    "TimerOriginExternalEvent": "name 1 string",
    "TraceContext": "traceParent 1 string, spanID 2 string, traceState 3 SV",
    "WorkItem": "workflowRequest 1 WorkflowRequest, activityRequest 2 ActivityRequest, "
    "completionToken 10 string",
    "WorkflowAction": "id 1 int32, scheduleTask 2 ScheduleTaskAction, createChildWorkflow 3 "
    "CreateChildWorkflowAction, createTimer 4 CreateTimerAction, sendEvent 5 SendEventAction, "
    "completeWorkflow 6 CompleteWorkflowAction, terminateWorkflow 7 TerminateWorkflowAction, "
    "router 9 TaskRouter, workflowVersionNotAvailable 10 WorkflowVersionNotAvailableAction, "
    "createDetachedWorkflow 11 CreateDetachedWorkflowAction",
    "WorkflowInstance": "instanceId 1 string, executionId 2 SV",
    "WorkflowRequest": "instanceId 1 string, executionId 2 SV, pastEvents 3 HistoryEvent*, "
    "newEvents 4 HistoryEvent*, propagatedHistory 8 PropagatedHistory, cachedHistory 9 "
    "CachedHistory",
    "WorkflowResponse": "instanceId 1 string, actions 2 WorkflowAction*, customStatus 3 SV, "
    "completionToken 4 string, version 6 WorkflowVersion",
    "WorkflowStartedEvent": "version 1 WorkflowVersion",
    "WorkflowState": "instanceId 1 string, name 2 string, workflowStatus 4 enum, "
    "scheduledStartTimestamp 5 TS, createdTimestamp 6 TS, lastUpdatedTimestamp 7 TS, input 8 SV, "
    "output 9 SV, customStatus 10 SV, failureDetails 11 TaskFailureDetails, executionId 12 SV, "
    "completedTimestamp 13 TS, parentInstanceId 14 SV",
    "WorkflowVersion": "patches 1 string*, name 2 string",
    "dapr.proto.runtime.v1.GetMetadataResponse": "id 1 string, extended_metadata 4 map, "
    "runtime_version 8 string, actor_runtime 10 dapr.proto.runtime.v1.ActorRuntime, workflows 12 "
    "dapr.proto.runtime.v1.MetadataWorkflows",
    "dapr.proto.runtime.v1.GetWorkflowRequest": "instance_id 1 string, app_id 3 string",
    "dapr.proto.runtime.v1.GetWorkflowResponse": "instance_id 1 string, workflow_name 2 string, "
    "created_at 3 TS, last_updated_at 4 TS, runtime_status 5 string, properties 6 map",
    "dapr.proto.runtime.v1.PauseWorkflowRequest": "instance_id 1 string, app_id 3 string",
    "dapr.proto.runtime.v1.PurgeWorkflowRequest": "instance_id 1 string, app_id 3 string",
    "dapr.proto.runtime.v1.RaiseEventWorkflowRequest": "instance_id 1 string, event_name 3 string, "
    "event_data 4 bytes, app_id 5 string",
    "dapr.proto.runtime.v1.ResumeWorkflowRequest": "instance_id 1 string, app_id 3 string",
    "dapr.proto.runtime.v1.SetMetadataRequest": "key 1 string, value 2 string",
    "dapr.proto.runtime.v1.StartWorkflowRequest": "instance_id 1 string, workflow_name 3 string, "
    "options 4 map, input 5 bytes, app_id 6 string",
    "dapr.proto.runtime.v1.StartWorkflowResponse": "instance_id 1 string",
    "dapr.proto.runtime.v1.TerminateWorkflowRequest": "instance_id 1 string, app_id 3 string",
}
"""Every field that we read or write: its number and type, `*` for repeated."""

SCALARS = {9: "string", 5: "int32", 13: "uint32", 8: "bool", 12: "bytes", 14: "enum"}
SHORT = {SV: "SV", TS: "TS"}

RPCS = {
    "Hello": "google.protobuf.Empty google.protobuf.Empty",
    "StartInstance": "CreateInstanceRequest CreateInstanceResponse",
    "GetInstance": "GetInstanceRequest GetInstanceResponse",
    "WaitForInstanceStart": "GetInstanceRequest GetInstanceResponse",
    "WaitForInstanceCompletion": "GetInstanceRequest GetInstanceResponse",
    "RaiseEvent": "RaiseEventRequest RaiseEventResponse",
    "TerminateInstance": "TerminateRequest TerminateResponse",
    "SuspendInstance": "SuspendRequest SuspendResponse",
    "ResumeInstance": "ResumeRequest ResumeResponse",
    "PurgeInstances": "PurgeInstancesRequest PurgeInstancesResponse",
    "RerunWorkflowFromEvent": "RerunWorkflowFromEventRequest RerunWorkflowFromEventResponse",
    "ListInstanceIDs": "ListInstanceIDsRequest ListInstanceIDsResponse",
    "GetInstanceHistory": "GetInstanceHistoryRequest GetInstanceHistoryResponse",
    "GetWorkItems": "GetWorkItemsRequest WorkItem",
    "CompleteActivityTask": "ActivityResponse CompleteTaskResponse",
    "CompleteOrchestratorTask": "WorkflowResponse CompleteTaskResponse",
    "CompleteWorkflowTask": "WorkflowResponse CompleteTaskResponse",
}


def shape_of(field: Any) -> str:
    message = field.message_type
    if message is None:
        kind = SCALARS[field.type]
    elif message.GetOptions().map_entry:
        return f"{field.name} {field.number} map"
    else:
        kind = SHORT.get(message.full_name, message.full_name)
    return f"{field.name} {field.number} {kind}{'*' if field.is_repeated else ''}"


@pytest.mark.parametrize("name", FIELDS)
def test_the_package_has_the_fields_that_are_used(name: str) -> None:
    message = stubs.load().message(name).DESCRIPTOR
    has = {shape_of(field) for field in message.fields}
    assert set(FIELDS[name].split(", ")) - has == set()


def test_the_package_has_the_methods_that_are_served() -> None:
    methods = stubs.load().service(pb.TASK_HUB).methods
    has = {m.name: f"{m.input_type.full_name} {m.output_type.full_name}" for m in methods}
    assert has == RPCS, "a new method of the protocol is not served"
    assert [m.name for m in methods if m.server_streaming] == ["GetWorkItems"]
    assert not any(m.client_streaming for m in methods)


def test_all_messages_in_use_are_listed_above() -> None:
    used = {
        value.DESCRIPTOR
        for value in vars(pb).values()
        if isinstance(value, type) and hasattr(value, "DESCRIPTOR")
    }
    own = ("google.protobuf.", "grpc.health.v1.")
    named = {one.full_name for one in used if one.fields and not one.full_name.startswith(own)}
    assert named - set(FIELDS) == set()


# A process of its own, since this one has imported everything already.
ALONE = """
import sys
from actorflow.server.grpc import messages as pb
assert "dapr" not in sys.modules, "the SDK was imported"
assert "aiohttp" not in sys.modules, "the SDK's client was imported"
from google.protobuf import descriptor_pool
try:
    descriptor_pool.Default().FindMessageTypeByName("HistoryEvent")
except KeyError:
    pass
else:
    raise AssertionError("a name without a package is in the pool of the process")
from dapr.ext.workflow._durabletask.internal import orchestrator_service_pb2 as theirs
data = pb.WorkItem(completionToken="t").SerializeToString()
assert theirs.WorkItem.FromString(data).completionToken == "t"
"""


def test_the_messages_do_not_meet_those_of_an_sdk_in_the_same_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# ---- without the extra ---------------------------------------------------------------------------


def without(missing: str, version: str | None = None) -> Any:
    real = importlib.metadata.distribution

    def find(name: str) -> Any:
        if name != missing:
            return real(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return Versioned(version)

    return find


class Versioned:
    def __init__(self, version: str) -> None:
        self.version = version


@pytest.mark.parametrize("missing", ["grpcio", "protobuf", "dapr", "googleapis-common-protos"])
def test_a_missing_package_is_named_with_the_way_to_get_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "distribution", without(missing))
    with pytest.raises(stubs.GrpcMissingError, match=f"package {missing}") as caught:
        stubs.check()
    assert caught.value.mend == "pip install 'actorflow[grpc]'"


@pytest.mark.parametrize("version", ["1.18.3", "1.20.0", "2.19.0", "1.190.0"])
def test_another_release_of_the_package_is_refused(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "distribution", without("dapr", version))
    with pytest.raises(stubs.GrpcMissingError, match=f"it needs dapr 1.19, and {version} is"):
        stubs.check()


def test_without_the_extra_http_goes_on_alone_unless_grpc_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settle(Settings()).settings.grpc == "on"
    assert settle(Settings(grpc="off")).settings.grpc == "off"
    monkeypatch.setattr(importlib.metadata, "distribution", without("grpcio"))
    door = settle(Settings())
    assert door.settings.grpc == "off"
    assert "pip install 'actorflow[grpc]'" in door.remark
    assert settle(Settings(grpc="off")).remark == ""
    with pytest.raises(StartUpError) as caught:
        settle(Settings(grpc="on"))
    assert caught.value.mend == "pip install 'actorflow[grpc]'"
