// The interface, on the native executor. What both executors share is in both_executors_test.cc.
#include "engenho/pangea/executor.h"

#include <sys/stat.h>

#include <atomic>
#include <mutex>

#include "support.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;

namespace {

std::unique_ptr<Executor> magma_executor() {
  return std::move(*make_executor("magma", {}));
}

}  // namespace

TEST_CASE("an unknown executor is an error that lists the known ones") {
  auto made = make_executor("Pulumi", {});
  REQUIRE_FALSE(made);
  for (const char* part : {"Pulumi", "magma", "tofu", "terraform"}) CHECK(made.error().message().find(part) != std::string::npos);
  CHECK(make_executor("mgma", {}).error().message().find("Did you mean magma") != std::string::npos);
  CHECK(make_executor("MAGMA", {}));
}

TEST_CASE("plan, keep, read again, apply exactly that") {
  TempDir dir;
  auto executor = magma_executor();
  auto state = magma::make_memory_state();
  const Workspace w = workspace(
      dir,
      R"({"resource": {"terraform_data": {"a": {"input": "x"}, "b": {"input": "${terraform_data.a.id}"}}}, "output": {"o": {"value": "${terraform_data.a.output}"}}})");
  std::mutex mutex;
  std::vector<std::string> events;
  Run run;
  run.progress = [&](const Event& e) {
    std::lock_guard lock(mutex);
    if (e.step == Step::kDone) events.push_back(e.address);
  };
  auto plan = executor->plan(w, *state, {}, run);
  REQUIRE(plan);
  CHECK(plan->id.size() == 64);
  CHECK(plan->model.summary() == "+2 ~0 -0");
  CHECK(plan->providers.contains("terraform.io/builtin/terraform"));
  auto saved = SavedPlan::parse(plan->serialize());
  REQUIRE(saved);
  CHECK(saved->id == plan->id);
  CHECK(saved->serialize() == plan->serialize());
  CHECK(saved->model.changes.size() == 2);
  std::string bytes = plan->serialize();
  bytes.replace(bytes.find("terraform_data"), 9, "terrafarm");
  CHECK_FALSE(SavedPlan::parse(bytes));
  CHECK_FALSE(SavedPlan::parse("{}"));
  auto applied = executor->apply(w, *state, *saved, {}, run);
  REQUIRE(applied);
  CHECK(applied->status().message() == "");
  REQUIRE(applied->outcomes.size() == 2);
  CHECK(applied->outcomes[0].result == Outcome::Result::kDone);
  CHECK(applied->outcomes[0].started.time_since_epoch().count() > 0);
  CHECK(applied->outputs.find("o")->str_at({"value"}) == "x");
  CHECK(applied->serial_before == 0);
  CHECK(applied->serial_after > 0);
  CHECK_FALSE(applied->lineage.empty());
  CHECK(events == std::vector<std::string>{"terraform_data.a", "terraform_data.b"});
  CHECK((*executor->outputs(w, *state, run)).find("o")->str_at({"value"}) == "x");
  // Again it is stale, and the error says so by its type.
  auto again = executor->apply(w, *state, *saved, {}, run);
  REQUIRE_FALSE(again);
  CHECK(classify_failure(again.error()).kind == FailureKind::kStalePlan);
  CHECK(executor->plan(w, *state, {}, run)->model.empty());
}

TEST_CASE("the directory is private, the secret files go with the run") {
  TempDir dir;
  auto executor = magma_executor();
  auto state = magma::make_memory_state();
  Workspace w = workspace(dir, R"({"resource": {"terraform_data": {"a": {"input": "${sha256(file(\"${path.module}/key.pem\"))}"}}}})");
  w.secret_files["key.pem"] = "hunter-2 is my secret";
  auto plan = executor->plan(w, *state, {}, {});
  INFO((plan ? "" : plan.error().message()));
  REQUIRE(plan);
  struct stat info {};
  REQUIRE(stat(w.directory.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0700);
  CHECK_FALSE(path_exists(w.directory + "/key.pem"));
  for (const char* bad : {"../x", "a/b", "", ".", ".terraformrc", "main.tf", "x.tf.json", "terraform.tfstate", "x.auto.tfvars.json"}) {
    INFO(bad);
    Workspace other = w;
    other.secret_files[bad] = "x";
    CHECK_FALSE(executor->plan(other, *state, {}, {}));
  }
  for (const char* bad : {"LD_PRELOAD", "TF_CLI_ARGS", "PATH", "A=B", "", "9"}) {
    INFO(bad);
    Workspace other = w;
    other.environment[bad] = "x";
    CHECK_FALSE(executor->plan(other, *state, {}, {}));
  }
  std::filesystem::remove_all(w.directory);
  std::filesystem::create_directory_symlink(dir.path(), w.directory);
  CHECK_FALSE(executor->plan(w, *state, {}, {}));
}

