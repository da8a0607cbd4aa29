#include <algorithm>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/magma/engine.h"
#include "engenho/base/fs.h"
#include "executors.h"
#include "state_recovery.h"
#include "workspace.h"

namespace engenho::pangea {

namespace {

Step step_of(magma::Progress::Kind kind) {
  switch (kind) {
    case magma::Progress::Kind::kRefresh:
      return Step::kRefresh;
    case magma::Progress::Kind::kStart:
      return Step::kStart;
    case magma::Progress::Kind::kDone:
      return Step::kDone;
    case magma::Progress::Kind::kFailed:
      return Step::kFailed;
    case magma::Progress::Kind::kSkipped:
      return Step::kSkipped;
  }
  return Step::kRefresh;
}

Outcome::Result result_of(magma::Outcome::Result result) {
  switch (result) {
    case magma::Outcome::Result::kDone:
      return Outcome::Result::kDone;
    case magma::Outcome::Result::kFailed:
      return Outcome::Result::kFailed;
    case magma::Outcome::Result::kSkipped:
      return Outcome::Result::kSkipped;
    case magma::Outcome::Result::kInterrupted:
      return Outcome::Result::kInterrupted;
  }
  return Outcome::Result::kFailed;
}

class MagmaExecutor final : public Executor {
 public:
  explicit MagmaExecutor(ExecutorOptions options) : options_(std::move(options)) {}
  const std::string& name() const override { return name_; }

  Status validate(const Workspace& workspace, const Run& run) override {
    ENGENHO_ASSIGN_OR_RETURN(Prepared prepared, prepare(workspace));
    ENGENHO_ASSIGN_OR_RETURN(auto directory, RunDirectory::enter(workspace));
    const Limit limit(run);
    const magma::Validation v = engine(prepared).validate(request(workspace, prepared, {}), limit.token());
    std::vector<std::string> errors;
    for (const magma::Message& m : v.messages) {
      if (m.error) errors.push_back(prepared.redactor.text(m.to_string()));
    }
    return errors.empty() ? Status() : limit.explain(bad_request(join(errors, "\n")));
  }

  Result<SavedPlan> plan(const Workspace& workspace, magma::StateStore& state, const PlanOptions& options, const Run& run) override {
    ENGENHO_ASSIGN(Prepared prepared, ready(workspace));
    ENGENHO_ASSIGN(auto directory, RunDirectory::enter(workspace));
    ENGENHO_ASSIGN(std::string news, recover_state(directory->path(), state));
    const Limit limit(run);
    auto made = engine(prepared).plan(request(workspace, prepared, options), state, sink(prepared, run), limit.token());
    if (!made) return err(limit.explain(hidden(prepared, made.error())));
    SavedPlan out;
    out.executor = name_;
    out.id = made->id();
    out.document = made->document();
    ENGENHO_ASSIGN(out.model, read_plan(out.document));
    out.providers = made->providers();
    out.serial = made->serial();
    out.lineage = made->lineage();
    out.only_refresh = made->only_refresh();
    if (!news.empty()) out.warnings.push_back(std::move(news));
    for (const magma::Message& m : made->messages()) out.warnings.push_back(prepared.redactor.text(m.to_string()));
    out.payload = made->serialize();
    return out;
  }

