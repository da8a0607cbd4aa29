// Defaults that depend on other fields, one function a kind; `object` is the whole object, in normal form with the constant defaults
// filled in. Pod templates share pod_spec_defaults().
#pragma once

#include <string_view>

#include "engenho/base/json.h"

namespace engenho::catalog::defaulting {

// Every pod spec, in a Pod or in a template: pull policies, volumes without a source, the deprecated service account field.
void pod_spec_defaults(json::Value& spec);
void drop_init_container_annotations(json::Value& object);  // a Pod or a template
void pod(json::Value& object);
void replication_controller(json::Value& object);
void service(json::Value& object);
void secret(json::Value& object);
void name_space(json::Value& object);
void node(json::Value& object);
void persistent_volume(json::Value& object);
void limit_range(json::Value& object);

void deployment(json::Value& object);
void daemon_set(json::Value& object);
void stateful_set(json::Value& object);
void job(json::Value& object);

void horizontal_pod_autoscaler_v1(json::Value& object);
void horizontal_pod_autoscaler_v2(json::Value& object);
void network_policy(json::Value& object);
void rbac_subjects(json::Value& object);
void custom_resource_definition(json::Value& object);
// resource.k8s.io: counts, taint times, in any version.
void resource_claim(std::string_view version, json::Value& object);
void resource_slice(json::Value& object);
void device_taint_rule(json::Value& object);

// --- helpers
inline bool absent(const json::Value* value) { return value == nullptr || value->is_null(); }
// Sets `key` unless it is there.
inline void set_default(json::Value& object, std::string_view key, json::Value value) {
  if (absent(object.get(key))) object[key] = std::move(value);
}
inline bool is_empty_list_or_map(const json::Value* value) {
  return absent(value) || (value->is_array() && value->as_array().empty()) || (value->is_object() && value->as_object().empty());
}

}  // namespace engenho::catalog::defaulting
