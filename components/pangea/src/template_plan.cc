// plan and decide.
#include <algorithm>

#include "engenho/base/bytes.h"
#include "plan_shelf.h"
#include "template_work.h"

namespace engenho::pangea {

namespace {

constexpr size_t kShownDrifts = 50, kShownRefused = 10;
constexpr Duration kApprovalAgain = std::chrono::minutes(5);

}  // namespace

Result<Next> TemplateWork::initializing() {
  auto runner = executor();
  if (!runner) return fail("ExecutorUnavailable", runner.error().message());
  object_.status.executor = (*runner)->name();
  const auto& backend = around_.pangea_namespace == nullptr ? std::string() : around_.pangea_namespace->spec.backend.type;
  object_.status.backend = backend;
  object_.status.state_key = object_.spec.pangea_namespace + "/" + key();
  enter("Planning");
  return go_on();
}

std::string TemplateWork::plan_hash(const SavedPlan& plan) const {
  return sha256_hex("pangea plan 1\n" + plan.executor + "\n" + plan.id + "\n" + object_.status.observed_spec_digest + "\n" + object_.status.rendered_hash + "\n");
}

std::optional<pangea_v1::Approval> TemplateWork::approval_of(const std::string& hash) const {
  const auto& given = object_.status.approval;
  if (given && given->plan_hash == hash && (given->expires_at.is_zero() || *given->expires_at > e_.now())) return *given;
  if (object_.spec.approved_plan_hash == hash) {
    pangea_v1::Approval out;
    out.plan_hash = hash;
    auto who = object_.metadata.annotations.find("pangea.pleme.io/approved-by");
    out.approver = who == object_.metadata.annotations.end() ? "unknown" : who->second;
    out.approved_at = e_.second();
    out.via = "spec";
    return out;
  }
  return {};
}

bool TemplateWork::fresh() {
  const auto& source = object_.spec.source;
  if (!source || source->git.empty()) return true;
  auto head = e_.gems.head(repository_of(object_), stop_);
  if (!head) {
    meters::freshness_unknown();
    tell("Warning", "SourceUnobservable", head.error().message());
    return true;   // not known to be stale: what was rendered goes on
  }
  object_.status.observed_head_revision = *head;
  object_.status.last_freshness_check_at = e_.second();
  return *head == object_.status.compiled_revision;
}

Result<Next> TemplateWork::planning() {
  if (!stored_config() || inputs_changed()) {
    enter("Compiling");
    return go_on();
  }
  if (!fresh()) {
    tell("Normal", "SourceStale", "the source is at " + object_.status.observed_head_revision + ", rendered was " + object_.status.compiled_revision);
    enter("Compiling");
    return go_on();
  }
  return plan_and_decide(false);
}

Result<Next> TemplateWork::plan_and_decide(bool drift) {
  const auto config = stored_config();
  if (!config) {
    enter("Compiling");
    return go_on();
  }
  auto runner = executor();
  if (!runner) return fail("ExecutorUnavailable", runner.error().message());
  auto store = state();
  if (!store) return fail("StateUnavailable", store.error().message());
  auto space = workspace(*config);
  if (!space) return fail("WorkspaceInvalid", space.error().message());
  if (Status s = add_imports(*space); !s.ok()) return fail("ImportInvalid", s.message());
  if (Status s = commit(); !s.ok()) return err(s);  // the phase is seen before the work begins
  PhaseWatch watch(e_.clock(), stop_, phase_limit("Planning"));
  auto plan = (*runner)->plan(*space, **store, {}, watched(watch, false));
  if (!plan && watch.expired()) late_phase_ = "Planning";
  meters::operation(executor_name(), "plan", plan.has_value());
  object_.status.last_planned_at = e_.second();
  if (drift) object_.status.last_drift_check_at = object_.status.last_planned_at;
  if (!plan) {
    const Failure failure = classify_failure(plan.error());
    if (failure.kind == FailureKind::kStateLocked) {
      not_ready("StateLocked", plan.error().message());
      return wait(e_.options.short_wait);
    }
    if (failure.kind == FailureKind::kStopped && stop_.stopped()) return wait(Duration(0));
    record("Failed", nullptr, nullptr, plan.error().message());
    return fail("PlanFailed", plan.error().message(), failure.kind);
  }
  for (const std::string& warning : plan->warnings) tell("Warning", "PlanWarning", warning);
  return decide(*plan, *config, drift);
}

void TemplateWork::show_plan(const SavedPlan& plan, const PolicyEvaluation& evaluation) {
  auto& status = object_.status;
  status.plan_summary = plan.model.summary();
  auto& resources = status.resources.ensure();
  resources.total = plan.model.total;
  resources.added = plan.model.add;
  resources.changed = plan.model.change;
  resources.destroyed = plan.model.destroy;
  status.state_serial = static_cast<int64_t>(plan.serial);
  auto& shown = status.policy_evaluation.ensure();
  shown = {};
  shown.aggregate = decision_name(evaluation.aggregate);
  shown.auto_apply_count = evaluation.auto_apply;
  shown.require_approval_count = evaluation.require_approval;
  shown.refuse_count = evaluation.refuse;
  shown.evaluated_count = static_cast<int32_t>(evaluation.decisions.size());
  shown.refused_addresses = evaluation.refused();
  if (shown.refused_addresses.size() > kShownRefused) shown.refused_addresses.resize(kShownRefused);
  const bool had_some = status.drift_total > 0;   // what was counted then is counted down to none
  status.drift_details.clear();
  status.drift_total = static_cast<int32_t>(plan.model.changes.size());
  std::map<std::pair<std::string, std::string>, int> kinds;
  for (const char* action : {"create", "update", "delete", "replace"}) {
    for (const char* risk : {"low", "medium", "high"}) kinds[{action, risk}] = 0;
  }
  for (const Change& change : plan.model.changes) ++kinds[{change.action, change.risk}];
  for (const auto& [kind, count] : kinds) {
    if (had_some || count > 0) meters::drift_detail(object_.metadata.namespace_, object_.metadata.name, kind.first, kind.second, count);
  }
  // Who is refused or must ask is shown before what goes by itself.
  std::vector<size_t> order(plan.model.changes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return evaluation.decisions[a].decision > evaluation.decisions[b].decision; });
  for (size_t i : order) {
    if (status.drift_details.size() == kShownDrifts) break;
    const Change& change = plan.model.changes[i];
    const ChangeDecision& d = evaluation.decisions[i];
    pangea_v1::DriftDetail detail;
    detail.address = change.address;
    detail.action = change.action;
    detail.risk = change.risk;
    detail.attributes = change.attributes;
    detail.policy_decision = d.blocked ? "blocked" : std::string(decision_name(d.decision));
    detail.matched_policy = d.rule;
    detail.level = level_name(d.level);
    status.drift_details.push_back(std::move(detail));
  }
}

