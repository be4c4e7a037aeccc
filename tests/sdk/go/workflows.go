// The workflows and activities of the scenarios, for Dapr's Go SDK. Names and meaning are those of
// tests/sdk/python/workflows.py.
package main

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/dapr/durabletask-go/workflow"
)

var (
	tries     = map[string]int{}
	triesLock sync.Mutex
	retries   = &workflow.RetryPolicy{MaxAttempts: 3, InitialRetryInterval: 50 * time.Millisecond}
)

const forever = time.Duration(-1)

type flakyInput struct {
	Key   string `json:"key"`
	Fails int    `json:"fails"`
}

type slowInput struct {
	Number  int     `json:"number"`
	Seconds float64 `json:"seconds"`
	ID      string  `json:"id"`
}

type countInput struct {
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
}

type childInput struct {
	Workflow string  `json:"workflow"`
	Input    any     `json:"input"`
	ID       *string `json:"id"`
}

type eternalInput struct {
	Left  int `json:"left"`
	Total int `json:"total"`
}

type appInput struct {
	App   string `json:"app"`
	Kind  string `json:"kind"`
	Input int    `json:"input"`
}

func seconds(number float64) time.Duration { return time.Duration(number * float64(time.Second)) }

// --- activities ---------------------------------------------------------------------------------

var activities = map[string]workflow.Activity{
	"add_one": func(ctx workflow.ActivityContext) (any, error) {
		var number int
		err := ctx.GetInput(&number)
		return number + 1, err
	},
	"square": func(ctx workflow.ActivityContext) (any, error) {
		var number int
		err := ctx.GetInput(&number)
		return number * number, err
	},
	"flaky": func(ctx workflow.ActivityContext) (any, error) {
		var given flakyInput
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		triesLock.Lock()
		tries[given.Key]++
		count := tries[given.Key]
		triesLock.Unlock()
		report("flaky", map[string]any{"key": given.Key, "task": ctx.GetTaskExecutionID()})
		if count <= given.Fails {
			return nil, fmt.Errorf("failure %d", count)
		}
		return count, nil
	},
	"boom": func(ctx workflow.ActivityContext) (any, error) {
		var text string
		_ = ctx.GetInput(&text)
		return nil, errors.New(text)
	},
	"big": func(ctx workflow.ActivityContext) (any, error) {
		var size int
		err := ctx.GetInput(&size)
		text := make([]byte, size)
		for i := range text {
			text[i] = 'x'
		}
		return string(text), err
	},
	"slow": func(ctx workflow.ActivityContext) (any, error) {
		var given slowInput
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		told := map[string]any{"id": given.ID, "number": given.Number}
		told["trace"] = ctx.GetTraceContext().GetTraceParent()
		report("begin", told)
		time.Sleep(seconds(given.Seconds))
		report("end", told)
		return os.Getpid(), nil
	},
	"whose_history": func(ctx workflow.ActivityContext) (any, error) {
		return names(ctx.GetPropagatedHistory()), nil
	},
}

func names(history *workflow.PropagatedHistory) []string {
	found := []string{}
	if history != nil {
		for _, one := range history.GetWorkflows() {
			found = append(found, one.Name)
		}
	}
	sort.Strings(found)
	return found
}

// --- workflows ----------------------------------------------------------------------------------

