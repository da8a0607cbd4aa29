// The same configurations with magma and with a real terraform (or tofu): the same model, the same fates. Skipped, and said so, where there is none.
#include <signal.h>

#include <atomic>
#include <iostream>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/base/process.h"
#include "engenho/pangea/cluster_state.h"
#include "support.h"
#include "tofu_backend.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;

namespace {

bool terraform_here() {
  if (!find_program("terraform").empty() || !find_program("tofu").empty()) return true;
  std::cout << "SKIPPED: neither terraform nor tofu is in PATH\n";
  return false;
}

std::string flat(const std::vector<std::string>& words) {
  return join(words, ",");
}

// What decisions are made from.
std::string flat(const Change& c) {
  return c.address + " " + c.type + " " + c.name + " " + c.provider + " " + c.action + " " + c.risk + " [" + flat(c.attributes) + "] because [" +
         flat(c.replace_because) + "]";
}
std::string flat(const PlanModel& m) {
  std::string out = m.summary() + " of " + std::to_string(m.total) + (m.output_changes ? " with outputs\n" : "\n");
  for (const Change& c : m.changes) out += flat(c) + "\n";
  for (const Change& c : m.drift) out += "drift " + flat(c) + "\n";
  return out;
}
std::string flat(const Applied& a) {
  std::string out = a.ok ? "ok\n" : "failed: " + std::string(failure_name(a.failure.kind)) + "\n";
  for (const Outcome& o : a.outcomes) out += o.address + " " + o.action + " " + std::string(outcome_name(o.result)) + "\n";
  for (const auto& [name, o] : a.outputs) out += "output " + name + (o.get("sensitive")->as_bool() ? " sensitive\n" : "\n");
  return out;
}

struct Side {
  explicit Side(const std::string& name, const ExecutorOptions& options)
      : executor(std::move(*make_executor(name, options))), state(magma::make_memory_state()) {}
  std::unique_ptr<Executor> executor;
  std::unique_ptr<magma::StateStore> state;
  TempDir dir;
  TestProvider provider;
};

}  // namespace

