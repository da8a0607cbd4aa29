// Conversion of an object between the served versions of its kind (autoscaling v1 <-> v2, resource.k8s.io, core and events.k8s.io
// Event); where versions have the same shape only apiVersion changes.
#pragma once

#include <string_view>

#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::catalog {

// Brings `object`, whose apiVersion and kind say what it is, to `group`/`version`. Errors: BadRequest when no such conversion exists.
Status convert(json::Value& object, std::string_view group, std::string_view version);

}  // namespace engenho::catalog