  Result<Applied> apply(const Workspace& workspace, magma::StateStore& state, const SavedPlan& saved, const ApplyOptions& options, const Run& run) override {
    if (saved.executor != name_) return err(failure_status(FailureKind::kStalePlan, "saved plan is stale: it was made by the executor " + saved.executor));
    ENGENHO_ASSIGN(Prepared prepared, ready(workspace));
    ENGENHO_ASSIGN(const magma::Plan plan, magma::Plan::parse(saved.payload));
    if (plan.id() != saved.id) return err(bad_request("the saved plan is damaged or was changed: its id does not match"));
    prepared.redactor.add_plan(saved.document);
    ENGENHO_ASSIGN(auto directory, RunDirectory::enter(workspace));
    ENGENHO_ASSIGN(std::string news, recover_state(directory->path(), state));
    const Limit limit(run);
    magma::ApplyOptions how;
    how.retry_interrupted = options.retry_interrupted;
    auto result = engine(prepared).apply(plan, state, how, sink(prepared, run), limit.token());
    if (!result) {
      const Status& s = result.error();
      if (s.conflict() && s.message().find("saved plan is stale") != std::string::npos) return err(failure_status(FailureKind::kStalePlan, s.message()));
      if (s.conflict() && s.message().find("locked") != std::string::npos) return err(failure_status(FailureKind::kStateLocked, s.message()));
      return err(limit.explain(hidden(prepared, s)));
    }
    Applied out;
    out.ok = result->ok;
    for (const magma::Outcome& o : result->outcomes) {
      out.outcomes.push_back({o.address, o.action, result_of(o.result), o.earlier, prepared.redactor.text(o.message), o.started, o.elapsed});
    }
    // What concerns the state alone (an import, an object that is forgotten) is no operation, but it has a fate as well.
    std::set<std::string> told;
    for (const Outcome& o : out.outcomes) told.insert(o.address);
    for (const Change& c : saved.model.changes) {
      if (out.ok && !told.contains(c.address)) out.outcomes.push_back({c.address, c.action, Outcome::Result::kDone, false, "", {}, {}});
    }
    std::stable_sort(out.outcomes.begin(), out.outcomes.end(), [](const Outcome& a, const Outcome& b) { return a.address < b.address; });
    out.outputs = std::move(result->outputs);
    out.serial_before = result->serial_before;
    out.serial_after = result->serial_after;
    out.lineage_before = saved.lineage;
    out.lineage = result->lineage;
    for (const magma::Message& m : result->messages) (m.error ? out.errors : out.warnings).push_back(prepared.redactor.text(m.to_string()));
    if (!news.empty()) out.warnings.push_back(std::move(news));
    out.unsaved_state = std::move(result->unsaved_state);
    if (!out.unsaved_state.empty()) {
      if (Status s = write_file_atomic(directory->path() + "/" + kUnsavedState, out.unsaved_state, 0600); !s.ok())
        out.errors.push_back("the state could be stored nowhere: " + s.message());
    }
    if (!out.ok) {
      out.failure = classify_all(out.errors);
      const Status ended = limit.explain(bad_request(""));
      if (out.failure.kind == FailureKind::kUnclassified && classify_failure(ended).kind == FailureKind::kStopped) {
        out.errors.push_back(ended.message());
        out.failure = classify_failure(ended);
      }
    }
    return out;
  }

  Status import(const Workspace& workspace, magma::StateStore& state, const std::string& address, const std::string& id, const Run& run) override {
    ENGENHO_ASSIGN_OR_RETURN(Prepared prepared, ready(workspace));
    ENGENHO_ASSIGN_OR_RETURN(auto directory, RunDirectory::enter(workspace));
    ENGENHO_ASSIGN_OR_RETURN(const std::string news, recover_state(directory->path(), state));
    const Limit limit(run);
    const Status s = engine(prepared).import(request(workspace, prepared, {}), state, address, id, limit.token());
    return limit.explain(hidden(prepared, s));
  }

  Result<json::Object> outputs(const Workspace& workspace, magma::StateStore& state, const Run&) override {
    ENGENHO_TRY(check_backend(workspace));
    return magma::Engine().outputs(state);
  }

 private:
  static Status check_backend(const Workspace& workspace) {
    if (workspace.backend.kind == "cluster" || workspace.backend.kind == "local") return {};
    return bad_request("the executor magma keeps its state in the cluster; a backend of kind \"" + workspace.backend.kind + "\" needs the executor tofu");
  }
  static Result<Prepared> ready(const Workspace& workspace) {
    ENGENHO_TRY(check_backend(workspace));
    return prepare(workspace);
  }
  static Status hidden(const Prepared& prepared, const Status& s) {
    if (s.ok()) return s;
    return Status(s.code(), s.reason(), prepared.redactor.text(s.message()), s.details());
  }

  magma::Engine engine(const Prepared& prepared) const {
    magma::EngineOptions out;
    out.plugin_dirs = options_.plugin_dirs;
    out.parallelism = options_.parallelism;
    out.provider_env = prepared.environment;
    out.stop_grace = options_.grace;
    return magma::Engine(out);
  }
  static magma::PlanRequest request(const Workspace& workspace, const Prepared& prepared, const PlanOptions& options) {
    magma::PlanRequest out;
    out.config = prepared.config;
    out.directory = workspace.directory;
    out.variables = prepared.variables;
    out.targets = options.targets;
    out.replace = options.replace;
    out.destroy = options.destroy;
    out.refresh = options.refresh;
    out.refresh_only = options.refresh_only;
    return out;
  }
  static magma::ProgressSink sink(const Prepared& prepared, const Run& run) {
    if (!run.progress) return {};
    return [&](const magma::Progress& p) { run.progress({step_of(p.kind), p.address, p.action, prepared.redactor.text(p.message), p.elapsed}); };
  }

  const ExecutorOptions options_;
  const std::string name_ = "magma";
};

}  // namespace

Result<std::unique_ptr<Executor>> make_magma_executor(const ExecutorOptions& options) {
  return std::make_unique<MagmaExecutor>(options);
}

}  // namespace engenho::pangea
