// For the crash test: a whole cluster in one process (store, API server) and an apply in it through a state in the cluster. To be killed at any point and
// started again on the same data. What was being created when it died may or may not exist; here one can look, as a person would.
//
//   pangea_crash_tool DATA WORKSPACE PLUGINS CLOUD THINGS EXECUTOR
#include <iostream>
#include <map>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/pangea/cluster_state.h"
#include "in_process.h"

using namespace engenho;
using namespace engenho::pangea;

namespace {

int fail(const std::string& what) {
  std::cerr << what << std::endl;
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  const std::string data = argv[1], directory = argv[2], cloud = argv[4], name = argv[6];
  testing::InProcess cluster(data);
  ClusterStateOptions options;
  options.lease = std::chrono::seconds(1);
  ClusterState state(cluster.client(), {"dev-state", "default", "web"}, options);
  ExecutorOptions how;
  how.plugin_dirs = {argv[3]};
  how.registries = false;
  if (name != "magma") how.parallelism = 2;
  auto executor = make_executor(name, how);
  if (!executor) return fail(executor.error().message());
  Workspace w;
  w.name = "web";
  w.directory = directory;
  w.config =
      *json::parse(R"({"terraform": {"required_providers": {"test": {"source": "example.com/test/test"}}}, "resource": {"test_thing": {"t": {"count": )" +
                   std::string(argv[5]) + R"(, "name": "t${count.index}", "mode": "slow"}}}})");
  w.environment["TEST_PROVIDER_CLOUD"] = cloud;
  // The lock of the one that was killed runs out.
  for (const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);;) {
    auto holder = state.holder();
    if (holder && !*holder) break;
    if (std::chrono::steady_clock::now() > limit) return fail("the lock does not run out");
    std::this_thread::yield();
  }
  if (name != "magma") {
    // What a child of the killed process still does in the directory, it does to the end; then there is a new plan.
    for (const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);;) {
      auto plan = (*executor)->plan(w, state, {}, {});
      if (!plan && classify_failure(plan.error()).kind == FailureKind::kStateLocked && std::chrono::steady_clock::now() < limit) {
        (void)StopToken().wait_for(std::chrono::milliseconds(50));
        continue;
      }
      if (!plan) return fail("plan: " + plan.error().message());
      auto result = (*executor)->apply(w, state, *plan, {}, {});
      if (!result) return fail("apply: " + result.error().message());
      return result->ok ? 0 : fail("apply: " + result->status().message());
    }
  }
  std::string saved;
  if (auto bytes = read_file(data + "/plan")) {
    saved = std::move(*bytes);
  } else {
    auto plan = (*executor)->plan(w, state, {}, {});
    if (!plan) return fail(plan.error().message());
    saved = plan->serialize();
    if (Status s = write_file_atomic(data + "/plan", saved, 0600); !s.ok()) return fail(s.message());
  }
  auto cursor = state.read_cursor();
  auto document = state.read();
  if (!cursor || !document) return fail("the state cannot be read");
  std::set<std::string> open, there;
  for (const std::string& line : *cursor) {
    auto entry = json::parse(line);
    if (!entry) return fail("a damaged line in the cursor: " + line);
    if (entry->str_at({"action"}) == "create") open.emplace(entry->str_at({"begin"}));
    if (entry->get("end") != nullptr) open.erase(std::string(entry->str_at({"end"})));
  }
  if (!document->empty()) {
    const json::Value now = *json::parse(*document);
    for (const json::Value& r : now.get("resources")->items()) {
      for (const json::Value& i : r.get("instances")->items()) there.insert("test_thing.t[" + std::to_string(i.get("index_key")->int_or(-1)) + "]");
    }
  }
  std::map<std::string, std::string> ids;
  for (const auto& file : std::filesystem::directory_iterator(cloud)) {
    if (file.path().extension() != ".json") continue;
    auto thing = json::parse(*read_file(file.path().string()));
    if (thing) ids[std::string(thing->str_at({"name"}))] = thing->str_at({"id"});
  }
  ApplyOptions apply;
  for (const std::string& address : open) {
    if (there.contains(address)) continue;
    const std::string name = "t" + address.substr(address.find('[') + 1, address.size() - address.find('[') - 2);
    if (!ids.contains(name)) {
      apply.retry_interrupted.push_back(address);
      continue;
    }
    if (Status s = (*executor)->import(w, state, address, ids[name], {}); !s.ok()) return fail("import: " + s.message());
  }
  auto result = (*executor)->apply(w, state, *SavedPlan::parse(saved), apply, {});
  if (!result) return fail("apply: " + result.error().message());
  if (!result->ok) return fail("apply: " + result->status().message());
  return 0;
}
