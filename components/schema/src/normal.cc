#include "normal.h"

namespace engenho::schema {

bool is_go_struct(const Schema& schema) {
  switch (schema.kind) {
    case Kind::kObject:
    case Kind::kQuantity:
    case Kind::kTime:
    case Kind::kMicroTime:
    case Kind::kDuration:
    case Kind::kIntOrString:
    case Kind::kRawExtension:
    case Kind::kJson:
    case Kind::kFieldsV1:
    case Kind::kSchemaOrArray:
    case Kind::kSchemaOrBool:
    case Kind::kSchemaOrStringArray: return true;
    default: return false;
  }
}

bool is_written_when_absent(const Field& field) {
  if (field.pointer) return !field.omit_empty && !field.omit_zero;
  if (field.omit_zero) return false;
  return !field.omit_empty || is_go_struct(*field.schema);
}

json::Value zero_value(const Schema& schema) {
  switch (schema.kind) {
    case Kind::kString: return "";
    case Kind::kBool: return false;
    case Kind::kInt32:
    case Kind::kInt64:
    case Kind::kIntOrString: return 0;
    case Kind::kDouble: return 0.0;
    case Kind::kQuantity: return "0";
    case Kind::kDuration: return "0s";
    case Kind::kObject: {
      json::Object out;
      for (const Field& field : schema.fields) {
        if (is_written_when_absent(field)) out.set(field.name, field.pointer ? json::Value() : zero_value(*field.schema));
      }
      return out;
    }
    default: return {};
  }
}

bool is_zero(const Schema& schema, const json::Value& value) {
  if (value.is_null()) return true;
  switch (schema.kind) {
    case Kind::kString: return value.str("x").empty();
    case Kind::kBool: return !value.bool_or(true);
    case Kind::kInt32:
    case Kind::kInt64:
    case Kind::kDouble: return value.is_number() && value.as_double() == 0;
    case Kind::kIntOrString: return value.is_int() && value.as_int() == 0;
    case Kind::kQuantity: return value.str() == "0";
    case Kind::kDuration: return value.str() == "0s";
    case Kind::kObject:
      if (!value.is_object()) return false;
      for (const auto& [name, member] : value.as_object()) {
        const Field* field = schema.field(name);
        if (field == nullptr || (field->pointer && !member.is_null()) || !is_zero(*field->schema, member)) return false;
      }
      return true;
    default: return false;
  }
}

bool is_omitted(const Field& field, const json::Value& value) {
  if (field.omit_zero && (value.is_null() || (!field.pointer && is_zero(*field.schema, value)))) return true;
  if (!field.omit_empty) return false;
  if (field.pointer) return value.is_null();
  switch (field.schema->kind) {
    case Kind::kArray: return value.is_null() || (value.is_array() && value.as_array().empty());
    case Kind::kMap: return value.is_null() || (value.is_object() && value.as_object().empty());
    case Kind::kBytes: return value.is_null() || value.str("x").empty();
    case Kind::kAny: return value.is_null();
    default: return !is_go_struct(*field.schema) && is_zero(*field.schema, value);
  }
}

}  // namespace engenho::schema
