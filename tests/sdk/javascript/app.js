// A worker and a client of Dapr's JavaScript SDK: does what it reads on stdin, reports on stdout.
// The protocol is described in tests/sdk/program.py; names and meaning of the workflows are those
// of tests/sdk/python/workflows.py. The connection is taken from the DAPR_ variables.
"use strict";

const readline = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");
const dapr = require("@dapr/dapr");

const STATUS = { 0: "RUNNING", 1: "COMPLETED", 2: "CONTINUED_AS_NEW", 3: "FAILED", 5: "TERMINATED", 6: "PENDING", 7: "SUSPENDED" };

const say = (record) => process.stdout.write("@" + JSON.stringify(record) + "\n");
const report = (event, more) => say({ event, pid: process.pid, ...more });

// --- activities ---------------------------------------------------------------------------------

const activities = {
  add_one: async (_ctx, number) => number + 1,
  square: async (_ctx, number) => number * number,
  boom: async (_ctx, text) => {
    throw new Error(text);
  },
  big: async (_ctx, size) => "x".repeat(size),
  slow: async (ctx, given) => {
    const id = ctx.getWorkflowInstanceId();
    report("begin", { id, number: given.number });
    await sleep(given.seconds * 1000);
    report("end", { id, number: given.number });
    return process.pid;
  },
};

// --- workflows ----------------------------------------------------------------------------------

const workflows = {
  echo: async (_ctx, given) => given,

  chain: async function* (ctx, number) {
    for (let step = 0; step < 3; step++) {
      number = yield ctx.callActivity(activities.add_one, number);
    }
    return number;
  },

  fan_out: async function* (ctx, count) {
    const tasks = [];
    for (let number = 0; number < count; number++) {
      tasks.push(ctx.callActivity(activities.square, number));
    }
    const results = yield ctx.whenAll(tasks);
    return results.reduce((sum, one) => sum + one, 0);
  },

  call_child: async function* (ctx, given) {
    try {
      return { result: yield ctx.callChildWorkflow(given.workflow, given.input, given.id ?? undefined) };
    } catch (error) {
      return { failed: String(error) };
    }
  },

  nap: async function* (ctx, seconds) {
    // A number is a delay in seconds, and not a whole one either.
    yield ctx.createTimer(seconds);
    return "rested";
  },

  approval: async function* (ctx) {
    return yield ctx.waitForExternalEvent("approval");
  },

  two_events: async function* (ctx) {
    const first = yield ctx.waitForExternalEvent("item");
    const second = yield ctx.waitForExternalEvent("item");
    return [first, second];
  },

  deadline: async function* (ctx, seconds) {
    const event = ctx.waitForExternalEvent("approval");
    const winner = yield ctx.whenAny([event, ctx.createTimer(seconds)]);
    return winner === event ? { got: event.getResult() } : { timed_out: true };
  },

  fail: async (_ctx, text) => {
    throw new Error(text);
  },

  catch: async function* (ctx, text) {
    try {
      yield ctx.callActivity(activities.boom, text);
    } catch (error) {
      return `caught: ${error}`;
    }
    return "nothing";
  },

  missing_activity: async function* (ctx) {
    return yield ctx.callActivity("nowhere", 1);
  },

  eternal: async function* (ctx, given) {
    const total = yield ctx.callActivity(activities.add_one, given.total);
    if (given.left === 0) {
      return total;
    }
    ctx.continueAsNew({ left: given.left - 1, total }, false);
  },

  collector: async function* (ctx, got) {
    got.push(yield ctx.waitForExternalEvent("item"));
    if (got.length === 3) {
      return got;
    }
    ctx.continueAsNew(got, true);
  },

  status: async function* (ctx) {
    ctx.setCustomStatus("working");
    yield ctx.waitForExternalEvent("go");
    ctx.setCustomStatus("done");
  },

  sizes: async function* (ctx, size) {
    return (yield ctx.callActivity(activities.big, size)).length;
  },

  steps: async function* (ctx, given) {
    const seen = [];
    for (let number = 0; number < given.count; number++) {
      seen.push(yield ctx.callActivity(activities.slow, { number, seconds: given.seconds }));
    }
    return seen;
  },

  spread: async function* (ctx, given) {
    const tasks = [];
    for (let number = 0; number < given.count; number++) {
      tasks.push(ctx.callActivity(activities.slow, { number, seconds: given.seconds }));
    }
    return yield ctx.whenAll(tasks);
  },
};

