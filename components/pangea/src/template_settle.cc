// What follows: looking for drift, settling, trying again, and what happens when a template will not come to rest.
#include <algorithm>

#include "engenho/base/bytes.h"
#include "notifier.h"
#include "template_work.h"

namespace engenho::pangea {

namespace {

constexpr Duration kParked = std::chrono::hours(1), kRetryMost = std::chrono::seconds(600);
constexpr size_t kShownStuck = 20;

std::string fingerprint_of(const std::vector<Change>& changes) {
  std::vector<std::string> lines;
  for (const Change& c : changes) lines.push_back(c.address + "|" + c.action + "|" + join(c.attributes, ","));
  std::sort(lines.begin(), lines.end());
  return sha256_hex(join(lines, "\n"));
}

int severity(const std::string& action) { return action == "suspend" ? 3 : action == "page" ? 2 : 1; }

}  // namespace

Result<Next> TemplateWork::ready() {
  auto& status = object_.status;
  if (inputs_changed()) {
    enter("Pending");
    return go_on();
  }
  const Duration interval = parse_duration(around_.policy.reconcile_interval.value).value_or(std::chrono::minutes(5));
  const WallTime last = status.last_drift_check_at.value_or(WallTime{});
  if (e_.now() - last < interval) return wait(interval - (e_.now() - last));
  if (!fresh()) {
    tell("Normal", "SourceStale", "the source is at " + status.observed_head_revision + ", applied was " + status.compiled_revision);
    enter("Pending");
    return go_on();
  }
  if (!stored_config()) {
    enter("Pending");
    return go_on();
  }
  return plan_and_decide(true);
}

Result<Next> TemplateWork::drifted() {
  auto& status = object_.status;
  if (inputs_changed()) {
    enter("Pending");
    return go_on();
  }
  // An approval is acted on at once; else the next look is at the next interval.
  const Duration interval = parse_duration(around_.policy.reconcile_interval.value).value_or(std::chrono::minutes(5));
  const WallTime last = status.last_drift_check_at.value_or(WallTime{});
  const bool approved = !status.pending_plan_hash.empty() && approval_of(status.pending_plan_hash);
  if (!approved && e_.now() - last < interval) return wait(interval - (e_.now() - last));
  if (!fresh()) {
    tell("Normal", "SourceStale", "the source is at " + status.observed_head_revision + ", rendered was " + status.compiled_revision);
    enter("Pending");
    return go_on();
  }
  // One decision point: the plan is made and decided upon as any other.
  status.last_drift_check_at = e_.second();
  return plan_and_decide(false);
}

void TemplateWork::settled() {
  auto& status = object_.status;
  status.consecutive_drift_cycles = 0;
  status.drift_fingerprint.clear();
  status.stuck_resources.clear();
  set_condition(status.conditions, "Settled", true, "NoDrift", "", e_.now());
  meters::drift(object_.metadata.namespace_, object_.metadata.name, 0, true, 0);
}

bool TemplateWork::settle(const SavedPlan& plan, const PolicyEvaluation& evaluation, Next& next) {
  auto& status = object_.status;
  // Drift that nobody has corrected yet says nothing about settling: only what comes back does.
  const std::string fingerprint = fingerprint_of(plan.model.changes);
  const bool same = status.drift_fingerprint == fingerprint;
  ++status.consecutive_drift_cycles;
  status.drift_fingerprint = fingerprint;
  status.stuck_resources.clear();
  if (same) {
    for (const Change& c : plan.model.changes) {
      if (status.stuck_resources.size() == kShownStuck) break;
      status.stuck_resources.push_back(c.address);
    }
  }
  const Settling& policy = around_.policy.settling.value;
  const bool exhausted = status.consecutive_drift_cycles >= policy.max_cycles;
  const char* reason = exhausted ? "StuckByCount" : same ? "StuckByFingerprint" : "DriftDetected";
  const std::string message = plan.model.summary() + ", drift in " + std::to_string(status.consecutive_drift_cycles) + " cycles in a row";
  set_condition(status.conditions, "Settled", false, reason, message, e_.now());
  meters::drift(object_.metadata.namespace_, object_.metadata.name, status.consecutive_drift_cycles, false, status.stuck_resources.size());
  if (!exhausted || evaluation.aggregate != Decision::kAutoApply || !evaluation.blocked.empty()) return false;
  if (policy.on_exhaustion == "continue") return false;
  if (policy.on_exhaustion == "alert") {
    tell("Warning", "SettlingAlert", message);
    enter("Drifted");
    next = wait(parse_duration(around_.policy.reconcile_interval.value).value_or(std::chrono::minutes(5)));
    return true;
  }
  meters::settling_failed(object_.metadata.namespace_, object_.metadata.name, reason);
  record("Failed", &plan, nullptr, message);
  next = fail("SettlingFailed", message);
  return true;
}

Result<Next> TemplateWork::failed() {
  auto& status = object_.status;
  const WallTime entered = status.phase_entered_at.value_or(e_.now());
  const auto policy = object_.spec.retry_policy ? *object_.spec.retry_policy : pangea_v1::RetryPolicy();
  const int most = policy.max_retries.value_or(3);
  // Nobody lifts a refusal by trying again, and a spec change starts over anyway.
  const std::string& kind = status.failure_kind;
  const bool held = kind == "PolicyRefused" || kind == "DestroyBlocked" || kind == "PolicyInvalid" || kind == "SettlingFailed";
  Duration pause = kParked;
  if (!held && status.failure_count <= most) {
    pause = std::chrono::seconds(std::max(1, policy.backoff_seconds.value_or(30)));
    for (int i = 1; i < status.failure_count && pause < kRetryMost; ++i) pause *= 2;
    pause = std::min(pause, kRetryMost);
  }
  // A changed policy may have lifted what held it; so may an approval.
  if (held && evaluation_ == std::nullopt && status.observed_generation != stored_.status.observed_generation) pause = Duration(0);
  if (inputs_changed()) pause = Duration(0);
  const Duration since = e_.now() - entered;
  if (since < pause) return wait(pause - since);
  enter("Pending");
  return go_on();
}

void TemplateWork::react() {
  auto& status = object_.status;
  const auto& policy = around_.policy;
  struct Trigger {
    std::string reason, action, message;
    const pangea_v1::ApprovalRouting* routing;
  };
  std::vector<Trigger> triggers;
  auto routing = [&](const k8s::Box<pangea_v1::ApprovalRouting>& own) -> const pangea_v1::ApprovalRouting* {
    if (own) return own.get();
    return policy.routing.level == Level::kDefault ? nullptr : &policy.routing.value;
  };
  auto action = [](const std::string& a) { return a.empty() ? std::string("alert") : a; };
  if (policy.failure_escalation.level != Level::kDefault) {
    const auto& f = policy.failure_escalation.value;
    const int count = std::max(status.failure_count, status.consecutive_compile_failures);
    if (count >= f.max_consecutive_failures.value_or(5)) {
      triggers.push_back({"FailureEscalation", action(f.on_exhaustion), std::to_string(count) + " failures in a row: " + status.last_error, routing(f.routing)});
    }
  }
  if (policy.phase_timeout.level != Level::kDefault) {
    const auto& t = policy.phase_timeout.value;
    // What waits for a person is not late; an apply that advances is not, either (phase_watch.h).
    const bool asks = status.phase == "Planning" && !status.pending_plan_hash.empty();
    const auto allowed = asks ? std::nullopt : phase_limit(status.phase);
    const bool late = allowed && e_.now() - status.phase_entered_at.value_or(e_.now()) > *allowed;
    const std::string phase = !late_phase_.empty() ? late_phase_ : late ? status.phase : std::string();
    if (!phase.empty()) triggers.push_back({"PhaseTimeout:" + phase, action(t.on_timeout), "phase " + phase + " took more than it may", routing(t.routing)});
  }
  if (policy.verified_blocked.level != Level::kDefault && !status.verified_blocked_since.is_zero()) {
    const auto& b = policy.verified_blocked.value;
    const auto allowed = parse_duration(b.timeout.empty() ? "10m" : b.timeout);
    if (allowed && e_.now() - *status.verified_blocked_since > *allowed) {
      const auto* c = find_condition(status.conditions, "Verified");
      triggers.push_back({"VerifiedBlocked", action(b.on_blocked), c == nullptr ? "" : c->message, routing(b.routing)});
    }
  }
  if (triggers.empty()) {
    // Well again: the next trouble is told anew.
    if (status.phase == "Ready") {
      if (status.auto_suspended) tell("Normal", "AutoSuspendCleared", "the try went well");
      status.auto_suspended = false;
      status.last_escalation_reason.clear();
    }
    return;
  }
  const auto worst = std::max_element(triggers.begin(), triggers.end(), [](const Trigger& a, const Trigger& b) { return severity(a.action) < severity(b.action); });
  set_condition(status.conditions, "Healthy", false, worst->reason.substr(0, worst->reason.find(':')), worst->message, e_.now());
  if (status.last_escalation_reason == worst->reason) return;   // told already
  status.last_escalation_reason = worst->reason;
  status.last_escalated_at = e_.second();
  tell("Warning", "ReactivePolicyTriggered", worst->reason + " (" + worst->action + "): " + worst->message);
  if (worst->action == "suspend") status.auto_suspended = true;
  // A route may name a Secret that is not for this template.
  if (worst->routing != nullptr && around_.references.ok()) e_.notifier.send(*worst->routing, {worst->action, worst->reason, key(), worst->message});
  if (worst->reason.starts_with("PhaseTimeout")) enter("Failed");
}

}  // namespace engenho::pangea
