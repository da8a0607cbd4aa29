// The roles and bindings that upstream makes at start (its bootstrap policy), and those of this binary's own components.
#pragma once

#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::apiserver {

Result<std::vector<json::Value>> bootstrap_policy();

}  // namespace engenho::apiserver
