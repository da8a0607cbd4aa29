// Providers that are part of this program, with upstream's schemas: terraform, null, random, local, time, tls. One planner serves all:
// a kind says which attributes force a replacement, which have defaults, and what creating, reading and deleting do.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "engenho/base/threads.h"
#include "provider.h"

namespace engenho::magma {

struct BuiltinResource {
  ResourceSchema schema;
  std::set<std::string> force_new;
  std::map<std::string, Value> defaults;             // for optional, computed attributes that are not configured
  std::set<std::string> recompute;                   // computed attributes that an update may change
  std::function<void(const Value& config, Diagnostics&)> validate;
  // Returns the new state; `prior` is null for a create.
  std::function<Value(const Value& planned, const Value& prior, Diagnostics&)> write;
  std::function<Value(const Value& current, Diagnostics&)> read;       // absent: what was stored is what there is
  std::function<void(const Value& prior, Diagnostics&)> remove;        // absent: nothing to do
  std::function<Value(const std::string& id, Diagnostics&)> import;    // absent: import is refused
  // The last word on the plan, for kinds that compute while planning.
  std::function<void(const Value& prior, Value& planned, std::vector<Path>& replace)> plan;
};

struct BuiltinData {
  ResourceSchema schema;
  std::function<Value(const Value& config, Diagnostics&)> read;
};

struct BuiltinProvider {
  std::string version;
  std::map<std::string, BuiltinResource, std::less<>> resources;
  std::map<std::string, BuiltinData, std::less<>> data_sources;
  Block config;
  bool repeatable = true;
};

// Flags: r(equired), o(ptional), c(omputed), s(ensitive).
Attribute attribute(std::string name, Type type, std::string_view flags);
Block block(std::vector<Attribute> attributes, std::vector<NestedBlock> blocks = {});

BuiltinProvider terraform_provider();
BuiltinProvider null_provider();
BuiltinProvider random_provider();
BuiltinProvider local_provider();
BuiltinProvider time_provider(StopToken stop);
BuiltinProvider tls_provider();

// Null when there is no such built-in. `source`: the full one.
std::unique_ptr<Provider> make_builtin_provider(const std::string& source);

// For the kinds.
std::string text_of(const Value& object, std::string_view name);             // "" when null
int64_t int_of(const Value& object, std::string_view name, int64_t otherwise = 0);
bool bool_of(const Value& object, std::string_view name);

}  // namespace engenho::magma
