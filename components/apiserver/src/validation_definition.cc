// CustomResourceDefinitions: names, versions, subresources, columns; validation_structural.cc has the schemas. Paths are those of upstream's internal
// form, where what all versions share stands in the spec itself.
#include <algorithm>
#include <set>

#include "custom_resources.h"
#include "engenho/base/bytes.h"
#include "engenho/catalog/resources.h"
#include "engenho/schema/go_values.h"
#include "engenho/schema/json_path.h"
#include "validation.h"
#include "validation_definition.h"

namespace engenho::apiserver::validation {

namespace {

const Value& part(const Value& object, std::string_view member) {
  static const Value none = json::Object();
  const Value* v = object.get(member);
  return v == nullptr || v->is_null() ? none : *v;
}

void label(FieldErrors& errors, const std::string& path, std::string_view text, const char* prefix = "") {
  const auto problems = schema::is_dns1035_label(text);
  if (!problems.empty()) errors.invalid(path, text, prefix + join(problems, ","));
}

void names(FieldErrors& errors, const Value& names) {
  const std::string path = "spec.names";
  for (const char* member : {"plural", "singular", "kind", "listKind"}) {
    if (names.str_at({member}).empty()) errors.required(path / member);
  }
  for (const char* member : {"plural", "singular"}) {
    if (!names.str_at({member}).empty()) label(errors, path / member, names.str_at({member}));
  }
  for (const char* member : {"kind", "listKind"}) {
    if (!names.str_at({member}).empty()) {
      const auto problems = schema::is_dns1035_label(to_lower(names.str_at({member})));
      if (!problems.empty()) errors.invalid(path / member, names.str_at({member}), "may have mixed case, but should otherwise match: " + join(problems, ","));
    }
  }
  for (const char* member : {"shortNames", "categories"}) {
    size_t i = 0;
    for (const Value& v : list(names, member)) label(errors, at(path / member, i++), v.str());
  }
  if (!names.str_at({"kind"}).empty() && names.str_at({"kind"}) == names.str_at({"listKind"})) {
    errors.invalid(path / "listKind", names.str_at({"listKind"}), "kind and listKind may not be the same");
  }
}

bool simple_path(FieldErrors& errors, const std::string& path, std::string_view text) {
  if (text.empty()) errors.invalid(path, text, "must not be empty");
  else if (!text.starts_with('.') || !schema::JsonPath::parse(text)) errors.invalid(path, text, "must be a simple json path starting with .");
  else return true;
  return false;
}

void subresources(FieldErrors& errors, const std::string& path, const Value& v) {
  const Value* scale = v.get("scale");
  if (scale == nullptr) return;
  for (const auto& [member, root] : {std::pair("specReplicasPath", ".spec."), std::pair("statusReplicasPath", ".status.")}) {
    const std::string here = path + ".scale." + member;
    const std::string_view text = scale->str_at({member});
    if (text.empty()) errors.required(here);
    else if (simple_path(errors, here, text) && !text.starts_with(root)) {
      errors.invalid(here, text, "should be a json path under " + std::string(root, std::string_view(root).size() - 1));
    }
  }
  if (const std::string_view text = scale->str_at({"labelSelectorPath"}); !text.empty()) {
    const std::string here = path + ".scale.labelSelectorPath";
    if (simple_path(errors, here, text) && !text.starts_with(".spec.") && !text.starts_with(".status.")) {
      errors.invalid(here, text, "should be a json path under either .spec or .status");
    }
  }
}

void columns(FieldErrors& errors, const std::string& path, const json::Array& items) {
  static const std::set<std::string_view> kTypes = {"integer", "number", "string", "boolean", "date"};
  static const std::set<std::string_view> kFormats = {"int32", "int64", "float", "double", "byte", "date", "date-time", "password"};
  auto all = [](const std::set<std::string_view>& set) {
    std::string out;
    for (std::string_view s : set) out += (out.empty() ? "" : ",") + std::string(s);
    return "must be one of " + out;
  };
  size_t i = 0;
  for (const Value& c : items) {
    const std::string here = at(path, i++);
    if (c.str_at({"name"}).empty()) errors.required(here / "name");
    const std::string_view type = c.str_at({"type"}), format = c.str_at({"format"});
    if (type.empty()) errors.required(here / "type", all(kTypes));
    else if (!kTypes.contains(type)) errors.invalid(here / "type", type, all(kTypes));
    if (!format.empty() && !kFormats.contains(format)) errors.invalid(here / "format", format, all(kFormats));
    const std::string_view text = c.str_at({"jsonPath"});
    // Columns may use more of JSONPath than the other paths.
    if (text.empty()) errors.required(here / "JSONPath");
    else if (!text.starts_with('.')) errors.invalid(here / "JSONPath", text, "must be a simple json path starting with .");
  }
}

void selectable(FieldErrors& errors, const std::string& path, const json::Array& items, const Value* openapi) {
  std::set<std::string> seen;
  size_t i = 0;
  for (const Value& f : items) {
    const std::string here = at(path, i++) / "jsonPath";
    const std::string text(f.str_at({"jsonPath"}));
    if (text.empty()) {
      errors.required(here);
      continue;
    }
    auto parsed = schema::JsonPath::parse(text);
    const Value* type = openapi;
    if (parsed) {
      for (const std::string& name : parsed->plain_names()) {
        const Value* properties = type == nullptr ? nullptr : type->get("properties");
        type = properties == nullptr ? nullptr : properties->get(name);
      }
    }
    if (!parsed || parsed->plain_names().empty() || type == nullptr) {
      errors.invalid(here, text, "is an invalid path: does not refer to a valid field");
    } else {
      const std::string_view t = type->str_at({"type"});
      if (t != "string" && t != "boolean" && t != "integer") {
        errors.invalid(here, text, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.");
      }
    }
    if (!seen.insert(text).second) errors.duplicate(here, text);
  }
}

void conversion(FieldErrors& errors, const Value& conversion) {
  const std::string path = "spec.conversion";
  const std::string_view strategy = conversion.str_at({"strategy"});
  if (!one_of(errors, path / "strategy", strategy, {"None", "Webhook"}) || strategy != "Webhook") {
    if (strategy == "None" && is_set(conversion.get("webhook"))) errors.forbidden(path / "webhookClientConfig", "should not be set when strategy is not set to Webhook");
    return;
  }
  const Value& webhook = part(conversion, "webhook");
  if (!is_set(webhook.get("clientConfig"))) errors.required(path / "webhookClientConfig", "required when strategy is set to Webhook");
  if (list(webhook, "conversionReviewVersions").empty()) errors.required(path / "conversionReviewVersions");
}

// Equal in every version: upstream keeps it once, in the spec.
bool shared(const json::Array& versions, const char* member) {
  for (const Value& v : versions) {
    const Value *a = v.get(member), *b = versions[0].get(member);
    if ((a == nullptr) != (b == nullptr) || (a != nullptr && !(*a == *b))) return false;
  }
  return true;
}

Value shown_versions(const json::Array& versions) {
  static const schema::Schema& schema = *catalog::find_schema_by_name("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionVersion");
  std::string out = "[";
  for (Value v : versions) {
    for (const char* member : {"schema", "subresources", "additionalPrinterColumns", "selectableFields"}) {
      if (shared(versions, member)) v.as_object().erase(member);
    }
    out += (out.size() > 1 ? "," : "") + schema::go_internal_json(schema, v);
  }
  return schema::raw_text(out + "]");
}

void versions(FieldErrors& errors, const Value& spec) {
  const json::Array& items = list(spec, "versions");
  const Value* given = spec.get("versions");
  const Value shown = is_set(given) && !items.empty() ? shown_versions(items) : is_set(given) ? *given : Value();
  std::set<std::string> seen;
  int storage = 0;
  bool unique = true;
  size_t i = 0;
  for (const Value& v : items) {
    const std::string here = at("spec.versions", i++);
    label(errors, here / "name", v.str_at({"name"}));
    unique = seen.emplace(v.str_at({"name"})).second && unique;
    storage += flag(v, "storage") ? 1 : 0;
    if (const Value* warning = v.get("deprecationWarning"); is_set(warning)) {
      if (!flag(v, "deprecated")) errors.invalid(here / "deprecationWarning", *warning, "can only be set for deprecated versions");
      else if (warning->str().empty()) errors.invalid(here / "deprecationWarning", *warning, "must not be empty");
      else if (warning->str().size() > 256) errors.invalid(here / "deprecationWarning", *warning, "must be <= 256 bytes");
    }
    if (v.at({"schema", "openAPIV3Schema"}) == nullptr) errors.required(here + ".schema.openAPIV3Schema");
  }
  if (!items.empty()) label(errors, "spec.version", items[0].str_at({"name"}));
  if (!unique) errors.invalid("spec.versions", shown, "must contain unique version names");
  if (storage != 1) errors.invalid("spec.versions", shown, "must have exactly one version marked as storage version");

  for (size_t n = 0; n < items.size(); ++n) {
    const Value& v = items[n];
    auto where = [&](const char* member, const std::string& top) { return shared(items, member) ? top : at("spec.versions", n) / member; };
    auto once = [&](const char* member) { return n == 0 || !shared(items, member); };
    const Value* openapi = v.at({"schema", "openAPIV3Schema"});
    if (once("schema") && openapi != nullptr) structural_schema(errors, where("schema", "spec.validation") / "openAPIV3Schema", *openapi);
    if (once("subresources")) subresources(errors, where("subresources", "spec.subresources"), part(v, "subresources"));
    if (once("additionalPrinterColumns")) columns(errors, where("additionalPrinterColumns", "spec.additionalPrinterColumns"), list(v, "additionalPrinterColumns"));
    if (once("selectableFields")) selectable(errors, where("selectableFields", "spec.selectableFields"), list(v, "selectableFields"), openapi);
  }
}

void stored_versions(FieldErrors& errors, const Value& object) {
  const json::Array& stored = list(part(object, "status"), "storedVersions");
  const std::string path = "status.storedVersions";
  if (stored.empty()) return errors.invalid(path, Value(), "must have at least one stored version");
  const json::Array& items = list(part(object, "spec"), "versions");
  for (const Value& v : items) {
    const Value name(v.str_at({"name"}));
    if (flag(v, "storage") && std::find(stored.begin(), stored.end(), name) == stored.end()) {
      errors.invalid(path, stored, "must have the storage version " + name.as_string());
    }
  }
  for (size_t i = 0; i < stored.size(); ++i) {
    const bool known = std::any_of(items.begin(), items.end(), [&](const Value& v) { return v.str_at({"name"}) == stored[i].str(); });
    const std::string name(stored[i].str());
    if (!known) {
      errors.invalid(at(path, i), name, "missing from spec.versions; " + name + " was previously a storage version, and must remain in spec.versions until a "
                                        "storage migration ensures no data remains persisted in " + name + " and removes " + name + " from status.storedVersions");
    }
  }
}

// Groups that belong to Kubernetes need a word of approval.
void approval(FieldErrors& errors, const Value& object) {
  const std::string_view group = object.str_at({"spec", "group"});
  const bool protected_group = group == "k8s.io" || group.ends_with(".k8s.io") || group == "kubernetes.io" || group.ends_with(".kubernetes.io");
  constexpr std::string_view kKey = "api-approved.kubernetes.io";
  if (!protected_group) return;
  const std::string_view text = object.str_at({"metadata", "annotations", kKey});
  const std::string path = schema::key("metadata.annotations", kKey);
  if (text.empty()) {
    errors.required(path, "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111");
  } else if (!text.starts_with("unapproved") && text.find("://") == std::string_view::npos) {
    errors.invalid(path, text, "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", "
                               "see https://github.com/kubernetes/enhancements/pull/1111");
  }
}

}  // namespace

void definition(FieldErrors& errors, const Value& object, const Value* old) {
  const Value& spec = part(object, "spec");
  const std::string_view name = object.str_at({"metadata", "name"}), group = spec.str_at({"group"});
  if (old == nullptr && name != std::string(spec.str_at({"names", "plural"})) + "." + std::string(group)) {
    errors.invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group");
  }
  if (group.empty()) {
    errors.required("spec.group");
  } else if (const auto problems = schema::is_dns1123_subdomain(group); !problems.empty()) {
    errors.invalid("spec.group", group, join(problems, ","));
  } else if (group.find('.') == std::string_view::npos) {
    errors.invalid("spec.group", group, "should be a domain with at least one dot");
  }
  const std::string_view scope = spec.str_at({"scope"});
  if (scope.empty()) errors.required("spec.scope");
  else one_of(errors, "spec.scope", scope, {"Cluster", "Namespaced"});
  versions(errors, spec);
  names(errors, part(spec, "names"));
  if (is_set(spec.get("conversion"))) conversion(errors, *spec.get("conversion"));
  if (flag(spec, "preserveUnknownFields") && (old == nullptr || !flag(part(*old, "spec"), "preserveUnknownFields"))) {
    errors.invalid("spec.preserveUnknownFields", true, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead");
  }
  stored_versions(errors, object);
  if (old == nullptr) {
    approval(errors, object);
  } else if (condition_is(*old, "Established", "True")) {
    immutable(errors, "spec.scope", spec.get("scope"), old->at({"spec", "scope"}));
    immutable(errors, "spec.names.kind", spec.at({"names", "kind"}), old->at({"spec", "names", "kind"}));
  }
  if (old != nullptr) {
    immutable(errors, "spec.group", spec.get("group"), old->at({"spec", "group"}));
    immutable(errors, "spec.names.plural", spec.at({"names", "plural"}), old->at({"spec", "names", "plural"}));
  }
}

}  // namespace engenho::apiserver::validation
