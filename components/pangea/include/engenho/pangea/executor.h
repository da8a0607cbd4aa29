// Who carries out plans. One interface; "magma" works in this process, "tofu" runs OpenTofu or Terraform. Both take the same workspace, give the same
// plan model and per-address outcomes, and keep their state in the same store.
//
//   auto executor = make_executor("magma", options);
//   auto plan = (*executor)->plan(workspace, state, {}, run);        // changes nothing
//   store(plan->serialize());                                        // holds secrets, as the state does
//   auto saved = SavedPlan::parse(bytes);                            // after an approval, a restart
//   auto applied = (*executor)->apply(workspace, state, *saved, {}, run);   // exactly that plan
//
// No message, event, outcome or Status from here holds a secret that the workspace, the plan or the state knows.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/base/threads.h"
#include "engenho/magma/state_store.h"
#include "engenho/pangea/failure.h"
#include "engenho/pangea/plan_model.h"

namespace engenho::pangea {

// Where the state lives. "cluster" is the StateStore that is given along; the others are terraform's own backends and need the tofu executor.
struct Backend {
  std::string kind = "cluster";  // cluster, local, pg, s3
  // local: -. pg: host, port, database, schema, sslMode, username, password, caCert. s3: bucket, region, key, dynamodbTable, endpoint, access_key,
  // secret_key, session_token. All are strings. Credentials reach the child by its environment or by files of mode 0600 that go with the run.
  std::map<std::string, std::string> settings;
};

struct Workspace {
  std::string pangea_namespace, namespace_name, name;  // whose
  std::string directory;                               // made with mode 0700 when it is not there; path.module
  json::Value config;                                  // the rendered document (main.tf.json)
  json::Object variables;                              // those that the configuration does not declare are left out
  json::Object providers;  // type -> block: fills what the configuration's own block leaves open. Of providers that it does not use: no effect
  std::map<std::string, std::string> environment;   // credentials for providers; nothing else of this process's environment reaches them
  std::map<std::string, std::string> secret_files;  // bare name -> content; in the directory, mode 0600, as long as a run lasts
  std::vector<std::string> secrets;                 // further values that no message may show
  Backend backend;
};

enum class Step { kRefresh, kStart, kDone, kFailed, kSkipped };
struct Event {
  Step step;
  std::string address, action;
  std::string message;  // of kFailed and kSkipped
  Duration elapsed{0};
};

struct Run {
  StopToken stop;                               // ends it: what is under way is finished, nothing new is begun
  Duration timeout = std::chrono::minutes(10);  // the same after so long
  std::function<void(const Event&)> progress;   // called from several threads at once; may be empty
};

struct PlanOptions {
  bool destroy = false, refresh_only = false, refresh = true;
  std::vector<std::string> targets, replace;
};

struct SavedPlan {
  std::string executor;
  // SHA-256 in hexadecimal over all that decides what an apply does: changes with their values, configuration, variables, options, state lineage and
  // serial, provider versions. The same for the same plan made again; an approval is bound to it.
  std::string id;
  PlanModel model;
  json::Value document;                          // the plan format, with sensitive values
  std::map<std::string, std::string> providers;  // source -> version
  uint64_t serial = 0;                           // of the state it was made from
  std::string lineage;
  bool only_refresh = false;  // nothing to do but to store what was read
  std::vector<std::string> warnings;
  std::string payload;  // the executor's own bytes

  json::Value shown() const { return redact_plan(document); }
  std::string serialize() const;  // holds secrets
  // Errors: BadRequest for what was changed by a byte.
  static Result<SavedPlan> parse(std::string_view bytes);
};

struct ApplyOptions {
  // Creates that were cut short, whose objects may exist: repeated only for these addresses. Of magma alone.
  std::vector<std::string> retry_interrupted;
};

struct Outcome {
  enum class Result { kDone, kFailed, kSkipped, kInterrupted };
  std::string address, action;
  Result result = Result::kDone;
  bool earlier = false;  // done by a run of the same plan that was cut short
  std::string message;   // why not
  WallTime started{};
  Duration elapsed{0};
};
std::string_view outcome_name(Outcome::Result result);  // "done", "failed", "skipped", "interrupted"

struct Applied {
  bool ok = false;
  std::vector<Outcome> outcomes;  // of every change, in order of address
  json::Object outputs;           // name -> {"value", "type", "sensitive"}
  uint64_t serial_before = 0, serial_after = 0;
  std::string lineage_before, lineage;
  std::vector<std::string> errors, warnings;
  Failure failure;            // when not ok: of the first error that is of a known kind
  std::string unsaved_state;  // the document that could not be stored; else empty. It waits in the directory, too: the next run stores it
  Status status() const;      // the errors as one
};

// Thread-safe. Two runs in one directory exclude each other: the second is a Conflict at once.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual const std::string& name() const = 0;
  virtual Status validate(const Workspace& workspace, const Run& run) = 0;
  virtual Result<SavedPlan> plan(const Workspace& workspace, magma::StateStore& state, const PlanOptions& options, const Run& run) = 0;
  // An error when nothing was begun (classify_failure() tells why); else the result has each change's fate.
  virtual Result<Applied> apply(const Workspace& workspace, magma::StateStore& state, const SavedPlan& plan, const ApplyOptions& options, const Run& run) = 0;
  // Adopts what exists under `id`.
  virtual Status import(const Workspace& workspace, magma::StateStore& state, const std::string& address, const std::string& id, const Run& run) = 0;
  virtual Result<json::Object> outputs(const Workspace& workspace, magma::StateStore& state, const Run& run) = 0;
};

struct ExecutorOptions {
  std::vector<std::string> plugin_dirs;  // provider executables, HOST/NAMESPACE/TYPE/VERSION/OS_ARCH below each
  int parallelism = 10;
  // Of tofu alone.
  std::string program;                        // empty: `tofu`, else `terraform`, of PATH
  std::string plugin_cache_dir;               // shared by all workspaces; empty: none
  bool registries = true;                     // whether what plugin_dirs do not have may be fetched from its registry
  Duration grace = std::chrono::seconds(30);  // between being told to end and being killed
};

std::vector<std::string> executor_names();  // sorted
// By its name, without case: "magma", "tofu", "terraform" (another name for tofu). Errors: BadRequest, with the known names; ServiceUnavailable when there is
// no program.
Result<std::unique_ptr<Executor>> make_executor(const std::string& name, const ExecutorOptions& options);

}  // namespace engenho::pangea
