// The end of a template: what it made is destroyed, with two keys, before the object goes.
#include <algorithm>

#include "engenho/base/bytes.h"
#include "engenho/pangea/cluster_state.h"
#include "gate.h"
#include "plan_shelf.h"
#include "template_work.h"

namespace engenho::pangea {

namespace {

constexpr Duration kBlockedAgain = std::chrono::minutes(5), kFailedAgain = std::chrono::minutes(1);

}  // namespace

Status TemplateWork::release() {
  const auto& finalizers = object_.metadata.finalizers;
  if (std::find(finalizers.begin(), finalizers.end(), kFinalizer) != finalizers.end()) {
    pangea_v1::InfrastructureTemplate next = stored_;
    std::erase(next.metadata.finalizers, kFinalizer);
    auto written = e_.client.update(next);
    if (!written && !written.error().not_found()) return written.error();
  }
  e_.artifacts.remove(object_.metadata.uid);
  e_.plans.remove(object_.metadata.uid);
  object_.metadata.uid.clear();
  return {};
}

Result<Next> TemplateWork::destroying() {
  auto& status = object_.status;
  const auto& finalizers = object_.metadata.finalizers;
  if (std::find(finalizers.begin(), finalizers.end(), kFinalizer) == finalizers.end()) {
    e_.artifacts.remove(object_.metadata.uid);
    object_.metadata.uid.clear();
    return wait(Duration(0));
  }
  auto held = [&](const std::string& reason, const std::string& message, Duration again) {
    set_condition(status.conditions, "Ready", false, reason, message, e_.now());
    tell("Warning", reason, message);
    return wait(again);
  };
  if (!around_.references.ok()) {
    // Without what it refers to nothing can be destroyed; where nothing was made, nothing has to be.
    auto store = state();
    auto document = store ? (*store)->read() : err(store.error());
    const bool untouched = status.last_applied_at.is_zero() && status.apply_cursor_count == 0 && status.phase != "Applying" &&
                           (around_.pangea_namespace == nullptr || (document && trim(*document).empty()));
    if (!untouched) return held("ReferenceForbidden", around_.references.message(), kBlockedAgain);
    state_.reset();
    if (Status s = release(); !s.ok()) return err(s);
    return wait(Duration(0));
  }
  if (around_.pangea_namespace == nullptr && status.last_applied_at.is_zero()) {
    // Nothing was ever made, and there is no place where a state could be.
    if (Status s = release(); !s.ok()) return err(s);
    return wait(Duration(0));
  }
  if (around_.pangea_namespace == nullptr) return held("NamespaceNotFound", "PangeaNamespace " + object_.spec.pangea_namespace + " is gone, and the state with it is out of reach; make it again", kBlockedAgain);
  auto store = state();
  if (!store) return held("StateUnavailable", store.error().message(), kFailedAgain);
  auto runner = executor();
  if (!runner) return held("ExecutorUnavailable", runner.error().message(), kFailedAgain);
  auto config = stored_config();
  if (!config) {
    // Providers are configured by the configuration; without it, by what is given along.
    std::string waiting, reason;
    auto source = resolve_source(true);
    auto values = variables(waiting);
    if (source && values && *values) {
      if (auto rendered = render(*source, **values, reason)) config = std::move(*rendered);
    }
    if (!config) config = json::Object();
  }
  auto space = workspace(*config);
  if (!space) return held("WorkspaceInvalid", space.error().message(), kFailedAgain);
  PlanOptions options;
  options.destroy = true;
  auto plan = (*runner)->plan(*space, **store, options, run_options());
  if (!plan) return held("PlanFailed", plan.error().message(), kFailedAgain);
  evaluation_.reset();
  if (!plan->model.changes.empty()) {
    if (const std::string why = why_not_destroy(object_, around_.policy, e_.now()); !why.empty()) return held("DestroyBlocked", why, kBlockedAgain);
    // What a resource says of itself counts here, too.
    auto own = resource_policies(*config);
    if (!own) return held("PolicyInvalid", own.error().message(), kBlockedAgain);
    auto evaluated = evaluate(plan->model.changes, {}, around_.sources, *own);
    if (!evaluated) return held("PolicyInvalid", evaluated.error().message(), kBlockedAgain);
    if (!evaluated->blocked.empty())
      return held("DestroyBlocked", "the resources' own destroyProtection keeps " + join(evaluated->blocked, ", "), kBlockedAgain);
    enter("Destroying");
    status.plan_summary = plan->model.summary();
    if (Status s = commit(); !s.ok()) return err(s);
    auto result = (*runner)->apply(*space, **store, *plan, {}, run_options());
    meters::operation(executor_name(), "destroy", result && result->ok);
    if (!result) return held("DestroyFailed", result.error().message(), kFailedAgain);
    ENGENHO_ASSIGN(Next next, applied(*plan, *result, true));
    if (!result->ok) {
      enter("Destroying");
      return wait(std::max<Duration>(next.after, kFailedAgain));
    }
  }
  // The state goes last: as long as it is there, nothing that was made is forgotten.
  if (auto* cluster = dynamic_cast<ClusterState*>(store->get())) {
    if (Status s = cluster->purge("pangea"); !s.ok() && !s.not_found()) return held("StateNotRemoved", s.message(), kFailedAgain);
  }
  state_.reset();
  if (Status s = release(); !s.ok()) return err(s);
  return wait(Duration(0));
}

}  // namespace engenho::pangea
