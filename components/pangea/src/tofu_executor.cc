// Runs OpenTofu or Terraform: a child for each step, in a process group of its own, with nothing of this process's environment but what it needs.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/process.h"
#include "engenho/base/random.h"
#include "executors.h"
#include "state_listener.h"
#include "state_recovery.h"
#include "tofu_backend.h"
#include "tofu_output.h"
#include "workspace.h"

namespace engenho::pangea {

namespace {

constexpr const char* kInitialized = ".terraform/engenho-initialized";

// The mirror directories with what they have; the rest from registries, or not at all.
std::string cli_configuration(const ExecutorOptions& options) {
  std::string out = "disable_checkpoint = true\n";
  if (!options.plugin_cache_dir.empty()) {
    out += "plugin_cache_dir = " + json::dump(options.plugin_cache_dir) + "\nplugin_cache_may_break_dependency_lock_file = true\n";
  }
  std::set<std::string> mirrored;
  std::string mirrors;
  for (const std::string& dir : options.plugin_dirs) {
    std::vector<std::string> sources;
    std::error_code code;
    for (const auto& host : std::filesystem::directory_iterator(dir, code)) {
      for (const auto& ns : std::filesystem::directory_iterator(host.path(), code)) {
        for (const auto& type : std::filesystem::directory_iterator(ns.path(), code)) {
          const std::string source = host.path().filename().string() + "/" + ns.path().filename().string() + "/" + type.path().filename().string();
          if (mirrored.insert(source).second) sources.push_back(json::dump(source));
        }
      }
    }
    if (sources.empty()) continue;
    std::sort(sources.begin(), sources.end());
    mirrors += "  filesystem_mirror {\n    path = " + json::dump(dir) + "\n    include = [" + join(sources, ", ") + "]\n  }\n";
  }
  out += "provider_installation {\n" + mirrors;
  if (options.registries) {
    std::vector<std::string> sources;
    for (const std::string& source : mirrored) sources.push_back(json::dump(source));
    out += "  direct {\n" + (sources.empty() ? "" : "    exclude = [" + join(sources, ", ") + "]\n") + "  }\n";
  }
  return out + "}\n";
}

// One run: the directory with its files, the state's listener, the child's environment.
class Session {
 public:
  Session(const std::string& program, const ExecutorOptions& options, const Workspace& workspace, magma::StateStore& state, const Run& run)
      : program_(program), options_(options), workspace_(workspace), state_(state), run_(run), limit_(run) {}

  Status open(uint16_t port, const std::string& password) {
    ENGENHO_ASSIGN_OR_RETURN(prepared_, prepare(workspace_));
    ENGENHO_ASSIGN_OR_RETURN(TofuBackend backend, tofu_backend(workspace_.backend, workspace_.directory));
    ENGENHO_ASSIGN_OR_RETURN(directory_, RunDirectory::enter(workspace_));
    ENGENHO_RETURN_IF_ERROR(end_orphans());
    remove_strangers();
    const std::string configuration = cli_configuration(options_);
    ENGENHO_RETURN_IF_ERROR(directory_->write("main.tf.json", json::dump(prepared_.config)));
    ENGENHO_RETURN_IF_ERROR(directory_->write("backend.tf.json", json::dump(backend.document)));
    ENGENHO_RETURN_IF_ERROR(directory_->write("terraform.tfvars.json", json::dump(json::Value(prepared_.variables))));
    ENGENHO_RETURN_IF_ERROR(directory_->write("cli.tfrc", configuration));
    for (const auto& [name, content] : backend.files) ENGENHO_RETURN_IF_ERROR(directory_->write(name, content));
    environment_ = prepared_.environment;
    for (const std::string& variable : backend.environment) environment_.push_back(variable);
    for (const char* variable : {"TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1"}) environment_.emplace_back(variable);
    environment_.push_back("TF_CLI_CONFIG_FILE=" + directory_->path() + "/cli.tfrc");
    std::error_code code;
    if (!options_.plugin_cache_dir.empty()) ENGENHO_RETURN_IF_ERROR(make_dirs(options_.plugin_cache_dir, 0700));
    if (clustered()) {
      auto before = state_.read();
      if (!before) return before.error();
      prepared_.redactor.add_state(*before);
      ENGENHO_ASSIGN_OR_RETURN(listener_, StateListener::start(state_, port, password.empty() ? hex_encode(random_bytes(24)) : password));
      prepared_.redactor.add(listener_->password());
      for (const char* variable : {"TF_HTTP_ADDRESS", "TF_HTTP_LOCK_ADDRESS", "TF_HTTP_UNLOCK_ADDRESS"})
        environment_.push_back(std::string(variable) + "=" + listener_->url());
      environment_.push_back("TF_HTTP_USERNAME=pangea");
      environment_.push_back("TF_HTTP_PASSWORD=" + listener_->password());
    }
    ENGENHO_RETURN_IF_ERROR(init(configuration, backend));
    return recover();
  }

