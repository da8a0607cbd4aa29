// The native executor: plans and applies Terraform JSON configurations. In process, without a working directory of its own.
//
//   Engine engine(options);
//   auto plan = engine.plan(request, *state, sink, stop);       // reads, refreshes, compares; changes nothing
//   auto result = engine.apply(*plan, *state, {}, sink, stop);  // exactly that plan, or an error
//
// A plan is a value: serialize() it, show its document(), approve its id(), apply it later or in another process. It is refused when the
// state was changed since. An apply that was killed goes on when the same plan is applied again.
//
// Sensitive values are in document() and serialize(), as in Terraform's, and nowhere else: no message, progress event or Status has them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/base/threads.h"
#include "engenho/magma/state_store.h"

namespace engenho::magma {

struct EngineOptions {
  // Where provider executables are looked for: HOST/NAMESPACE/TYPE/VERSION/OS_ARCH/terraform-provider-TYPE_v… below each.
  std::vector<std::string> plugin_dirs;
  bool builtin_providers = true;             // terraform, null, random, local, time, tls need no executable
  int parallelism = 10;                      // provider calls at once
  std::string scratch_dir;                   // for the providers' sockets; empty: TMPDIR or the system's
  std::vector<std::string> provider_env;     // "NAME=value" for provider processes; empty: this process's own
  Duration start_timeout = std::chrono::seconds(60);    // launch, handshake, schema
  Duration read_timeout = std::chrono::minutes(10);     // validate, read, plan, import
  Duration apply_timeout = std::chrono::minutes(60);    // create, update, delete
  Duration stop_grace = std::chrono::seconds(60);       // how long a call may go on after a stop
};

struct PlanRequest {
  json::Value config;                        // the configuration document (main.tf.json)
  std::string directory = ".";               // path.module, and where file() looks
  json::Object variables;                    // values of input variables; a string is also read as JSON where the type asks for more
  std::string workspace = "default";
  std::vector<std::string> targets;          // addresses: these and what they need
  std::vector<std::string> replace;          // instance addresses to replace in any case
  bool destroy = false, refresh = true, refresh_only = false;
};

struct Message {
  bool error = false;                        // else a warning
  std::string address, summary, detail;
  std::string to_string() const;
};

// One change of a plan, for policies and summaries.
struct PlannedChange {
  std::string address, type, provider;       // provider: its source
  std::string action;                        // no-op, create, read, update, delete, replace, forget
  std::vector<std::string> attributes;       // top-level names that change
  std::vector<std::string> replace_because;  // attributes that force a replacement
  std::string reason;                        // action_reason of the plan format
};

struct PlanData;

class Plan {
 public:
  // The shape of `terraform show -json` of a plan file. `redact`: sensitive values are replaced by null.
  json::Value document(bool redact = false) const;
  // SHA-256 in hexadecimal over all that decides what an apply does: configuration, variables, state serial and lineage, changes with
  // their values, provider versions.
  const std::string& id() const;
  bool has_changes() const;                  // resources or outputs
  bool only_refresh() const;                 // nothing to do but to store what was read
  struct Counts {
    int add = 0, change = 0, destroy = 0, import = 0, forget = 0;
  };
  Counts counts() const;
  std::vector<PlannedChange> changes() const;   // without no-op
  std::vector<PlannedChange> drift() const;
  const std::vector<Message>& messages() const; // warnings
  uint64_t serial() const;                   // of the state it was made from
  const std::string& lineage() const;
  const std::map<std::string, std::string>& providers() const;   // source -> version, of those it needs

  std::string serialize() const;             // holds secrets: keep it as you keep the state
  static Result<Plan> parse(std::string_view bytes);

  explicit Plan(std::shared_ptr<const PlanData> data) : data_(std::move(data)) {}
  const PlanData& data() const { return *data_; }

 private:
  std::shared_ptr<const PlanData> data_;
};

struct Progress {
  enum class Kind { kRefresh, kStart, kDone, kFailed, kSkipped };
  Kind kind;
  std::string address, action;               // action as in PlannedChange; of kRefresh "read"
  std::string message;                       // of kFailed and kSkipped
  Duration elapsed{0};
};
// Called from several threads at once.
using ProgressSink = std::function<void(const Progress&)>;

struct Outcome {
  enum class Result { kDone, kFailed, kSkipped, kInterrupted };
  std::string address, action;
  Result result;
  bool earlier = false;                      // done by a run of the same plan that was cut short
  std::string message;                       // why not
  WallTime started{};
  Duration elapsed{0};
};

struct ApplyOptions {
  // A create that was cut short leaves it open whether the object exists. It is not repeated, unless its address is here.
  std::vector<std::string> retry_interrupted;
};

struct ApplyResult {
  std::vector<Outcome> outcomes;             // of every change, in order of address
  std::vector<Message> messages;             // errors and warnings
  json::Object outputs;                      // name -> {"value", "type", "sensitive"}
  uint64_t serial_before = 0, serial_after = 0;
  std::string lineage;
  std::string unsaved_state;                 // the document that could not be stored; else empty
  bool ok = false;
  Status status() const;                     // the errors as one
};

struct Validation {
  std::vector<Message> messages;
  bool ok() const;
};

// Thread-safe: each call works for itself.
class Engine {
 public:
  explicit Engine(EngineOptions options = {});
  ~Engine();

  // What can be said without a state: configuration, references, types, provider schemas.
  Validation validate(const PlanRequest& request, StopToken stop = {});
  // Takes no lock: the state is compared when the plan is applied. Errors: BadRequest with all messages, one a line.
  Result<Plan> plan(const PlanRequest& request, StateStore& state, const ProgressSink& sink = {}, StopToken stop = {});
  // Locks the state. An error when nothing was begun: stale plan (Conflict), lock held (Conflict), damaged state. Otherwise the result
  // tells each change's fate.
  Result<ApplyResult> apply(const Plan& plan, StateStore& state, const ApplyOptions& options = {}, const ProgressSink& sink = {}, StopToken stop = {});
  // Adopts what exists under `id`.
  Status import(const PlanRequest& request, StateStore& state, const std::string& address, const std::string& id, StopToken stop = {});

  // Changes of the state alone.
  Status taint(StateStore& state, const std::string& address, bool tainted = true);
  Status remove_from_state(StateStore& state, const std::string& address);
  Status move_in_state(StateStore& state, const std::string& from, const std::string& to);
  // The shape of `terraform show -json` of a state.
  Result<json::Value> show_state(StateStore& state, bool redact = false);
  Result<std::vector<std::string>> list_state(StateStore& state);
  // name -> {"value", "type", "sensitive"}
  Result<json::Object> outputs(StateStore& state);

 private:
  EngineOptions options_;
};

}  // namespace engenho::magma
