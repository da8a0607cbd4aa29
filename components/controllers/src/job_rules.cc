#include "job_rules.h"

#include "engenho/base/bytes.h"

namespace engenho::controllers {

bool is_indexed(const batch_v1::Job& job) {
  return job.spec.completion_mode.value_or("") == "Indexed";
}
bool is_suspended(const batch_v1::Job& job) {
  return job.spec.suspend.value_or(false);
}
bool replaces_only_failed(const batch_v1::Job& job) {
  return job.spec.pod_replacement_policy.value_or("") == "Failed" || job.spec.pod_failure_policy;
}
bool is_finished(const batch_v1::Job& job) {
  return find_condition(job, "Complete") != nullptr || find_condition(job, "Failed") != nullptr;
}
bool has_finalizer(const core_v1::Pod& pod) {
  const auto& all = pod.metadata.finalizers;
  return std::find(all.begin(), all.end(), kJobFinalizer) != all.end();
}
const batch_v1::JobCondition* find_condition(const batch_v1::Job& job, std::string_view type) {
  for (const batch_v1::JobCondition& c : job.status.conditions) {
    if (c.type == type && c.status == "True") return &c;
  }
  return nullptr;
}

Indexes Indexes::parse(std::string_view text, int completions) {
  Indexes out;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    const std::string_view part = text.substr(start, end - start);
    start = end + 1;
    const size_t dash = part.find('-');
    int64_t first = 0, last = 0;
    if (!parse_int(part.substr(0, dash), first) || first < 0) continue;
    last = first;
    if (dash != part.npos && !parse_int(part.substr(dash + 1), last)) continue;
    last = std::min<int64_t>(last, static_cast<int64_t>(completions) - 1);
    if (first <= last) out.add(static_cast<int>(first), static_cast<int>(last));
  }
  return out;
}

void Indexes::add(int first, int last) {
  auto it = spans_.upper_bound(first);
  if (it != spans_.begin()) {
    auto before = std::prev(it);
    if (before->second >= first - 1) it = before;
  }
  while (it != spans_.end() && static_cast<int64_t>(it->first) <= static_cast<int64_t>(last) + 1) {
    first = std::min(first, it->first);
    last = std::max(last, it->second);
    it = spans_.erase(it);
  }
  spans_.emplace(first, last);
}
void Indexes::add(const Indexes& other) {
  for (const auto& [first, last] : other.spans_) add(first, last);
}

bool Indexes::contains(int index) const {
  auto it = spans_.upper_bound(index);
  return it != spans_.begin() && std::prev(it)->second >= index;
}

int64_t Indexes::size() const {
  int64_t n = 0;
  for (const auto& [first, last] : spans_) n += static_cast<int64_t>(last) - first + 1;
  return n;
}

int64_t Indexes::overlap(const Indexes& other) const {
  int64_t n = 0;
  for (auto a = spans_.begin(), b = other.spans_.begin(); a != spans_.end() && b != other.spans_.end();) {
    const int64_t common = static_cast<int64_t>(std::min(a->second, b->second)) - std::max(a->first, b->first) + 1;
    if (common > 0) n += common;
    if (a->second < b->second)
      ++a;
    else
      ++b;
  }
  return n;
}

std::vector<int> Indexes::missing(int64_t count, int completions) const {
  std::vector<int> out;
  int64_t candidate = 0;
  auto take_below = [&](int64_t end) {
    for (; candidate < end && static_cast<int64_t>(out.size()) < count; ++candidate) out.push_back(static_cast<int>(candidate));
  };
  for (const auto& [first, last] : spans_) {
    take_below(std::min<int64_t>(first, completions));
    candidate = std::max<int64_t>(candidate, static_cast<int64_t>(last) + 1);
  }
  take_below(completions);
  return out;
}

