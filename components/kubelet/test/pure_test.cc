#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/testing/catch.h"
#include "lifecycle.h"
#include "logs.h"
#include "pause_image.h"
#include "pod_worker.h"
#include "runtime_config.h"
#include "volumes.h"

namespace engenho::kubelet {

namespace {

class FakeCluster final : public Cluster {
 public:
  Result<core_v1::ConfigMap> config_map(const std::string&, const std::string& name) override {
    auto it = config_maps.find(name);
    if (it == config_maps.end()) return err(not_found_error("configmaps \"" + name + "\" not found"));
    return it->second;
  }
  Result<core_v1::Secret> secret(const std::string&, const std::string& name) override {
    auto it = secrets.find(name);
    if (it == secrets.end()) return err(not_found_error("secrets \"" + name + "\" not found"));
    return it->second;
  }
  Result<core_v1::PersistentVolume> bound_volume(const std::string&, const std::string&) override { return err(unavailable("not bound")); }
  std::vector<std::shared_ptr<const core_v1::Service>> services(const std::string& ns) override {
    std::vector<std::shared_ptr<const core_v1::Service>> out;
    for (const auto& s : all_services) {
      if (s->metadata.namespace_ == ns) out.push_back(s);
    }
    return out;
  }
  Result<Token> token(const Pod&, const std::string&, int64_t seconds) override {
    if (tokens_fail) return err(unavailable("the API server is away"));
    return Token{"t" + std::to_string(++tokens), clock.wall() + std::chrono::seconds(seconds)};
  }
  int64_t allocatable_milli_cpu() const override { return 2000; }
  int64_t allocatable_memory() const override { return 1 << 30; }
  std::map<std::string, core_v1::ConfigMap> config_maps;
  std::map<std::string, core_v1::Secret> secrets;
  std::vector<std::shared_ptr<const core_v1::Service>> all_services;
  FakeClock clock;
  int tokens = 0;
  bool tokens_fail = false;
};

struct TempDir {
  TempDir() {
    char name[] = "/tmp/engenho-kubelet-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempDir() { (void)unmount_and_remove(path); }
  std::string path;
};

Pod make_pod(const std::string& restart_policy) {
  Pod pod;
  pod.metadata.name = "p";
  pod.metadata.namespace_ = "ns";
  pod.metadata.uid = "u-1";
  pod.spec.restart_policy = restart_policy;
  pod.spec.containers.emplace_back();
  pod.spec.containers.back().name = "c";
  pod.spec.containers.back().image = "busybox:1";
  return pod;
}

rt::ContainerStatus container(const std::string& name, rt::ContainerState state, int exit_code = 0, uint32_t attempt = 0) {
  rt::ContainerStatus out;
  out.set_id(name + std::to_string(attempt));
  out.mutable_metadata()->set_name(name);
  out.mutable_metadata()->set_attempt(attempt);
  out.set_state(state);
  out.set_exit_code(exit_code);
  out.set_started_at(1'000'000'000);
  if (state == rt::CONTAINER_EXITED) out.set_finished_at(2'000'000'000);
  return out;
}

core_v1::PodStatus status(const Pod& pod, std::vector<rt::ContainerStatus> containers, bool terminating = false, std::map<std::string, Waiting> waiting = {}) {
  RuntimePod runtime;
  runtime.sandboxes.emplace_back();
  runtime.sandboxes.back().set_state(rt::SANDBOX_READY);
  runtime.containers = std::move(containers);
  NodeFacts facts;
  facts.node_address = "192.0.2.1";
  StatusInputs in{pod, runtime, facts, waiting, {}, {}, "10.42.0.9", terminating, "", "", WallTime(std::chrono::seconds(100))};
  return make_status(in);
}

std::string condition(const core_v1::PodStatus& s, const std::string& type) {
  for (const auto& c : s.conditions) {
    if (c.type == type) return c.status;
  }
  return "";
}

}  // namespace

TEST_CASE("variables are expanded as upstream does") {
  const std::map<std::string, std::string> v = {{"A", "1"}, {"B", "$(A)"}};
  CHECK(expand_variables("$(A)-$(B)-$(C)-$$(A)-$x-$", v) == "1-$(A)-$(C)-$(A)-$x-$");
  CHECK(expand_variables("$(A", v) == "$(A");
}

TEST_CASE("environment: order, sources, services") {
  FakeCluster cluster;
  cluster.config_maps["m"].data = {{"k", "v"}, {"x=y", "dropped"}};
  cluster.secrets["s"].data = {{"pw", "geheim"}};
  auto service = std::make_shared<core_v1::Service>();
  service->metadata.name = "my-svc";
  service->metadata.namespace_ = "ns";
  service->spec.cluster_ip = "10.43.0.5";
  service->spec.ports.emplace_back();
  service->spec.ports.back().port = 80;
  cluster.all_services.push_back(service);
  Pod pod = make_pod("Always");
  auto& c = pod.spec.containers[0];
  c.env_from.emplace_back();
  c.env_from.back().prefix = "P_";
  c.env_from.back().config_map_ref.ensure().name = "m";
  auto add = [&c](const std::string& name) -> core_v1::EnvVar& {
    c.env.emplace_back();
    c.env.back().name = name;
    return c.env.back();
  };
  add("URL").value = "http://$(MY_SVC_SERVICE_HOST)/$(P_k)";
  auto& secret = add("PW").value_from.ensure().secret_key_ref.ensure();
  secret.name = "s";
  secret.key = "pw";
  add("IP").value_from.ensure().field_ref.ensure().field_path = "status.podIP";
  add("CPU").value_from.ensure().resource_field_ref.ensure().resource = "limits.cpu";
  auto made = make_environment(pod, c, {"192.0.2.1", "10.42.0.9"}, cluster);
  REQUIRE(made);
  std::map<std::string, std::string> env(made->begin(), made->end());
  CHECK(env["URL"] == "http://10.43.0.5/v");
  CHECK(env["PW"] == "geheim");
  CHECK(env["IP"] == "10.42.0.9");
  CHECK(env["CPU"] == "2");
  CHECK(env["MY_SVC_PORT_80_TCP_ADDR"] == "10.43.0.5");
  CHECK_FALSE(env.contains("P_x=y"));
  secret.key = "missing";
  CHECK_FALSE(make_environment(pod, c, {}, cluster));
  secret.optional = true;
  CHECK(make_environment(pod, c, {}, cluster));
}

TEST_CASE("files of a volume change all at once and never leave it") {
  TempDir dir;
  REQUIRE(write_files_atomic(dir.path, {{"a", {"1", 0644}}, {"sub/b", {"2", 0400}}}, -1).ok());
  CHECK(*read_file(dir.path + "/a") == "1");
  CHECK(*read_file(dir.path + "/sub/b") == "2");
  char target[256];
  const ssize_t n = readlink((dir.path + "/..data").c_str(), target, sizeof target);
  REQUIRE(n > 0);
  const std::string first(target, static_cast<size_t>(n));
  REQUIRE(write_files_atomic(dir.path, {{"a", {"1", 0644}}, {"sub/b", {"2", 0400}}}, -1).ok());
  CHECK(std::string(target, static_cast<size_t>(readlink((dir.path + "/..data").c_str(), target, sizeof target))) == first);   // nothing to do
  REQUIRE(write_files_atomic(dir.path, {{"c", {"3", 0644}}}, -1).ok());
  CHECK_FALSE(path_exists(dir.path + "/a"));
  CHECK(*read_file(dir.path + "/c") == "3");
  CHECK_FALSE(path_exists(dir.path + "/" + first));
  CHECK_FALSE(write_files_atomic(dir.path, {{"../x", {"", 0644}}}, -1).ok());
  CHECK_FALSE(write_files_atomic(dir.path, {{"a/../../x", {"", 0644}}}, -1).ok());
  CHECK_FALSE(write_files_atomic(dir.path, {{"/x", {"", 0644}}}, -1).ok());
}

TEST_CASE("a token is renewed when four fifths of its life are over, and kept while it cannot be") {
  if (geteuid() != 0) {
    WARN("skipped: needs root, for a tmpfs");
    return;
  }
  TempDir dir;
  FakeCluster cluster;
  Pod pod = make_pod("Always");
  pod.spec.volumes.emplace_back();
  pod.spec.volumes.back().name = "v";
  auto& source = pod.spec.volumes.back().projected.ensure().sources.emplace_back();
  source.service_account_token.ensure().path = "token";
  source.service_account_token->expiration_seconds = 600;
  auto volumes = std::make_unique<VolumeManager>(dir.path, cluster, cluster.clock);
  WallTime renew_at{};
  const auto token = [&]() -> std::string {
    auto made = volumes->ensure(pod, {});
    REQUIRE(made);
    renew_at = made->renew_at;
    return *read_file(made->host_paths.at("v") + "/token");
  };
  const WallTime begin = cluster.clock.wall();
  CHECK(token() == "t1");
  CHECK(renew_at == begin + std::chrono::seconds(480));
  cluster.clock.advance(std::chrono::seconds(479));
  CHECK(token() == "t1");
  volumes = std::make_unique<VolumeManager>(dir.path, cluster, cluster.clock);   // a restart
  CHECK(token() == "t1");
  cluster.clock.advance(std::chrono::seconds(1));
  CHECK(token() == "t2");
  CHECK(renew_at == begin + std::chrono::seconds(960));

  cluster.tokens_fail = true;
  cluster.clock.advance(std::chrono::seconds(590));
  CHECK(token() == "t2");                                       // overdue, and valid for ten seconds more
  cluster.clock.advance(std::chrono::seconds(10));
  CHECK_FALSE(volumes->ensure(pod, {}));
  cluster.tokens_fail = false;
  CHECK(token() == "t3");

  // Killed after the times were written and before the volume was: the times are of another token.
  const std::string path = volumes->ensure(pod, {})->host_paths.at("v");
  REQUIRE(write_files_atomic(path, {{"token", {"t2", 0644}}}, -1).ok());
  CHECK(token() == "t4");

  // The longest that one is used is a day.
  source.service_account_token->expiration_seconds = 7 * 86400;
  source.service_account_token->path = "long";
  (void)volumes->ensure(pod, {});
  CHECK(*read_file(path + "/long") == "t5");
  cluster.clock.advance(std::chrono::hours(24));
  (void)volumes->ensure(pod, {});
  CHECK(*read_file(path + "/long") == "t6");
}

TEST_CASE("a long log is rotated, and followed over it") {
  TempDir dir;
  const std::string path = dir.path + "/0.log";
  const auto line = [](const std::string& text) { return "2026-01-01T00:00:01Z stdout F " + text + "\n"; };
  int opened = 0;
  const auto reopen = [&] {
    ++opened;
    return write_file_atomic(path, line("after " + std::to_string(opened)), 0600);
  };
  CHECK_FALSE(*rotate_log(path, 10, 5, reopen));
  REQUIRE(write_file_atomic(path, line("first"), 0600).ok());
  CHECK_FALSE(*rotate_log(path, 1000, 5, reopen));
  for (int i = 1; i <= 6; ++i) CHECK(*rotate_log(path, 10, 5, reopen));
  CHECK(*read_file(path) == line("after 6"));
  for (int i = 1; i <= 4; ++i) CHECK(*read_file(path + "." + std::to_string(i)) == line("after " + std::to_string(6 - i)));
  CHECK_FALSE(path_exists(path + ".5"));
  CHECK_FALSE(rotate_log(path, 10, 5, [] { return unavailable("the runtime is away"); }));
  CHECK(*read_file(path) == line("after 6"));
  CHECK_FALSE(path_exists(path + ".1"));

  // Whoever follows sees what came to the old file, also just after it was rotated, and then the new one.
  std::string seen;
  bool runs = true;
  LogOptions follow;
  follow.follow = true;
  const Status followed = read_log(path, follow, [&] { return runs; }, StopToken(), [&](std::string_view text) {
    seen += text;
    if (seen == "after 6\n") {
      std::ofstream(path, std::ios::app) << line("the last of it");
      CHECK(*rotate_log(path, 10, 5, reopen));
    } else if (seen.ends_with("the last of it\n")) {
      std::ofstream(path + ".1", std::ios::app) << line("and what was on its way");
    } else {
      runs = seen.find("after 7") == std::string::npos;
    }
    return true;
  });
  CHECK(followed.ok());
  CHECK(seen == "after 6\nthe last of it\nand what was on its way\nafter 7\n");
  remove_log(path);
  CHECK(std::filesystem::is_empty(dir.path));
}

TEST_CASE("log records, tails and limits") {
  LogRecord r;
  REQUIRE(parse_log_record("2026-01-01T00:00:00Z stdout F hello world", r));
  CHECK(r.text == "hello world");
  CHECK_FALSE(r.partial);
  REQUIRE(parse_log_record("2026-01-01T00:00:00Z stderr P part", r));
  CHECK(r.partial);
  CHECK_FALSE(parse_log_record("garbage", r));
  TempDir dir;
  const std::string path = dir.path + "/0.log";
  REQUIRE(write_file_atomic(path, "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stdout P tw\n2026-01-01T00:00:02Z stdout F o\n2026-01-01T00:00:03Z stderr F three\n", 0600).ok());
  auto read = [&](LogOptions o) {
    std::string out;
    CHECK(read_log(path, o, [] { return false; }, StopToken(), [&](std::string_view s) { out += s; return true; }).ok());
    return out;
  };
  CHECK(read({}) == "one\ntwo\nthree\n");
  LogOptions o;
  o.tail_lines = 1;
  CHECK(read(o) == "three\n");
  o.tail_lines = 0;
  CHECK(read(o).empty());
  o = {};
  o.limit_bytes = 5;
  CHECK(read(o) == "one\nt");
  o = {};
  o.timestamps = true;
  o.since = *parse_rfc3339("2026-01-01T00:00:02Z");
  CHECK(read(o) == "2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n");
  o = {};
  o.stream = "stderr";
  o.follow = true;
  CHECK(read(o) == "three\n");
  CHECK(last_log_lines(path, 1, 100) == "three\n");
}

TEST_CASE("hosts file and sandbox") {
  Pod pod = make_pod("Always");
  pod.spec.host_aliases.emplace_back();
  pod.spec.host_aliases.back().ip = "1.2.3.4";
  pod.spec.host_aliases.back().hostnames = {"a", "b"};
  const std::string text = hosts_file(pod, "10.42.0.9", "cluster.local");
  CHECK(text.find("10.42.0.9\tp\n") != std::string::npos);
  CHECK(text.find("1.2.3.4\ta\tb\n") != std::string::npos);
  NodeFacts facts;
  facts.cluster_dns = "10.43.0.10";
  facts.cluster_domain = "cluster.local";
  const auto config = sandbox_config(facts, pod, 0);
  CHECK(config.dns_config().servers(0) == "10.43.0.10");
  CHECK(config.dns_config().searches(0) == "ns.svc.cluster.local");
  CHECK(config.linux().cgroup_parent() == "/kubepods/besteffort/podu-1");
}

TEST_CASE("phases and conditions") {
  Pod pod = make_pod("Always");
  CHECK(status(pod, {}).phase == "Pending");
  auto s = status(pod, {container("c", rt::CONTAINER_RUNNING)});
  CHECK(s.phase == "Running");
  CHECK(condition(s, "Ready") == "True");
  CHECK(s.pod_ip == "10.42.0.9");
  s = status(pod, {container("c", rt::CONTAINER_EXITED, 1)}, false, {{"c", {"CrashLoopBackOff", "x"}}});
  CHECK(s.phase == "Running");
  CHECK(condition(s, "Ready") == "False");
  CHECK(s.container_statuses[0].state.waiting->reason == "CrashLoopBackOff");
  CHECK(s.container_statuses[0].last_state.terminated->exit_code == 1);
  pod.spec.restart_policy = "Never";
  CHECK(status(pod, {container("c", rt::CONTAINER_EXITED, 1)}).phase == "Failed");
  CHECK(status(pod, {container("c", rt::CONTAINER_EXITED, 0)}).phase == "Succeeded");
  pod.spec.restart_policy = "OnFailure";
  CHECK(status(pod, {container("c", rt::CONTAINER_EXITED, 1)}).phase == "Running");
  CHECK(status(pod, {container("c", rt::CONTAINER_EXITED, 1)}, true).phase == "Failed");
  pod.status.phase = "Succeeded";
  CHECK(status(pod, {container("c", rt::CONTAINER_RUNNING)}).phase == "Succeeded");   // an ended pod never comes back
}

TEST_CASE("init containers gate the pod; a sidecar must start and is no gate at the end") {
  Pod pod = make_pod("Never");
  pod.spec.init_containers.emplace_back();
  pod.spec.init_containers.back().name = "i";
  auto s = status(pod, {container("i", rt::CONTAINER_RUNNING)});
  CHECK(s.phase == "Pending");
  CHECK(condition(s, "Initialized") == "False");
  CHECK(s.container_statuses[0].state.waiting->reason == "PodInitializing");
  CHECK(status(pod, {container("i", rt::CONTAINER_EXITED, 2)}).phase == "Failed");
  s = status(pod, {container("c", rt::CONTAINER_RUNNING), container("i", rt::CONTAINER_EXITED, 0)});
  CHECK(s.phase == "Running");
  CHECK(condition(s, "Initialized") == "True");
  pod.spec.init_containers[0].restart_policy = "Always";
  s = status(pod, {container("c", rt::CONTAINER_EXITED, 0), container("i", rt::CONTAINER_RUNNING)});
  CHECK(s.phase == "Succeeded");
}

TEST_CASE("the pause image is the same every time") {
  const std::string tar = pause_image_tar();
  CHECK(tar.size() % 512 == 0);
  CHECK(tar == pause_image_tar());
  CHECK(tar.find("\x7f" "ELF") != std::string::npos);
}

}  // namespace engenho::kubelet
