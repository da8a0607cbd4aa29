#include "engenho/schema/schema.h"

#include <algorithm>

namespace engenho::schema {

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kAny: return "any";
    case Kind::kObject: return "object";
    case Kind::kMap: return "map";
    case Kind::kArray: return "array";
    case Kind::kString: return "string";
    case Kind::kBytes: return "bytes";
    case Kind::kBool: return "boolean";
    case Kind::kInt32: return "int32";
    case Kind::kInt64: return "int64";
    case Kind::kDouble: return "number";
    case Kind::kQuantity: return "quantity";
    case Kind::kTime: return "time";
    case Kind::kMicroTime: return "microtime";
    case Kind::kDuration: return "duration";
    case Kind::kIntOrString: return "int-or-string";
    case Kind::kRawExtension: return "raw";
    case Kind::kJson: return "json";
    case Kind::kFieldsV1: return "fields";
    case Kind::kSchemaOrArray: return "schema-or-array";
    case Kind::kSchemaOrBool: return "schema-or-bool";
    case Kind::kSchemaOrStringArray: return "schema-or-string-array";
  }
  return "?";
}

const Field* Schema::field(std::string_view json_name) const {
  auto it = std::lower_bound(fields.begin(), fields.end(), json_name,
                             [](const Field& f, std::string_view n) { return f.name < n; });
  return it != fields.end() && it->name == json_name ? &*it : nullptr;
}

std::string_view Schema::short_name() const {
  size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

bool is_atomic(const Field& field) {
  const Schema& s = *field.schema;
  switch (s.kind) {
    case Kind::kObject: return field.atomic || s.atomic;
    case Kind::kMap: return field.atomic || s.atomic;
    case Kind::kArray: return s.list_type == ListType::kAtomic || s.list_type == ListType::kNone;
    default: return true;
  }
}

const Schema* resolve(const Schema& root, std::span<const std::string_view> path) {
  const Schema* s = &root;
  for (std::string_view name : path) {
    while (s != nullptr && s->kind == Kind::kArray) s = s->element;
    if (s == nullptr) return nullptr;
    if (s->kind == Kind::kObject) {
      const Field* f = s->field(name);
      s = f ? f->schema : nullptr;
    } else if (s->kind == Kind::kMap) {
      s = s->element;
    } else {
      return nullptr;
    }
  }
  return s;
}

}  // namespace engenho::schema