var workflows = map[string]workflow.Workflow{
	"echo": func(ctx *workflow.WorkflowContext) (any, error) {
		var given any
		err := ctx.GetInput(&given)
		return given, err
	},
	"chain": func(ctx *workflow.WorkflowContext) (any, error) {
		var number int
		if err := ctx.GetInput(&number); err != nil {
			return nil, err
		}
		for range 3 {
			task := ctx.CallActivity("add_one", workflow.WithActivityInput(number))
			if err := task.Await(&number); err != nil {
				return nil, err
			}
		}
		return number, nil
	},
	"fan_out": func(ctx *workflow.WorkflowContext) (any, error) {
		var count int
		if err := ctx.GetInput(&count); err != nil {
			return nil, err
		}
		tasks := make([]workflow.Task, count)
		for i := range tasks {
			tasks[i] = ctx.CallActivity("square", workflow.WithActivityInput(i))
		}
		sum := 0
		for _, task := range tasks {
			var one int
			if err := task.Await(&one); err != nil {
				return nil, err
			}
			sum += one
		}
		return sum, nil
	},
	"call_child": func(ctx *workflow.WorkflowContext) (any, error) {
		var given childInput
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		options := []workflow.ChildWorkflowOption{workflow.WithChildWorkflowInput(given.Input)}
		if given.ID != nil {
			options = append(options, workflow.WithChildWorkflowInstanceID(*given.ID))
		}
		var result any
		if err := ctx.CallChildWorkflow(given.Workflow, options...).Await(&result); err != nil {
			return map[string]any{"failed": err.Error()}, nil
		}
		return map[string]any{"result": result}, nil
	},
	"nap": func(ctx *workflow.WorkflowContext) (any, error) {
		var length float64
		if err := ctx.GetInput(&length); err != nil {
			return nil, err
		}
		return "rested", ctx.CreateTimer(seconds(length)).Await(nil)
	},
	"approval": func(ctx *workflow.WorkflowContext) (any, error) {
		var got any
		err := ctx.WaitForExternalEvent("approval", forever).Await(&got)
		return got, err
	},
	"two_events": func(ctx *workflow.WorkflowContext) (any, error) {
		var first, second any
		if err := ctx.WaitForExternalEvent("item", forever).Await(&first); err != nil {
			return nil, err
		}
		err := ctx.WaitForExternalEvent("item", forever).Await(&second)
		return []any{first, second}, err
	},
	"event_timeout": func(ctx *workflow.WorkflowContext) (any, error) {
		var length float64
		if err := ctx.GetInput(&length); err != nil {
			return nil, err
		}
		var got any
		if err := ctx.WaitForExternalEvent("approval", seconds(length)).Await(&got); err != nil {
			return map[string]any{"timed_out": true}, nil
		}
		return map[string]any{"got": got}, nil
	},
	"retry": func(ctx *workflow.WorkflowContext) (any, error) {
		var given flakyInput
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		var count int
		task := ctx.CallActivity("flaky", workflow.WithActivityInput(given), workflow.WithActivityRetryPolicy(retries))
		err := task.Await(&count)
		return count, err
	},
	"flaky_child": func(ctx *workflow.WorkflowContext) (any, error) {
		var given flakyInput
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		var count int
		err := ctx.CallActivity("flaky", workflow.WithActivityInput(given)).Await(&count)
		return count, err
	},
	"retry_child": func(ctx *workflow.WorkflowContext) (any, error) {
		var given flakyInput
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		var count int
		task := ctx.CallChildWorkflow("flaky_child", workflow.WithChildWorkflowInput(given), workflow.WithChildWorkflowRetryPolicy(retries))
		err := task.Await(&count)
		return count, err
	},
	"fail": func(ctx *workflow.WorkflowContext) (any, error) {
		var text string
		_ = ctx.GetInput(&text)
		return nil, errors.New(text)
	},
	"catch": func(ctx *workflow.WorkflowContext) (any, error) {
		var text string
		_ = ctx.GetInput(&text)
		if err := ctx.CallActivity("boom", workflow.WithActivityInput(text)).Await(nil); err != nil {
			return "caught: " + err.Error(), nil
		}
		return "nothing", nil
	},
	"missing_activity": func(ctx *workflow.WorkflowContext) (any, error) {
		return nil, ctx.CallActivity("nowhere", workflow.WithActivityInput(1)).Await(nil)
	},
	"eternal": func(ctx *workflow.WorkflowContext) (any, error) {
		var given eternalInput
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		var total int
		if err := ctx.CallActivity("add_one", workflow.WithActivityInput(given.Total)).Await(&total); err != nil {
			return nil, err
		}
		if given.Left > 0 {
			ctx.ContinueAsNew(eternalInput{Left: given.Left - 1, Total: total})
			return nil, nil
		}
		return total, nil
	},
	"collector": func(ctx *workflow.WorkflowContext) (any, error) {
		var got []any
		if err := ctx.GetInput(&got); err != nil {
			return nil, err
		}
		var one any
		if err := ctx.WaitForExternalEvent("item", forever).Await(&one); err != nil {
			return nil, err
		}
		got = append(got, one)
		if len(got) < 3 {
			ctx.ContinueAsNew(got, workflow.WithKeepUnprocessedEvents())
			return nil, nil
		}
		return got, nil
	},
	"status": func(ctx *workflow.WorkflowContext) (any, error) {
		ctx.SetCustomStatus("working")
		if err := ctx.WaitForExternalEvent("go", forever).Await(nil); err != nil {
			return nil, err
		}
		ctx.SetCustomStatus("done")
		return nil, nil
	},
	"sizes": func(ctx *workflow.WorkflowContext) (any, error) {
		var size int
		if err := ctx.GetInput(&size); err != nil {
			return nil, err
		}
		var text string
		err := ctx.CallActivity("big", workflow.WithActivityInput(size)).Await(&text)
		return len(text), err
	},
	"steps": func(ctx *workflow.WorkflowContext) (any, error) {
		var given countInput
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		seen := make([]int, given.Count)
		for i := range seen {
			if err := ctx.CallActivity("slow", slow(ctx, i, given)).Await(&seen[i]); err != nil {
				return nil, err
			}
		}
		return seen, nil
	},
	"spread": func(ctx *workflow.WorkflowContext) (any, error) {
		var given countInput
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		tasks := make([]workflow.Task, given.Count)
		for i := range tasks {
			tasks[i] = ctx.CallActivity("slow", slow(ctx, i, given))
		}
		seen := make([]int, given.Count)
		for i, task := range tasks {
			if err := task.Await(&seen[i]); err != nil {
				return nil, err
			}
		}
		return seen, nil
	},
	"detach": func(ctx *workflow.WorkflowContext) (any, error) {
		var given struct {
			ID    string `json:"id"`
			Input int    `json:"input"`
		}
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		return ctx.ScheduleNewWorkflow("echo", workflow.WithDetachedWorkflowInstanceID(given.ID), workflow.WithDetachedWorkflowInput(given.Input))
	},
	"lineage": func(ctx *workflow.WorkflowContext) (any, error) {
		var scope string
		if err := ctx.GetInput(&scope); err != nil {
			return nil, err
		}
		if err := ctx.CallActivity("add_one", workflow.WithActivityInput(1)).Await(nil); err != nil {
			return nil, err
		}
		var seen any
		err := ctx.CallChildWorkflow("lineage_child", workflow.WithChildWorkflowInput(scope), workflow.WithHistoryPropagation(handed(scope))).Await(&seen)
		return seen, err
	},
	"lineage_child": func(ctx *workflow.WorkflowContext) (any, error) {
		var scope string
		if err := ctx.GetInput(&scope); err != nil {
			return nil, err
		}
		var deep []string
		err := ctx.CallActivity("whose_history", workflow.WithHistoryPropagation(handed(scope))).Await(&deep)
		return map[string]any{"child": names(ctx.GetPropagatedHistory()), "activity": deep}, err
	},
	"other_app": func(ctx *workflow.WorkflowContext) (any, error) {
		var given appInput
		if err := ctx.GetInput(&given); err != nil {
			return nil, err
		}
		var result int
		var err error
		if given.Kind == "activity" {
			err = ctx.CallActivity("add_one", workflow.WithActivityInput(given.Input), workflow.WithActivityAppID(given.App)).Await(&result)
		} else {
			err = ctx.CallChildWorkflow("chain", workflow.WithChildWorkflowInput(given.Input), workflow.WithChildWorkflowAppID(given.App)).Await(&result)
		}
		return result, err
	},
}

