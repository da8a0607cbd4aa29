#include "engenho/schema/custom_schema.h"

#include <algorithm>
#include <deque>
#include <vector>

namespace engenho::schema {

namespace {
constexpr int kMaxDepth = 200;  // of a definition; deeper parts are kept as any JSON
}

// Deques: what has been handed out never moves.
struct CustomSchema::Arena {
  std::deque<Schema> schemas;
  std::deque<Constraints> constraints;
  std::deque<std::string> texts;
  std::deque<json::Value> values;
  std::deque<std::vector<json::Value>> value_lists;
  std::deque<std::vector<Field>> fields;
  std::deque<std::vector<std::string_view>> names;
  std::deque<std::vector<const Schema*>> branches;
  std::deque<std::vector<ValidationRule>> rules;

  std::string_view text(std::string_view s) {
    if (s.empty()) return {};
    return texts.emplace_back(s);
  }
  const json::Value* value(const json::Value& v) { return &values.emplace_back(v); }
};

namespace {

bool flag(const json::Value& node, std::string_view name) {
  const json::Value* v = node.get(name);
  return v != nullptr && v->bool_or(false);
}

}  // namespace

// Turns one JSONSchemaProps after the other into nodes of the arena.
class CustomSchemaBuilder {
 public:
  CustomSchemaBuilder(CustomSchema::Arena& arena, const Schema& object_meta) : arena_(arena), object_meta_(object_meta) {}

  const Schema* any(bool nullable = false) { return &arena_.schemas.emplace_back(Schema{.kind = Kind::kAny, .nullable = nullable, .preserve_unknown = true}); }

  // `inside`: within allOf, anyOf, oneOf and not, where there are only limits.
  const Schema* node(const json::Value& in, int depth, bool inside, bool resource) {
    if (!in.is_object() || depth > kMaxDepth) return any();
    Schema& out = arena_.schemas.emplace_back();
    out.preserve_unknown = flag(in, "x-kubernetes-preserve-unknown-fields");
    out.embedded_resource = flag(in, "x-kubernetes-embedded-resource");
    out.nullable = flag(in, "nullable");
    has_defaults = has_defaults || (!inside && in.get("default") != nullptr);
    const std::string_view type = in.str_at({"type"});
    const json::Value* properties = in.get("properties");
    const json::Value* additional = in.get("additionalProperties");
    const json::Value* items = in.get("items");
    if (flag(in, "x-kubernetes-int-or-string")) {
      out.kind = Kind::kIntOrString;
    } else if (type == "array" || (inside && items != nullptr)) {
      out.kind = Kind::kArray;
      out.element = items != nullptr && items->is_object() ? node(*items, depth + 1, inside, false) : any();
      out.element_default = items != nullptr && items->get("default") != nullptr ? arena_.value(*items->get("default")) : nullptr;
      list_type(in, out);
    } else if (additional != nullptr && (properties == nullptr || properties->members().empty()) && !resource && !out.embedded_resource) {
      out.kind = Kind::kMap;
      out.element = additional->is_object() ? node(*additional, depth + 1, inside, false) : any();
      out.element_default = additional->get("default") != nullptr ? arena_.value(*additional->get("default")) : nullptr;
      out.atomic = in.str_at({"x-kubernetes-map-type"}) == "atomic";
    } else if (type == "object" || properties != nullptr || resource || out.embedded_resource) {
      out.kind = Kind::kObject;
      out.atomic = in.str_at({"x-kubernetes-map-type"}) == "atomic";
      object_fields(in, properties, depth, inside, resource, out);
    } else if (type == "string") {
      out.kind = Kind::kString;
      out.go_type = "string";
    } else if (type == "integer") {
      out.kind = Kind::kInt64;
      out.go_type = "int64";
    } else if (type == "number") {
      out.kind = Kind::kDouble;
      out.go_type = "float64";
    } else if (type == "boolean") {
      out.kind = Kind::kBool;
      out.go_type = "bool";
    } else {
      out.kind = Kind::kAny;
      out.preserve_unknown = true;
    }
    out.constraints = limits(in, depth, inside);
    return &out;
  }

  bool has_rules = false, has_defaults = false;

 private:
  void list_type(const json::Value& in, Schema& out) {
    const std::string_view type = in.str_at({"x-kubernetes-list-type"});
    if (type == "atomic") out.list_type = ListType::kAtomic;
    else if (type == "set") out.list_type = ListType::kSet;
    else if (type == "map") out.list_type = ListType::kMap;
    if (const json::Value* keys = in.get("x-kubernetes-list-map-keys")) out.list_keys = names(*keys);
  }

  std::span<const std::string_view> names(const json::Value& list) {
    auto& out = arena_.names.emplace_back();
    for (const json::Value& v : list.items()) out.push_back(arena_.text(v.str()));
    return out;
  }

  void object_fields(const json::Value& in, const json::Value* properties, int depth, bool inside, bool resource, Schema& out) {
    std::vector<Field> fields;
    const bool with_meta = (resource || out.embedded_resource) && !inside;
    if (properties != nullptr) {
      for (const auto& [name, property] : properties->members()) {
        if (with_meta && (name == "metadata" || name == "apiVersion" || name == "kind")) continue;
        Field f;
        f.name = arena_.text(name);
        f.schema = node(property, depth + 1, inside, false);
        f.nullable = f.schema->nullable;
        f.pointer = f.omit_empty = true;  // nothing is written that is not there
        if (const json::Value* v = property.get("default")) f.default_value = arena_.value(*v);
        fields.push_back(f);
      }
    }
    if (with_meta) {
      static const Schema text{.kind = Kind::kString, .go_type = "string"};
      fields.push_back({.name = "apiVersion", .schema = &text, .omit_empty = true});
      fields.push_back({.name = "kind", .schema = &text, .omit_empty = true});
      fields.push_back({.name = "metadata", .schema = &object_meta_, .omit_zero = true});
    }
    std::sort(fields.begin(), fields.end(), [](const Field& a, const Field& b) { return a.name < b.name; });
    out.fields = arena_.fields.emplace_back(std::move(fields));
  }

