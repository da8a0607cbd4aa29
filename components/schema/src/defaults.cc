#include "engenho/schema/defaults.h"

#include <vector>

#include "normal.h"

namespace engenho::schema {

namespace {

// Defaults are mostly short strings and numbers: read those without the parser.
json::Value parse_default(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.find('\\') == std::string_view::npos) {
    return text.substr(1, text.size() - 2);
  }
  if (text == "{}") return json::Object();
  Result<json::Value> value = json::parse(text);
  return value ? std::move(*value) : json::Value();
}

bool is_absent(const Field& field, const json::Value* value, bool custom) {
  if (value == nullptr) return true;
  if (custom) return value->is_null() && !field.nullable;
  if (value->is_null()) return true;
  // A Go default cannot tell "" and 0 from absent unless there is a pointer.
  return !field.pointer && !is_go_struct(*field.schema) && is_zero(*field.schema, *value);
}

void fill(const Schema& schema, json::Value& v, int depth) {
  if (depth > 1000) return;
  switch (schema.kind) {
    case Kind::kObject: {
      if (!v.is_object()) return;
      // Both sides are sorted by name. What is missing is merged in afterwards, at once.
      json::Object& object = v.as_object();
      std::vector<std::pair<const Field*, json::Value>> added;
      auto it = object.begin();
      for (const Field& field : schema.fields) {
        while (it != object.end() && it->first < field.name) ++it;
        json::Value* member = it != object.end() && it->first == field.name ? &it->second : nullptr;
        const bool custom = field.default_value != nullptr;
        if (field.has_default() && is_absent(field, member, custom)) {
          json::Value value = custom ? *field.default_value : parse_default(field.default_json);
          fill(*field.schema, value, depth + 1);
          if (!custom && is_omitted(field, value)) continue;
          if (member != nullptr) {
            *member = std::move(value);
          } else {
            added.emplace_back(&field, std::move(value));
          }
        } else if (member != nullptr && (member->is_object() || member->is_array())) {
          fill(*field.schema, *member, depth + 1);
        }
      }
      if (added.empty()) return;
      json::Object merged;
      auto next = added.begin();
      for (auto& [name, value] : object) {
        for (; next != added.end() && next->first->name < name; ++next) merged.set(next->first->name, std::move(next->second));
        merged.set(name, std::move(value));
      }
      for (; next != added.end(); ++next) merged.set(next->first->name, std::move(next->second));
      object = std::move(merged);
      return;
    }
    case Kind::kMap:
      if (!v.is_object()) return;
      for (auto& [key, item] : v.as_object()) {
        if (item.is_null() && schema.element_default != nullptr && !schema.element->nullable) item = *schema.element_default;
        fill(*schema.element, item, depth + 1);
      }
      return;
    case Kind::kArray:
      if (!v.is_array()) return;
      for (json::Value& item : v.as_array()) {
        if (item.is_null() && schema.element_default != nullptr && !schema.element->nullable) item = *schema.element_default;
        fill(*schema.element, item, depth + 1);
      }
      return;
    default: return;
  }
}

}  // namespace

void apply_defaults(const Schema& schema, json::Value& document) { fill(schema, document, 0); }

json::Value default_of(const Field& field) {
  if (field.default_value != nullptr) return *field.default_value;
  return field.default_json.empty() ? json::Value() : parse_default(field.default_json);
}

}  // namespace engenho::schema