  bool clustered() const { return workspace_.backend.kind == "cluster"; }
  const Redactor& redactor() const { return prepared_.redactor; }
  Redactor& redactor() { return prepared_.redactor; }
  const Prepared& prepared() const { return prepared_; }
  const Limit& limit() const { return limit_; }
  const StateListener* listener() const { return listener_.get(); }
  std::vector<std::string>& warnings() { return warnings_; }
  std::string path(const std::string& name) const { return directory_->path() + "/" + name; }
  Status write(const std::string& name, std::string_view content) { return directory_->write(name, content); }

  Result<ProcessEnd> run(std::vector<std::string> arguments, const std::function<void(std::string_view)>& on_line = {}) {
    ProcessOptions child;
    child.argv = {program_};
    child.argv.insert(child.argv.end(), arguments.begin(), arguments.end());
    child.env = environment_;
    child.cwd = directory_->path();
    // Should this process die, the child ends in order and leaves its state where the next run finds it.
    child.die_with_parent = true;
    child.death_signal = SIGTERM;
    ProcessRun how;
    how.stop = limit_.token();
    how.grace = options_.grace;
    how.on_line = on_line;
    return run_process(child, how);
  }
  // The whole output of a command that must succeed.
  Result<std::string> output(std::vector<std::string> arguments) {
    std::string text;
    const std::string what = arguments[0];
    auto end = run(std::move(arguments), [&](std::string_view line) { (text += line) += '\n'; });
    if (!end) return err(end.error());
    if (end->exit_code != 0) return err(failed(what, {}, *end));
    return text;
  }
  // The error of a command that ended badly.
  Status failed(const std::string& what, std::vector<std::string> errors, const ProcessEnd& end) const {
    if (errors.empty()) {
      const std::string text = plain_error(end.err, prepared_.redactor);
      errors.push_back(text.empty() ? what + " ended with " + std::to_string(end.exit_code) : text);
    }
    const Failure f = classify_all(errors);
    const std::string text = join(errors, "\n");
    return limit_.explain(f.kind == FailureKind::kUnclassified ? bad_request(text) : failure_status(f.kind, text));
  }

  Result<std::string> state_document() {
    if (clustered()) return state_.read();
    return output({"state", "pull"});
  }
  Status forget_initialization() {
    std::error_code code;
    std::filesystem::remove(path(kInitialized), code);
    return {};
  }

 private:
  // After a run whose process died: its program may still be ending, and provider processes may be left.
  Status end_orphans() const {
    const std::string file = path("cli.tfrc"), mark = "TF_CLI_CONFIG_FILE=" + file;
    struct stat info {};
    if (stat(file.c_str(), &info) != 0) return {};  // it was cleaned up: nothing is left
    const bool long_ago = std::time(nullptr) - info.st_mtime > 3600;
    std::vector<pid_t> children;
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", code)) {
      int64_t pid = 0;
      if (!parse_int(entry.path().filename().string(), pid) || pid == getpid()) continue;
      // Only what this run's program was given can have this in its environment, or was started by it.
      auto environment = read_file(entry.path().string() + "/environ");
      if (!environment) continue;
      const auto variables = split(*environment, '\0');
      if (std::find(variables.begin(), variables.end(), mark) == variables.end()) continue;
      const std::string program = std::filesystem::read_symlink(entry.path() / "exe", code).string();
      if (program != std::filesystem::canonical(program_, code).string() || long_ago)
        children.push_back(static_cast<pid_t>(pid));
      else
        return failure_status(FailureKind::kStateLocked, "the program of a run that was cut off is still ending in the workspace directory: it is locked");
    }
    for (const pid_t pid : children) kill(pid, SIGKILL);
    return {};
  }

