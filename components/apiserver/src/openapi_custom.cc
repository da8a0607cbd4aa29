#include "openapi_custom.h"

#include <algorithm>

#include "custom_resources.h"
#include "engenho/base/bytes.h"

namespace engenho::apiserver {

namespace {

using json::Value;

constexpr const char* kMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.";

// "acme.example" and v1, Widget: "example.acme.v1.Widget".
std::string schema_name(const ResourceDef& r) {
  auto parts = split(r.group, '.');
  std::reverse(parts.begin(), parts.end());
  std::string out;
  for (std::string_view p : parts) out.append(p).append(".");
  return out + r.version + "." + r.kind;
}

Value reference(const std::string& name) { return json::Object{{"$ref", "#/components/schemas/" + name}}; }

Value kind_of(const ResourceDef& r) { return json::Object{{"group", r.group}, {"kind", r.kind}, {"version", r.version}}; }

Value text(const char* type = "string") { return json::Object{{"type", type}}; }

Value operation(const ResourceDef& r, const char* action, std::initializer_list<const char*> queries) {
  Value out = json::Object();
  out["x-kubernetes-action"] = action;
  out["x-kubernetes-group-version-kind"] = kind_of(r);
  out["responses"]["200"]["content"]["application/json"]["schema"] = reference(schema_name(r));
  out["responses"]["200"]["description"] = "OK";
  json::Array& parameters = out["parameters"].make_array();
  for (const char* q : queries) parameters.push_back(json::Object{{"name", q}, {"in", "query"}, {"schema", text()}});
  return out;
}

void add_paths(const ResourceDef& r, Value& paths) {
  const std::string collection = "/apis/" + r.api_version() + (r.namespaced ? "/namespaces/{namespace}/" : "/") + r.plural;
  Value& all = paths[collection];
  all["get"] = operation(r, "list", {"labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch"});
  all["post"] = operation(r, "post", {"dryRun", "fieldManager", "fieldValidation"});
  all["delete"] = operation(r, "deletecollection", {"labelSelector", "fieldSelector", "dryRun"});
  Value& one = paths[collection + "/{name}"];
  one["get"] = operation(r, "get", {"resourceVersion"});
  one["put"] = operation(r, "put", {"dryRun", "fieldManager", "fieldValidation"});
  one["patch"] = operation(r, "patch", {"dryRun", "fieldManager", "fieldValidation", "force"});
  one["delete"] = operation(r, "delete", {"dryRun", "gracePeriodSeconds", "propagationPolicy"});
}

// Types of apimachinery that the resources' own types refer to.
void add_shared(const char* name, const Value& from, Value& schemas) {
  const std::string full = std::string(kMeta) + name;
  if (const Value* s = from.at({"components", "schemas", full})) schemas[full] = *s;
}

}  // namespace

Value openapi_of_custom(const std::vector<ResourcePtr>& resources) {
  Value out = json::Object();
  out["openapi"] = "3.0.0";
  out["info"]["title"] = "Custom resources";
  out["info"]["version"] = "v1";
  Value& schemas = out["components"]["schemas"];
  schemas.make_object();
  Value& paths = out["paths"];
  for (const ResourcePtr& r : resources) {
    Value type = r->custom->openapi.is_object() ? r->custom->openapi : Value(json::Object{{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}});
    type["properties"]["apiVersion"] = text();
    type["properties"]["kind"] = text();
    type["properties"]["metadata"] = reference(std::string(kMeta) + "ObjectMeta");
    type["x-kubernetes-group-version-kind"] = json::Array{kind_of(*r)};
    schemas[schema_name(*r)] = std::move(type);
    add_paths(*r, paths);
  }
  if (auto known = json::parse(catalog::openapi_v3("apiextensions.k8s.io", "v1"))) {
    for (const char* name : {"ObjectMeta", "ManagedFieldsEntry", "OwnerReference", "FieldsV1", "Time"}) add_shared(name, *known, schemas);
  }
  return out;
}

}  // namespace engenho::apiserver
