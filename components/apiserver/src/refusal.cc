#include "refusal.h"

#include <algorithm>
#include <cctype>

#include "engenho/schema/go_values.h"

namespace engenho::apiserver {

namespace {

using json::Value;

// The type of the field that an error names: "spec.ports[1]".
const schema::Schema* schema_at(const schema::Schema& root, std::string_view path) {
  const schema::Schema* at = &root;
  while (!path.empty() && at != nullptr) {
    if (path.front() == '[') {
      const size_t end = path.find(']');
      if (end == std::string_view::npos) return nullptr;
      at = at->element;
      path.remove_prefix(end + 1);
      continue;
    }
    if (path.front() == '.') path.remove_prefix(1);
    const size_t end = std::min(path.find_first_of(".["), path.size());
    const schema::Field* field = at->kind == schema::Kind::kObject ? at->field(path.substr(0, end)) : nullptr;
    at = field == nullptr ? nullptr : field->schema;
    path.remove_prefix(end);
  }
  return at;
}

}  // namespace

Status refusal(const ResourceDef& resource, const schema::FieldErrors& errors, const Value& object, const std::string& name) {
  if (errors.empty()) return {};
  if (resource.custom != nullptr) return errors.to_status(resource.group, object.str_at({"kind"}), name);
  schema::FieldErrors shown;
  for (const schema::FieldError& e : errors.errors()) {
    Value value = e.value;
    if ((value.is_object() || value.is_array()) && schema::raw_text_of(value) == nullptr) {
      // Some rules name their values as Go does already.
      const bool named = value.is_object() && !value.members().empty() && !value.members().begin()->first.empty() && std::isupper(static_cast<unsigned char>(value.members().begin()->first[0])) != 0;
      const schema::Schema* type = named ? nullptr : schema_at(*resource.storage->schema, e.field);
      const bool fits = type != nullptr && (value.is_array() ? type->kind == schema::Kind::kArray : type->kind == schema::Kind::kObject || type->kind == schema::Kind::kMap);
      if (fits) value = schema::raw_text(schema::go_internal_json(*type, value));
    }
    shown.add(e.type, e.field, std::move(value), e.detail);
  }
  return shown.to_status(resource.storage->group, resource.kind, name);
}

}  // namespace engenho::apiserver
