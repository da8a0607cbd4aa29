// One look at one InfrastructureTemplate: from what it is to what it should be, stage by stage: resolve, render, plan, decide, apply, record. Each stage
// leaves its result by digest (Artifacts) or in the status, so that the next look, here or after a restart, goes on from there.
//
// A stage returns what is next: on to another phase at once, or later. Errors of the API (conflict, no server) are returned as Status and come back
// through the work queue; everything that is the template's own business becomes a phase and a condition.
#pragma once

#include <optional>
#include <string>

#include "conditions.h"
#include "engenho/pangea/policy.h"
#include "gem_store.h"
#include "phase_watch.h"

namespace engenho::pangea {

struct Next {
  bool now = false;          // go on with the new phase
  Duration after{0};         // else look again then
};
inline Next go_on() { return {true, {}}; }
inline Next wait(Duration d) { return {false, d}; }

// What is around a template: found anew at each look.
struct Surroundings {
  std::shared_ptr<const pangea_v1::PangeaNamespace> pangea_namespace;
  std::shared_ptr<const pangea_v1::WorkspaceCatalog> catalog;
  std::vector<std::shared_ptr<const pangea_v1::ArchitectureGem>> gems;
  std::string missing_catalog, missing_gem;      // named and not there
  std::vector<PolicySource> sources;             // gem, workspace, template
  EffectivePolicy policy;
  Status references;  // why what the template refers to is not for it
};

// Where a template's text is.
struct Source {
  std::string kind;          // inline, configMap, git, gem
  std::string revision;      // commit, "cm:" and a digest, "inline:" and a digest, or the gem's commit
  std::string text;          // unless git or gem
  std::string tree;          // git: the clone
};

class TemplateWork {
 public:
  TemplateWork(Environment& e, pangea_v1::InfrastructureTemplate object, StopToken stop);

  // All stages that can be run now. `again` is when to look next; nothing: when something changes.
  Status run(std::optional<Duration>& again);

 private:
  // --- template_work.cc: what comes before the phases, writing the status ---
  Result<Next> before_phases(bool& done);
  Result<Next> phase_step();
  void look_around();
  Result<Next> handle_command();
  Status commit();
  void enter(const std::string& phase);
  void conditions();
  void not_ready(std::string_view reason, const std::string& message);   // after enter(): what is said of a phase is of that stay in it
  Next fail(const std::string& reason, const std::string& message, FailureKind kind = FailureKind::kUnclassified);
  void tell(std::string_view type, std::string_view reason, const std::string& message);
  std::string key() const { return object_.metadata.namespace_ + "/" + object_.metadata.name; }

  // --- template_render.cc ---
  Result<Next> pending();
  Result<Next> verifying();
  Result<Next> compiling();
  Result<Next> compile_blocked();
  Result<Source> resolve_source(bool network);
  // Nothing: an output that is referred to is not there yet; `waiting` says which.
  Result<std::optional<json::Object>> variables(std::string& waiting);
  // Nothing: it has no such output yet.
  Result<std::optional<json::Value>> referenced_output(const pangea_v1::InfrastructureTemplate& other, const std::string& output);
  std::string inputs_digest(const Source& source, const json::Object& variables) const;
  // Whether a rendering would be made from something else now than the last one was. Asks no repository.
  bool inputs_changed();
  Result<json::Value> render(const Source& source, const json::Object& variables, std::string& reason);
  void climb(const std::string& message);        // the ladder of renderings that keep failing
  Next compile_failed(const std::string& reason, const std::string& message, bool may_heal);
  std::optional<json::Value> stored_config() const;

  // --- template_workspace.cc: what an executor is given ---
  Result<Executor*> executor();
  std::string executor_name() const;
  Result<std::shared_ptr<magma::StateStore>> state();   // once a look
  Result<Workspace> workspace(const json::Value& config);
  Status add_credentials(Workspace& workspace);
  Status add_backend(Workspace& workspace);
  Result<core_v1::Secret> secret(const std::string& name, const std::string& ns);
  Run run_options() const;
  Run watched(PhaseWatch& watch, bool by_progress) const;  // the same, ended by the watch
  std::optional<Duration> phase_limit(const std::string& phase) const;

  // --- template_plan.cc ---
  Result<Next> initializing();
  Result<Next> planning();
  // A plan of the stored configuration, decided upon. `drift`: nothing was asked for, so what the plan finds is drift.
  Result<Next> plan_and_decide(bool drift);
  Result<Next> decide(const SavedPlan& plan, const json::Value& config, bool drift);
  Result<Next> nothing_to_do(const SavedPlan& plan);
  std::string plan_hash(const SavedPlan& plan) const;
  std::optional<pangea_v1::Approval> approval_of(const std::string& hash) const;
  void show_plan(const SavedPlan& plan, const PolicyEvaluation& evaluation);
  bool state_is_lost(const SavedPlan& plan) const;
  // What the remote repository says: false when the rendered revision is behind it.
  bool fresh();

  // --- template_apply.cc ---
  Result<Next> applying();
  Result<Next> applied(const SavedPlan& plan, const Applied& result, bool destroying);
  Result<Next> apply_failed(const Failure& failure, const std::string& message);
  Status publish_outputs(const json::Object& outputs);
  Status bind_output(const pangea_v1::OutputBinding& binding, const json::Object& outputs);

  // --- template_adopt.cc ---
  Status add_imports(Workspace& workspace);      // spec.importHints and what applies ran into, as import blocks
  struct Conflicts {
    bool adopt_again = false;                    // plan again: objects that are there are adopted
    bool all_resolved = true;                    // whatever failed is to be skipped
  };
  Conflicts resolve_conflicts(const SavedPlan& plan, const Applied& result);
  std::string resolution_of(const std::string& type, bool exists) const;   // import, skip or fail

  // --- template_destroy.cc ---
  Result<Next> destroying();
  Status release();                              // takes the finalizer away

  // --- template_settle.cc ---
  Result<Next> ready();
  Result<Next> drifted();
  Result<Next> failed();
  // The drift of a cycle: counts, says stuck, and what is to be done when it goes on for ever. True: handled here.
  bool settle(const SavedPlan& plan, const PolicyEvaluation& evaluation, Next& next);
  void settled();
  void react();                                  // reactive policies; after every look

  // --- template_record.cc ---
  // Writes a receipt and status.lastCycle.
  pangea_v1::CycleReceiptSpec receipt_of(const pangea_v1::LastCycle& cycle, const SavedPlan* plan, const Applied* applied, const std::string& error);
  void record(const std::string& outcome, const SavedPlan* plan, const Applied* applied, const std::string& error = "");

  Environment& e_;
  pangea_v1::InfrastructureTemplate object_;     // with the status as it will be
  pangea_v1::InfrastructureTemplate stored_;     // as the server has it
  StopToken stop_;
  Surroundings around_;
  std::optional<PolicyEvaluation> evaluation_;   // of this look's plan
  std::shared_ptr<magma::StateStore> state_;
  bool why_not_ready_ = false;                   // this look said so: the phase alone says less
  std::string late_phase_;  // whose run this look ended because it stood still
  WallTime started_;
};

// SHA-256 of the spec without what approves.
std::string spec_digest(const pangea_v1::InfrastructureTemplate& object);
// Objects merge, everything else is replaced by what comes later.
void deep_merge(json::Value& into, const json::Value& from);

}  // namespace engenho::pangea