func slow(ctx *workflow.WorkflowContext, number int, given countInput) workflow.CallActivityOption {
	return workflow.WithActivityInput(slowInput{Number: number, Seconds: given.Seconds, ID: ctx.ID()})
}

func handed(scope string) workflow.PropagationOption {
	if scope == "LINEAGE" {
		return workflow.PropagateLineage()
	}
	return workflow.PropagateOwnHistory()
}

// answerAfterGo waits for an event, then returns a text.
func answerAfterGo(text string) workflow.Workflow {
	return func(ctx *workflow.WorkflowContext) (any, error) {
		return text, ctx.WaitForExternalEvent("go", forever).Await(nil)
	}
}

func patched(ctx *workflow.WorkflowContext) (any, error) {
	branch := "old"
	if ctx.IsPatched("faster") {
		branch = "new"
	}
	return branch, ctx.WaitForExternalEvent("go", forever).Await(nil)
}

// register adds everything; the variant is the older or newer state of the code.
func register(variant string) (*workflow.Registry, error) {
	registry := workflow.NewRegistry()
	var failures []error
	for name, one := range workflows {
		failures = append(failures, registry.AddWorkflowN(name, one))
	}
	for name, one := range activities {
		failures = append(failures, registry.AddActivityN(name, one))
	}
	if variant == "two" {
		failures = append(failures, registry.AddWorkflowN("patched", patched))
	} else {
		failures = append(failures, registry.AddWorkflowN("patched", answerAfterGo("old")))
	}
	if variant != "two" {
		failures = append(failures, registry.AddVersionedWorkflowN("versioned", "one", variant == "one", answerAfterGo("version one")))
	}
	if variant != "one" {
		failures = append(failures, registry.AddVersionedWorkflowN("versioned", "two", true, answerAfterGo("version two")))
	}
	return registry, errors.Join(failures...)
}
