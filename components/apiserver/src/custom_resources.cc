#include "custom_resources.h"

#include <deque>

#include "engenho/schema/decode.h"
#include "engenho/schema/defaults.h"
#include "printers.h"

namespace engenho::apiserver {

namespace {

using json::Value;

constexpr std::string_view kVerbs[] = {"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"};
constexpr std::string_view kSubresourceVerbs[] = {"get", "patch", "update"};

// Everything that the versions' views point into.
struct Definition {
  std::deque<std::string> texts;
  std::vector<std::string_view> short_names, categories;
  std::deque<std::vector<catalog::Subresource>> subresources;
  std::deque<std::vector<std::string_view>> verbs;   // of extensions
  std::deque<CustomVersion> versions;

  std::string_view text(std::string_view s) { return texts.emplace_back(s); }
};

const schema::Schema& object_meta() {
  static const schema::Schema& schema = *catalog::find_schema_by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
  return schema;
}

std::vector<std::string> names_of(std::string_view path) {
  auto parsed = schema::JsonPath::parse(path);
  return parsed ? parsed->plain_names() : std::vector<std::string>();
}

bool flag(const Value& v, std::string_view name) {
  const Value* f = v.get(name);
  return f != nullptr && f->bool_or(false);
}

// Subresources that other parts of the program answer (ApiServer::add_subresource).
void read_extensions(const Value& document, Definition& definition, std::vector<catalog::Subresource>& out, const CustomVersion& version) {
  const Value* names = document.get("x-engenho-subresources");
  if (names == nullptr) return;
  for (const auto& [name, verbs] : names->members()) {
    auto& list = definition.verbs.emplace_back();
    for (const Value& verb : verbs.items()) list.push_back(definition.text(verb.str()));
    out.push_back({definition.text(name), version.facts.group, version.facts.version, version.facts.kind, list, &version.schema->root()});
  }
}

void read_version(const Value& v, Definition& definition, CustomVersion& out) {
  out.schema = schema::CustomSchema::build(v.at({"schema", "openAPIV3Schema"}), object_meta());
  if (const Value* openapi = v.at({"schema", "openAPIV3Schema"})) out.openapi = *openapi;
  auto& subresources = definition.subresources.emplace_back();
  if (const Value* sub = v.get("subresources")) {
    if (sub->get("scale") != nullptr) {
      out.scale = ScalePaths{names_of(sub->str_at({"scale", "specReplicasPath"})), names_of(sub->str_at({"scale", "statusReplicasPath"})),
                             names_of(sub->str_at({"scale", "labelSelectorPath"}))};
      subresources.push_back({"scale", "autoscaling", "v1", "Scale", kSubresourceVerbs, catalog::find_schema("autoscaling/v1", "Scale")});
    }
    if (sub->get("status") != nullptr) {
      out.has_status = true;
      subresources.push_back({"status", out.facts.group, out.facts.version, out.facts.kind, kSubresourceVerbs, &out.schema->root()});
    }
  }
  out.facts.subresources = subresources;
  if (const Value* columns = v.get("additionalPrinterColumns")) {
    for (const Value& c : columns->items()) {
      CustomColumn column;
      column.name = c.str_at({"name"});
      column.type = c.str_at({"type"});
      column.format = c.str_at({"format"});
      column.description = c.str_at({"description"});
      if (column.description.empty()) column.description = "Custom resource definition column (in JSONPath format): " + std::string(c.str_at({"jsonPath"}));
      const Value* priority = c.get("priority");
      column.priority = priority == nullptr ? 0 : static_cast<int>(priority->int_or(0));
      if (auto path = schema::JsonPath::parse(c.str_at({"jsonPath"}))) column.path = std::move(*path);
      out.columns.push_back(std::move(column));
    }
  }
  if (out.columns.empty()) {
    CustomColumn age{"Age", "date", "", std::string(), 0, *schema::JsonPath::parse(".metadata.creationTimestamp")};
    out.columns.push_back(std::move(age));
  }
  if (const Value* fields = v.get("selectableFields")) {
    for (const Value& f : fields->items()) {
      std::string_view path = f.str_at({"jsonPath"});
      if (path.starts_with('.')) path.remove_prefix(1);
      out.selectable_fields.emplace_back(path);
    }
  }
  if (flag(v, "deprecated")) {
    out.warning = v.str_at({"deprecationWarning"});
    if (out.warning.empty()) {
      out.warning = std::string(out.facts.group) + "/" + std::string(out.facts.version) + " " + std::string(out.facts.kind) + " is deprecated";
    }
  }
}

}  // namespace

bool condition_is(const Value& definition, std::string_view type, std::string_view status) {
  const Value* conditions = definition.at({"status", "conditions"});
  if (conditions == nullptr) return false;
  for (const Value& c : conditions->items()) {
    if (c.str_at({"type"}) == type) return c.str_at({"status"}) == status;
  }
  return false;
}

bool is_declared(const Value& definition) { return definition.get("x-engenho-subresources") != nullptr; }

std::string custom_store_prefix(const Value& definition) {
  return "/registry/" + std::string(definition.str_at({"spec", "group"})) + "/" + std::string(definition.str_at({"spec", "names", "plural"})) + "/";
}

std::vector<std::shared_ptr<ResourceDef>> resources_of(const Value& document) {
  std::vector<std::shared_ptr<ResourceDef>> out;
  if (!condition_is(document, "Established", "True")) return out;
  auto definition = std::make_shared<Definition>();
  const Value* names = document.at({"status", "acceptedNames"});
  const Value* versions = document.at({"spec", "versions"});
  if (names == nullptr || versions == nullptr) return out;
  const std::string_view group = definition->text(document.str_at({"spec", "group"}));
  const std::string_view plural = definition->text(names->str_at({"plural"})), singular = definition->text(names->str_at({"singular"}));
  const std::string_view kind = definition->text(names->str_at({"kind"})), list_kind = definition->text(names->str_at({"listKind"}));
  for (const auto& [member, into] : {std::pair{"shortNames", &definition->short_names}, std::pair{"categories", &definition->categories}}) {
    if (const Value* list = names->get(member)) {
      for (const Value& v : list->items()) into->push_back(definition->text(v.str()));
    }
  }
  std::string storage_api_version;
  for (const Value& v : versions->items()) {
    if (flag(v, "storage")) storage_api_version = catalog::join_api_version(group, v.str_at({"name"}));
  }
  const Value* generation = document.at({"metadata", "generation"});
  for (const Value& v : versions->items()) {
    if (!flag(v, "served")) continue;
    CustomVersion& custom = definition->versions.emplace_back();
    catalog::Resource& facts = custom.facts;
    facts.group = facts.storage_group = group;
    facts.version = facts.storage_version = definition->text(v.str_at({"name"}));
    facts.api_version_ = definition->text(catalog::join_api_version(group, facts.version));
    facts.plural = plural;
    facts.singular = singular;
    facts.kind = kind;
    facts.list_kind = list_kind;
    facts.namespaced = document.str_at({"spec", "scope"}) == "Namespaced";
    facts.verbs = kVerbs;
    facts.short_names = definition->short_names;
    facts.categories = definition->categories;
    custom.generation = generation == nullptr ? 0 : generation->int_or(0);
    custom.storage_api_version = storage_api_version;
    custom.terminating = condition_is(document, "Terminating", "True");
    custom.declared = is_declared(document);
    custom.immutable = flag(document, "x-engenho-immutable");
    read_version(v, *definition, custom);
    if (custom.declared) {
      read_extensions(document, *definition, definition->subresources.back(), custom);
      facts.subresources = definition->subresources.back();
    }
    facts.schema = &custom.schema->root();

    auto def = std::make_shared<ResourceDef>();
    def->group = group;
    def->version = facts.version;
    def->plural = plural;
    def->singular = singular;
    def->kind = kind;
    def->list_kind = list_kind;
    def->namespaced = facts.namespaced;
    def->schema = facts.schema;
    def->facts = &facts;
    def->custom = std::shared_ptr<const CustomVersion>(definition, &custom);
    def->store_prefix = custom_store_prefix(document);
    out.push_back(std::move(def));
  }
  return out;
}

void to_served(const CustomVersion& custom, std::string_view api_version, Value& object) {
  object["apiVersion"] = api_version;
  if (custom.schema->has_defaults()) {
    schema::drop_forbidden_nulls(custom.schema->root(), object);
    schema::apply_defaults(custom.schema->root(), object);
  }
}

namespace {

Value cell(const CustomColumn& column, const Value& v, WallTime now) {
  if (column.type == "integer") {
    if (v.is_int()) return v;
    return v.is_double() ? Value(static_cast<int64_t>(v.as_double())) : Value();
  }
  if (column.type == "number") return v.is_number() ? v : Value();
  if (column.type == "boolean") return v.is_bool() ? v : Value();
  if (column.type == "date") return v.is_string() ? Value(human_age(now, v.str())) : Value();
  if (v.is_null()) return {};
  return v.is_string() ? v : Value(json::dump(v));
}

}  // namespace

json::Array custom_cells(const CustomVersion& custom, const Value& object, WallTime now) {
  json::Array out;
  for (const CustomColumn& column : custom.columns) {
    const auto found = column.path ? column.path->find(object) : std::vector<const Value*>();
    out.push_back(found.empty() ? Value() : cell(column, *found[0], now));
  }
  return out;
}

}  // namespace engenho::apiserver
