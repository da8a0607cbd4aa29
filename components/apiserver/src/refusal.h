// What a client is told when validation refuses an object.
#pragma once

#include <string>

#include "engenho/schema/api_errors.h"
#include "resource_table.h"

namespace engenho::apiserver {

// 422 with the errors, their values shown as upstream's internal types print them; OK when there are none. `object` is what was refused.
Status refusal(const ResourceDef& resource, const schema::FieldErrors& errors, const json::Value& object, const std::string& name);

}  // namespace engenho::apiserver
