// The OpenAPI v3 document of a group version of custom resources.
#pragma once

#include <vector>

#include "engenho/base/json.h"
#include "resource_table.h"

namespace engenho::apiserver {

// `resources`: those of one group version, at least one.
json::Value openapi_of_custom(const std::vector<ResourcePtr>& resources);

}  // namespace engenho::apiserver
