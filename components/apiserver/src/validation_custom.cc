// Custom resources: what their schema says of an object.
#include "custom_resources.h"
#include "engenho/schema/custom_schema.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

// A value that a scale subresource will read must be one that it can read.
void scale_paths(FieldErrors& errors, const ScalePaths& paths, const Value& object, bool status) {
  auto check = [&](const std::vector<std::string>& names) {
    const Value* v = &object;
    std::string text;
    for (const std::string& name : names) {
      text += "." + name;
      v = v == nullptr ? nullptr : v->get(name);
    }
    if (v == nullptr) return;
    if (!v->is_int()) {
      errors.invalid(text, 0, text + " accessor error: " + (v->is_string() ? v->as_string() : json::dump(*v)) + " is of the type " +
                                  (v->is_string() ? "string" : v->is_double() ? "float64" : v->is_bool() ? "bool" : "map[string]interface {}") +
                                  ", expected int64");
    } else if (v->as_int() < 0) {
      errors.invalid(text, v->as_int(), "should be a non-negative integer");
    }
  };
  check(status ? paths.status_replicas : paths.spec_replicas);
}

}  // namespace

void custom(FieldErrors& errors, const ResourceDef& resource, std::string_view subresource, const Value& object, const Value* old) {
  const CustomVersion& version = *resource.custom;
  if (object.str_at({"kind"}) != resource.kind) errors.invalid("kind", object.str_at({"kind"}), "must be " + resource.kind);
  if (old != nullptr && version.immutable && subresource.empty()) immutable(errors, "spec", object.get("spec"), old->get("spec"));
  if (subresource == "status") {
    const schema::Field* field = resource.schema->field("status");
    const Value* status = object.get("status");
    if (version.scale) scale_paths(errors, *version.scale, object, true);
    if (field == nullptr || status == nullptr) return;
    // The text names the path within the status.
    schema::validate_custom(*field->schema, *status, "status", "", errors);
    return;
  }
  if (version.declared) {
    // The errors name the fields as the client wrote them.
    Value served = object;
    if (!resource.to_served(served).ok()) return errors.invalid("apiVersion", object.str_at({"apiVersion"}), "cannot be converted to " + resource.api_version());
    schema::validate_custom(*resource.schema, served, "", "", errors);
    return pangea(errors, resource, served);
  }
  schema::validate_custom(*resource.schema, object, "", "", errors);
  if (version.scale) scale_paths(errors, *version.scale, object, false);
}

}  // namespace engenho::apiserver::validation