std::string Indexes::to_string() const {
  std::string out;
  for (const auto& [first, last] : spans_) {
    if (!out.empty()) out += ',';
    out += std::to_string(first);
    if (last > first) out += (last == first + 1 ? "," : "-") + std::to_string(last);
  }
  return out;
}

std::optional<int> completion_index(const core_v1::Pod& pod) {
  auto it = pod.metadata.annotations.find(kCompletionIndex);
  int64_t index = 0;
  if (it == pod.metadata.annotations.end() || !parse_int(it->second, index) || index < 0 || index > INT32_MAX) return std::nullopt;
  return static_cast<int>(index);
}

bool is_failed(const core_v1::Pod& pod, const batch_v1::Job& job) {
  if (pod.status.phase == "Failed") return true;
  if (replaces_only_failed(job)) return false;
  return !pod.metadata.deletion_timestamp.is_zero() && pod.status.phase != "Succeeded";
}

namespace {

const core_v1::ContainerStatus* matching_exit(const std::vector<core_v1::ContainerStatus>& containers,
                                              const batch_v1::PodFailurePolicyOnExitCodesRequirement& wanted) {
  for (const core_v1::ContainerStatus& c : containers) {
    if (!c.state.terminated || c.state.terminated->exit_code == 0) continue;
    if (wanted.container_name && *wanted.container_name != c.name) continue;
    const bool among = std::find(wanted.values.begin(), wanted.values.end(), c.state.terminated->exit_code) != wanted.values.end();
    if ((wanted.operator_ == "In" && among) || (wanted.operator_ == "NotIn" && !among)) return &c;
  }
  return nullptr;
}

// What of the pod the rule speaks of, in the words of the Job's message; nullopt when it does not.
std::optional<std::string> matching_rule(const batch_v1::PodFailurePolicyRule& rule, const core_v1::Pod& pod) {
  const std::string name = pod.metadata.namespace_ + "/" + pod.metadata.name;
  if (rule.on_exit_codes) {
    const core_v1::ContainerStatus* c = matching_exit(pod.status.container_statuses, *rule.on_exit_codes);
    if (c == nullptr) c = matching_exit(pod.status.init_container_statuses, *rule.on_exit_codes);
    if (c == nullptr) return std::nullopt;
    return "Container " + c->name + " for pod " + name + " failed with exit code " + std::to_string(c->state.terminated->exit_code);
  }
  for (const core_v1::PodCondition& c : pod.status.conditions) {
    for (const auto& wanted : rule.on_pod_conditions) {
      if (c.type == wanted.type && c.status == wanted.status) return "Pod " + name + " has condition " + c.type;
    }
  }
  return std::nullopt;
}

}  // namespace

FailureVerdict judge_failure(const batch_v1::Job& job, const core_v1::Pod& pod) {
  FailureVerdict out;
  if (!job.spec.pod_failure_policy) return out;
  const auto& rules = job.spec.pod_failure_policy->rules;
  for (size_t i = 0; i < rules.size(); ++i) {
    auto what = matching_rule(rules[i], pod);
    if (!what) continue;
    if (rules[i].action == "Ignore") out.counts = false;
    if (rules[i].action == "FailIndex") out.fails_index = true;
    if (rules[i].action == "FailJob") out.fails_job = *what + " matching FailJob rule at index " + std::to_string(i);
    return out;
  }
  return out;
}

int failures_of_index(const core_v1::Pod& pod, bool ignored_too) {
  auto number = [&](const char* key) {
    auto it = pod.metadata.annotations.find(key);
    int64_t n = 0;
    return it != pod.metadata.annotations.end() && parse_int(it->second, n) && n >= 0 && n < INT32_MAX / 2 ? static_cast<int>(n) : 0;
  };
  return number(kIndexFailures) + (ignored_too ? number(kIndexIgnoredFailures) : 0);
}

