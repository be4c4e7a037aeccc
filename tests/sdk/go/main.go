// A worker and a client of Dapr's Go SDK: does what it reads on stdin, reports on stdout. The
// protocol is described in tests/sdk/program.py; the connection is taken from the DAPR_ variables.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/dapr/durabletask-go/api"
	"github.com/dapr/durabletask-go/api/helpers"
	"github.com/dapr/durabletask-go/api/protos"
	"github.com/dapr/durabletask-go/workflow"
	dapr "github.com/dapr/go-sdk/client"
	"google.golang.org/grpc/status"
)

type request struct {
	N         int             `json:"n"`
	Do        string          `json:"do"`
	ID        string          `json:"id"`
	Workflow  string          `json:"workflow"`
	Input     json.RawMessage `json:"input"`
	DelayS    *float64        `json:"delay_s"`
	TimeoutS  *float64        `json:"timeout_s"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Output    json.RawMessage `json:"output"`
	Recursive *bool           `json:"recursive"`
	Force     *bool           `json:"force"`
	PageSize  uint32          `json:"page_size"`
	EventID   uint32          `json:"event_id"`
	NewID     string          `json:"new_id"`
	App       string          `json:"app"`
	Unique    bool            `json:"unique"`
	Trace     string          `json:"trace"`
}

var (
	outLock sync.Mutex
	client  *workflow.Client
)

func say(record map[string]any) {
	text, err := json.Marshal(record)
	if err != nil {
		log.Fatal(err)
	}
	outLock.Lock()
	defer outLock.Unlock()
	fmt.Printf("@%s\n", text)
}

func report(event string, more map[string]any) {
	record := map[string]any{"event": event, "pid": os.Getpid()}
	for key, value := range more {
		record[key] = value
	}
	say(record)
}

func decoded(text string) any {
	if text == "" {
		return nil
	}
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		return text
	}
	return value
}

func shown(state *workflow.WorkflowMetadata, err error) (any, error) {
	if err != nil {
		if strings.Contains(err.Error(), "no such instance exists") {
			return nil, nil // how this SDK says that there is none
		}
		return nil, err
	}
	record := map[string]any{
		"id":     state.InstanceId,
		"name":   state.Name,
		"status": state.String(),
		"input":  decoded(state.Input.GetValue()),
		"output": decoded(state.Output.GetValue()),
		"custom": decoded(state.CustomStatus.GetValue()),
		"error":  nil,
	}
	if state.FailureDetails != nil {
		record["error"] = state.FailureDetails.ErrorMessage
		record["error_type"] = state.FailureDetails.ErrorType
	}
	return record, nil
}

func worker() error {
	registry, err := register(os.Getenv("VARIANT"))
	if err != nil {
		return err
	}
	return client.StartWorker(context.Background(), registry)
}

func start(ctx context.Context, r request) (any, error) {
	options := []workflow.NewWorkflowOptions{}
	if r.ID != "" {
		options = append(options, workflow.WithInstanceID(r.ID))
	}
	if r.Input != nil {
		options = append(options, workflow.WithInput(r.Input))
	}
	if r.DelayS != nil {
		options = append(options, workflow.WithStartTime(time.Now().Add(seconds(*r.DelayS))))
	}
	if r.App != "" {
		options = append(options, workflow.WithAppID(r.App))
	}
	if r.Unique {
		options = append(options, workflow.NewWorkflowOptions(api.WithEnforceUniqueInstanceID()))
	}
	if r.Trace != "" {
		var err error
		parent := &protos.TraceContext{TraceParent: r.Trace}
		if ctx, err = helpers.ContextFromTraceContext(ctx, parent); err != nil {
			return nil, err
		}
	}
	return client.ScheduleWorkflow(ctx, r.Workflow, options...)
}

func terminate(ctx context.Context, r request) error {
	options := []workflow.TerminateOptions{}
	if r.Output != nil {
		options = append(options, workflow.WithOutput(r.Output))
	}
	if r.Recursive != nil {
		options = append(options, workflow.WithRecursiveTerminate(*r.Recursive))
	}
	return client.TerminateWorkflow(ctx, r.ID, options...)
}

func purge(ctx context.Context, r request) error {
	options := []workflow.PurgeOptions{}
	if r.Recursive != nil {
		options = append(options, workflow.WithRecursivePurge(*r.Recursive))
	}
	if r.Force != nil {
		options = append(options, workflow.WithForcePurge(*r.Force))
	}
	return client.PurgeWorkflowState(ctx, r.ID, options...)
}

func list(ctx context.Context, pageSize uint32) (any, error) {
	found := []string{}
	options := []workflow.ListInstanceIDsOptions{workflow.WithListInstanceIDsPageSize(pageSize)}
	for {
		page, err := client.ListInstanceIDs(ctx, options...)
		if err != nil {
			return nil, err
		}
		found = append(found, page.InstanceIds...)
		if page.ContinuationToken == nil {
			return found, nil
		}
		options = append(options[:1], workflow.WithListInstanceIDsContinuationToken(*page.ContinuationToken))
	}
}

func history(ctx context.Context, id string) (any, error) {
	found, err := client.GetInstanceHistory(ctx, id)
	if err != nil {
		return nil, err
	}
	events := []any{}
	for _, event := range found.Events {
		events = append(events, map[string]any{"type": kind(event), "id": event.EventId})
	}
	return events, nil
}

// kind names an event by its field in the message, as the other programs do.
func kind(event *protos.HistoryEvent) string {
	message := event.ProtoReflect()
	one := message.WhichOneof(message.Descriptor().Oneofs().ByName("eventType"))
	if one == nil {
		return "unknown"
	}
	return string(one.Name())
}

func rerun(ctx context.Context, r request) (any, error) {
	options := []workflow.RerunOptions{workflow.WithRerunNewInstanceID(r.NewID)}
	if r.Input != nil {
		options = append(options, workflow.WithRerunInput(r.Input))
	}
	return client.RerunWorkflowFromEvent(ctx, r.ID, r.EventID, options...)
}

func call(r request) (any, error) {
	timeout := 30 * time.Second
	if r.TimeoutS != nil {
		timeout = seconds(*r.TimeoutS)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	fetch := []workflow.FetchWorkflowMetadataOptions{workflow.WithFetchPayloads(true)}
	if r.App != "" {
		fetch = append(fetch, workflow.WithFetchAppID(r.App))
	}
	switch r.Do {
	case "start":
		return start(ctx, r)
	case "get":
		return shown(client.FetchWorkflowMetadata(ctx, r.ID, fetch...))
	case "wait":
		return shown(client.WaitForWorkflowCompletion(ctx, r.ID, fetch...))
	case "wait_start":
		return shown(client.WaitForWorkflowStart(ctx, r.ID, fetch...))
	case "raise_event":
		return nil, client.RaiseEvent(ctx, r.ID, r.Event, workflow.WithEventPayload(r.Data))
	case "suspend":
		return nil, client.SuspendWorkflow(ctx, r.ID, "")
	case "resume":
		return nil, client.ResumeWorkflow(ctx, r.ID, "")
	case "terminate":
		return nil, terminate(ctx, r)
	case "purge":
		return nil, purge(ctx, r)
	case "list":
		return list(ctx, r.PageSize)
	case "history":
		return history(ctx, r.ID)
	case "rerun":
		return rerun(ctx, r)
	}
	return nil, fmt.Errorf("no verb %q", r.Do)
}

func answer(line []byte) {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		log.Fatal(err)
	}
	result, err := call(r)
	if err != nil {
		say(map[string]any{"n": r.N, "error": status.Code(err).String(), "text": err.Error()})
		return
	}
	say(map[string]any{"n": r.N, "ok": result})
}

func version() string {
	found := []string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, one := range info.Deps {
			if one.Path == "github.com/dapr/go-sdk" || one.Path == "github.com/dapr/durabletask-go" {
				found = append(found, one.Path[len("github.com/dapr/"):]+" "+one.Version)
			}
		}
	}
	return strings.Join(found, ", ")
}

func main() {
	var err error
	if client, err = dapr.NewWorkflowClient(); err != nil {
		log.Fatal(err)
	}
	if os.Getenv("WORKER") != "no" {
		if err = worker(); err != nil {
			log.Fatal(err)
		}
	}
	say(map[string]any{"ready": true, "pid": os.Getpid(), "version": version()})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		go answer(append([]byte(nil), lines.Bytes()...))
	}
}
