// CustomResourceDefinitions and the schemas in them.
#pragma once

#include "validation.h"

namespace engenho::apiserver::validation {

void definition(FieldErrors& errors, const Value& object, const Value* old);
// An openAPIV3Schema: structural, complete, with keywords and defaults that make sense.
void structural_schema(FieldErrors& errors, const std::string& path, const Value& openapi);

}  // namespace engenho::apiserver::validation