  std::span<const Schema* const> branch_list(const json::Value& in, const char* name, int depth) {
    const json::Value* list = in.get(name);
    if (list == nullptr || list->items().empty()) return {};
    std::vector<const Schema*> out;
    for (const json::Value& v : list->items()) out.push_back(node(v, depth + 1, true, false));
    return arena_.branches.emplace_back(std::move(out));
  }

  const Constraints* limits(const json::Value& in, int depth, bool inside) {
    Constraints c;
    bool any = false;
    auto number = [&](const char* name, std::optional<double>& into) {
      if (const json::Value* v = in.get(name); v != nullptr && v->is_number()) into = v->as_double(), any = true;
    };
    auto count = [&](const char* name, std::optional<int64_t>& into) {
      if (const json::Value* v = in.get(name); v != nullptr && v->is_int()) into = v->as_int(), any = true;
    };
    number("minimum", c.minimum);
    number("maximum", c.maximum);
    number("multipleOf", c.multiple_of);
    c.exclusive_minimum = flag(in, "exclusiveMinimum");
    c.exclusive_maximum = flag(in, "exclusiveMaximum");
    count("minLength", c.min_length);
    count("maxLength", c.max_length);
    count("minItems", c.min_items);
    count("maxItems", c.max_items);
    count("minProperties", c.min_properties);
    count("maxProperties", c.max_properties);
    c.pattern = arena_.text(in.str_at({"pattern"}));
    c.format = arena_.text(in.str_at({"format"}));
    if (const json::Value* v = in.get("enum"); v != nullptr && !v->items().empty()) c.enum_values = arena_.value_lists.emplace_back(v->items());
    if (const json::Value* v = in.get("required"); v != nullptr && !v->items().empty()) c.required = names(*v);
    c.all_of = branch_list(in, "allOf", depth);
    c.any_of = branch_list(in, "anyOf", depth);
    c.one_of = branch_list(in, "oneOf", depth);
    if (const json::Value* v = in.get("not")) c.not_schema = node(*v, depth + 1, true, false);
    if (const json::Value* list = in.get("x-kubernetes-validations"); list != nullptr && !list->items().empty()) {
      has_rules = true;
      std::vector<ValidationRule> rules;
      for (const json::Value& r : list->items()) {
        rules.push_back({arena_.text(r.str_at({"rule"})), arena_.text(r.str_at({"message"})), arena_.text(r.str_at({"messageExpression"})),
                         arena_.text(r.str_at({"reason"})), arena_.text(r.str_at({"fieldPath"})), flag(r, "optionalOldSelf")});
      }
      c.rules = arena_.rules.emplace_back(std::move(rules));
    }
    any = any || !c.pattern.empty() || !c.format.empty() || !c.enum_values.empty() || !c.required.empty() || !c.all_of.empty() || !c.any_of.empty() ||
          !c.one_of.empty() || c.not_schema != nullptr || !c.rules.empty();
    return any ? &arena_.constraints.emplace_back(std::move(c)) : nullptr;
  }

  CustomSchema::Arena& arena_;
  const Schema& object_meta_;
};

CustomSchema::CustomSchema() : arena_(std::make_unique<Arena>()) {}
CustomSchema::~CustomSchema() = default;

std::shared_ptr<const CustomSchema> CustomSchema::build(const json::Value* openapi, const Schema& object_meta) {
  std::shared_ptr<CustomSchema> out(new CustomSchema());
  CustomSchemaBuilder builder(*out->arena_, object_meta);
  static const json::Value open = json::Object{{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}};
  out->root_ = builder.node(openapi != nullptr && openapi->is_object() ? *openapi : open, 0, false, true);
  out->has_rules_ = builder.has_rules;
  out->has_defaults_ = builder.has_defaults;
  return out;
}

std::shared_ptr<const CustomSchema> CustomSchema::build_part(const json::Value& openapi, const Schema& object_meta) {
  std::shared_ptr<CustomSchema> out(new CustomSchema());
  CustomSchemaBuilder builder(*out->arena_, object_meta);
  out->root_ = builder.node(openapi, 0, false, false);
  return out;
}

void drop_forbidden_nulls(const Schema& schema, json::Value& v) {
  auto forbidden = [](const Schema& s, bool has_default, const json::Value& item) { return item.is_null() && !s.nullable && !has_default; };
  switch (schema.kind) {
    case Kind::kObject:
    case Kind::kMap: {
      if (!v.is_object()) return;
      json::Object& object = v.as_object();
      for (auto it = object.begin(); it != object.end();) {
        const Field* field = schema.kind == Kind::kObject ? schema.field(it->first) : nullptr;
        const Schema* inner = field != nullptr ? field->schema : schema.element;
        if (inner != nullptr && forbidden(*inner, field != nullptr ? field->has_default() : schema.element_default != nullptr, it->second)) {
          it = object.erase(it);
          continue;
        }
        if (inner != nullptr) drop_forbidden_nulls(*inner, it->second);
        ++it;
      }
      return;
    }
    case Kind::kArray:
      if (!v.is_array()) return;
      for (json::Value& item : v.as_array()) drop_forbidden_nulls(*schema.element, item);
      return;
    default: return;
  }
}

}  // namespace engenho::schema
