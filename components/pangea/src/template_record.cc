// record: what a cycle came to, as status.lastCycle and as a signed receipt.
#include "engenho/base/log.h"
#include "engenho/pangea/receipt.h"
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
  if (applied == nullptr && outcome != "Failed" && status.last_cycle && status.last_cycle->outcome == outcome) {
    pangea_v1::LastCycle same = *status.last_cycle;
    same.cycle = 0;
    same.receipt.clear();
    same.started_at.reset();
    same.completed_at.reset();
    if (same == cycle && (plan == nullptr || status.last_recorded_plan == plan_hash(*plan))) return;
  }
  cycle.started_at = e_.second(started_);
  cycle.completed_at = e_.second();
  pangea_v1::CycleReceiptSpec receipt = receipt_of(cycle, plan, applied, error);
  receipt.cycle = ++status.cycle_count;
  const std::string last = status.last_cycle ? status.last_cycle->receipt : "";
  auto appended = e_.receipts.append(std::move(receipt), {last, status.last_receipt_digest});
  if (appended) {
    status.cycle_count = appended->cycle;
    status.last_receipt_digest = appended->digest;
    cycle.receipt = appended->name;
  } else {
    // The cycle happened all the same; the chain shows the gap in its numbers.
    cycle.receipt = last;
    tell("Warning", "ReceiptNotWritten", appended.error().message());
  }
  cycle.cycle = status.cycle_count;
  status.last_recorded_plan = plan == nullptr ? "" : plan_hash(*plan);
  status.last_cycle = std::move(cycle);
}

pangea_v1::CycleReceiptSpec TemplateWork::receipt_of(const pangea_v1::LastCycle& cycle, const SavedPlan* plan, const Applied* applied, const std::string& error) {
  const auto& status = object_.status;
  pangea_v1::CycleReceiptSpec out;
  out.template_.name = object_.metadata.name;
  out.template_.namespace_ = object_.metadata.namespace_;
  out.template_.uid = object_.metadata.uid;
  out.template_.generation = object_.metadata.generation;
  out.outcome = cycle.outcome;
  out.started_at = cycle.started_at;
  out.completed_at = cycle.completed_at;
  out.spec_digest = status.observed_spec_digest;
  out.source.ensure().revision = status.compiled_revision;
  out.source->kind = status.compiled_revision.size() == 40 ? "git" : status.compiled_revision.substr(0, status.compiled_revision.find(':'));
  out.gems = status.gems;
  out.evaluator = status.evaluator;
  out.rendered_hash = status.rendered_hash;
  out.error = shorten(error, 1024);
  if (plan != nullptr) {
    describe_plan(out, *plan);
    out.plan_hash = plan_hash(*plan);
  }
  if (plan != nullptr && applied != nullptr) describe_apply(out, *plan, *applied);
  out.executor = cycle.executor;
  out.plan_summary = cycle.plan_summary;
  out.summary = cycle.summary;
  out.state.ensure().key = status.state_key;
  if (evaluation_) {
    out.decisions.clear();
    for (const ChangeDecision& d : evaluation_->decisions) {
      pangea_v1::ReceiptDecision decision;
      decision.address = d.address;
      decision.action = d.action;
      decision.decision = d.blocked ? "blocked" : std::string(decision_name(d.decision));
      decision.rule = d.rule;
      decision.level = level_name(d.level);
      out.decisions.push_back(std::move(decision));
    }
  }
  if (applied != nullptr && status.approval) out.approval = *status.approval;
  if (!status.last_escalation_reason.empty()) out.escalations = {status.last_escalation_reason};
  return out;
}

}  // namespace engenho::pangea
