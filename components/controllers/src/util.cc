#include "util.h"

namespace engenho::controllers {

bool matches(const meta_v1::LabelSelector& selector, const Labels& labels) {
  for (const auto& [k, v] : selector.match_labels) {
    auto it = labels.find(k);
    if (it == labels.end() || it->second != v) return false;
  }
  for (const meta_v1::LabelSelectorRequirement& r : selector.match_expressions) {
    auto it = labels.find(r.key);
    const bool has = it != labels.end();
    const bool among = has && std::find(r.values.begin(), r.values.end(), it->second) != r.values.end();
    const bool ok = r.operator_ == "In" ? among : r.operator_ == "NotIn" ? !among : r.operator_ == "Exists" ? has : r.operator_ == "DoesNotExist" && !has;
    if (!ok) return false;
  }
  return true;
}

bool matches_map(const Labels& selector, const Labels& labels) {
  if (selector.empty()) return false;
  return std::all_of(selector.begin(), selector.end(), [&](const auto& pair) {
    auto it = labels.find(pair.first);
    return it != labels.end() && it->second == pair.second;
  });
}

const meta_v1::OwnerReference* controller_of(const meta_v1::ObjectMeta& metadata) {
  for (const meta_v1::OwnerReference& o : metadata.owner_references) {
    if (o.controller.value_or(false)) return &o;
  }
  return nullptr;
}

std::string name_hash(const std::string& text, int32_t collisions) {
  const std::string all = text + "#" + std::to_string(collisions);
  uint64_t h = 14695981039346656037ull;
  for (unsigned char c : all) h = (h ^ c) * 1099511628211ull;
  constexpr char kAlphabet[] = "bcdfghjklmnpqrstvwxz2456789";
  std::string out;
  for (int i = 0; i < 10; ++i, h /= 27) out += kAlphabet[h % 27];
  return out;
}

bool namespace_is_going(const Status& status) {
  const auto& causes = status.details().causes;
  return std::any_of(causes.begin(), causes.end(), [](const StatusCause& c) { return c.reason == "NamespaceTerminating"; });
}

const core_v1::PodCondition* find_condition(const core_v1::Pod& pod, std::string_view type) {
  for (const core_v1::PodCondition& c : pod.status.conditions) {
    if (c.type == type) return &c;
  }
  return nullptr;
}

bool is_ready(const core_v1::Pod& pod) {
  const core_v1::PodCondition* c = find_condition(pod, "Ready");
  return c != nullptr && c->status == "True";
}
bool is_finished(const core_v1::Pod& pod) { return pod.status.phase == "Succeeded" || pod.status.phase == "Failed"; }
bool is_active(const core_v1::Pod& pod) { return !is_finished(pod) && pod.metadata.deletion_timestamp.is_zero(); }

bool is_available(const core_v1::Pod& pod, int32_t min_ready_seconds, WallTime now, Duration* wait) {
  const core_v1::PodCondition* c = find_condition(pod, "Ready");
  if (c == nullptr || c->status != "True") return false;
  if (min_ready_seconds == 0) return true;
  if (c->last_transition_time.is_zero()) return false;
  const Duration left = *c->last_transition_time + std::chrono::seconds(min_ready_seconds) - now;
  if (left <= Duration(0)) return true;
  if (wait != nullptr && (*wait == Duration(0) || left < *wait)) *wait = left;
  return false;
}

}  // namespace engenho::controllers
