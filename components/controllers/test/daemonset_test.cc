// DaemonSets, with the test as the kubelets.
#include <set>

#include "engenho/catalog/apps_v1.h"
#include "fixture.h"

using namespace engenho;
using controllers::testing::Cluster;
namespace core_v1 = k8s::core_v1;
namespace apps_v1 = k8s::apps_v1;

namespace {

apps_v1::DaemonSet daemon_set(const std::string& name) {
  apps_v1::DaemonSet d;
  d.metadata.name = name;
  d.metadata.namespace_ = "default";
  d.spec.selector.ensure().match_labels["app"] = name;
  d.spec.template_.metadata.labels["app"] = name;
  core_v1::Container c;
  c.name = "c";
  c.image = "image:1";
  d.spec.template_.spec.containers.push_back(c);
  return d;
}

struct DaemonTest : Cluster {
  using Cluster::Cluster;
  void add_node(const std::string& name, const std::map<std::string, std::string>& labels = {}) {
    core_v1::Node n;
    n.metadata.name = name;
    n.metadata.labels = labels;
    auto made = client->create(n);
    REQUIRE(made);
    core_v1::NodeCondition ready;
    ready.type = "Ready";
    ready.status = "True";
    ready.last_heartbeat_time = ready.last_transition_time = Clock::real().wall();
    made->status.conditions.push_back(ready);
    REQUIRE(client->update_status(*made));
    // A new node is tainted until it is ready.
    REQUIRE(eventually<core_v1::Node>([&] {
      auto now = client->get<core_v1::Node>("", name);
      return now && now->spec.taints.empty();
    }));
  }
  apps_v1::DaemonSet get() {
    auto d = client->get<apps_v1::DaemonSet>("default", "d");
    REQUIRE(d);
    return *d;
  }
  // node -> image of its pods that stay.
  std::multiset<std::pair<std::string, std::string>> pods() {
    std::multiset<std::pair<std::string, std::string>> out;
    for (const auto& p : all<core_v1::Pod>("app=d")) {
      if (p.metadata.deletion_timestamp.is_zero()) out.emplace(node_of(p), p.spec.containers[0].image);
    }
    return out;
  }
  static std::string node_of(const core_v1::Pod& p) {
    return p.spec.affinity->node_affinity->required_during_scheduling_ignored_during_execution->node_selector_terms.at(0).match_fields.at(0).values.at(0);
  }
  bool become(const std::multiset<std::pair<std::string, std::string>>& wanted) {
    return eventually<core_v1::Pod>([&] { return pods() == wanted; });
  }
  void all_ready() {
    for (const auto& p : all<core_v1::Pod>("app=d")) set_ready(p.metadata.name);
  }
  bool status(std::function<bool(const apps_v1::DaemonSetStatus&)> check) {
    return eventually<apps_v1::DaemonSet>([&] { return check(get().status); });
  }
  void set_image(const std::string& image) {
    REQUIRE(client->patch<apps_v1::DaemonSet>("default", "d", client::PatchType::kStrategic,
                                              R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":")" + image + R"("}]}}}})"));
  }
};

}  // namespace

TEST_CASE("a daemon set has one pod on each node that takes it", "[controllers][daemonset]") {
  DaemonTest t;
  t.add_node("a", {{"disk", "ssd"}});
  t.add_node("b", {{"disk", "ssd"}});
  t.add_node("c");
  auto d = daemon_set("d");
  d.spec.template_.spec.node_selector["disk"] = "ssd";
  REQUIRE(t.client->create(d));
  REQUIRE(t.become({{"a", "image:1"}, {"b", "image:1"}}));
  const auto pod = t.all<core_v1::Pod>("app=d")[0];
  std::set<std::string> tolerated;
  for (const auto& toleration : pod.spec.tolerations) tolerated.insert(toleration.key + ":" + toleration.effect);
  for (const char* key : {"node.kubernetes.io/not-ready:NoExecute", "node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/unschedulable:NoSchedule",
                          "node.kubernetes.io/disk-pressure:NoSchedule", "node.kubernetes.io/memory-pressure:NoSchedule"}) {
    CHECK(tolerated.contains(key));
  }
  REQUIRE(t.status([](const auto& s) { return s.desired_number_scheduled == 2 && s.current_number_scheduled == 2 && s.number_ready == 0; }));
  t.all_ready();
  REQUIRE(
      t.status([](const auto& s) { return s.number_ready == 2 && s.number_available == 2 && s.number_unavailable == 0 && s.updated_number_scheduled == 2; }));

  // A node that comes to match, one that no longer does, a pod that is lost, one that fails.
  REQUIRE(t.client->patch<core_v1::Node>("", "c", client::PatchType::kMerge, R"({"metadata":{"labels":{"disk":"ssd"}}})"));
  REQUIRE(t.become({{"a", "image:1"}, {"b", "image:1"}, {"c", "image:1"}}));
  REQUIRE(t.client->patch<core_v1::Node>("", "a", client::PatchType::kMerge, R"({"metadata":{"labels":{"disk":"tape"}}})"));
  REQUIRE(t.become({{"b", "image:1"}, {"c", "image:1"}}));
  for (const char* how : {"deleted", "Failed"}) {
    std::string lost;
    for (const auto& p : t.all<core_v1::Pod>("app=d")) {
      if (DaemonTest::node_of(p) != "b") continue;
      lost = p.metadata.uid;
      if (how == std::string("Failed"))
        t.set_phase(p.metadata.name, how);
      else
        t.kill(p.metadata.name);
    }
    REQUIRE(t.eventually<core_v1::Pod>([&] {
      size_t others = 0;
      for (const auto& p : t.all<core_v1::Pod>("app=d")) others += p.metadata.uid != lost && p.metadata.deletion_timestamp.is_zero();
      return others == 2 && t.pods().size() == 2;
    }));
  }
  // A taint that it does not bear keeps it off; NoExecute drives it away.
  REQUIRE(t.client->patch<core_v1::Node>("", "c", client::PatchType::kMerge, R"({"spec":{"taints":[{"key":"x","effect":"NoExecute"}]}})"));
  REQUIRE(t.become({{"b", "image:1"}}));
}

