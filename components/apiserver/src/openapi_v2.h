// The OpenAPI v2 (Swagger) document, which kubectl still asks for in places; made from the v3 documents on first demand.
#pragma once

#include "context.h"

namespace engenho::apiserver {

// JSON, or gnostic's protobuf when only that is accepted (answered 406 until it is there).
void send_openapi_v2(Context& context);

}  // namespace engenho::apiserver
