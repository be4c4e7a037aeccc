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

TaskFailureDetails: Any = _message("TaskFailureDetails")

# ---- history -------------------------------------------------------------------------------------

HistoryEvent: Any = _message("HistoryEvent")

# ---- work and its results ------------------------------------------------------------------------

ActivityResponse: Any = _message("ActivityResponse")
CompleteTaskResponse: Any = _message("CompleteTaskResponse")
GetWorkItemsRequest: Any = _message("GetWorkItemsRequest")
PropagatedHistory: Any = _message("PropagatedHistory")
PropagatedHistoryChunk: Any = _message("PropagatedHistoryChunk")
WorkItem: Any = _message("WorkItem")
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