TEST_CASE("both executors: the same model and the same fates, step by step") {
  if (!terraform_here()) return;
  // A change of each kind: create, update, replace, delete, nothing, a sensitive value, an output, a data source, drift, a failure and what depended on it.
  const std::vector<std::pair<std::string, std::string>> steps = {
      {R"("a": {"name": "a", "size": 1, "zone": "z1", "secret": "hunter-22"}, "b": {"count": 2, "name": "b${count.index}-${test_thing.a.id}"}, "gone": {"name": "gone"}, "same": {"name": "same", "rule": [{"port": 80}]})",
       R"(, "data": {"test_lookup": {"l": {"name": "x"}}}, "output": {"o": {"value": "${test_thing.a.id}"}, "s": {"value": "${test_thing.a.secret}", "sensitive": true}})"},
      {R"("a": {"name": "a", "size": 2, "zone": "z1", "secret": "hunter-23"}, "b": {"count": 2, "name": "b${count.index}-${test_thing.a.id}"}, "same": {"name": "same", "rule": [{"port": 80}]})",
       R"(, "output": {"o": {"value": "${test_thing.a.id}"}})"},
      {R"("a": {"name": "a", "size": 2, "zone": "z2", "secret": "hunter-23"}, "b": {"count": 1, "name": "b${count.index}"}, "same": {"name": "same", "rule": [{"port": 80}]})",
       R"(, "output": {"o": {"value": "${test_thing.a.size}"}})"},
      {R"("a": {"name": "a", "size": 2, "zone": "z2", "secret": "hunter-23"}, "bad": {"name": "bad", "mode": "fail_create"}, "after": {"name": "after-${test_thing.bad.id}"}, "free": {"name": "free"}, "same": {"name": "same", "rule": [{"port": 80}]})",
       ""},
      {R"("same": {"name": "same", "rule": [{"port": 81}, {"port": 82}]})", R"(, "resource": {"terraform_data": {"t": {"input": {"a": [1, "x", true]}}}})"},
  };
  Side sides[2] = {Side("magma", TestProvider().options()), Side("terraform", TestProvider().options())};
  for (Side& side : sides) side.executor = std::move(*make_executor(side.executor->name(), side.provider.options()));
  for (size_t i = 0; i < steps.size(); ++i) {
    std::string models[2], fates[2], ids[2];
    for (int s = 0; s < 2; ++s) {
      Side& side = sides[s];
      // Before the third step somebody changes something outside.
      if (i == 2) {
        const auto things = side.provider.things();
        auto at = things.find("same");
        REQUIRE(at != things.end());
        const std::string file = side.provider.cloud() + "/" + at->second + ".json";
        json::Value thing = parse_json(*read_file(file));
        thing["size"] = 77;
        REQUIRE(write_file_atomic(file, json::dump(thing), 0600).ok());
      }
      Workspace w = side.provider.workspace(side.dir, steps[i].first, "web", i == 4 ? "" : steps[i].second);
      if (i == 4) w.config["resource"]["terraform_data"] = *parse_json(steps[i].second.substr(1).insert(0, "{") + "}").at({"resource", "terraform_data"});
      auto plan = side.executor->plan(w, *side.state, {}, {});
      INFO("step " << i << " with " << side.executor->name() << ": " << (plan ? "" : plan.error().message()));
      REQUIRE(plan);
      models[s] = flat(plan->model);
      CHECK(plan->providers.at("example.com/test/test") == "1.2.3");
      CHECK(json::dump(plan->shown()).find("hunter") == std::string::npos);
      auto again = side.executor->plan(w, *side.state, {}, {});
      REQUIRE(again);
      CHECK(again->id == plan->id);  // an approval holds for the same plan made again
      auto saved = SavedPlan::parse(plan->serialize());
      REQUIRE(saved);
      // As after a restart on another node: nothing of the directory is left.
      if (i == 1) std::filesystem::remove_all(w.directory);
      auto applied = side.executor->apply(w, *side.state, *saved, {}, {});
      INFO((applied ? "" : applied.error().message()));
      REQUIRE(applied);
      fates[s] = flat(*applied);
      CHECK(applied->ok == (i != 3));
      for (const std::string& e : applied->errors) CHECK(e.find("hunter") == std::string::npos);
      CHECK(applied->serial_after > applied->serial_before);
      for (const Outcome& o : applied->outcomes) {
        if (o.result == Outcome::Result::kDone && o.action != "forget") CHECK(o.started.time_since_epoch().count() > 0);
        if (o.result == Outcome::Result::kFailed) CHECK(o.message.find("cannot be created") != std::string::npos);
      }
      auto stale = side.executor->apply(w, *side.state, *saved, {}, {});
      if (i != 3) {
        REQUIRE_FALSE(stale);
        CHECK(classify_failure(stale.error()) == Failure{FailureKind::kStalePlan, FailureClass::kAbsolute});
      }
    }
    INFO("step " << i);
    CHECK(models[0] == models[1]);
    CHECK(fates[0] == fates[1]);
  }
  // Each takes up the other's state without a change.
  for (int s = 0; s < 2; ++s) {
    Side& writer = sides[s];
    Workspace w = writer.provider.workspace(writer.dir, R"("same": {"name": "same", "rule": [{"port": 81}, {"port": 82}]})");
    w.config["resource"]["terraform_data"] = parse_json(R"({"t": {"input": {"a": [1, "x", true]}}})");
    auto reader = std::move(*make_executor(sides[1 - s].executor->name(), writer.provider.options()));
    auto plan = reader->plan(w, *writer.state, {}, {});
    INFO((plan ? flat(plan->model) : plan.error().message()));
    REQUIRE(plan);
    CHECK(plan->model.empty());
  }
}

