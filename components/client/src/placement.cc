#include "engenho/client/placement.h"

#include <algorithm>

namespace engenho::client {

namespace core_v1 = k8s::core_v1;

namespace {

bool requirement_holds(const core_v1::NodeSelectorRequirement& r, const std::string* value) {
  auto among = [&] { return value != nullptr && std::find(r.values.begin(), r.values.end(), *value) != r.values.end(); };
  if (r.operator_ == "In") return among();
  if (r.operator_ == "NotIn") return !among();
  if (r.operator_ == "Exists") return value != nullptr;
  if (r.operator_ == "DoesNotExist") return value == nullptr;
  if (value == nullptr || r.values.size() != 1) return false;
  char* end = nullptr;
  const long long have = std::strtoll(value->c_str(), &end, 10);
  if (value->empty() || *end != '\0') return false;
  const long long want = std::strtoll(r.values[0].c_str(), &end, 10);
  if (r.values[0].empty() || *end != '\0') return false;
  return r.operator_ == "Gt" ? have > want : r.operator_ == "Lt" && have < want;
}

}  // namespace

bool tolerates(const std::vector<core_v1::Toleration>& tolerations, const core_v1::Taint& taint) {
  return std::any_of(tolerations.begin(), tolerations.end(), [&](const core_v1::Toleration& t) {
    if (!t.effect.empty() && t.effect != taint.effect) return false;
    if (!t.key.empty() && t.key != taint.key) return false;
    if (t.operator_ == "Exists") return true;
    return !t.key.empty() && t.value == taint.value;
  });
}

bool matches_term(const core_v1::NodeSelectorTerm& term, const core_v1::Node& node) {
  if (term.match_expressions.empty() && term.match_fields.empty()) return false;
  for (const auto& r : term.match_expressions) {
    auto it = node.metadata.labels.find(r.key);
    if (!requirement_holds(r, it == node.metadata.labels.end() ? nullptr : &it->second)) return false;
  }
  for (const auto& r : term.match_fields) {
    if (r.key != "metadata.name" || !requirement_holds(r, &node.metadata.name)) return false;
  }
  return true;
}

bool affinity_holds(const core_v1::PodSpec& pod, const core_v1::Node& node) {
  for (const auto& [k, v] : pod.node_selector) {
    auto it = node.metadata.labels.find(k);
    if (it == node.metadata.labels.end() || it->second != v) return false;
  }
  if (!pod.affinity || !pod.affinity->node_affinity) return true;
  const auto& required = pod.affinity->node_affinity->required_during_scheduling_ignored_during_execution;
  if (!required) return true;
  return std::any_of(required->node_selector_terms.begin(), required->node_selector_terms.end(),
                     [&](const auto& term) { return matches_term(term, node); });
}

}  // namespace engenho::client
