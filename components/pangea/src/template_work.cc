#include "template_work.h"

#include <algorithm>

#include "engenho/base/bytes.h"
#include "engenho/base/log.h"
#include "engenho/schema/api_errors.h"
#include "gate.h"
#include "notifier.h"
#include "references.h"

namespace engenho::pangea {

namespace {

constexpr Duration kIdle = std::chrono::minutes(5);
constexpr int kMaxSteps = 24;   // no template needs so many phases in one look

bool in(std::string_view phase, std::initializer_list<std::string_view> phases) { return std::find(phases.begin(), phases.end(), phase) != phases.end(); }

}  // namespace

std::string spec_digest(const pangea_v1::InfrastructureTemplate& object) {
  json::Value spec = *k8s::to_json(object).get("spec");
  spec.as_object().erase("approvedPlanHash");
  spec.as_object().erase("suspend");
  // What may be done is decided anew at each plan; it changes nothing of what is planned.
  if (json::Value* policy = spec.get("policy"); policy != nullptr && policy->is_object()) spec.as_object().erase("policy");
  return sha256_hex(json::dump(spec));
}

void deep_merge(json::Value& into, const json::Value& from) {
  if (!into.is_object() || !from.is_object()) {
    into = from;
    return;
  }
  for (const auto& [name, value] : from.members()) deep_merge(into[name], value);
}

TemplateWork::TemplateWork(Environment& e, pangea_v1::InfrastructureTemplate object, StopToken stop)
    : e_(e), object_(std::move(object)), stored_(object_), stop_(std::move(stop)), started_(e.now()) {
  if (object_.status.phase.empty()) object_.status.phase = "Pending";
}

Status TemplateWork::run(std::optional<Duration>& again) {
  look_around();
  bool done = false;
  ENGENHO_ASSIGN_OR_RETURN(Next next, before_phases(done));
  for (int step = 0; !done && step < kMaxSteps && !stop_.stopped(); ++step) {
    const std::string phase = object_.status.phase;
    const MonoTime begin = e_.clock().mono();
    ENGENHO_ASSIGN_OR_RETURN(next, phase_step());
    meters::phase_lasted(phase, e_.clock().mono() - begin);
    if (!next.now) break;
  }
  if (object_.metadata.uid.empty()) return {};   // released: there is nothing left to write
  react();
  conditions();
  ENGENHO_RETURN_IF_ERROR(commit());
  if (next.after > Duration(0)) again = next.after;
  return {};
}

void TemplateWork::look_around() {
  around_ = {};
  auto& gems = e_.informers.get<pangea_v1::ArchitectureGem>();
  around_.pangea_namespace = e_.informers.get<pangea_v1::PangeaNamespace>().get("", object_.spec.pangea_namespace);
  std::vector<std::string> required = object_.spec.required_gems;
  if (!object_.spec.required_gem.empty()) required.push_back(object_.spec.required_gem);
  auto label = object_.metadata.labels.find(std::string(kWorkspaceLabel));
  if (label != object_.metadata.labels.end()) {
    around_.catalog = e_.informers.get<pangea_v1::WorkspaceCatalog>().get("", label->second);
    if (around_.catalog == nullptr) around_.missing_catalog = label->second;
    else required.insert(required.end(), around_.catalog->spec.required_gems.begin(), around_.catalog->spec.required_gems.end());
  }
  std::sort(required.begin(), required.end());
  required.erase(std::unique(required.begin(), required.end()), required.end());
  for (const std::string& name : required) {
    auto gem = gems.get("", name);
    if (gem == nullptr) {
      if (around_.missing_gem.empty()) around_.missing_gem = name;
    } else {
      around_.sources.push_back(policy_of(*gem));
      around_.gems.push_back(std::move(gem));
    }
  }
  if (around_.catalog != nullptr) around_.sources.push_back(policy_of(*around_.catalog));
  around_.sources.push_back(policy_of(object_));
  around_.policy = resolve(around_.sources);
  around_.references = check_references(object_, around_.pangea_namespace.get());
  object_.status.effective_policy = around_.policy.to_status();
}

Result<Next> TemplateWork::before_phases(bool& done) {
  auto& status = object_.status;
  const std::string catalog = around_.catalog == nullptr ? "" : around_.catalog->metadata.name;
  done = true;
  if (object_.metadata.deletion_timestamp) return destroying();
  auto& finalizers = object_.metadata.finalizers;
  if (std::find(finalizers.begin(), finalizers.end(), kFinalizer) == finalizers.end()) {
    finalizers.emplace_back(kFinalizer);
    const auto status_before = status;
    auto written = e_.client.update(object_);
    if (!written) return err(written.error());
    object_ = stored_ = std::move(*written);
    object_.status = status_before;
  }
  if (object_.spec.suspend || (around_.catalog != nullptr && around_.catalog->spec.suspend)) {
    const std::string who = object_.spec.suspend ? "the template" : "WorkspaceCatalog " + catalog;
    set_condition(status.conditions, "Reconciling", false, "Suspended", who + " is suspended", e_.now());
    status.observed_generation = object_.metadata.generation;
    return wait(kIdle);
  }
  const std::string digest = spec_digest(object_);
  const bool changed = status.observed_spec_digest != digest;
  if (status.auto_suspended) {
    // The breaker closes when somebody changes or approves something, and lets one look through when it has been open for a while.
    const Duration probe = std::max<Duration>(parse_duration(around_.policy.reconcile_interval.value).value_or(kIdle), kIdle);
    const bool approved = status.approval && status.approval->plan_hash == status.pending_plan_hash;
    if (approved || changed || status.observed_generation != object_.metadata.generation) {
      status.auto_suspended = false;
      status.failure_count = 0;
      tell("Normal", "AutoSuspendCleared", approved ? "a plan was approved" : "the spec was changed");
      if (!approved) enter("Pending");
    } else if (e_.now() - status.last_escalated_at.value_or(WallTime{}) >= probe) {
      tell("Normal", "AutoSuspendProbe", "one try after " + status.last_escalation_reason);
      status.last_escalated_at = e_.now();
      enter("Pending");
    } else {
      return wait(kIdle);
    }
  }
  if (changed) {
    if (!status.observed_spec_digest.empty()) tell("Normal", "SpecChanged", "the spec was changed; its state stays");
    status.observed_spec_digest = digest;
    status.failure_count = 0;
    status.consecutive_compile_failures = 0;
    status.compile_failing_since.reset();
    status.escalation_step.clear();
    status.consecutive_drift_cycles = 0;
    enter("Pending");
  }
  status.observed_generation = object_.metadata.generation;
  done = false;
  // Before anything is read or written for it.
  if (!around_.references.ok()) enter("Verifying");
  return handle_command();
}

Result<Next> TemplateWork::handle_command() {
  auto& status = object_.status;
  if (!status.command || status.command->id.empty() || status.command->id == status.handled_command) return go_on();
  status.handled_command = status.command->id;
  if (status.command->action == "unlock") {
    ENGENHO_ASSIGN(auto store, state());
    // Only a lock that nobody keeps alive is taken away; a run that is under way keeps its own.
    auto token = store->lock({"", "unlock", status.command->requested_by, "asked for by " + status.command->requested_by});
    const Status released = token ? store->unlock(*token) : token.error();
    tell(released.ok() ? "Normal" : "Warning", released.ok() ? "Unlocked" : "UnlockFailed",
         released.ok() ? "the state is not locked; asked for by " + status.command->requested_by : released.message());
    return go_on();
  }
  tell("Normal", "ReconcileRequested", "asked for by " + status.command->requested_by);
  status.failure_count = 0;
  status.consecutive_drift_cycles = 0;
  // A source that is not fetched by revision is rendered anew; what waits for an approval is planned anew.
  if (!in(status.phase, {"Applying", "Destroying"})) enter("Pending");
  return go_on();
}

Result<Next> TemplateWork::phase_step() {
  const std::string& phase = object_.status.phase;
  if (phase == "Pending") return pending();
  if (phase == "Verifying" || phase == "Verified") return verifying();
  if (phase == "Compiling") return compiling();
  if (phase == "CompileBlocked") return compile_blocked();
  if (phase == "Initializing") return initializing();
  if (phase == "Planning") return planning();
  if (phase == "Applying") return applying();
  if (phase == "Ready") return ready();
  if (phase == "Drifted") return drifted();
  if (phase == "Failed") return failed();
  // A phase that only another version knows: begin again.
  enter("Pending");
  return go_on();
}

void TemplateWork::enter(const std::string& phase) {
  auto& status = object_.status;
  if (status.phase == phase && !status.phase_entered_at.is_zero()) return;
  why_not_ready_ = false;
  status.phase = phase;
  status.phase_entered_at = e_.second();
}

void TemplateWork::not_ready(std::string_view reason, const std::string& message) {
  set_condition(object_.status.conditions, "Ready", false, reason, message, e_.now());
  why_not_ready_ = true;
}

Next TemplateWork::fail(const std::string& reason, const std::string& message, FailureKind kind) {
  auto& status = object_.status;
  enter("Failed");
  ++status.failure_count;
  status.last_error = shorten(reason + ": " + message);
  status.failure_kind = kind == FailureKind::kUnclassified ? reason : std::string(failure_name(kind));
  not_ready(reason, message);
  tell("Warning", reason == "PolicyRefused" || reason == "DestroyBlocked" ? reason : "ReconcileFailed", reason + ": " + shorten(message, 512));
  meters::failed(status.failure_kind);
  return go_on();   // failed() says when to try again
}

void TemplateWork::tell(std::string_view type, std::string_view reason, const std::string& message) {
  e_.events.event(client::reference_to(object_), type, reason, shorten(message, 1024));
}

void TemplateWork::conditions() {
  auto& status = object_.status;
  auto& c = status.conditions;
  const WallTime now = e_.now();
  const std::string& phase = status.phase;
  const bool suspended = object_.spec.suspend || (around_.catalog != nullptr && around_.catalog->spec.suspend);
  const bool forward = in(phase, {"Pending", "Verifying", "Verified", "Compiling", "Initializing", "Planning", "Applying"});
  if (!suspended) set_condition(c, "Reconciling", forward, phase, "", now);
  const bool git = object_.spec.source && !object_.spec.source->git.empty() && !status.compiled_revision.empty();
  const bool stale = git && !status.observed_head_revision.empty() && status.observed_head_revision != status.compiled_revision;
  set_condition(c, "SourceFresh", !stale, !git ? "NoGitSource" : stale ? "BehindHead" : status.observed_head_revision.empty() ? "Unverified" : "AtHead", "", now);
  set_condition(c, "DriftDetected", phase == "Drifted", phase == "Drifted" ? "DriftDetected" : "NoDrift", phase == "Drifted" ? status.plan_summary : "", now);
  if (status.auto_suspended) set_condition(c, "Healthy", false, status.last_escalation_reason, "automatically suspended", now);
  else if (status.last_escalation_reason.empty()) set_condition(c, "Healthy", true, "NoEscalations", "", now);
  if (object_.metadata.deletion_timestamp) return;   // what holds its end up is said there
  if (phase == "Ready") {
    if (stale) set_condition(c, "Ready", false, "BehindHead", "the source has a newer commit", now);
    else set_condition(c, "Ready", true, "Applied", "", now);
  } else if (forward && !why_not_ready_) {
    const bool waits = phase == "Planning" && !status.pending_plan_hash.empty();
    set_condition(c, "Ready", false, waits ? "AwaitingApproval" : phase, waits ? "the plan " + status.pending_plan_hash + " waits for an approval" : "", now);
  }
}

Status TemplateWork::commit() {
  for (int attempt = 0; attempt < 6; ++attempt) {
    if (object_.status == stored_.status) return {};
    auto written = e_.client.update_status(object_);
    if (written) {
      object_ = stored_ = std::move(*written);
      return {};
    }
    if (!written.error().conflict()) return written.error().not_found() ? Status() : written.error();
    // Somebody changed the object meanwhile: the spec (the next look sees it), or what the subresources write.
    auto fresh = e_.client.get<pangea_v1::InfrastructureTemplate>(object_.metadata.namespace_, object_.metadata.name);
    if (!fresh) return fresh.error().not_found() ? Status() : fresh.error();
    if (fresh->metadata.uid != object_.metadata.uid) return {};
    auto mine = object_.status;
    mine.command = fresh->status.command;
    if (!(fresh->status.approval == stored_.status.approval)) mine.approval = fresh->status.approval;
    stored_ = *fresh;
    object_ = std::move(*fresh);
    object_.status = std::move(mine);
  }
  return schema::conflict({"pangea.pleme.io", "infrastructuretemplates"}, object_.metadata.name, "the object changes all the time");
}

}  // namespace engenho::pangea
