import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.dapr.durabletask.Task;
import io.dapr.durabletask.TaskCanceledException;
import io.dapr.durabletask.TaskFailedException;
import io.dapr.workflows.Workflow;
import io.dapr.workflows.WorkflowActivity;
import io.dapr.workflows.WorkflowContext;
import io.dapr.workflows.WorkflowStub;
import io.dapr.workflows.WorkflowTaskOptions;
import io.dapr.workflows.WorkflowTaskRetryPolicy;
import io.dapr.workflows.runtime.WorkflowRuntimeBuilder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The workflows and activities of the scenarios, for Dapr's Java SDK. Names and meaning are those
 * of tests/sdk/python/workflows.py.
 */
final class Flows {
  static final ObjectMapper JSON = new ObjectMapper();

  private static final JsonNodeFactory NODES = JsonNodeFactory.instance;
  private static final WorkflowTaskOptions RETRY = new WorkflowTaskOptions(
      new WorkflowTaskRetryPolicy(3, Duration.ofMillis(50), 1.0, Duration.ofSeconds(1), Duration.ofSeconds(60)));
  private static final Map<String, Integer> TRIES = new HashMap<>();

  private static final Map<String, WorkflowStub> WORKFLOWS = new HashMap<>();
  private static final Map<String, WorkflowActivity> ACTIVITIES = new HashMap<>();

  private Flows() {}

  // --- activities --------------------------------------------------------------------------------

  static {
    ACTIVITIES.put("add_one", ctx -> ctx.getInput(Integer.class) + 1);
    ACTIVITIES.put("square", ctx -> {
      int number = ctx.getInput(Integer.class);
      return number * number;
    });
    ACTIVITIES.put("flaky", ctx -> {
      JsonNode given = ctx.getInput(JsonNode.class);
      String key = given.get("key").asText();
      int count;
      synchronized (TRIES) {
        count = TRIES.merge(key, 1, Integer::sum);
      }
      App.report("flaky", NODES.objectNode().put("key", key).put("task", ctx.getTaskExecutionId()));
      if (count <= given.get("fails").asInt()) {
        throw new IllegalStateException("failure " + count);
      }
      return count;
    });
    ACTIVITIES.put("boom", ctx -> {
      throw new IllegalStateException(ctx.getInput(String.class));
    });
    ACTIVITIES.put("big", ctx -> "x".repeat(ctx.getInput(Integer.class)));
    ACTIVITIES.put("slow", ctx -> {
      JsonNode given = ctx.getInput(JsonNode.class);
      ObjectNode told = NODES.objectNode();
      told.set("id", given.get("id"));
      told.set("number", given.get("number"));
      told.put("trace", ctx.getTraceParent());
      App.report("begin", told);
      try {
        Thread.sleep((long) (given.get("seconds").asDouble() * 1000));
      } catch (InterruptedException error) {
        throw new IllegalStateException(error);
      }
      App.report("end", told);
      return ProcessHandle.current().pid();
    });
  }

  // --- workflows ---------------------------------------------------------------------------------