TEST_CASE("both executors: destroy, targets, replace, refresh only, import, outputs, validate") {
  if (!terraform_here()) return;
  for (const char* name : {"magma", "tofu"}) {
    INFO(name);
    Side side(name, {});
    side.executor = std::move(*make_executor(name, side.provider.options()));
    Executor& executor = *side.executor;
    const Workspace w = side.provider.workspace(side.dir, R"("a": {"name": "a"}, "b": {"name": "b-${test_thing.a.id}"}, "c": {"name": "c"})", "web",
                                                R"(, "output": {"o": {"value": "x"}, "s": {"value": "y", "sensitive": true}})");
    CHECK(executor.validate(w, {}).message() == "");
    PlanOptions options;
    options.targets = {"test_thing.b"};
    auto plan = executor.plan(w, *side.state, options, {});
    INFO((plan ? "" : plan.error().message()));
    REQUIRE(plan);
    CHECK(plan->model.summary() == "+2 ~0 -0");
    plan = executor.plan(w, *side.state, {}, {});
    REQUIRE(plan);
    REQUIRE(executor.apply(w, *side.state, *plan, {}, {})->ok);
    auto outputs = executor.outputs(w, *side.state, {});
    REQUIRE(outputs);
    CHECK(outputs->find("o")->str_at({"value"}) == "x");
    CHECK(outputs->find("s")->get("sensitive")->as_bool());
    CHECK_FALSE(outputs->find("o")->get("sensitive")->as_bool());
    options = {};
    options.replace = {"test_thing.c"};
    CHECK(executor.plan(w, *side.state, options, {})->model.summary() == "+1 ~0 -1");
    // Somebody else makes one, and it is adopted.
    const Workspace more =
        side.provider.workspace(side.dir, R"("a": {"name": "a"}, "b": {"name": "b-${test_thing.a.id}"}, "c": {"name": "c"}, "d": {"name": "d"})", "web",
                                R"(, "output": {"o": {"value": "x"}, "s": {"value": "y", "sensitive": true}})");
    REQUIRE(write_file_atomic(side.provider.cloud() + "/thing-d.json",
                              R"({"id": "thing-d", "name": "d", "serial": 1, "size": null, "zone": null, "secret": null, "mode": null, "rule": []})", 0600)
                .ok());
    Status imported = executor.import(more, *side.state, "test_thing.d", "thing-d", {});
    CHECK(imported.message() == "");
    CHECK(executor.plan(more, *side.state, {}, {})->model.empty());
    CHECK(executor.import(more, *side.state, "test_thing.d", "thing-d", {}).conflict());
    CHECK_FALSE(executor.import(more, *side.state, "-config=x", "y", {}).ok());
    const auto things = side.provider.things();
    std::filesystem::remove(side.provider.cloud() + "/" + things.find("c")->second + ".json");
    options = {};
    options.refresh_only = true;
    plan = executor.plan(more, *side.state, options, {});
    REQUIRE(plan);
    CHECK(plan->model.empty());
    CHECK(plan->only_refresh);
    REQUIRE(plan->model.drift.size() == 1);
    CHECK(plan->model.drift[0].action == "delete");
    REQUIRE(executor.apply(more, *side.state, *plan, {}, {})->ok);
    options = {};
    options.destroy = true;
    plan = executor.plan(more, *side.state, options, {});
    REQUIRE(plan);
    CHECK(plan->model.summary() == "+0 ~0 -3");
    auto destroyed = executor.apply(more, *side.state, *plan, {}, {});
    REQUIRE(destroyed);
    CHECK(destroyed->ok);
    CHECK(side.provider.things().empty());
    const Status invalid = executor.validate(side.provider.workspace(side.dir, R"("a": {"nome": "a"})"), {});
    CHECK(invalid.message().find("nome") != std::string::npos);
  }
}