// --- the calls ----------------------------------------------------------------------------------

function decoded(text) {
  if (text === undefined || text === "") {
    return null;
  }
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function shown(state) {
  if (state === undefined) {
    return null;
  }
  const failure = state.workflowFailureDetails;
  return {
    id: state.instanceId,
    name: state.name,
    status: STATUS[state.runtimeStatus] ?? `UNKNOWN ${state.runtimeStatus}`,
    input: decoded(state.serializedInput),
    output: decoded(state.serializedOutput),
    custom: decoded(state.customStatus),
    error: failure === undefined ? null : failure.getErrorMessage(),
    error_type: failure === undefined ? null : failure.getErrorType(),
  };
}

const client = new dapr.DaprWorkflowClient();

const calls = {
  worker: async () => {
    const runtime = new dapr.WorkflowRuntime();
    for (const [name, workflow] of Object.entries(workflows)) {
      runtime.registerWorkflowWithName(name, workflow);
    }
    for (const [name, activity] of Object.entries(activities)) {
      runtime.registerActivityWithName(name, activity);
    }
    await runtime.start();
  },
  start: ({ workflow, id, input, delay_s }) => {
    const at = delay_s ? new Date(Date.now() + delay_s * 1000) : undefined;
    return client.scheduleNewWorkflow(workflow, input, id, at);
  },
  get: async ({ id }) => shown(await client.getWorkflowState(id, true)),
  wait: async ({ id, timeout_s = 30 }) => shown(await client.waitForWorkflowCompletion(id, true, timeout_s)),
  wait_start: async ({ id, timeout_s = 30 }) => shown(await client.waitForWorkflowStart(id, true, timeout_s)),
  raise_event: ({ id, event, data }) => client.raiseEvent(id, event, data),
  suspend: ({ id }) => client.suspendWorkflow(id),
  resume: ({ id }) => client.resumeWorkflow(id),
  terminate: ({ id, output }) => client.terminateWorkflow(id, output ?? null),
  purge: ({ id }) => client.purgeWorkflow(id),
};

// The same by the general client, over HTTP.
let general;
const viaHttp = () => (general ??= new dapr.DaprClient({ communicationProtocol: dapr.CommunicationProtocolEnum.HTTP })).workflow;

Object.assign(calls, {
  general_start: ({ workflow, id, input }) => viaHttp().scheduleNewWorkflow(workflow, input, id),
  general_get: async ({ id }) => {
    const state = await viaHttp().getWorkflowState(id);
    return { status: state.runtimeStatus.toUpperCase(), output: decoded(state.properties["dapr.workflow.output"]) };
  },
  general_raise_event: ({ id, event, data }) => viaHttp().raiseEvent(id, event, data),
  general_suspend: ({ id }) => viaHttp().pause(id),
  general_resume: ({ id }) => viaHttp().resume(id),
  general_terminate: ({ id }) => viaHttp().terminate(id),
  general_purge: ({ id }) => viaHttp().purge(id),
});

async function answer(line) {
  const { n, do: verb, ...given } = JSON.parse(line);
  try {
    say({ n, ok: (await calls[verb](given)) ?? null });
  } catch (error) {
    say({ n, error: String(error.code ?? error.name), text: String(error.message ?? error) });
  }
}

async function main() {
  if ((process.env.WORKER ?? "yes") === "yes") {
    await calls.worker();
    await sleep(200); // start() resolves before the stream is open
  }
  const version = require("@dapr/dapr/package.json").version;
  say({ ready: true, pid: process.pid, version });
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", answer);
  lines.on("close", () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
