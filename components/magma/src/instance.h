// One instance and its provider: between the state's JSON and values, and the checks of what providers answer. Shared by planning
// and applying.
#pragma once

#include "evaluation.h"
#include "provider.h"
#include "state.h"

namespace engenho::magma {

// What the state holds, by the provider's schema of today, with its marks.
Result<Value> decode_object(Provider& provider, const std::string& type, bool data, const ObjectState& object);
// Back: `value` with marks, wholly known.
ObjectState encode_object(const ResourceSchema& schema, const Value& value);

// Unmarked configuration and where it was sensitive.
struct InstanceConfig {
  Value value;
  std::vector<Path> sensitive;
};
Result<InstanceConfig> evaluate_config(const Block& schema, const ResourceConfig& resource, const Scope& scope);
// ignore_changes: prior values in place of configured ones.
Value with_ignored(const Lifecycle& lifecycle, const Value& prior, const Value& config);

struct InstancePlan {
  Value planned;               // with marks
  Action action;
  std::vector<Path> replace_paths;
  std::string private_data;
};
// PlanResourceChange with everything around it: the proposal, checks, a second plan when it turns out to be a replacement. `forced`: a
// replacement in any case. `prior` and the result carry marks. `object`: for messages.
Result<InstancePlan> plan_instance(Provider& provider, const ResourceConfig& resource, const InstanceConfig& config, const Value& prior, const std::string& prior_private, bool forced,
                                   bool create_before_destroy, std::vector<Message>& warnings, const std::string& object);

void take_warnings(const Diagnostics& d, const std::string& object, std::vector<Message>& out);

}  // namespace engenho::magma