TEST_CASE("a daemon set rolls node by node, keeps its history and goes back", "[controllers][daemonset]") {
  DaemonTest t;
  t.add_node("a");
  t.add_node("b");
  REQUIRE(t.client->create(daemon_set("d")));
  REQUIRE(t.become({{"a", "image:1"}, {"b", "image:1"}}));
  t.all_ready();
  REQUIRE(t.status([](const auto& s) { return s.number_available == 2; }));
  t.set_image("image:2");
  auto count = [&](const std::string& image) {
    size_t n = 0;
    for (const auto& [node, i] : t.pods()) n += i == image;
    return n;
  };
  REQUIRE(t.eventually<core_v1::Pod>([&] { return count("image:2") == 1; }));
  REQUIRE(t.status([](const auto& s) { return s.updated_number_scheduled == 1 && s.number_unavailable == 1 && s.observed_generation == 2; }));
  CHECK(count("image:1") == 1);  // it waits for the first
  t.all_ready();
  REQUIRE(t.eventually<core_v1::Pod>([&] { return count("image:2") == 2; }));
  t.all_ready();
  REQUIRE(t.status([](const auto& s) { return s.updated_number_scheduled == 2 && s.number_available == 2; }));

  auto revisions = t.all<apps_v1::ControllerRevision>("app=d");
  REQUIRE(revisions.size() == 2);
  std::sort(revisions.begin(), revisions.end(), [](const auto& a, const auto& b) { return a.revision < b.revision; });
  CHECK(revisions[0].revision == 1);
  CHECK(revisions[1].revision == 2);
  // As kubectl rollout undo does it.
  REQUIRE(t.client->patch<apps_v1::DaemonSet>("default", "d", client::PatchType::kStrategic, json::dump(revisions[0].data)));
  REQUIRE(t.eventually<core_v1::Pod>([&] { return count("image:1") == 1; }));
  t.all_ready();
  REQUIRE(t.become({{"a", "image:1"}, {"b", "image:1"}}));
  revisions = t.all<apps_v1::ControllerRevision>("app=d");
  CHECK(revisions.size() == 2);
  REQUIRE(t.eventually<apps_v1::ControllerRevision>([&] {
    for (const auto& r : t.all<apps_v1::ControllerRevision>("app=d")) {
      if (r.metadata.name == revisions[0].metadata.name || r.metadata.name == revisions[1].metadata.name) {
        if (r.revision == 3) return true;
      }
    }
    return false;
  }));
}

TEST_CASE("with maxSurge the new pod works before the old one goes; OnDelete waits for the user", "[controllers][daemonset]") {
  DaemonTest t;
  t.add_node("a");
  auto d = daemon_set("d");
  d.spec.update_strategy.type = "RollingUpdate";
  d.spec.update_strategy.rolling_update.ensure().max_surge = k8s::IntOrString(1);
  d.spec.update_strategy.rolling_update->max_unavailable = k8s::IntOrString(0);
  REQUIRE(t.client->create(d));
  REQUIRE(t.become({{"a", "image:1"}}));
  t.all_ready();
  t.set_image("image:2");
  REQUIRE(t.become({{"a", "image:1"}, {"a", "image:2"}}));
  t.all_ready();
  REQUIRE(t.become({{"a", "image:2"}}));

  REQUIRE(t.client->patch<apps_v1::DaemonSet>("default", "d", client::PatchType::kMerge,
                                              R"({"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}})"));
  t.set_image("image:3");
  REQUIRE(t.status([](const auto& s) { return s.observed_generation == 4 && s.updated_number_scheduled == 0; }));
  CHECK(t.pods() == std::multiset<std::pair<std::string, std::string>>{{"a", "image:2"}});
  for (const auto& p : t.all<core_v1::Pod>("app=d")) {
    t.kill(p.metadata.name);
  }
  REQUIRE(t.become({{"a", "image:3"}}));
}