  static {
    WORKFLOWS.put("echo", ctx -> ctx.complete(ctx.getInput(JsonNode.class)));
    WORKFLOWS.put("chain", ctx -> {
      int number = ctx.getInput(Integer.class);
      for (int step = 0; step < 3; step++) {
        number = ctx.callActivity("add_one", number, Integer.class).await();
      }
      ctx.complete(number);
    });
    WORKFLOWS.put("fan_out", ctx -> {
      int count = ctx.getInput(Integer.class);
      List<Task<Integer>> tasks = new ArrayList<>();
      for (int number = 0; number < count; number++) {
        tasks.add(ctx.callActivity("square", number, Integer.class));
      }
      ctx.complete(ctx.allOf(tasks).await().stream().mapToInt(Integer::intValue).sum());
    });
    WORKFLOWS.put("call_child", Flows::callChild);
    WORKFLOWS.put("nap", ctx -> {
      ctx.createTimer(duration(ctx.getInput(Double.class))).await();
      ctx.complete("rested");
    });
    WORKFLOWS.put("approval", ctx -> ctx.complete(event(ctx, "approval").await()));
    WORKFLOWS.put("two_events", ctx -> {
      ArrayNode got = NODES.arrayNode();
      got.add(event(ctx, "item").await());
      got.add(event(ctx, "item").await());
      ctx.complete(got);
    });
    WORKFLOWS.put("deadline", ctx -> {
      Task<JsonNode> event = event(ctx, "approval");
      Task<?> winner = ctx.anyOf(event, ctx.createTimer(duration(ctx.getInput(Double.class)))).await();
      ctx.complete(winner == event ? NODES.objectNode().set("got", event.await()) : timedOut());
    });
    WORKFLOWS.put("event_timeout", ctx -> {
      Duration limit = duration(ctx.getInput(Double.class));
      JsonNode result;
      try {
        result = NODES.objectNode().set("got", ctx.waitForExternalEvent("approval", limit, JsonNode.class).await());
      } catch (TaskCanceledException error) {
        result = timedOut();
      }
      ctx.complete(result);
    });
    WORKFLOWS.put("retry", ctx -> ctx.complete(
        ctx.callActivity("flaky", ctx.getInput(JsonNode.class), RETRY, Integer.class).await()));
    WORKFLOWS.put("flaky_child", ctx -> ctx.complete(
        ctx.callActivity("flaky", ctx.getInput(JsonNode.class), Integer.class).await()));
    WORKFLOWS.put("retry_child", ctx -> ctx.complete(
        ctx.callChildWorkflow("flaky_child", ctx.getInput(JsonNode.class), null, RETRY, Integer.class).await()));
    WORKFLOWS.put("fail", ctx -> {
      throw new IllegalStateException(ctx.getInput(String.class));
    });
    WORKFLOWS.put("catch", ctx -> {
      String result = "nothing";
      try {
        ctx.callActivity("boom", ctx.getInput(String.class)).await();
      } catch (TaskFailedException error) {
        result = "caught: " + error.getErrorDetails().getErrorMessage();
      }
      ctx.complete(result);
    });
    WORKFLOWS.put("missing_activity", ctx -> ctx.complete(ctx.callActivity("nowhere", 1, Integer.class).await()));
    WORKFLOWS.put("eternal", ctx -> {
      JsonNode given = ctx.getInput(JsonNode.class);
      int total = ctx.callActivity("add_one", given.get("total").asInt(), Integer.class).await();
      int left = given.get("left").asInt();
      if (left > 0) {
        ctx.continueAsNew(NODES.objectNode().put("left", left - 1).put("total", total), false);
      } else {
        ctx.complete(total);
      }
    });
    WORKFLOWS.put("collector", ctx -> {
      ArrayNode got = (ArrayNode) ctx.getInput(JsonNode.class);
      got.add(event(ctx, "item").await());
      if (got.size() < 3) {
        ctx.continueAsNew(got, true);
      } else {
        ctx.complete(got);
      }
    });
    WORKFLOWS.put("status", ctx -> {
      ctx.setCustomStatus("working");
      event(ctx, "go").await();
      ctx.setCustomStatus("done");
    });
    WORKFLOWS.put("sizes", ctx -> ctx.complete(
        ctx.callActivity("big", ctx.getInput(Integer.class), String.class).await().length()));
    WORKFLOWS.put("steps", ctx -> {
      ArrayNode seen = NODES.arrayNode();
      JsonNode given = ctx.getInput(JsonNode.class);
      for (int number = 0; number < given.get("count").asInt(); number++) {
        seen.add(ctx.callActivity("slow", slow(ctx, number, given), Long.class).await());
      }
      ctx.complete(seen);
    });
    WORKFLOWS.put("spread", ctx -> {
      JsonNode given = ctx.getInput(JsonNode.class);
      List<Task<Long>> tasks = new ArrayList<>();
      for (int number = 0; number < given.get("count").asInt(); number++) {
        tasks.add(ctx.callActivity("slow", slow(ctx, number, given), Long.class));
      }
      ctx.complete(ctx.allOf(tasks).await());
    });
    WORKFLOWS.put("other_app", ctx -> {
      JsonNode given = ctx.getInput(JsonNode.class);
      WorkflowTaskOptions there = new WorkflowTaskOptions(given.get("app").asText());
      int input = given.get("input").asInt();
      Task<Integer> task = given.get("kind").asText().equals("activity")
          ? ctx.callActivity("add_one", input, there, Integer.class)
          : ctx.callChildWorkflow("chain", input, null, there, Integer.class);
      ctx.complete(task.await());
    });
  }

  private static void callChild(WorkflowContext ctx) {
    JsonNode given = ctx.getInput(JsonNode.class);
    String id = given.hasNonNull("id") ? given.get("id").asText() : null;
    ObjectNode told = NODES.objectNode();
    try {
      JsonNode input = given.get("input");
      told.set("result", ctx.callChildWorkflow(given.get("workflow").asText(), input, id, JsonNode.class).await());
    } catch (TaskFailedException error) {
      told.put("failed", error.getErrorDetails().getErrorMessage());
    }
    ctx.complete(told);
  }

  private static Task<JsonNode> event(WorkflowContext ctx, String name) {
    return ctx.waitForExternalEvent(name, JsonNode.class);
  }

  private static JsonNode timedOut() {
    return NODES.objectNode().put("timed_out", true);
  }

  private static Duration duration(double seconds) {
    return Duration.ofMillis((long) (seconds * 1000));
  }

  private static JsonNode slow(WorkflowContext ctx, int number, JsonNode given) {
    ObjectNode input = NODES.objectNode().put("number", number).put("id", ctx.getInstanceId());
    return input.set("seconds", given.get("seconds"));
  }

  private static Workflow answerAfterGo(String text) {
    return () -> ctx -> {
      event(ctx, "go").await();
      ctx.complete(text);
    };
  }

  private static void patched(WorkflowContext ctx) {
    String branch = ctx.isPatched("faster") ? "new" : "old";
    event(ctx, "go").await();
    ctx.complete(branch);
  }

  /** Registers everything; the variant is the older or newer state of the code. */
  static void register(WorkflowRuntimeBuilder builder, String variant) {
    WORKFLOWS.forEach((name, stub) -> builder.registerWorkflow(name, (Workflow) () -> stub, null, null));
    ACTIVITIES.forEach(builder::registerActivity);
    Workflow patched = variant.equals("two") ? () -> Flows::patched : answerAfterGo("old");
    builder.registerWorkflow("patched", patched, null, null);
    if (!variant.equals("two")) {
      builder.registerWorkflow("versioned", answerAfterGo("version one"), "one", variant.equals("one"));
    }
    if (!variant.equals("one")) {
      builder.registerWorkflow("versioned", answerAfterGo("version two"), "two", true);
    }
  }
}
