// What pods ask for, added up as quota and limits see it.
#pragma once

#include <map>
#include <string>

#include "engenho/base/json.h"
#include "engenho/schema/quantity.h"

namespace engenho::apiserver {

using Amounts = std::map<std::string, schema::Quantity>;

Amounts amounts(const json::Value* map);  // a ResourceList; null is empty
void add(Amounts& to, const Amounts& more);
// "requests" or "limits" of all of a pod's containers together: init containers run before the others, sidecars beside them; what the pod itself says counts
// instead, and its overhead on top.
Amounts pod_amounts(const json::Value& pod, const char* member);

}  // namespace engenho::apiserver
