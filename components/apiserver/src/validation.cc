// The dispatch of per-kind validation: which rules apply to which kind.
#include "strategy.h"

namespace engenho::apiserver {

void validate_create(const ResourceDef& resource, const json::Value& object, schema::FieldErrors& errors) {}

void validate_update(const ResourceDef& resource, std::string_view subresource, const json::Value& object, const json::Value& old,
                     schema::FieldErrors& errors) {}

}  // namespace engenho::apiserver
