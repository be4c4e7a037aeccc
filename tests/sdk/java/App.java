import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.dapr.workflows.client.DaprWorkflowClient;
import io.dapr.workflows.client.NewWorkflowOptions;
import io.dapr.workflows.client.WorkflowState;
import io.dapr.workflows.runtime.WorkflowRuntimeBuilder;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * A worker and a client of Dapr's Java SDK: does what it reads on stdin, reports on stdout. The
 * protocol is described in tests/sdk/program.py; the connection is taken from the DAPR_ variables.
 */
public final class App {
  private static final JsonNodeFactory NODES = JsonNodeFactory.instance;
  private static DaprWorkflowClient client;

  private App() {}

  static void say(ObjectNode record) {
    synchronized (NODES) {
      System.out.println("@" + record);
    }
  }

  static void report(String event, ObjectNode more) {
    say(more.put("event", event).put("pid", ProcessHandle.current().pid()));
  }

  private static JsonNode decoded(String text) {
    if (text == null || text.isEmpty()) {
      return NODES.nullNode();
    }
    try {
      return Flows.JSON.readTree(text);
    } catch (JsonProcessingException error) {
      return NODES.textNode(text);
    }
  }

  private static JsonNode shown(WorkflowState state) {
    if (state == null || state.getWorkflowId().isEmpty()) {
      return NODES.nullNode(); // how this SDK says that there is none
    }
    ObjectNode record = NODES.objectNode();
    record.put("id", state.getWorkflowId()).put("name", state.getName());
    record.put("status", state.getRuntimeStatus().name());
    record.set("input", decoded(state.getSerializedInput()));
    record.set("output", decoded(state.getSerializedOutput()));
    if (state.getFailureDetails() != null) {
      record.put("error", state.getFailureDetails().getErrorMessage());
      record.put("error_type", state.getFailureDetails().getErrorType());
    }
    return record;
  }

  private static void startWorker() {
    WorkflowRuntimeBuilder builder = new WorkflowRuntimeBuilder();
    Flows.register(builder, System.getenv().getOrDefault("VARIANT", ""));
    builder.build().start(false);
  }

  private static JsonNode start(JsonNode given) {
    NewWorkflowOptions options = new NewWorkflowOptions();
    if (given.hasNonNull("id")) {
      options.setInstanceId(given.get("id").asText());
    }
    if (given.hasNonNull("input")) {
      options.setInput(given.get("input"));
    }
    if (given.hasNonNull("delay_s")) {
      options.setStartTime(Instant.now().plusMillis((long) (given.get("delay_s").asDouble() * 1000)));
    }
    return NODES.textNode(client.scheduleNewWorkflow(given.get("workflow").asText(), options));
  }

  private static JsonNode call(String verb, JsonNode given) throws Exception {
    String id = given.path("id").asText();
    Duration limit = Duration.ofMillis((long) (given.path("timeout_s").asDouble(30) * 1000));
    JsonNode none = NODES.nullNode();
    switch (verb) {
      case "start":
        return start(given);
      case "get":
        return shown(client.getWorkflowState(id, true));
      case "wait":
        return shown(client.waitForWorkflowCompletion(id, limit, true));
      case "wait_start":
        return shown(client.waitForWorkflowStart(id, limit, true));
      case "raise_event":
        client.raiseEvent(id, given.get("event").asText(), given.get("data"));
        return none;
      case "suspend":
        client.suspendWorkflow(id, "");
        return none;
      case "resume":
        client.resumeWorkflow(id, "");
        return none;
      case "terminate":
        client.terminateWorkflow(id, given.get("output"));
        return none;
      case "purge":
        return NODES.booleanNode(client.purgeWorkflow(id));
      default:
        throw new IllegalArgumentException("no verb " + verb);
    }
  }

  private static void answer(String line) {
    ObjectNode said = NODES.objectNode();
    try {
      JsonNode request = Flows.JSON.readTree(line);
      said.set("n", request.get("n"));
      said.set("ok", call(request.get("do").asText(), request));
    } catch (Exception error) {
      said.put("error", error.getClass().getSimpleName()).put("text", String.valueOf(error.getMessage()));
    }
    say(said);
  }

  private static String version() {
    String jar = DaprWorkflowClient.class.getProtectionDomain().getCodeSource().getLocation().getPath();
    return jar.replaceAll(".*dapr-sdk-workflows-", "").replace(".jar", "");
  }

  public static void main(String[] arguments) throws Exception {
    client = new DaprWorkflowClient();
    if (!"no".equals(System.getenv("WORKER"))) {
      startWorker();
    }
    say(NODES.objectNode().put("ready", true).put("version", version()));
    ExecutorService threads = Executors.newCachedThreadPool();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String request = line;
      threads.submit(() -> answer(request));
    }
    System.exit(0);
  }
}