TEST_CASE("both executors: providers that crash, leak and refuse; secrets in no message") {
  if (!terraform_here()) return;
  for (const char* name : {"magma", "tofu"}) {
    INFO(name);
    Side side(name, {});
    side.executor = std::move(*make_executor(name, side.provider.options()));
    Workspace w = side.provider.workspace(side.dir, R"("leak": {"name": "l", "mode": "leak", "secret": "${var.pw}"}, "good": {"name": "good"})", "web",
                                          R"(, "variable": {"pw": {"type": "string", "sensitive": true}})");
    w.variables.set("pw", "hunter-4711");
    w.variables.set("not-declared", "x");
    w.secret_files["token.txt"] = "hunter-token-file";
    w.environment["TEST_TOKEN"] = "hunter-environment";
    std::vector<std::string> messages;
    std::mutex mutex;
    Run run;
    run.progress = [&](const Event& e) {
      std::lock_guard lock(mutex);
      messages.push_back(e.message);
    };
    auto plan = side.executor->plan(w, *side.state, {}, run);
    INFO((plan ? "" : plan.error().message()));
    REQUIRE(plan);
    auto applied = side.executor->apply(w, *side.state, *plan, {}, run);
    REQUIRE(applied);
    CHECK_FALSE(applied->ok);
    for (const Outcome& o : applied->outcomes) messages.push_back(o.message);
    messages.insert(messages.end(), applied->errors.begin(), applied->errors.end());
    bool told = false;
    for (const std::string& m : messages) {
      CHECK(m.find("hunter") == std::string::npos);
      told = told || m.find("refused: the secret") != std::string::npos;
    }
    CHECK(told);
    // Nothing of it stays in the directory.
    for (const auto& entry : std::filesystem::recursive_directory_iterator(w.directory)) {
      if (!entry.is_regular_file()) continue;
      INFO(entry.path().string());
      auto text = read_file(entry.path().string());
      if (text) CHECK(text->find("hunter") == std::string::npos);
    }
    Workspace crash = side.provider.workspace(side.dir, R"("x": {"name": "x", "mode": "crash_apply"})");
    plan = side.executor->plan(crash, *side.state, {}, {});
    REQUIRE(plan);
    applied = side.executor->apply(crash, *side.state, *plan, {}, {});
    REQUIRE(applied);
    CHECK_FALSE(applied->ok);
    CHECK(applied->failure.kind == FailureKind::kProviderUnavailable);
    CHECK(applied->status().message().find("hunter") == std::string::npos);
    // A provider that nobody has.
    auto missing = side.executor->plan(workspace(side.dir, R"({"resource": {"acme_rocket": {"r": {}}}})"), *side.state, {}, {});
    REQUIRE_FALSE(missing);
    INFO(missing.error().message());
    CHECK(classify_failure(missing.error()).kind == FailureKind::kProviderUnavailable);
    auto wrong = side.executor->plan(side.provider.workspace(side.dir, R"("x": {"name": "${test_thing.nowhere.id}"})"), *side.state, {}, {});
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().message().find("nowhere") != std::string::npos);
  }
}