  // Configuration that lies about is read by terraform, whoever put it there.
  void remove_strangers() const {
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator(directory_->path(), code)) {
      const std::string name = entry.path().filename().string();
      for (const char* end : {".tf", ".tf.json", ".tofu", ".tofu.json", ".tfvars", ".tfvars.json", ".tfrc"}) {
        if (name.ends_with(end)) std::filesystem::remove(entry.path(), code);
      }
    }
  }

  Status init(const std::string& configuration, const TofuBackend& backend) {
    // What it depends on: providers and their versions, the backend, the program.
    json::Array types;
    for (const char* kind : {"resource", "data", "provider", "ephemeral"}) {
      if (const json::Value* section = prepared_.config.get(kind)) {
        for (const auto& [type, body] : section->members()) types.push_back(type);
        for (const json::Value& part : section->items()) {
          for (const auto& [type, body] : part.members()) types.push_back(type);
        }
      }
    }
    const json::Value* settings = prepared_.config.get("terraform");
    const std::string digest =
        sha256_hex(json::dump(json::Object{{"program", program_},
                                           {"configuration", configuration},
                                           {"backend", backend.document},
                                           {"types", std::move(types)},
                                           {"terraform", settings ? *settings : json::Value()},
                                           {"module", prepared_.config.get("module") ? *prepared_.config.get("module") : json::Value()}}));
    auto before = read_file(path(kInitialized));
    if (before && *before == digest) return {};
    // A plugin cache takes one writer at a time, and terraform does not see to that.
    struct Lock {
      int fd = -1;
      ~Lock() {
        if (fd >= 0) close(fd);
      }
    } lock;
    if (!options_.plugin_cache_dir.empty()) {
      lock.fd = ::open((options_.plugin_cache_dir + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
      if (lock.fd < 0) return errno_error("open the plugin cache's lock", errno);
      while (flock(lock.fd, LOCK_EX | LOCK_NB) != 0) {
        if (limit_.token().wait_for(std::chrono::milliseconds(100))) return limit_.explain(unavailable("another run fills the plugin cache"));
      }
    }
    auto end = run({"init", "-input=false", "-no-color", "-reconfigure"});
    if (!end) return end.error();
    if (end->exit_code != 0) {
      const Status s = failed("init", {}, *end);
      // Whatever else it says, a provider could not be had.
      const Failure f = classify_failure(s);
      return f.kind == FailureKind::kUnclassified ? limit_.explain(failure_status(FailureKind::kProviderUnavailable, s.message())) : s;
    }
    return write_file_atomic(path(kInitialized), digest, 0600);
  }

  // A state that could not be stored, by a run that was cut off: nothing that exists is to be lost.
  Status recover() {
    const std::string file = path(kUnsavedState);
    if (!path_exists(file)) return {};
    if (!clustered()) {
      auto end = run({"state", "push", kUnsavedState});
      if (!end) return end.error();
      if (end->exit_code != 0)
        return failed("state push", {}, *end).with_context(std::string("the state that an earlier run could not store (") + kUnsavedState + ")");
      unlink(file.c_str());
      return {};
    }
    ENGENHO_ASSIGN_OR_RETURN(std::string news, recover_state(directory_->path(), state_));
    if (!news.empty()) warnings_.push_back(std::move(news));
    return {};
  }

  const std::string& program_;
  const ExecutorOptions& options_;
  const Workspace& workspace_;
  magma::StateStore& state_;
  const Run& run_;
  const Limit limit_;
  Prepared prepared_;
  std::unique_ptr<RunDirectory> directory_;
  std::unique_ptr<StateListener> listener_;
  std::vector<std::string> environment_, warnings_;
};

class TofuExecutor final : public Executor {
 public:
  TofuExecutor(std::string program, ExecutorOptions options) : program_(std::move(program)), options_(std::move(options)) {}
  const std::string& name() const override { return name_; }

  Status validate(const Workspace& workspace, const Run& run) override {
    auto none = magma::make_memory_state();
    Session session(program_, options_, workspace, *none, run);
    ENGENHO_RETURN_IF_ERROR(session.open(0, ""));
    std::string text;
    ENGENHO_ASSIGN_OR_RETURN(const ProcessEnd end, session.run({"validate", "-json", "-no-color"}, [&](std::string_view line) { (text += line) += '\n'; }));
    auto parsed = json::parse(text);
    if (!parsed) return session.failed("validate", {}, end);
    std::vector<std::string> errors;
    if (const json::Value* diagnostics = parsed->get("diagnostics")) {
      for (const json::Value& d : diagnostics->items()) {
        if (d.str_at({"severity"}) == "error")
          errors.push_back(plain_error(std::string(d.str_at({"summary"})) + ": " + std::string(d.str_at({"detail"})), session.redactor()));
      }
    }
    return errors.empty() && end.exit_code == 0 ? Status() : session.failed("validate", errors, end);
  }

  Result<SavedPlan> plan(const Workspace& workspace, magma::StateStore& state, const PlanOptions& options, const Run& run) override {
    Session session(program_, options_, workspace, state, run);
    ENGENHO_TRY(session.open(0, ""));
    ENGENHO_ASSIGN(const std::string before, session.state_document());
    ENGENHO_ASSIGN(const StateId made_from, state_id(before));
    ENGENHO_TRY(session.write("tfplan", ""));  // private from the beginning, and gone at the end
    // No lock: the state is compared when the plan is applied.
    std::vector<std::string> arguments = {
        "plan",       "-input=false", "-no-color", "-json", "-lock=false", "-compact-warnings", "-parallelism=" + std::to_string(options_.parallelism),
        "-out=tfplan"};
    if (options.destroy) arguments.emplace_back("-destroy");
    if (options.refresh_only) arguments.emplace_back("-refresh-only");
    if (!options.refresh) arguments.emplace_back("-refresh=false");
    for (const std::string& t : options.targets) arguments.push_back("-target=" + t);
    for (const std::string& r : options.replace) arguments.push_back("-replace=" + r);
    TofuOutput output(session.redactor(), run);
    ENGENHO_ASSIGN(const ProcessEnd end, session.run(arguments, [&](std::string_view line) { output.line(line); }));
    if (end.exit_code != 0) {
      const Status s = session.failed("plan", output.errors(), end);
      if (classify_failure(s).kind == FailureKind::kEmptyWorkspace) (void)session.forget_initialization();  // the next one begins anew
      return err(s);
    }
    SavedPlan out;
    out.executor = name_;
    ENGENHO_ASSIGN(const std::string shown, session.output({"show", "-json", "-no-color", "tfplan"}));
    ENGENHO_ASSIGN(out.document, json::parse(shown));
    ENGENHO_ASSIGN(out.model, read_plan(out.document));
    ENGENHO_ASSIGN(const std::string versions, session.output({"version", "-json"}));
    if (auto parsed = json::parse(versions)) {
      if (const json::Value* selections = parsed->get("provider_selections")) {
        for (const auto& [source, version] : selections->members()) out.providers.emplace(source, version.str());
      }
    }
    ENGENHO_ASSIGN(const std::string after, session.state_document());
    ENGENHO_ASSIGN(const StateId state_now, state_id(after));
    if (state_now != made_from) return err(failure_status(FailureKind::kStalePlan, "saved plan is stale: the state was changed while the plan was made"));
    out.serial = made_from.serial;
    out.lineage = made_from.lineage;
    const json::Value* applyable = out.document.get("applyable");
    out.only_refresh = out.model.empty() && !out.model.drift.empty() && (applyable == nullptr || applyable->bool_or(false));
    out.warnings = session.warnings();
    for (std::string& w : output.warnings()) out.warnings.push_back(std::move(w));
    ENGENHO_ASSIGN(const std::string file, read_file(session.path("tfplan")));
    json::Object payload{{"plan", base64_encode(file)}};
    if (session.listener() != nullptr) {
      // A saved plan may have the backend's address within it (OpenTofu puts it there): the same one is taken again, if it can be had.
      payload.set("port", static_cast<int64_t>(session.listener()->port()));
      payload.set("password", session.listener()->password());
    }
    auto lock = read_file(session.path(".terraform.lock.hcl"));
    payload.set("lock", lock ? *lock : std::string());
    out.payload = json::dump(json::Value(std::move(payload)));
    out.id = plan_id(out, session.prepared(), workspace, options);
    return out;
  }

  Result<Applied> apply(const Workspace& workspace, magma::StateStore& state, const SavedPlan& saved, const ApplyOptions&, const Run& run) override {
    if (saved.executor != name_) return err(failure_status(FailureKind::kStalePlan, "saved plan is stale: it was made by the executor " + saved.executor));
    auto payload = json::parse(saved.payload);
    if (!payload || payload->str_at({"plan"}).empty()) return err(bad_request("the saved plan is damaged or was changed"));
    ENGENHO_ASSIGN(const std::string file, base64_decode(payload->str_at({"plan"})));
    const int64_t port = payload->get("port") != nullptr ? payload->get("port")->int_or(0) : 0;
    Session session(program_, options_, workspace, state, run);
    // The provider versions of the plan, in a directory that may be new.
    const std::string lock_file = workspace.directory + "/.terraform.lock.hcl";
    if (!payload->str_at({"lock"}).empty() && !path_exists(lock_file)) {
      ENGENHO_TRY(make_dirs(workspace.directory, 0700));
      ENGENHO_TRY(write_file_atomic(lock_file, payload->str_at({"lock"}), 0600));
    }
    ENGENHO_TRY(session.open(static_cast<uint16_t>(port), std::string(payload->str_at({"password"}))));
    session.redactor().add_plan(saved.document);
    ENGENHO_ASSIGN(const std::string before, session.state_document());
    ENGENHO_ASSIGN(const StateId made_from, state_id(before));
    if (made_from != StateId{saved.serial, saved.lineage}) {
      return err(failure_status(FailureKind::kStalePlan, "saved plan is stale: it was made from state serial " + std::to_string(saved.serial) +
                                                             ", and the state now has serial " + std::to_string(made_from.serial) +
                                                             (made_from.lineage == saved.lineage ? "" : " of another lineage")));
    }
    ENGENHO_TRY(session.write("tfplan", file));
    TofuOutput output(session.redactor(), run);
    ENGENHO_ASSIGN(const ProcessEnd end, session.run({"apply", "-input=false", "-no-color", "-json", "-compact-warnings",
                                                      "-parallelism=" + std::to_string(options_.parallelism), "tfplan"},
                                                     [&](std::string_view line) { output.line(line); }));
    const bool good = end.exit_code == 0;
    if (!good && !output.begun()) return err(session.failed("apply", output.errors(), end));
    Applied out;
    out.ok = good;
    out.outcomes = output.outcomes(saved.model, good);
    out.warnings = session.warnings();
    for (std::string& w : output.warnings()) out.warnings.push_back(std::move(w));
    out.serial_before = made_from.serial;
    out.lineage_before = made_from.lineage;
    if (!good) {
      out.errors = output.errors();
      const Status s = session.failed("apply", out.errors, end);
      if (out.errors.empty() || s.message() != join(out.errors, "\n")) out.errors.push_back(s.message());
      out.failure = classify_failure(s);
    }
    if (auto unsaved = read_file(session.path(kUnsavedState))) {
      out.unsaved_state = std::move(*unsaved);  // it stays there, too: the next run stores it
      out.ok = false;
    }
    auto after = session.state_document();
    if (!after) {
      out.ok = false;
      out.errors.push_back(session.redactor().text("the state cannot be read after the apply: " + after.error().message()));
      return out;
    }
    ENGENHO_ASSIGN(const StateId now, state_id(*after));
    out.serial_after = now.serial;
    out.lineage = now.lineage;
    out.outputs = outputs_of(*after);
    return out;
  }

  Status import(const Workspace& workspace, magma::StateStore& state, const std::string& address, const std::string& id, const Run& run) override {
    // Both are arguments of their own, and must not look like flags.
    if (address.empty() || address[0] == '-' || id.empty() || id.find('\0') != std::string::npos) return bad_request("import takes an address and an id");
    Session session(program_, options_, workspace, state, run);
    ENGENHO_RETURN_IF_ERROR(session.open(0, ""));
    ENGENHO_ASSIGN_OR_RETURN(const ProcessEnd end, session.run({"import", "-input=false", "-no-color", "--", address, id}));
    if (end.exit_code == 0) return {};
    const Status s = session.failed("import", {}, end);
    if (s.message().find("already managed") != std::string::npos) return Status(409, reason::kConflict, s.message());
    return s;
  }

  Result<json::Object> outputs(const Workspace& workspace, magma::StateStore& state, const Run& run) override {
    if (workspace.backend.kind == "cluster") {
      ENGENHO_ASSIGN(const std::string document, state.read());
      return outputs_of(document);
    }
    Session session(program_, options_, workspace, state, run);
    ENGENHO_TRY(session.open(0, ""));
    ENGENHO_ASSIGN(const std::string document, session.state_document());
    return outputs_of(document);
  }

 private:
  static json::Object outputs_of(std::string_view document) {
    json::Object out;
    auto parsed = json::parse(document);
    const json::Value* outputs = parsed ? parsed->get("outputs") : nullptr;
    if (outputs == nullptr) return out;
    for (const auto& [name, o] : outputs->members()) {
      const json::Value *value = o.get("value"), *type = o.get("type"), *sensitive = o.get("sensitive");
      out.set(name, json::Object{{"value", value ? *value : json::Value()},
                                 {"type", type ? *type : json::Value()},
                                 {"sensitive", sensitive != nullptr && sensitive->bool_or(false)}});
    }
    return out;
  }

  std::string plan_id(const SavedPlan& plan, const Prepared& prepared, const Workspace& workspace, const PlanOptions& options) const {
    json::Object content;
    content.set("executor", name_);
    for (const char* part : {"terraform_version", "resource_changes", "output_changes", "resource_drift"}) {
      if (const json::Value* v = plan.document.get(part)) content.set(part, *v);
    }
    content.set("configuration", prepared.config);
    content.set("variables", prepared.variables);
    content.set("backend", workspace.backend.kind);
    content.set("serial", static_cast<int64_t>(plan.serial));
    content.set("lineage", plan.lineage);
    json::Object providers;
    for (const auto& [source, version] : plan.providers) providers.set(source, version);
    content.set("providers", std::move(providers));
    json::Array targets, replace;
    for (const std::string& t : options.targets) targets.push_back(t);
    for (const std::string& r : options.replace) replace.push_back(r);
    content.set("options", json::Object{{"destroy", options.destroy},
                                        {"refresh_only", options.refresh_only},
                                        {"refresh", options.refresh},
                                        {"targets", std::move(targets)},
                                        {"replace", std::move(replace)}});
    return sha256_hex(json::dump(json::Value(std::move(content))));
  }

  const std::string program_;
  const ExecutorOptions options_;
  const std::string name_ = "tofu";
};

}  // namespace

Result<std::unique_ptr<Executor>> make_tofu_executor(const std::string& name, const ExecutorOptions& options) {
  std::string program = options.program;
  if (!program.empty()) {
    program = find_program(program);
    if (program.empty() || access(program.c_str(), X_OK) != 0)
      return err(failure_status(FailureKind::kProviderUnavailable, "executor " + name + " is not available: " + options.program + " cannot be run"));
  } else {
    for (const char* candidate : {name == "terraform" ? "terraform" : "tofu", name == "terraform" ? "tofu" : "terraform"}) {
      if (program.empty()) program = find_program(candidate);
    }
    if (program.empty())
      return err(failure_status(FailureKind::kProviderUnavailable, "executor " + name + " is not available: neither tofu nor terraform is in PATH"));
  }
  return std::make_unique<TofuExecutor>(program, options);
}

}  // namespace engenho::pangea
