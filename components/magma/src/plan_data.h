// What a plan consists of.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config.h"
#include "engenho/magma/engine.h"
#include "state.h"

namespace engenho::magma {

enum class Action { kNoop, kCreate, kRead, kUpdate, kDelete, kDeleteThenCreate, kCreateThenDelete, kForget };
inline bool is_replace(Action a) { return a == Action::kDeleteThenCreate || a == Action::kCreateThenDelete; }
const char* action_name(Action action);      // one word: "replace" for both kinds
json::Array action_json(Action action);      // as in the plan format

struct Change {
  InstanceAddress address;
  std::string deposed;                       // the key of a deposed object; else empty
  std::optional<InstanceAddress> previous;   // where it was before a move
  std::string provider;                      // reference, as in the state
  Action action = Action::kNoop;
  Value before, after;                       // with marks
  std::vector<Path> replace_paths;
  std::string reason;
  std::string private_data;                  // planned
  std::string import_id;
  bool create_before_destroy = false;
  int64_t schema_version = 0;
  std::vector<std::string> dependencies;     // resources, directly and through others
};

struct OutputChange {
  Action action = Action::kNoop;
  Value before, after;
  bool sensitive = false, before_sensitive = false;
};

struct Expansion {
  enum class Mode { kSingle, kCount, kEach } mode = Mode::kSingle;
  std::vector<InstanceKey> keys;
};

struct PlanData {
  json::Value config;
  std::string directory, workspace;
  std::map<std::string, Value> variables;
  bool destroy = false, refresh_only = false;
  std::vector<std::string> targets;
  WallTime time{};
  uint64_t serial = 0;
  std::string lineage;
  State refreshed;                           // the state after the refresh and after moves
  bool state_changed = false;                // the refreshed state differs from the stored one
  std::vector<Change> changes;               // no-op too; by address
  std::vector<Change> drift;
  std::map<std::string, OutputChange> outputs;
  std::map<ResourceAddress, Expansion> expansions;
  std::map<std::string, std::string> providers;   // source -> version
  std::vector<Message> messages;
  std::string id;
};

// The plan without its id as JSON, and the id of that.
json::Value plan_content(const PlanData& plan);
std::string plan_id(json::Value content);
json::Value plan_document(const PlanData& plan, bool redact);
// The values of a state as `show -json` has them. Attributes that cannot be read by a schema are shown as stored.
json::Value state_values(const State& state, bool redact);

// For `show -json`: unknown parts left out; where something is unknown; where something is sensitive.
json::Value known_json(const Value& value, bool redact);
json::Value unknown_json(const Value& value);
json::Value sensitive_json(const Value& value);

}  // namespace engenho::magma
