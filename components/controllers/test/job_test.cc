// Jobs, with the test as the kubelet.
#include <set>

#include "engenho/catalog/batch_v1.h"
#include "fixture.h"

using namespace engenho;
using controllers::testing::Cluster;
namespace core_v1 = k8s::core_v1;
namespace batch_v1 = k8s::batch_v1;

namespace {

batch_v1::Job job(const std::string& name, int parallelism, std::optional<int> completions) {
  batch_v1::Job j;
  j.metadata.name = name;
  j.metadata.namespace_ = "default";
  j.spec.parallelism = parallelism;
  j.spec.completions = completions;
  core_v1::Container c;
  c.name = "c";
  c.image = "image:1";
  j.spec.template_.spec.containers.push_back(c);
  j.spec.template_.spec.restart_policy = "Never";
  return j;
}

struct JobTest : Cluster {
  using Cluster::Cluster;
  batch_v1::Job get(const std::string& name) {
    auto j = client->get<batch_v1::Job>("default", name);
    REQUIRE(j);
    return *j;
  }
  bool has(const std::string& name, std::string_view type) {
    for (const auto& c : get(name).status.conditions) {
      if (c.type == type && c.status == "True") return true;
    }
    return false;
  }
  std::string reason(const std::string& name, std::string_view type) {
    for (const auto& c : get(name).status.conditions) {
      if (c.type == type) return c.reason;
    }
    return "";
  }
  // Its pods that have neither finished nor are going.
  std::vector<core_v1::Pod> active(const std::string& name) {
    std::vector<core_v1::Pod> out;
    for (auto& p : all<core_v1::Pod>("job-name=" + name)) {
      if (p.status.phase != "Succeeded" && p.status.phase != "Failed" && p.metadata.deletion_timestamp.is_zero()) out.push_back(p);
    }
    return out;
  }
  bool running(const std::string& name, size_t n) {
    return eventually<core_v1::Pod>([&] { return active(name).size() == n; });
  }
  bool until(const std::string& name, std::function<bool(const batch_v1::JobStatus&)> check) {
    return eventually<batch_v1::Job>([&] { return check(get(name).status); });
  }
};

}  // namespace

TEST_CASE("a job runs pods until enough have succeeded; each is counted once and let go", "[controllers][job]") {
  JobTest t;
  REQUIRE(t.client->create(job("j", 2, 3)));
  REQUIRE(t.running("j", 2));
  for (const auto& p : t.active("j")) {
    CHECK(p.metadata.finalizers == std::vector<std::string>{"batch.kubernetes.io/job-tracking"});
    REQUIRE(p.metadata.owner_references.size() == 1);
    CHECK(p.metadata.owner_references[0].kind == "Job");
  }
  REQUIRE(t.until("j", [](const auto& s) { return s.active == 2 && !s.start_time.is_zero(); }));
  t.set_phase(t.active("j")[0].metadata.name, "Succeeded");
  REQUIRE(t.until("j", [](const auto& s) { return s.succeeded == 1 && s.active == 2; }));
  for (const auto& p : t.active("j")) t.set_phase(p.metadata.name, "Succeeded");
  REQUIRE(t.until("j", [](const auto& s) { return s.succeeded == 3 && !s.completion_time.is_zero(); }));
  CHECK(t.has("j", "SuccessCriteriaMet"));
  CHECK(t.has("j", "Complete"));
  CHECK(t.get("j").status.active == 0);
  CHECK(t.all<core_v1::Pod>("job-name=j").size() == 3);
  for (const auto& p : t.all<core_v1::Pod>("job-name=j")) CHECK(p.metadata.finalizers.empty());
}

TEST_CASE("failures are counted, waited after and limited by backoffLimit", "[controllers][job]") {
  FakeClock clock(Clock::real().wall());
  JobTest t(clock);
  auto j = job("j", 1, 1);
  j.spec.backoff_limit = 1;
  REQUIRE(t.client->create(j));
  REQUIRE(t.running("j", 1));
  t.set_phase(t.active("j")[0].metadata.name, "Failed");
  REQUIRE(t.until("j", [](const auto& s) { return s.failed == 1 && s.active == 0; }));
  CHECK(t.active("j").empty());  // its clock stands still: the wait is not over
  clock.advance(std::chrono::seconds(15));
  REQUIRE(t.running("j", 1));
  t.set_phase(t.active("j")[0].metadata.name, "Failed");
  REQUIRE(t.until("j", [](const auto& s) { return s.failed == 2 && s.conditions.size() == 2; }));
  CHECK(t.reason("j", "FailureTarget") == "BackoffLimitExceeded");
  CHECK(t.reason("j", "Failed") == "BackoffLimitExceeded");
  clock.advance(std::chrono::hours(1));
  CHECK(t.active("j").empty());
}

