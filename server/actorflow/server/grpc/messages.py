"""The message classes in use, by the names of the protocol. Importing it needs the extra `grpc`.

The classes are made at run time, so all of them are `Any` to the type checker; the modules that
translate take and return the values of the engine, so that the `Any` goes no further.
"""

from typing import Any

from actorflow.server.grpc.stubs import load

_message = load().message

TASK_HUB = "TaskHubSidecarService"
DAPR = "dapr.proto.runtime.v1.Dapr"
HEALTH = "grpc.health.v1.Health"
_DAPR_PACKAGE = "dapr.proto.runtime.v1"
_HEALTH_PACKAGE = "grpc.health.v1"

Empty: Any = _message("google.protobuf.Empty")
StringValue: Any = _message("google.protobuf.StringValue")
Timestamp: Any = _message("google.protobuf.Timestamp")

# ---- what both sides share -----------------------------------------------------------------------

ParentInstanceInfo: Any = _message("ParentInstanceInfo")
RerunParentInstanceInfo: Any = _message("RerunParentInstanceInfo")
RetryParentInstanceInfo: Any = _message("RetryParentInstanceInfo")
TaskFailureDetails: Any = _message("TaskFailureDetails")
TaskRouter: Any = _message("TaskRouter")
TraceContext: Any = _message("TraceContext")
WorkflowInstance: Any = _message("WorkflowInstance")
WorkflowState: Any = _message("WorkflowState")
WorkflowVersion: Any = _message("WorkflowVersion")

# ---- history -------------------------------------------------------------------------------------

HistoryEvent: Any = _message("HistoryEvent")
ChildWorkflowInstanceCompletedEvent: Any = _message("ChildWorkflowInstanceCompletedEvent")
ChildWorkflowInstanceCreatedEvent: Any = _message("ChildWorkflowInstanceCreatedEvent")
ChildWorkflowInstanceFailedEvent: Any = _message("ChildWorkflowInstanceFailedEvent")
DetachedWorkflowInstanceCreatedEvent: Any = _message("DetachedWorkflowInstanceCreatedEvent")
EventRaisedEvent: Any = _message("EventRaisedEvent")
EventSentEvent: Any = _message("EventSentEvent")
ExecutionCompletedEvent: Any = _message("ExecutionCompletedEvent")
ExecutionResumedEvent: Any = _message("ExecutionResumedEvent")
ExecutionStalledEvent: Any = _message("ExecutionStalledEvent")
ExecutionStartedEvent: Any = _message("ExecutionStartedEvent")
ExecutionSuspendedEvent: Any = _message("ExecutionSuspendedEvent")
ExecutionTerminatedEvent: Any = _message("ExecutionTerminatedEvent")
TaskCompletedEvent: Any = _message("TaskCompletedEvent")
TaskFailedEvent: Any = _message("TaskFailedEvent")
TaskScheduledEvent: Any = _message("TaskScheduledEvent")
TimerCreatedEvent: Any = _message("TimerCreatedEvent")
TimerFiredEvent: Any = _message("TimerFiredEvent")
TimerOriginActivityRetry: Any = _message("TimerOriginActivityRetry")
TimerOriginChildWorkflowRetry: Any = _message("TimerOriginChildWorkflowRetry")
TimerOriginCreateTimer: Any = _message("TimerOriginCreateTimer")
TimerOriginExternalEvent: Any = _message("TimerOriginExternalEvent")
WorkflowStartedEvent: Any = _message("WorkflowStartedEvent")

# ---- work and its results ------------------------------------------------------------------------

ActivityRequest: Any = _message("ActivityRequest")
ActivityResponse: Any = _message("ActivityResponse")
CachedHistory: Any = _message("CachedHistory")
CompleteTaskResponse: Any = _message("CompleteTaskResponse")
GetWorkItemsRequest: Any = _message("GetWorkItemsRequest")
PropagatedHistory: Any = _message("PropagatedHistory")
PropagatedHistoryChunk: Any = _message("PropagatedHistoryChunk")
WorkItem: Any = _message("WorkItem")
WorkflowAction: Any = _message("WorkflowAction")
WorkflowRequest: Any = _message("WorkflowRequest")
WorkflowResponse: Any = _message("WorkflowResponse")

# ---- management ----------------------------------------------------------------------------------

CreateInstanceRequest: Any = _message("CreateInstanceRequest")
CreateInstanceResponse: Any = _message("CreateInstanceResponse")
GetInstanceHistoryRequest: Any = _message("GetInstanceHistoryRequest")
GetInstanceHistoryResponse: Any = _message("GetInstanceHistoryResponse")
GetInstanceRequest: Any = _message("GetInstanceRequest")
GetInstanceResponse: Any = _message("GetInstanceResponse")
ListInstanceIDsRequest: Any = _message("ListInstanceIDsRequest")
ListInstanceIDsResponse: Any = _message("ListInstanceIDsResponse")
PurgeInstancesRequest: Any = _message("PurgeInstancesRequest")
PurgeInstancesResponse: Any = _message("PurgeInstancesResponse")
RaiseEventRequest: Any = _message("RaiseEventRequest")
RaiseEventResponse: Any = _message("RaiseEventResponse")
RerunWorkflowFromEventRequest: Any = _message("RerunWorkflowFromEventRequest")
RerunWorkflowFromEventResponse: Any = _message("RerunWorkflowFromEventResponse")
ResumeRequest: Any = _message("ResumeRequest")
ResumeResponse: Any = _message("ResumeResponse")
SuspendRequest: Any = _message("SuspendRequest")
SuspendResponse: Any = _message("SuspendResponse")
TerminateRequest: Any = _message("TerminateRequest")
TerminateResponse: Any = _message("TerminateResponse")

# ---- the sidecar's own service -------------------------------------------------------------------

GetMetadataRequest: Any = _message(f"{_DAPR_PACKAGE}.GetMetadataRequest")
GetMetadataResponse: Any = _message(f"{_DAPR_PACKAGE}.GetMetadataResponse")
GetWorkflowRequest: Any = _message(f"{_DAPR_PACKAGE}.GetWorkflowRequest")
GetWorkflowResponse: Any = _message(f"{_DAPR_PACKAGE}.GetWorkflowResponse")
PauseWorkflowRequest: Any = _message(f"{_DAPR_PACKAGE}.PauseWorkflowRequest")
PurgeWorkflowRequest: Any = _message(f"{_DAPR_PACKAGE}.PurgeWorkflowRequest")
RaiseEventWorkflowRequest: Any = _message(f"{_DAPR_PACKAGE}.RaiseEventWorkflowRequest")
ResumeWorkflowRequest: Any = _message(f"{_DAPR_PACKAGE}.ResumeWorkflowRequest")
SetMetadataRequest: Any = _message(f"{_DAPR_PACKAGE}.SetMetadataRequest")
StartWorkflowRequest: Any = _message(f"{_DAPR_PACKAGE}.StartWorkflowRequest")
StartWorkflowResponse: Any = _message(f"{_DAPR_PACKAGE}.StartWorkflowResponse")
TerminateWorkflowRequest: Any = _message(f"{_DAPR_PACKAGE}.TerminateWorkflowRequest")

HealthCheckRequest: Any = _message(f"{_HEALTH_PACKAGE}.HealthCheckRequest")
HealthCheckResponse: Any = _message(f"{_HEALTH_PACKAGE}.HealthCheckResponse")
