// apply: exactly the plan that was decided upon, and what came of it.
#include <algorithm>

#include "engenho/base/bytes.h"
#include "template_work.h"

namespace engenho::pangea {

namespace {

constexpr Duration kDecayFirst = std::chrono::seconds(30), kDecayMost = std::chrono::seconds(600);

}  // namespace

Result<Next> TemplateWork::applying() {
  auto& status = object_.status;
  // Losing the plan, or a changed configuration, costs another plan; it is decided upon anew.
  const auto bytes = status.pending_plan_hash.empty() ? std::optional<std::string>() : e_.artifacts.get(object_.metadata.uid, "plan", status.pending_plan_hash);
  const auto config = stored_config();
  if (!bytes || !config) {
    enter(config ? "Planning" : "Compiling");
    return go_on();
  }
  auto plan = SavedPlan::parse(*bytes);
  if (!plan || plan_hash(*plan) != status.pending_plan_hash) {
    e_.artifacts.drop(object_.metadata.uid, "plan");
    enter("Planning");
    return go_on();
  }
  auto runner = e_.executors.get(plan->executor);
  if (!runner) return fail("ExecutorUnavailable", runner.error().message());
  auto store = state();
  if (!store) return fail("StateUnavailable", store.error().message());
  auto space = workspace(*config);
  if (!space) return fail("WorkspaceInvalid", space.error().message());
  if (Status s = add_imports(*space); !s.ok()) return fail("ImportInvalid", s.message());
  PhaseWatch watch(e_.clock(), stop_, phase_limit("Applying"));
  auto result = (*runner)->apply(*space, **store, *plan, {}, watched(watch, true));
  if (watch.expired() && !(result && result->ok)) late_phase_ = "Applying";
  meters::operation(plan->executor, "apply", result && result->ok);
  if (!result) {
    const Failure failure = classify_failure(result.error());
    if (failure.kind == FailureKind::kStateLocked) {
      not_ready("StateLocked", result.error().message());
      return wait(e_.options.short_wait);
    }
    return apply_failed(failure, result.error().message());
  }
  return applied(*plan, *result, false);
}

Result<Next> TemplateWork::applied(const SavedPlan& plan, const Applied& result, bool destroying) {
  auto& status = object_.status;
  size_t done = 0;
  for (const Outcome& o : result.outcomes) done += o.result == Outcome::Result::kDone;
  meters::applied(done, result.outcomes.size() - done);
  status.state_serial = static_cast<int64_t>(result.serial_after);
  status.apply_cursor_count = static_cast<int32_t>(done);
  status.apply_cursor_advanced_at = e_.second();
  if (!result.unsaved_state.empty()) {
    // The only copy of what was done: it must not be lost with this process.
    if (Status s = e_.artifacts.put(object_.metadata.uid, "unsaved-state", plan.id, result.unsaved_state); s.ok()) tell("Warning", "StateNotSaved", "the state could not be stored; it is kept in the artifacts of this node");
  }
  for (const std::string& warning : result.warnings) tell("Warning", "ApplyWarning", warning);
  if (!result.ok) {
    // A stop of this process in the middle: the same plan goes on at the next start.
    if (result.failure.kind == FailureKind::kStopped && stop_.stopped()) return wait(Duration(0));
    const std::string message = join(result.errors, "; ");
    record("Failed", &plan, &result, message);
    e_.artifacts.drop(object_.metadata.uid, "plan");
    if (destroying) return apply_failed(result.failure, message);
    const Conflicts conflicts = resolve_conflicts(plan, result);
    const int most = object_.spec.conflict_policy ? object_.spec.conflict_policy->max_rounds.value_or(3) : 3;
    if (conflicts.adopt_again && ++status.adopt_rounds <= most) {
      // The plan with the adoptions is another plan: it is decided upon, and approved where that is asked for.
      status.pending_plan_hash.clear();
      status.approval.reset();
      enter("Planning");
      return go_on();
    }
    if (conflicts.adopt_again) tell("Warning", "ConflictRoundsExhausted", "objects were in the way in more than " + std::to_string(most) + " applies");
    if (!conflicts.all_resolved) return apply_failed(result.failure, message);
  }
  e_.artifacts.drop(object_.metadata.uid, "plan");
  status.adopt_rounds = 0;
  const WallTime now = e_.second();
  status.last_applied_at = now;
  status.last_drift_check_at = now;
  status.last_applied_revision = status.compiled_revision;
  status.outputs.clear();
  status.sensitive_outputs.clear();
  for (const auto& [name, output] : result.outputs) {
    const json::Value* sensitive = output.get("sensitive");
    if (sensitive != nullptr && sensitive->bool_or(false)) status.sensitive_outputs.push_back(name);
    else if (const json::Value* value = output.get("value")) status.outputs[name] = *value;
  }
  if (!destroying) {
    if (Status s = publish_outputs(result.outputs); !s.ok()) {
      record("Applied", &plan, &result, s.message());
      return fail("OutputBindingFailed", s.message());
    }
    tell("Normal", "Applied", plan.model.summary());
  }
  record(destroying ? "Destroyed" : "Applied", &plan, &result);
  status.pending_plan_hash.clear();
  status.approved_plan_hash.clear();
  status.approval.reset();
  status.failure_count = 0;
  status.last_error.clear();
  status.failure_kind.clear();
  if (!destroying) enter("Ready");
  return go_on();
}

Result<Next> TemplateWork::apply_failed(const Failure& failure, const std::string& message) {
  auto& status = object_.status;
  status.pending_plan_hash.clear();
  status.approved_plan_hash.clear();
  status.approval.reset();
  // An approval was for that one attempt: the next plan is another one.
  if (failure.klass == FailureClass::kHold) return fail("ApplyFailed", message, failure.kind);
  ++status.failure_count;
  status.last_error = shorten(std::string(failure_name(failure.kind)) + ": " + message);
  status.failure_kind = failure_name(failure.kind);
  meters::failed(status.failure_kind);
  tell("Warning", failure_name(failure.kind), message);
  Duration pause = kDecayFirst;
  for (int i = 1; i < status.failure_count && pause < kDecayMost; ++i) pause *= 2;
  if (failure.klass == FailureClass::kAbsolute) {
    enter("Pending");
    not_ready(failure_name(failure.kind), message);
    return status.failure_count <= 1 ? go_on() : wait(std::min(pause, kDecayMost));
  }
  enter("Planning");
  not_ready(failure_name(failure.kind), message);
  return wait(std::min(pause, kDecayMost));
}

Status TemplateWork::publish_outputs(const json::Object& outputs) {
  for (const auto& binding : object_.spec.output_bindings) {
    if (Status s = bind_output(binding, outputs); !s.ok()) {
      return Status(s.code(), s.reason(), "spec.outputBindings: output \"" + binding.output + "\" to Secret " + binding.secret_ref.name + ": " + s.message());
    }
  }
  return {};
}

Status TemplateWork::bind_output(const pangea_v1::OutputBinding& binding, const json::Object& outputs) {
  const json::Value* output = outputs.find(binding.output);
  const json::Value* value = output == nullptr ? nullptr : output->get("value");
  if (value == nullptr) return not_found_error("the configuration has no such output");
  const auto& ref = binding.secret_ref;
  const std::string ns = ref.namespace_.empty() ? object_.metadata.namespace_ : ref.namespace_;
  json::Value secret = json::Object();
  secret["apiVersion"] = "v1";
  secret["kind"] = "Secret";
  secret["metadata"]["name"] = ref.name;
  secret["metadata"]["namespace"] = ns;
  if (ref.sensitive) secret["metadata"]["labels"]["pangea.pleme.io/sensitive"] = "true";
  secret["data"][ref.key] = base64_encode(value->is_string() ? value->as_string() : json::dump(*value));
  // Server-side apply: other keys of the Secret are somebody else's.
  auto written = e_.client.request("PATCH", client::path_of(client::resource_of<core_v1::Secret>(), ns, ref.name) + "?fieldManager=pangea-" + object_.metadata.name + "&force=true",
                                   "application/apply-patch+yaml", json::dump(secret));
  return written ? Status() : written.error();
}

}  // namespace engenho::pangea
