// record: what a cycle came to, as status.lastCycle and as a signed receipt.
#include "engenho/base/log.h"
#include "receipt_store.h"
#include "template_work.h"

namespace engenho::pangea {

namespace {

std::string outcome_of(const Outcome& o) {
  if (o.result != Outcome::Result::kDone) return "Failed";
  if (o.action == "create") return "Created";
  if (o.action == "delete") return "Destroyed";
  if (o.action == "import") return "Imported";
  return "Updated";   // update, replace, and what else touches an object
}

}  // namespace

void TemplateWork::record(const std::string& outcome, const SavedPlan* plan, const Applied* applied, const std::string& error) {
  auto& status = object_.status;
  pangea_v1::LastCycle cycle;
  cycle.outcome = outcome;
  cycle.source_revision = status.compiled_revision;
  cycle.plan_summary = plan == nullptr ? "" : plan->model.summary();
  cycle.executor = plan == nullptr ? executor_name() : plan->executor;
  auto& summary = cycle.summary.ensure();
  if (plan != nullptr) summary.matched = std::max(0, plan->model.total - static_cast<int>(plan->model.changes.size()));
  if (applied != nullptr) {
    for (const Outcome& o : applied->outcomes) {
      const std::string what = outcome_of(o);
      int32_t& count = what == "Failed" ? summary.failed : what == "Created" ? summary.created : what == "Destroyed" ? summary.destroyed : what == "Imported" ? summary.imported : summary.updated;
      ++count;
    }
  } else if (plan != nullptr) {
    summary.drifted_uncorrected = static_cast<int32_t>(plan->model.changes.size());
  }
  // A cycle that found what the last one found is no news: it gets no number and no receipt.
  if (outcome == "NoChanges" && status.last_cycle && status.last_cycle->outcome == outcome) {
    pangea_v1::LastCycle same = *status.last_cycle;
    same.cycle = 0;
    same.receipt.clear();
    same.started_at.reset();
    same.completed_at.reset();
    if (same == cycle) return;
  }
  cycle.cycle = ++status.cycle_count;
  cycle.started_at = e_.second(started_);
  cycle.completed_at = e_.second();
  status.last_cycle = cycle;
}

}  // namespace engenho::pangea
