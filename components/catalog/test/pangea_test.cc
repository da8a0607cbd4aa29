// pangea.pleme.io: the definitions made from openapi/pangea/kinds.yaml, and the conversion between its versions.
#include <random>

#include "engenho/catalog/convert.h"
#include "engenho/catalog/pangea_v1.h"
#include "engenho/catalog/resources.h"
#include "engenho/testing/catch.h"

using namespace engenho;
using json::Value;

namespace {

// Some object that the schema allows: each optional member is there or not, by chance.
Value random_value(const Value& schema, std::mt19937_64& random, int depth = 0) {
  if (const Value* choices = schema.get("enum")) return choices->items()[random() % choices->items().size()];
  const std::string_view type = schema.str_at({"type"});
  if (type == "string") return schema.get("format") != nullptr ? "2026-01-02T03:04:05Z" : "t" + std::to_string(random() % 100);
  if (type == "integer") return static_cast<int64_t>(1 + random() % 9);
  if (type == "boolean") return random() % 2 == 0;
  if (type == "array") {
    Value out = json::Array();
    for (size_t i = random() % 3; i > 0; --i) out.as_array().push_back(random_value(*schema.get("items"), random, depth + 1));
    return out;
  }
  Value out = json::Object();
  if (const Value* values = schema.get("additionalProperties")) {
    for (size_t i = random() % 3; i > 0; --i) out["k" + std::to_string(i)] = random_value(*values, random, depth + 1);
  } else if (const Value* properties = schema.get("properties")) {
    for (const auto& [name, property] : properties->members()) {
      bool required = false;
      if (const Value* list = schema.get("required")) {
        for (const Value& r : list->items()) required = required || r.str() == name;
      }
      if (required || random() % 2 == 0) out[name] = random_value(property, random, depth + 1);
    }
  } else {
    out = json::Array{1, "free"};
  }
  return out;
}

}  // namespace

TEST_CASE("pangea: objects of one version come back whole from the other") {
  std::mt19937_64 random(testing::seed());
  const auto definitions = json::parse(catalog::declared_definitions());
  REQUIRE(definitions);
  CHECK(definitions->items().size() == 6);
  for (const Value& definition : definitions->items()) {
    const std::string kind(definition.str_at({"spec", "names", "kind"}));
    for (const Value& version : definition.at({"spec", "versions"})->items()) {
      const std::string name(version.str_at({"name"})), other = name == "v1" ? "v1alpha1" : "v1";
      const Value& spec = *version.at({"schema", "openAPIV3Schema", "properties", "spec"});
      for (int i = 0; i < 200; ++i) {
        Value object = json::Object();
        object["apiVersion"] = "pangea.pleme.io/" + name;
        object["kind"] = kind;
        object["spec"] = random_value(spec, random);
        // A subPath and a secret alone belong to no repository; admission refuses them.
        if (Value* source = object.at({"spec", "source"}); source != nullptr && source->get("git") == nullptr && source->get("gitRepository") == nullptr) {
          for (const char* member : {"ref", "secretRef", "subPath", "path"}) source->as_object().erase(member);
        }
        if (Value* policy = object.at({"spec", "policy"}); policy != nullptr && policy->members().empty()) object["spec"].as_object().erase("policy");
        Value there = object;
        REQUIRE(catalog::convert(there, "pangea.pleme.io", other).ok());
        CHECK(there.str_at({"apiVersion"}) == "pangea.pleme.io/" + other);
        REQUIRE(catalog::convert(there, "pangea.pleme.io", name).ok());
        INFO(kind << " " << name << " " << json::dump(object));
        CHECK(there == object);
      }
    }
  }
}

TEST_CASE("pangea: typed structs read what clients write") {
  auto document = json::parse(R"({"apiVersion":"pangea.pleme.io/v1","kind":"InfrastructureTemplate","metadata":{"name":"t","namespace":"n"},
      "spec":{"pangeaNamespace":"dev","variables":{"a":[1,{"b":true}]},"policy":{"destroyProtection":false,"rules":[{"name":"r","decision":"refuse",
      "match":{"actions":["delete"]}}],"settlingPolicy":{"maxConsecutiveDriftCycles":2}}},"status":{"phase":"Ready","resources":{"total":3}}})");
  auto t = k8s::from_json<k8s::pangea_v1::InfrastructureTemplate>(*document);
  REQUIRE(t);
  CHECK(t->spec.policy->destroy_protection == std::optional<bool>(false));
  CHECK(t->spec.policy->rules.at(0).match->actions == std::vector<std::string>{"delete"});
  CHECK(t->spec.variables.at("a") == Value(json::Array{1, json::Object{{"b", true}}}));
  CHECK(t->status.resources->total == 3);
  CHECK(k8s::to_json(*t).at({"status", "phase"})->str() == "Ready");
}