bool TemplateWork::state_is_lost(const SavedPlan& plan) const {
  return !object_.status.last_applied_at.is_zero() && plan.lineage.empty() && object_.status.resources && plan.model.add > 0;
}

Result<Next> TemplateWork::decide(const SavedPlan& plan, const json::Value& config, bool drift) {
  auto& status = object_.status;
  auto own = resource_policies(config);
  if (!own) return fail("PolicyInvalid", own.error().message());
  static const std::vector<pangea_v1::PolicyRule> none;
  auto evaluated = evaluate(plan.model.changes, object_.spec.policy ? object_.spec.policy->rules : none, around_.sources, *own);
  if (!evaluated) return fail("PolicyInvalid", evaluated.error().message());
  evaluation_ = *evaluated;
  const PolicyEvaluation& evaluation = *evaluation_;
  show_plan(plan, evaluation);
  meters::resources(object_.metadata.namespace_, object_.metadata.name, plan.model.total);
  if (plan.model.empty()) return nothing_to_do(plan);
  meters::decided(object_.metadata.namespace_, object_.metadata.name, std::string(decision_name(evaluation.aggregate)));
  if (drift) {
    meters::drift_found();
    tell("Warning", "DriftDetected", plan.model.summary());
    Next next;
    if (settle(plan, evaluation, next)) return next;
  }
  const std::string hash = plan_hash(plan);
  const char* held = drift || status.phase == "Drifted" ? "Drifted" : "";   // where it stays when nothing may be done
  auto show = [&] {
    if (Status s = e_.plans.put(object_.metadata.uid, hash, plan.shown()); !s.ok()) tell("Warning", "PlanNotShown", s.message());
  };
  // What may never be: nothing is applied, whatever was approved.
  if (!evaluation.blocked.empty()) {
    show();
    const std::string message = "destroyProtection keeps " + join(evaluation.blocked, ", ");
    record("PolicyRefused", &plan, nullptr, message);
    if (*held == '\0') return fail("DestroyBlocked", message);
    enter(held);
    not_ready("DestroyBlocked", message);
    return wait(parse_duration(around_.policy.reconcile_interval.value).value_or(kApprovalAgain));
  }
  if (evaluation.aggregate == Decision::kRefuse) {
    show();
    const std::string message = "refused: " + join(evaluation.refused(), ", ");
    record("PolicyRefused", &plan, nullptr, message);
    if (*held == '\0') return fail("PolicyRefused", message);
    enter(held);
    not_ready("PolicyRefused", message);
    return wait(parse_duration(around_.policy.reconcile_interval.value).value_or(kApprovalAgain));
  }
  if (status.uses_mock_outputs) {
    enter("Planning");
    set_condition(status.conditions, "Verified", false, "MockOutputsUsed", "planned with mock outputs; it is applied when the real ones are there", e_.now());
    return wait(e_.options.short_wait);
  }
  const bool lost = state_is_lost(plan);
  const bool ask = evaluation.aggregate == Decision::kRequireApproval || lost;
  const auto approval = approval_of(hash);
  if (ask && !approval) {
    if (status.pending_plan_hash != hash) {
      show();
      status.pending_plan_hash = hash;
      status.approval.reset();
      tell("Normal", "PlanPending",
           std::string(lost ? "the state is gone, so everything would be made again; " : "") + plan.model.summary() + " waits for an approval: engenho pangea approve " + key() + " --plan " + hash);
      record("PolicyGated", &plan, nullptr);
    }
    enter(drift || status.phase == "Drifted" ? "Drifted" : "Planning");
    not_ready("AwaitingApproval", "the plan " + hash + " waits for an approval");
    return wait(kApprovalAgain);
  }
  for (const ChangeDecision& d : evaluation.decisions) {
    if (d.alert) tell("Warning", "DriftAlert", d.address + ": " + d.action);
  }
  if (approval) status.approval = *approval;
  else status.approval.reset();
  status.pending_plan_hash = hash;
  status.approved_plan_hash = approval ? hash : "";
  // From here a restart goes on with exactly this plan.
  if (Status s = e_.artifacts.put(object_.metadata.uid, "plan", hash, plan.serialize()); !s.ok()) return err(s);
  enter("Applying");
  status.apply_cursor_count = 0;
  status.apply_cursor_advanced_at.reset();
  if (Status s = commit(); !s.ok()) return err(s);
  return go_on();
}

Result<Next> TemplateWork::nothing_to_do(const SavedPlan& plan) {
  auto& status = object_.status;
  status.pending_plan_hash.clear();
  status.approved_plan_hash.clear();
  status.approval.reset();
  if (plan.only_refresh) {
    // What was read differs from what is stored, and nothing is to be done about it: store it.
    ENGENHO_ASSIGN(auto store, state());
    auto runner = executor();
    auto config = stored_config();
    if (runner && config) {
      auto space = workspace(*config);
      if (space) {
        auto stored = (*runner)->apply(*space, *store, plan, {}, run_options());
        if (!stored) tell("Warning", "RefreshNotStored", stored.error().message());
      }
    }
  }
  settled();
  if (status.last_applied_at.is_zero() && plan.model.total > 0) status.last_applied_at = e_.second();
  status.failure_count = 0;
  status.last_error.clear();
  status.failure_kind.clear();
  enter("Ready");
  status.last_drift_check_at = e_.second();
  record("NoChanges", &plan, nullptr);
  return go_on();
}

}  // namespace engenho::pangea