TEST_CASE("an indexed job gives each pod its index and completes every one", "[controllers][job]") {
  JobTest t;
  auto j = job("j", 2, 3);
  j.spec.completion_mode = "Indexed";
  REQUIRE(t.client->create(j));
  REQUIRE(t.running("j", 2));
  std::set<std::string> indexes;
  for (const auto& p : t.active("j")) {
    const std::string index = p.metadata.annotations.at("batch.kubernetes.io/job-completion-index");
    indexes.insert(index);
    CHECK(p.metadata.labels.at("batch.kubernetes.io/job-completion-index") == index);
    CHECK(p.spec.hostname == "j-" + index);
    CHECK(p.metadata.name.starts_with("j-" + index + "-"));
    REQUIRE(p.spec.containers[0].env.size() == 1);
    CHECK(p.spec.containers[0].env[0].name == "JOB_COMPLETION_INDEX");
    CHECK(p.spec.containers[0].env[0].value_from->field_ref->field_path == "metadata.labels['batch.kubernetes.io/job-completion-index']");
  }
  CHECK(indexes == std::set<std::string>{"0", "1"});
  auto finish = [&](const std::string& index) {
    for (const auto& p : t.active("j")) {
      if (p.metadata.annotations.at("batch.kubernetes.io/job-completion-index") == index) t.set_phase(p.metadata.name, "Succeeded");
    }
  };
  finish("1");
  REQUIRE(t.until("j", [](const auto& s) { return s.completed_indexes == "1" && s.succeeded == 1; }));
  REQUIRE(t.running("j", 2));
  finish("2");
  finish("0");
  REQUIRE(t.until("j", [](const auto& s) { return s.completed_indexes == "0-2" && !s.completion_time.is_zero(); }));
  CHECK(t.get("j").status.succeeded == 3);
}

TEST_CASE("each index has failures of its own where backoffLimitPerIndex says so", "[controllers][job]") {
  FakeClock clock(Clock::real().wall());
  JobTest t(clock);
  auto j = job("j", 2, 2);
  j.spec.completion_mode = "Indexed";
  j.spec.backoff_limit_per_index = 1;
  REQUIRE(t.client->create(j));
  REQUIRE(t.running("j", 2));
  auto end = [&](const std::string& index, const char* phase) {
    for (const auto& p : t.active("j")) {
      if (p.metadata.annotations.at("batch.kubernetes.io/job-completion-index") == index) t.set_phase(p.metadata.name, phase);
    }
  };
  end("0", "Failed");
  REQUIRE(t.until("j", [](const auto& s) { return s.active == 1; }));
  clock.advance(std::chrono::seconds(15));
  REQUIRE(t.running("j", 2));
  for (const auto& p : t.active("j")) {
    const bool again = p.metadata.annotations.at("batch.kubernetes.io/job-completion-index") == "0";
    CHECK(p.metadata.annotations.at("batch.kubernetes.io/job-index-failure-count") == (again ? "1" : "0"));
  }
  end("0", "Failed");
  REQUIRE(t.until("j", [](const auto& s) { return s.failed_indexes == "0"; }));
  end("1", "Succeeded");
  REQUIRE(t.until("j", [](const auto& s) { return s.completed_indexes == "1" && s.conditions.size() == 2; }));
  CHECK(t.reason("j", "Failed") == "FailedIndexes");
  CHECK(t.get("j").status.failed == 2);
}

TEST_CASE("a suspended job has no pods; a deadline counts from its resumption", "[controllers][job]") {
  FakeClock clock(Clock::real().wall());
  JobTest t(clock);
  auto j = job("j", 2, 2);
  j.spec.suspend = true;
  j.spec.active_deadline_seconds = 100;
  REQUIRE(t.client->create(j));
  REQUIRE(t.eventually<batch_v1::Job>([&] { return t.has("j", "Suspended"); }));
  CHECK(t.active("j").empty());
  CHECK(t.get("j").status.start_time.is_zero());
  clock.advance(std::chrono::hours(1));
  REQUIRE(t.client->patch<batch_v1::Job>("default", "j", client::PatchType::kMerge, R"({"spec":{"suspend":false}})"));
  REQUIRE(t.running("j", 2));
  REQUIRE(t.eventually<batch_v1::Job>([&] { return !t.has("j", "Suspended"); }));
  REQUIRE(t.client->patch<batch_v1::Job>("default", "j", client::PatchType::kMerge, R"({"spec":{"suspend":true}})"));
  REQUIRE(t.running("j", 0));
  REQUIRE(t.eventually<core_v1::Pod>([&] { return t.all<core_v1::Pod>("job-name=j").empty(); }));
  CHECK(t.get("j").status.failed == 0);
  REQUIRE(t.client->patch<batch_v1::Job>("default", "j", client::PatchType::kMerge, R"({"spec":{"suspend":false}})"));
  REQUIRE(t.running("j", 2));
  REQUIRE(t.until("j", [](const auto& s) { return s.active == 2; }));
  clock.advance(std::chrono::seconds(101));
  REQUIRE(t.eventually<batch_v1::Job>([&] { return t.has("j", "Failed"); }));
  CHECK(t.reason("j", "Failed") == "DeadlineExceeded");
  REQUIRE(t.running("j", 0));
}

