// Schemas of custom resources: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
#include <algorithm>
#include <set>

#include "engenho/catalog/resources.h"
#include "engenho/schema/custom_schema.h"
#include "validation_definition.h"

namespace engenho::apiserver::validation {

namespace {

enum class Level { kRoot, kItem, kField };

bool yes(const Value& v, std::string_view member) { return flag(v, member); }

// Keywords that upstream's structural form cannot hold; then it only says what is wrong with the keywords.
bool has_structural_form(const Value& s, int depth = 0) {
  if (depth > 200) return false;
  for (const char* member : {"id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"}) {
    if (is_set(s.get(member))) return false;
  }
  if (const Value* keep = s.get("x-kubernetes-preserve-unknown-fields"); keep != nullptr && !keep->bool_or(true)) return false;
  if (s.str_at({"type"}) == "null") return false;
  if (const Value* items = s.get("items"); items != nullptr && (!items->is_object() || !has_structural_form(*items, depth + 1))) return false;
  if (const Value* more = s.get("additionalProperties"); more != nullptr && more->is_object() && !has_structural_form(*more, depth + 1)) return false;
  if (const Value* properties = s.get("properties")) {
    for (const auto& [name, p] : properties->members()) {
      if (!has_structural_form(p, depth + 1)) return false;
    }
  }
  return true;
}

bool int_or_string_pair(const Value* list) {
  static const json::Array pair{json::Object{{"type", "integer"}}, json::Object{{"type", "string"}}};
  return list != nullptr && list->is_array() && list->as_array() == pair;
}

void nested(FieldErrors& errors, const std::string& path, const Value& s, bool skip_any_of, int depth);

void value_validation(FieldErrors& errors, const std::string& path, const Value& s, bool skip_any_of, int depth) {
  if (!skip_any_of) {
    for (size_t i = 0; i < list(s, "anyOf").size(); ++i) nested(errors, at(path / "anyOf", i), list(s, "anyOf")[i], false, depth + 1);
  }
  for (size_t i = 0; i < list(s, "allOf").size(); ++i) {
    const Value& branch = list(s, "allOf")[i];
    const bool pair = yes(s, "x-kubernetes-int-or-string") && i == 0 && int_or_string_pair(branch.get("anyOf"));
    nested(errors, at(path / "allOf", i), branch, pair, depth + 1);
  }
  for (size_t i = 0; i < list(s, "oneOf").size(); ++i) nested(errors, at(path / "oneOf", i), list(s, "oneOf")[i], false, depth + 1);
  if (const Value* no = s.get("not")) nested(errors, path / "not", *no, false, depth + 1);
  if (const std::string_view pattern = s.str_at({"pattern"}); !pattern.empty()) {
    if (Status status = schema::check_pattern(pattern); !status.ok()) {
      errors.invalid(path / "pattern", pattern, "must be a valid regular expression, but isn't: " + status.message());
    }
  }
}

void nested(FieldErrors& errors, const std::string& path, const Value& s, bool skip_any_of, int depth) {
  if (depth > 200 || !s.is_object()) return;
  value_validation(errors, path, s, skip_any_of, depth);
  if (const Value* items = s.get("items"); items != nullptr && items->is_object()) nested(errors, path / "items", *items, false, depth + 1);
  if (const Value* properties = s.get("properties")) {
    for (const auto& [name, p] : properties->members()) nested(errors, schema::key(path / "properties", name), p, false, depth + 1);
    if (properties->get("metadata") != nullptr) errors.forbidden(schema::key(path / "properties", "metadata"), "must not be specified in a nested context");
  }
  if (!s.str_at({"type"}).empty()) errors.forbidden(path / "type", "must be empty to be structural");
  for (const char* member : {"additionalProperties", "default"}) {
    if (is_set(s.get(member))) errors.forbidden(path / member, "must be undefined to be structural");
  }
  for (const char* member : {"title", "description"}) {
    if (!s.str_at({member}).empty()) errors.forbidden(path / member, "must be empty to be structural");
  }
  for (const char* member : {"nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"}) {
    if (yes(s, member)) errors.forbidden(path / member, "must be false to be structural");
  }
  for (const char* member : {"x-kubernetes-list-map-keys", "x-kubernetes-validations"}) {
    if (!list(s, member).empty()) errors.forbidden(path / member, "must be empty to be structural");
  }
  for (const char* member : {"x-kubernetes-list-type", "x-kubernetes-map-type"}) {
    if (is_set(s.get(member))) errors.forbidden(path / member, "must be undefined to be structural");
  }
}

void invariants(FieldErrors& errors, const std::string& path, const Value& s, Level level, int depth) {
  if (depth > 200) return;
  const std::string_view type = s.str_at({"type"});
  const Value* items = s.get("items");
  const Value* properties = s.get("properties");
  const Value* more = s.get("additionalProperties");
  const bool embedded = yes(s, "x-kubernetes-embedded-resource"), open = yes(s, "x-kubernetes-preserve-unknown-fields");
  const bool either = yes(s, "x-kubernetes-int-or-string");
  if (type == "array" && items == nullptr) errors.required(path / "items", "must be specified");
  if (items != nullptr) invariants(errors, path / "items", *items, Level::kItem, depth + 1);
  if (properties != nullptr) {
    for (const auto& [name, p] : properties->members()) {
      if (level == Level::kRoot && name == "metadata") continue;
      invariants(errors, schema::key(path / "properties", name), p, Level::kField, depth + 1);
    }
  }
  if (more != nullptr) {
    if (level == Level::kRoot) errors.forbidden(path / "additionalProperties", "must not be used at the root");
    if (more->is_object()) invariants(errors, path / "additionalProperties", *more, Level::kField, depth + 1);
    if (embedded) errors.forbidden(path / "additionalProperties", "must not be used if x-kubernetes-embedded-resource is set");
  }
  if (either && open) errors.invalid(path / "x-kubernetes-preserve-unknown-fields", true, "must be false if x-kubernetes-int-or-string is true");
  if (either && embedded) errors.invalid(path / "x-kubernetes-embedded-resource", true, "must be false if x-kubernetes-int-or-string is true");
  value_validation(errors, path, s, either && int_or_string_pair(s.get("anyOf")), depth);
  if (embedded && type != "object") {
    if (type.empty()) errors.required(path / "type", "must be object if x-kubernetes-embedded-resource is true");
    else errors.invalid(path / "type", type, "must be object if x-kubernetes-embedded-resource is true");
  } else if (type.empty() && !either && !open) {
    errors.required(path / "type", level == Level::kRoot   ? "must not be empty at the root"
                                   : level == Level::kItem ? "must not be empty for specified array items"
                                                           : "must not be empty for specified object fields");
  }
  if (level == Level::kRoot && !type.empty() && type != "object") errors.invalid(path / "type", type, "must be object at the root");
  if ((level == Level::kRoot || embedded) && properties != nullptr) {
    for (const char* member : {"kind", "apiVersion"}) {
      if (const Value* p = properties->get(member); p != nullptr && p->str_at({"type"}) != "string") {
        errors.invalid(schema::key(path / "properties", member) / "type", p->str_at({"type"}), "must be string");
      }
    }
    if (const Value* metadata = properties->get("metadata")) {
      const std::string here = schema::key(path / "properties", "metadata");
      if (metadata->str_at({"type"}) != "object") errors.invalid(here / "type", metadata->str_at({"type"}), "must be object");
      bool only_names = true;
      if (const Value* inner = metadata->get("properties")) {
        for (const auto& [name, p] : inner->members()) only_names = only_names && (name == "name" || name == "generateName");
      }
      for (const auto& [member, v] : metadata->members()) only_names = only_names && (member == "type" || member == "properties" || member == "default");
      if (level == Level::kRoot && !only_names) {
        errors.forbidden(here, "must not specify anything other than name and generateName, but metadata is implicitly specified");
      }
    }
  }
  if (embedded && !open && (properties == nullptr || properties->members().empty())) {
    errors.required(path / "properties", "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields");
  }
}

void map_list(FieldErrors& errors, const std::string& path, const Value& s) {
  const json::Array& keys = list(s, "x-kubernetes-list-map-keys");
  const Value* items = s.get("items");
  if (keys.empty()) errors.required(path / "x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map");
  if (items == nullptr || !items->is_object()) return errors.required(path / "items", "must have a schema if x-kubernetes-list-type is map");
  if (items->str_at({"type"}) != "object") {
    errors.invalid(path / "items" / "type", items->str_at({"type"}), "must be object if parent array's x-kubernetes-list-type is map");
  }
  std::set<std::string_view> seen;
  const json::Array& required = list(*items, "required");
  for (const Value& k : keys) {
    const Value* property = items->at({"properties", k.str()});
    if (property == nullptr) {
      errors.invalid(path / "x-kubernetes-list-map-keys", keys, "entries must all be names of item properties");
    } else {
      const std::string here = schema::key(path + ".items.properties", k.str());
      const std::string_view type = property->str_at({"type"});
      if (type == "array" || type == "object") errors.invalid(here / "type", items->str_at({"type"}), "must be a scalar type if parent array's x-kubernetes-list-type is map");
      if (std::find(required.begin(), required.end(), k) == required.end() && property->get("default") == nullptr && !seen.contains(k.str())) {
        errors.required(here / "default", "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property");
      }
    }
    if (!seen.insert(k.str()).second) errors.invalid(path / "x-kubernetes-list-map-keys", keys, "must not contain duplicate entries");
  }
}

void keywords(FieldErrors& errors, const std::string& path, const Value& s, int depth) {
  if (depth > 200 || !s.is_object()) return;
  const std::string_view type = s.str_at({"type"});
  if (!type.empty()) one_of(errors, path / "type", type, {"array", "boolean", "integer", "number", "object", "string"});
  for (const char* member : {"id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"}) {
    if (is_set(s.get(member))) errors.forbidden(path / member, std::string(member) + " is not supported");
  }
  if (yes(s, "uniqueItems")) errors.forbidden(path / "uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
  const Value* properties = s.get("properties");
  const Value* more = s.get("additionalProperties");
  if (more != nullptr && properties != nullptr && !properties->members().empty() && !more->bool_or(false)) {
    errors.forbidden(path / "additionalProperties", "additionalProperties and properties are mutual exclusive");
  }
  if (const Value* keep = s.get("x-kubernetes-preserve-unknown-fields"); keep != nullptr && !keep->bool_or(true)) {
    errors.invalid(path / "x-kubernetes-preserve-unknown-fields", false, "must be true or undefined");
  }
  if (const std::string_view map_type = s.str_at({"x-kubernetes-map-type"}); !map_type.empty()) {
    if (type.empty()) errors.required(path / "type", "must be object if x-kubernetes-map-type is specified");
    else if (type != "object") errors.invalid(path / "type", type, "must be object if x-kubernetes-map-type is specified");
    one_of(errors, path / "x-kubernetes-map-type", map_type, {"atomic", "granular"});
  }
  const std::string_view list_type = s.str_at({"x-kubernetes-list-type"});
  if (!list_type.empty()) {
    if (type.empty()) errors.required(path / "type", "must be array if x-kubernetes-list-type is specified");
    else if (type != "array") errors.invalid(path / "type", type, "must be array if x-kubernetes-list-type is specified");
    if (one_of(errors, path / "x-kubernetes-list-type", list_type, {"atomic", "set", "map"}) && list_type == "set") {
      const Value* items = s.get("items");
      if (items != nullptr && items->str_at({"type"}) == "array" && items->str_at({"x-kubernetes-list-type"}) != "atomic") {
        errors.invalid(path + ".items.x-kubernetes-list-type", Value(), "must be atomic as item of a list with x-kubernetes-list-type=set");
      }
      if (items != nullptr && items->str_at({"type"}) == "object" && items->str_at({"x-kubernetes-map-type"}) != "atomic") {
        errors.invalid(path + ".items.x-kubernetes-map-type", Value(), "must be atomic as item of a list with x-kubernetes-list-type=set");
      }
    }
  }
  if (list_type == "map") {
    map_list(errors, path, s);
  } else if (!list(s, "x-kubernetes-list-map-keys").empty()) {
    if (list_type.empty()) errors.required(path / "x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty");
    else errors.invalid(path / "x-kubernetes-list-type", list_type, "must be map if x-kubernetes-list-map-keys is non-empty");
  }
  size_t i = 0;
  for (const Value& rule : list(s, "x-kubernetes-validations")) {
    if (rule.str_at({"rule"}).empty()) errors.required(at(path / "x-kubernetes-validations", i) / "rule", "rule is not specified");
    ++i;
  }
  if (properties != nullptr) {
    for (const auto& [name, p] : properties->members()) keywords(errors, schema::key(path / "properties", name), p, depth + 1);
  }
  if (const Value* items = s.get("items")) keywords(errors, path / "items", *items, depth + 1);
  if (more != nullptr) keywords(errors, path / "additionalProperties", *more, depth + 1);
}

void defaults(FieldErrors& errors, const std::string& path, const Value& s, int depth) {
  if (depth > 200 || !s.is_object()) return;
  if (const Value* v = s.get("default"); is_set(v)) {
    const auto built = schema::CustomSchema::build_part(s, *catalog::find_schema_by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"));
    schema::validate_custom(built->root(), *v, path / "default", "", errors);
  }
  if (const Value* properties = s.get("properties")) {
    for (const auto& [name, p] : properties->members()) defaults(errors, schema::key(path / "properties", name), p, depth + 1);
  }
  if (const Value* items = s.get("items")) defaults(errors, path / "items", *items, depth + 1);
  if (const Value* more = s.get("additionalProperties")) defaults(errors, path / "additionalProperties", *more, depth + 1);
}

}  // namespace

void structural_schema(FieldErrors& errors, const std::string& path, const Value& openapi) {
  if (yes(openapi, "nullable")) errors.forbidden(path / "nullable", "nullable cannot be true at the root");
  const size_t before = errors.size();
  if (has_structural_form(openapi)) {
    invariants(errors, path, openapi, Level::kRoot, 0);
    if (errors.size() == before) defaults(errors, path, openapi, 0);
  }
  keywords(errors, path, openapi, 0);
}

}  // namespace engenho::apiserver::validation