TEST_CASE("both executors: a provider that lies: an error, and what it made is kept, tainted") {
  if (!terraform_here()) return;
  for (const char* name : {"magma", "tofu"}) {
    for (const char* mode : {"lie_apply", "unknown_apply", "fail_after_create"}) {
      INFO(name << " " << mode);
      Side side(name, {});
      side.executor = std::move(*make_executor(name, side.provider.options()));
      const std::string thing = std::string(R"("x": {"name": "x", "size": 1, "mode": ")") + mode + R"("})";
      const Workspace w = side.provider.workspace(side.dir, thing);
      auto plan = side.executor->plan(w, *side.state, {}, {});
      REQUIRE(plan);
      auto applied = side.executor->apply(w, *side.state, *plan, {}, {});
      REQUIRE(applied);
      CHECK_FALSE(applied->ok);
      REQUIRE(applied->outcomes.size() == 1);
      CHECK(applied->outcomes[0].result == Outcome::Result::kFailed);
      CHECK_FALSE(applied->outcomes[0].message.empty());
      CHECK(side.provider.things().size() == 1);
      CHECK(side.state->read()->find("\"tainted\"") != std::string::npos);
      auto again = side.executor->plan(w, *side.state, {}, {});
      REQUIRE(again);
      CHECK(again->model.summary() == "+1 ~0 -1");
    }
  }
}

TEST_CASE("both executors: a provider that hangs is given up in time, and nothing is said to be done") {
  if (!terraform_here()) return;
  for (const char* name : {"magma", "tofu"}) {
    INFO(name);
    Side side(name, {});
    ExecutorOptions options = side.provider.options();
    options.grace = std::chrono::seconds(1);
    side.executor = std::move(*make_executor(name, options));
    const Workspace w = side.provider.workspace(side.dir, R"("x": {"name": "x", "mode": "hang_apply"}, "y": {"name": "y-${test_thing.x.id}"})");
    auto plan = side.executor->plan(w, *side.state, {}, {});
    REQUIRE(plan);
    Run run;
    run.progress = [&](const Event& e) {
      if (e.step == Step::kStart) run.stop.request_stop();
    };
    const auto begun = std::chrono::steady_clock::now();
    auto applied = side.executor->apply(w, *side.state, *plan, {}, run);
    CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(30));
    REQUIRE(applied);
    CHECK_FALSE(applied->ok);
    CHECK(applied->failure.kind == FailureKind::kStopped);
    REQUIRE(applied->outcomes.size() == 2);
    CHECK(applied->outcomes[0].result != Outcome::Result::kDone);
    CHECK(applied->outcomes[1].result != Outcome::Result::kDone);
    // The lock is free again.
    auto token = side.state->lock({});
    CHECK(token);
  }
}

TEST_CASE("tofu: the state in the cluster, in a lock of its own") {
  if (!terraform_here()) return;
  Cluster cluster;
  TempDir dir;
  TestProvider provider;
  auto executor = std::move(*make_executor("terraform", provider.options()));
  const Workspace w = provider.workspace(dir, R"("t": {"count": 12, "name": "t${count.index}", "mode": "slow"})");
  const StateName name{"dev-state", "default", "web"};
  ClusterState state(cluster.client(), name), other(cluster.client(), name);
  auto plan = executor->plan(w, state, {}, {});
  INFO((plan ? "" : plan.error().message()));
  REQUIRE(plan);
  std::atomic<bool> locked{false};
  Run run;
  run.progress = [&](const Event& e) {
    if (e.step != Step::kStart) return;
    auto holder = other.holder();
    locked = locked || (holder && holder->has_value());
    CHECK(other.lock({}).error().conflict());
  };
  auto applied = executor->apply(w, state, *plan, {}, run);
  INFO((applied ? applied->status().message() : applied.error().message()));
  REQUIRE(applied);
  CHECK(applied->ok);
  CHECK(locked);
  CHECK_FALSE(other.holder()->has_value());
  CHECK(provider.things().size() == 12);
  CHECK(other.current()->serial == applied->serial_after);
  // Somebody has the lock: an apply is refused, and says so by its type.
  auto token = other.lock({});
  REQUIRE(token);
  PlanOptions destroy;
  destroy.destroy = true;
  plan = executor->plan(w, state, destroy, {});
  REQUIRE(plan);
  auto refused = executor->apply(w, state, *plan, {}, {});
  REQUIRE_FALSE(refused);
  INFO(refused.error().message());
  CHECK(classify_failure(refused.error()).kind == FailureKind::kStateLocked);
  REQUIRE(other.unlock(*token).ok());
  // And magma goes on where terraform ended.
  auto magma_executor = std::move(*make_executor("magma", provider.options()));
  CHECK(magma_executor->plan(w, state, {}, {})->model.empty());
}

