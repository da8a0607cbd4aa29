// The state: what exists, as of the last read. Format 4 of Terraform's state files.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "address.h"
#include "schema.h"

namespace engenho::magma {

struct ObjectState {
  bool tainted = false;
  int64_t schema_version = 0;
  json::Value attributes;                   // by the schema of that version
  std::vector<Path> sensitive;              // beyond what the schema marks
  std::string private_data;                 // raw bytes, the provider's own
  std::vector<std::string> dependencies;    // resource addresses, all that were depended on when it was written
  bool create_before_destroy = false;
  bool operator==(const ObjectState&) const = default;
};

struct InstanceState {
  std::optional<ObjectState> current;
  std::map<std::string, ObjectState> deposed;   // by deposed key, 8 hexadecimal digits
  bool empty() const { return !current && deposed.empty(); }
  bool operator==(const InstanceState&) const = default;
};

struct ResourceState {
  std::string provider;                     // provider["host/namespace/type"], with ".alias" where it has one
  std::map<InstanceKey, InstanceState> instances;
  bool operator==(const ResourceState&) const = default;
};

struct OutputState {
  json::Value value, type;
  bool sensitive = false;
  bool operator==(const OutputState&) const = default;
};

struct State {
  uint64_t serial = 0;
  std::string lineage;                      // empty: nothing has ever been stored
  std::map<std::string, OutputState> outputs;
  std::map<ResourceAddress, ResourceState> resources;
  json::Value check_results;                // kept as it is
  // The id of the plan whose apply is under way, or was cut short. Terraform reads past it, and drops it when it writes.
  std::string applying;

  const ObjectState* current(const InstanceAddress& address) const;
  InstanceState* find(const InstanceAddress& address);
  // Makes what is missing on the way.
  InstanceState& at(const InstanceAddress& address, const std::string& provider);
  // Drops instances without objects and resources without instances.
  void prune();
  bool same_content(const State& other) const { return outputs == other.outputs && resources == other.resources; }
};

// "" is an empty state. Errors: another version, modules, what is not understood; nothing is dropped silently.
Result<State> parse_state(std::string_view document);
std::string dump_state(const State& state);

// The provider reference of state files for a provider source and an alias, and back.
std::string provider_reference(const std::string& source, const std::string& alias);
Result<std::pair<std::string, std::string>> parse_provider_reference(std::string_view text);

}  // namespace engenho::magma
