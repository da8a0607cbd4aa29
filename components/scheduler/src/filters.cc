#include "filters.h"

#include <algorithm>
#include <cmath>

#include "engenho/client/placement.h"

namespace engenho::scheduler {

namespace {

int64_t amount(const std::string& name, const k8s::Quantity& q) { return name == "cpu" ? q.milli_value() : q.value(); }

void add(Resources& to, const std::map<std::string, k8s::Quantity>& from) {
  for (const auto& [name, q] : from) to[name] += amount(name, q);
}
void raise(Resources& to, const Resources& from) {
  for (const auto& [name, n] : from) to[name] = std::max(to[name], n);
}

}  // namespace

Resources requests_of(const core_v1::Pod& pod) {
  Resources out;
  for (const core_v1::Container& c : pod.spec.containers) add(out, c.resources.requests);
  // Init containers run one after the other, beside the sidecars that started before them.
  Resources sidecars, peak;
  for (const core_v1::Container& c : pod.spec.init_containers) {
    Resources one;
    add(one, c.resources.requests);
    if (c.restart_policy.value_or("") == "Always") {
      for (const auto& [name, n] : one) {
        sidecars[name] += n;
        out[name] += n;
      }
      raise(peak, sidecars);
    } else {
      for (const auto& [name, n] : sidecars) one[name] += n;
      raise(peak, one);
    }
  }
  raise(out, peak);
  add(out, pod.spec.overhead);
  out["pods"] = 1;
  return out;
}

Resources allocatable_of(const core_v1::Node& node) {
  Resources out;
  add(out, node.status.allocatable.empty() ? node.status.capacity : node.status.allocatable);
  return out;
}

std::vector<NodeView::HostPort> host_ports(const core_v1::Pod& pod) {
  std::vector<NodeView::HostPort> out;
  for (const auto* list : {&pod.spec.containers, &pod.spec.init_containers}) {
    for (const core_v1::Container& c : *list) {
      for (const core_v1::ContainerPort& p : c.ports) {
        if (p.host_port != 0) out.push_back({p.host_ip.empty() ? "0.0.0.0" : p.host_ip, p.protocol.empty() ? "TCP" : p.protocol, p.host_port});
      }
    }
  }
  return out;
}

std::vector<std::string> reasons_against(const core_v1::Pod& pod, const Resources& requests, const NodeView& view) {
  const core_v1::Node& node = *view.node;
  if (node.spec.unschedulable) {
    core_v1::Taint t;
    t.key = "node.kubernetes.io/unschedulable";
    t.effect = "NoSchedule";
    if (!client::tolerates(pod.spec.tolerations, t)) return {"node(s) were unschedulable"};
  }
  if (!pod.spec.node_name.empty() && pod.spec.node_name != node.metadata.name) return {"node(s) didn't match the requested node name"};
  for (const core_v1::Taint& t : node.spec.taints) {
    if (t.effect != "NoSchedule" && t.effect != "NoExecute") continue;
    if (!client::tolerates(pod.spec.tolerations, t)) return {"node(s) had untolerated taint(s)"};
  }
  if (!client::affinity_holds(pod.spec, node)) return {"node(s) didn't match Pod's node affinity/selector"};
  for (const auto& p : host_ports(pod)) {
    for (const auto& used : view.ports) {
      const bool same_ip = p.ip == used.ip || p.ip == "0.0.0.0" || used.ip == "0.0.0.0";
      if (same_ip && p.port == used.port && p.protocol == used.protocol) return {"node(s) didn't have free ports for the requested pod ports"};
    }
  }
  std::vector<std::string> out;
  for (const auto& [name, n] : requests) {
    if (n == 0) continue;
    auto have = view.allocatable.find(name);
    auto taken = view.requested.find(name);
    const int64_t free = (have == view.allocatable.end() ? 0 : have->second) - (taken == view.requested.end() ? 0 : taken->second);
    if (n > free) out.push_back(name == "pods" ? "Too many pods" : "Insufficient " + name);
  }
  return out;
}

int64_t score(const core_v1::Pod& pod, const Resources& requests, const NodeView& view) {
  // LeastAllocated and BalancedAllocation over cpu and memory, each 0 to 100; preferred affinity and tainted nodes on top.
  double free_sum = 0, fractions[2] = {0, 0};
  int i = 0;
  for (const char* name : {"cpu", "memory"}) {
    auto get = [&](const Resources& r) {
      auto it = r.find(name);
      return it == r.end() ? int64_t{0} : it->second;
    };
    const double capacity = static_cast<double>(get(view.allocatable));
    const double used = static_cast<double>(get(view.requested) + get(requests));
    fractions[i] = capacity > 0 ? std::min(1.0, used / capacity) : 1.0;
    free_sum += 100.0 * (1.0 - fractions[i]);
    ++i;
  }
  double total = free_sum / 2 + 100.0 * (1.0 - std::fabs(fractions[0] - fractions[1]) / 2);
  if (pod.spec.affinity && pod.spec.affinity->node_affinity) {
    for (const auto& p : pod.spec.affinity->node_affinity->preferred_during_scheduling_ignored_during_execution) {
      if (client::matches_term(p.preference, *view.node)) total += 2.0 * p.weight;
    }
  }
  for (const core_v1::Taint& t : view.node->spec.taints) {
    if (t.effect == "PreferNoSchedule" && !client::tolerates(pod.spec.tolerations, t)) total -= 300;
  }
  return static_cast<int64_t>(total);
}

}  // namespace engenho::scheduler