TEST_CASE("provider blocks fill what the configuration leaves open, and mean themselves") {
  TempDir dir;
  auto executor = magma_executor();
  auto state = magma::make_memory_state();
  Workspace w = workspace(dir, R"({"provider": {"acme": {"region": "theirs"}}, "resource": {"acme_rocket": {"r": {}}}})");
  w.providers.set("acme", json::Object{{"region", "ours"}, {"token", "${var.x}-hunter-3"}});
  auto plan = executor->plan(w, *state, {}, {});
  REQUIRE_FALSE(plan);
  CHECK(plan.error().message().find("acme") != std::string::npos);
  CHECK(plan.error().message().find("hunter") == std::string::npos);
  CHECK(classify_failure(plan.error()).kind == FailureKind::kProviderUnavailable);
}

TEST_CASE("a block for a provider that is not used is left out") {
  TempDir dir;
  auto executor = magma_executor();
  auto state = magma::make_memory_state();
  Workspace w = workspace(dir, R"({"resource": {"terraform_data": {"acme_x": {}}}})");
  w.providers.set("acme", json::Object{{"token", "x"}});
  CHECK(executor->plan(w, *state, {}, {}));
  for (const char* config : {R"({"resource": {"acme_rocket": {"r": {}}}})", R"({"data": [{"acme": [{"r": {}}]}]})",
                             R"({"provider": {"acme": {}}, "resource": {"terraform_data": {"a": {"provider": "acme"}}}})",
                             R"({"resource": {"other_thing": {"a": {"provider": "acme.west"}}}})"}) {
    INFO(config);
    w.config = parse_json(config);
    CHECK_FALSE(executor->plan(w, *state, {}, {}));
  }
}

TEST_CASE("backends that magma does not have are refused by name; an empty document is too") {
  TempDir dir;
  auto executor = magma_executor();
  auto state = magma::make_memory_state();
  Workspace w = workspace(dir, R"({"resource": {"terraform_data": {"a": {}}}})");
  w.backend.kind = "pg";
  auto plan = executor->plan(w, *state, {}, {});
  REQUIRE_FALSE(plan);
  CHECK(plan.error().message().find("pg") != std::string::npos);
  w.backend.kind = "cluster";
  w.config = json::Object{};
  plan = executor->plan(w, *state, {}, {});
  REQUIRE_FALSE(plan);
  CHECK(classify_failure(plan.error()) == Failure{FailureKind::kEmptyWorkspace, FailureClass::kAbsolute});
}

TEST_CASE("what would run commands, or move the state, is refused whoever carries out the plan") {
  TempDir dir;
  auto executor = magma_executor();
  auto state = magma::make_memory_state();
  for (const char* config : {R"({"resource": {"terraform_data": {"a": {"provisioner": {"local-exec": {"command": "id"}}}}}})",
                             R"({"resource": [{"terraform_data": [{"a": [{"provisioner": []}]}]}]})",
                             R"({"terraform": {"backend": {"local": {}}}, "resource": {"terraform_data": {"a": {}}}})",
                             R"({"terraform": [{"cloud": {}}], "resource": {"terraform_data": {"a": {}}}})"}) {
    INFO(config);
    auto plan = executor->plan(workspace(dir, config), *state, {}, {});
    REQUIRE_FALSE(plan);
    CHECK((plan.error().message().find("provisioner") != std::string::npos || plan.error().message().find("PangeaNamespace") != std::string::npos));
  }
}

TEST_CASE("time runs out: what was begun is told, and the error says why") {
  TempDir dir;
  auto executor = magma_executor();
  auto state = magma::make_memory_state();
  const Workspace w =
      workspace(dir, R"({"resource": {"time_sleep": {"s": {"create_duration": "60s"}}, "terraform_data": {"after": {"input": "${time_sleep.s.id}"}}}})");
  auto plan = executor->plan(w, *state, {}, {});
  REQUIRE(plan);
  Run run;
  run.timeout = std::chrono::milliseconds(300);
  auto applied = executor->apply(w, *state, *plan, {}, run);
  REQUIRE(applied);
  CHECK_FALSE(applied->ok);
  CHECK(applied->failure.kind == FailureKind::kStopped);
  CHECK(applied->status().message().find("not finished within") != std::string::npos);
  REQUIRE(applied->outcomes.size() == 2);
  for (const Outcome& o : applied->outcomes) CHECK(o.result != Outcome::Result::kDone);
}

TEST_CASE("two runs in one directory exclude each other") {
  TempDir dir;
  auto executor = magma_executor();
  auto state = magma::make_memory_state();
  const Workspace w = workspace(dir, R"({"resource": {"time_sleep": {"s": {"create_duration": "60s"}}}})");
  auto plan = executor->plan(w, *state, {}, {});
  REQUIRE(plan);
  std::atomic<bool> begun{false};
  Run run;
  run.progress = [&](const Event& e) { begun = begun || e.step == Step::kStart; };
  std::thread first([&] { CHECK(executor->apply(w, *state, *plan, {}, run)); });
  CHECK(eventually([&] { return begun.load(); }));
  auto second = executor->plan(w, *state, {}, {});
  REQUIRE_FALSE(second);
  CHECK(classify_failure(second.error()).kind == FailureKind::kStateLocked);
  run.stop.request_stop();
  first.join();
}
