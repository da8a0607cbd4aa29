// An OpenAPI v2 document in the protobuf form that client-go asks for (message openapi.v2.Document of the gnostic models).
#pragma once

#include <string>

#include "engenho/base/json.h"

namespace engenho::apiserver {

// `document`: the JSON form. What the protobuf form has no field for is left out.
std::string openapi_v2_to_protobuf(const json::Value& document);

}  // namespace engenho::apiserver