TEST_CASE("both executors: a state that could not be stored is stored by the next run") {
  if (!terraform_here()) return;
  // The store refuses writes from the middle of the first apply on, as an API server that went away would.
  struct Broken final : magma::StateStore {
    std::unique_ptr<magma::StateStore> inner = magma::make_memory_state();
    std::atomic<bool> broken{false};
    Result<std::string> read() override { return inner->read(); }
    Status write(const std::string& d, uint64_t s, const std::string& l, uint64_t t) override {
      return broken ? unavailable("gone") : inner->write(d, s, l, t);
    }
    Result<std::vector<std::string>> read_cursor() override { return inner->read_cursor(); }
    Status append_cursor(const std::string& l, uint64_t t) override { return inner->append_cursor(l, t); }
    Status clear_cursor(uint64_t t) override { return inner->clear_cursor(t); }
    Result<uint64_t> lock(const magma::LockInfo& i) override { return inner->lock(i); }
    Status unlock(uint64_t t) override { return inner->unlock(t); }
  };
  for (const char* name : {"magma", "tofu"}) {
    INFO(name);
    Broken state;
    TempDir dir;
    TestProvider provider;
    auto executor = std::move(*make_executor(name, provider.options()));
    const Workspace w = provider.workspace(dir, R"("a": {"name": "a"}, "b": {"name": "b"})");
    auto plan = executor->plan(w, state, {}, {});
    REQUIRE(plan);
    Run run;
    run.progress = [&](const Event& e) { state.broken = state.broken || e.step == Step::kDone; };
    auto applied = executor->apply(w, state, *plan, {}, run);
    REQUIRE(applied);
    CHECK_FALSE(applied->ok);
    CHECK(applied->unsaved_state.find("test_thing") != std::string::npos);
    state.broken = false;
    auto next = executor->plan(w, state, {}, {});
    REQUIRE(next);
    CHECK(next->model.empty());  // nothing is made twice
    REQUIRE_FALSE(next->warnings.empty());
    CHECK(next->warnings[0].find("recovered") != std::string::npos);
    CHECK(provider.things().size() == 2);
  }
}

TEST_CASE("tofu: the local backend keeps its file; strangers in the directory are not read") {
  if (!terraform_here()) return;
  TempDir dir;
  auto executor = std::move(*make_executor("terraform", {}));
  auto state = magma::make_memory_state();
  Workspace w = workspace(dir, R"({"resource": {"terraform_data": {"a": {"input": "x"}}}, "output": {"o": {"value": "1"}}})");
  w.backend.kind = "local";
  write_text(w.directory + "/stranger.tf", "this is no configuration");
  write_text(w.directory + "/x.auto.tfvars", "nor this");
  auto plan = executor->plan(w, *state, {}, {});
  INFO((plan ? "" : plan.error().message()));
  REQUIRE(plan);
  auto applied = executor->apply(w, *state, *plan, {}, {});
  REQUIRE(applied);
  CHECK(applied->ok);
  CHECK(applied->serial_after > 0);
  CHECK(*state->read() == "");
  CHECK(path_exists(w.directory + "/terraform.tfstate"));
  CHECK(executor->outputs(w, *state, {})->find("o")->str_at({"value"}) == "1");
  CHECK(executor->plan(w, *state, {}, {})->model.empty());
}

TEST_CASE("both executors: the same models of magma's conformance cases") {
  if (!terraform_here()) return;
  // MAGMA_PROVIDER_DIR adds the cases that need a real provider's executable.
  const char* plugins = std::getenv("MAGMA_PROVIDER_DIR");
  ExecutorOptions options;
  options.registries = false;
  if (plugins != nullptr) options.plugin_dirs = {plugins};
  auto terraform = std::move(*make_executor("terraform", options)), magma_executor = std::move(*make_executor("magma", options));
  int compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(MAGMA_CASES) + "/cases")) {
    const std::string name = entry.path().filename().string();
    if (auto needs = read_file(entry.path().string() + "/needs");
        needs && (plugins == nullptr || !path_exists(std::string(plugins) + "/" + std::string(trim(*needs))))) {
      std::cout << "SKIPPED " << name << ": needs the provider " << trim(*needs) << ", and MAGMA_PROVIDER_DIR does not have it\n";
      continue;
    }
    std::set<std::string> steps;
    for (const auto& file : std::filesystem::directory_iterator(entry.path())) {
      if (file.path().string().ends_with(".tf.json") && !path_exists(file.path().string().substr(0, file.path().string().size() - 8) + ".flags"))
        steps.insert(file.path().string());
    }
    TempDir dir;
    // One state for both: what magma applies, both plan the next step from.
    auto state = magma::make_memory_state();
    for (const std::string& step : steps) {
      INFO(step);
      Workspace w = workspace(dir, *read_file(step), name);
      auto ours = magma_executor->plan(w, *state, {}, {});
      auto theirs = terraform->plan(w, *state, {}, {});
      INFO((ours ? "" : ours.error().message()));
      INFO((theirs ? "" : theirs.error().message()));
      CHECK(ours.has_value() == theirs.has_value());
      if (!ours || !theirs) continue;
      CHECK(flat(ours->model) == flat(theirs->model));
      ++compared;
      if (step.find("plan-only") == std::string::npos) {
        auto applied = magma_executor->apply(w, *state, *ours, {}, {});
        INFO((applied ? applied->status().message() : applied.error().message()));
        CHECK(applied);
      }
    }
  }
  CHECK(compared >= 8);
}

