// All defaults of a built-in kind: the schema's constant ones, then those that depend on other fields.
#pragma once

#include <string_view>

#include "engenho/base/json.h"
#include "engenho/base/status.h"
#include "engenho/catalog/resources.h"

namespace engenho::catalog {

// The defaults that depend on other fields (image pull policy from the tag, targetPort from port, requests from limits, ...), for the
// kind named by apiVersion and kind of `object`; pod templates inside included. No-op for kinds without such defaults.
void apply_conditional_defaults(std::string_view group, std::string_view version, std::string_view kind, json::Value& object);
inline void apply_conditional_defaults(const Resource& resource, json::Value& object) {
  apply_conditional_defaults(resource.group, resource.version, resource.kind, object);
}
// Constant ones and conditional ones, in the order that gives upstream's answers; the result is in the normal form in which upstream reads it back from
// its store (`rules: []` is `rules: null`). `object` has been decoded (schema/decode.h).
void apply_all_defaults(const Resource& resource, json::Value& object);

}  // namespace engenho::catalog
