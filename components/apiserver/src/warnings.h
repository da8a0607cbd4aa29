// What is allowed and yet worth a word: the Warning headers of writes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "resource_table.h"

namespace engenho::apiserver {

// Of an object that has been written. `create`: it is new.
std::vector<std::string> warnings_of(const ResourceDef& resource, std::string_view subresource, const json::Value& object, bool create);

}  // namespace engenho::apiserver
