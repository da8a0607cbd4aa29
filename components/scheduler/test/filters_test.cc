#include "filters.h"

#include "engenho/testing/catch.h"

using namespace engenho::scheduler;

namespace {
core_v1::Pod pod(const char* cpu, const char* memory) {
  core_v1::Pod p;
  core_v1::Container c;
  c.name = "c";
  c.resources.requests = {{"cpu", cpu}, {"memory", memory}};
  p.spec.containers.push_back(c);
  return p;
}
NodeView node(const char* cpu, const char* memory) {
  auto n = std::make_shared<core_v1::Node>();
  n->metadata.name = "n";
  n->metadata.labels["zone"] = "a";
  n->status.allocatable = {{"cpu", cpu}, {"memory", memory}, {"pods", "2"}};
  NodeView v;
  v.node = n;
  v.allocatable = allocatable_of(*n);
  return v;
}
core_v1::Node& writable(NodeView& v) { return const_cast<core_v1::Node&>(*v.node); }
std::vector<std::string> why(const core_v1::Pod& p, const NodeView& v) { return reasons_against(p, requests_of(p), v); }
}  // namespace

TEST_CASE("resources: exactly what is left fits, one more does not", "[scheduler]") {
  NodeView v = node("1", "1Gi");
  CHECK(why(pod("1", "1Gi"), v).empty());
  v.requested = {{"cpu", 1}, {"memory", 0}};
  CHECK(why(pod("1", "1Gi"), v) == std::vector<std::string>{"Insufficient cpu"});
  v.requested = {{"pods", 2}};
  CHECK(why(pod("1m", "1Mi"), v) == std::vector<std::string>{"Too many pods"});
}

TEST_CASE("init containers count by their maximum, sidecars always", "[scheduler]") {
  core_v1::Pod p = pod("100m", "1Mi");
  core_v1::Container init;
  init.resources.requests = {{"cpu", "500m"}};
  p.spec.init_containers.push_back(init);
  CHECK(requests_of(p)["cpu"] == 500);
  init.resources.requests = {{"cpu", "300m"}};
  init.restart_policy = "Always";
  p.spec.init_containers.insert(p.spec.init_containers.begin(), init);
  CHECK(requests_of(p)["cpu"] == 800);
}

TEST_CASE("taints, tolerations, selectors, affinity", "[scheduler]") {
  NodeView v = node("1", "1Gi");
  core_v1::Taint t;
  t.key = "k";
  t.value = "v";
  t.effect = "NoSchedule";
  writable(v).spec.taints.push_back(t);
  core_v1::Pod p = pod("1m", "1Mi");
  CHECK(why(p, v).size() == 1);
  core_v1::Toleration o;
  o.key = "k";
  o.operator_ = "Equal";
  o.value = "v";
  p.spec.tolerations.push_back(o);
  CHECK(why(p, v).empty());
  p.spec.node_selector["zone"] = "b";
  CHECK(why(p, v).size() == 1);
  p.spec.node_selector["zone"] = "a";
  core_v1::NodeSelectorTerm term;
  term.match_expressions.emplace_back();
  term.match_expressions[0].key = "zone";
  term.match_expressions[0].operator_ = "NotIn";
  term.match_expressions[0].values = {"a"};
  p.spec.affinity.ensure().node_affinity.ensure().required_during_scheduling_ignored_during_execution.ensure().node_selector_terms.push_back(term);
  CHECK(why(p, v).size() == 1);
}

TEST_CASE("host ports conflict on address, protocol and port", "[scheduler]") {
  NodeView v = node("1", "1Gi");
  v.ports = {{"127.0.0.1", "TCP", 80}};
  core_v1::Pod p = pod("1m", "1Mi");
  core_v1::ContainerPort port;
  port.host_port = 80;
  p.spec.containers[0].ports.push_back(port);
  CHECK(why(p, v).size() == 1);  // 0.0.0.0 meets every address
  p.spec.containers[0].ports[0].host_ip = "127.0.0.2";
  CHECK(why(p, v).empty());
  p.spec.containers[0].ports[0].host_ip = "127.0.0.1";
  p.spec.containers[0].ports[0].protocol = "UDP";
  CHECK(why(p, v).empty());
}