bool fails_its_index(const batch_v1::Job& job, const core_v1::Pod& pod) {
  if (!is_failed(pod, job)) return false;
  const FailureVerdict verdict = judge_failure(job, pod);
  return verdict.fails_index || (verdict.counts && failures_of_index(pod, false) >= job.spec.backoff_limit_per_index.value_or(0));
}

bool restarted_too_often(const batch_v1::Job& job, const std::vector<PodPtr>& pods) {
  if (job.spec.template_.spec.restart_policy != "OnFailure") return false;
  int64_t restarts = 0;
  for (const PodPtr& p : pods) {
    if (p->status.phase != "Running" && p->status.phase != "Pending") continue;
    for (const auto* list : {&p->status.init_container_statuses, &p->status.container_statuses}) {
      for (const core_v1::ContainerStatus& c : *list) restarts += c.restart_count;
    }
  }
  const int limit = job.spec.backoff_limit.value_or(6);
  return limit == 0 ? restarts > 0 : restarts >= limit;
}

std::optional<std::string> success_policy_met(const batch_v1::Job& job, const Indexes& succeeded) {
  if (!job.spec.success_policy || succeeded.empty()) return std::nullopt;
  const auto& rules = job.spec.success_policy->rules;
  for (size_t i = 0; i < rules.size(); ++i) {
    int64_t have = succeeded.size(), need = INT64_MAX;
    if (rules[i].succeeded_indexes) {
      const Indexes wanted = Indexes::parse(*rules[i].succeeded_indexes, job.spec.completions.value_or(0));
      if (wanted.empty()) continue;
      have = wanted.overlap(succeeded);
      need = wanted.size();
    }
    if (rules[i].succeeded_count) need = std::min<int64_t>(need, *rules[i].succeeded_count);
    if (have >= need) return "Matched rules at index " + std::to_string(i);
  }
  return std::nullopt;
}

WallTime finished_at(const core_v1::Pod& pod) {
  std::optional<WallTime> last;
  bool all = true;
  auto look = [&](const core_v1::ContainerStatus& c) {
    if (!c.state.terminated || c.state.terminated->finished_at.is_zero())
      all = false;
    else
      last = std::max(last.value_or(WallTime::min()), *c.state.terminated->finished_at);
  };
  for (const core_v1::ContainerStatus& c : pod.status.container_statuses) look(c);
  for (const core_v1::ContainerStatus& c : pod.status.init_container_statuses) {
    for (const core_v1::Container& spec : pod.spec.init_containers) {
      if (spec.name == c.name && spec.restart_policy == "Always") look(c);
    }
  }
  if (all && last) return *last;
  if (const auto* ready = find_condition(pod, "Ready"); ready != nullptr && ready->status == "False" && !ready->last_transition_time.is_zero()) {
    return *ready->last_transition_time;
  }
  if (!pod.metadata.deletion_timestamp.is_zero()) {
    return *pod.metadata.deletion_timestamp - std::chrono::seconds(pod.metadata.deletion_grace_period_seconds.value_or(0));
  }
  return pod.metadata.creation_timestamp.value_or(WallTime());
}

void JobBackoff::add(std::vector<PodPtr> succeeded, std::vector<PodPtr> failed) {
  std::optional<WallTime> success;
  for (const PodPtr& p : succeeded) success = std::max(success.value_or(WallTime::min()), finished_at(*p));
  if (success) failures = 0;
  for (const PodPtr& p : failed) {
    const WallTime at = finished_at(*p);
    if (success && at <= *success) continue;
    last_failure = failures == 0 ? at : std::max(last_failure, at);
    ++failures;
  }
}

Duration JobBackoff::remaining(WallTime now) const {
  if (failures == 0) return Duration(0);
  Duration wait = std::chrono::seconds(10);
  for (int i = 1; i < failures && wait < std::chrono::minutes(10); ++i) wait *= 2;
  wait = std::min<Duration>(wait, std::chrono::minutes(10));
  return std::max(Duration(0), wait - (now - last_failure));
}

}  // namespace engenho::controllers