TEST_CASE("a podFailurePolicy ignores, counts or ends", "[controllers][job]") {
  JobTest t;
  auto j = job("j", 1, 1);
  j.spec.backoff_limit = 0;
  auto& rules = j.spec.pod_failure_policy.ensure().rules;
  rules.resize(2);
  rules[0].action = "Ignore";
  rules[0].on_pod_conditions.resize(1);
  rules[0].on_pod_conditions[0].type = "DisruptionTarget";
  rules[0].on_pod_conditions[0].status = "True";
  rules[1].action = "FailJob";
  rules[1].on_exit_codes.ensure().operator_ = "In";
  rules[1].on_exit_codes->values = {42};
  j.spec.backoff_limit = 3;
  auto created = t.client->create(j);
  INFO((created ? "" : created.error().to_string()));
  REQUIRE(created);
  REQUIRE(t.running("j", 1));
  t.set_pod(t.active("j")[0].metadata.name, [](core_v1::Pod& p) {
    p.status.phase = "Failed";
    core_v1::ContainerStatus c;
    c.name = "c";
    c.image = "image:1";
    c.state.terminated.ensure().exit_code = 42;
    c.state.terminated->finished_at = Clock::real().wall();
    p.status.container_statuses.push_back(c);
  });
  REQUIRE(t.eventually<batch_v1::Job>([&] { return t.has("j", "Failed"); }));
  CHECK(t.reason("j", "Failed") == "PodFailurePolicy");
  const auto conditions = t.get("j").status.conditions;
  CHECK(conditions.back().message.find("failed with exit code 42 matching FailJob rule at index 1") != std::string::npos);
}

TEST_CASE("pods of a deleted job go, finalizer or not; a finished one goes after its ttl", "[controllers][job]") {
  FakeClock clock(Clock::real().wall());
  JobTest t(clock);
  REQUIRE(t.client->create(job("gone", 2, 2)));
  REQUIRE(t.running("gone", 2));
  client::DeleteOptions background;
  background.propagation_policy = "Background";
  REQUIRE(t.client->remove<batch_v1::Job>("default", "gone", background).ok());
  REQUIRE(t.eventually<core_v1::Pod>([&] { return t.all<core_v1::Pod>("job-name=gone").empty(); }));

  auto j = job("ttl", 1, 1);
  j.spec.ttl_seconds_after_finished = 60;
  REQUIRE(t.client->create(j));
  REQUIRE(t.running("ttl", 1));
  t.set_phase(t.active("ttl")[0].metadata.name, "Succeeded");
  REQUIRE(t.eventually<batch_v1::Job>([&] { return t.has("ttl", "Complete"); }));
  clock.advance(std::chrono::seconds(30));
  CHECK(t.client->get<batch_v1::Job>("default", "ttl"));
  clock.advance(std::chrono::seconds(31));
  REQUIRE(t.eventually<batch_v1::Job>([&] { return !t.client->get<batch_v1::Job>("default", "ttl"); }));
  REQUIRE(t.eventually<core_v1::Pod>([&] { return t.all<core_v1::Pod>("job-name=ttl").empty(); }));
}

TEST_CASE("nothing is counted twice nor made twice over restarts of the controllers", "[controllers][job]") {
  JobTest t;
  REQUIRE(t.client->create(job("j", 5, 20)));
  for (int round = 0; round < 4; ++round) {
    REQUIRE(t.running("j", 5));
    for (const auto& p : t.active("j")) t.set_phase(p.metadata.name, "Succeeded");
    t.restart_controllers();
  }
  REQUIRE(t.until("j", [](const auto& s) { return !s.completion_time.is_zero(); }));
  CHECK(t.get("j").status.succeeded == 20);
  CHECK(t.all<core_v1::Pod>("job-name=j").size() == 20);
}