TEST_CASE("tofu: workspaces at once share a plugin cache") {
  if (!terraform_here()) return;
  TempDir dir;
  TestProvider provider;
  ExecutorOptions options = provider.options();
  options.plugin_cache_dir = dir.path("cache");
  auto executor = std::move(*make_executor("terraform", options));
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      auto state = magma::make_memory_state();
      auto plan = executor->plan(provider.workspace(dir, R"("a": {"name": "a"})", "w" + std::to_string(i)), *state, {}, {});
      good += plan && plan->model.summary() == "+1 ~0 -0" ? 1 : 0;
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(good == 4);
  CHECK(path_exists(dir.path("cache/example.com/test/test")));
}

TEST_CASE("backends are written out; what is wrong with them is named; credentials are in no configuration") {
  Backend pg{
      "pg",
      {{"host", "db.example"}, {"database", "state"}, {"schema", "pangea_dev-state_web"}, {"username", "u"}, {"password", "hunter-1"}, {"caCert", "PEM"}}};
  auto made = tofu_backend(pg, "/w");
  REQUIRE(made);
  const std::string text = json::dump(made->document);
  CHECK(text.find("hunter") == std::string::npos);
  CHECK(made->document.str_at({"terraform", "backend", "pg", "schema_name"}) == "pangea_dev-state_web");
  CHECK(made->document.str_at({"terraform", "backend", "pg", "conn_str"}) ==
        "postgres://db.example:5432/state?sslmode=verify-full&sslrootcert=%2Fw%2Fbackend-ca.pem");
  CHECK(made->environment == std::vector<std::string>{"PGUSER=u", "PGPASSWORD=hunter-1"});
  Backend s3{"s3", {{"bucket", "b"}, {"region", "r"}, {"key", "k/${x}"}, {"access_key", "AK"}, {"secret_key", "hunter-2"}}};
  made = tofu_backend(s3, "/w");
  REQUIRE(made);
  CHECK(json::dump(made->document).find("hunter") == std::string::npos);
  CHECK(made->document.str_at({"terraform", "backend", "s3", "key"}) == "k/$${x}");
  REQUIRE(made->files.size() == 1);
  CHECK(made->environment.empty());
  CHECK(tofu_backend({"etcd", {}}, "/w").error().message().find("cluster, local, pg, s3") != std::string::npos);
  CHECK(tofu_backend({"pg", {{"host", "h"}}}, "/w").error().message().find("database") != std::string::npos);
  CHECK(tofu_backend({"s3", {{"bucket", "b"}, {"region", "r"}, {"key", "k"}, {"passwd", "x"}}}, "/w").error().message().find("passwd") != std::string::npos);
  CHECK_FALSE(tofu_backend({"pg", {{"host", "h"}, {"database", "d"}, {"schema", "s"}, {"username", "a\nPGHOST=b"}}}, "/w"));
  ExecutorOptions options;
  options.program = "/nowhere/tofu";
  auto none = make_executor("tofu", options);
  REQUIRE_FALSE(none);
  CHECK(classify_failure(none.error()).kind == FailureKind::kProviderUnavailable);
}
