#include "validation.h"
namespace engenho::apiserver::validation {
bool policy(FieldErrors&, const ResourceDef&, const Value&, const Value*) { return false; }
}  // namespace engenho::apiserver::validation
