// Schemas of custom resources as definitions give them, JSONPath, and Go's ways to print.
#include "engenho/schema/custom_schema.h"
#include "engenho/schema/decode.h"
#include "engenho/schema/defaults.h"
#include "engenho/schema/go_values.h"
#include "engenho/schema/json_path.h"
#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::schema;

namespace {

json::Value parse(std::string_view text) {
  auto v = json::parse(text);
  REQUIRE(v);
  return *v;
}

const Schema kText{.kind = Kind::kString, .go_type = "string"};
const Field kMetaFields[] = {{.name = "name", .schema = &kText, .omit_empty = true}};
const Schema kMeta{.kind = Kind::kObject, .name = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", .fields = kMetaFields};

std::vector<std::string> problems(const char* openapi, const char* object) {
  const auto schema = CustomSchema::build_part(parse(openapi), kMeta);
  FieldErrors errors;
  validate_custom(schema->root(), parse(object), "spec", "spec", errors);
  std::vector<std::string> out;
  for (const FieldError& e : errors.errors()) out.push_back(e.message());
  return out;
}
using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("a definition's schema prunes, fills in and drops forbidden nulls") {
  const json::Value openapi = parse(R"({"type":"object","properties":{"spec":{"type":"object","properties":{
    "n":{"type":"integer","default":3},"gone":{"type":"string"},"may":{"type":"string","nullable":true},
    "open":{"type":"object","x-kubernetes-preserve-unknown-fields":true},
    "items":{"type":"array","items":{"type":"object","properties":{"k":{"type":"string","default":"d"}}}}}}}})");
  const auto schema = CustomSchema::build(&openapi, kMeta);
  CHECK(schema->has_defaults());
  CHECK_FALSE(schema->has_rules());
  json::Value v = parse(R"({"apiVersion":"a/v1","kind":"T","metadata":{"name":"x"},"top":1,
    "spec":{"gone":null,"may":null,"odd":1,"open":{"a":{"b":1}},"items":[{},{"k":"v","x":1}]}})");
  std::vector<std::string> unknown;
  drop_forbidden_nulls(schema->root(), v);
  prune(schema->root(), v, &unknown);
  apply_defaults(schema->root(), v);
  CHECK(v == parse(R"({"apiVersion":"a/v1","kind":"T","metadata":{"name":"x"},
    "spec":{"may":null,"n":3,"open":{"a":{"b":1}},"items":[{"k":"d"},{"k":"v"}]}})"));
  CHECK(unknown == Texts{"unknown field \"spec.items[1].x\"", "unknown field \"spec.odd\"", "unknown field \"top\""});
}

TEST_CASE("a definition that says nothing keeps everything") {
  const auto schema = CustomSchema::build(nullptr, kMeta);
  json::Value v = parse(R"({"apiVersion":"a/v1","kind":"T","metadata":{"name":"x"},"any":[1,{"b":null}]})");
  const json::Value before = v;
  prune(schema->root(), v);
  CHECK(v == before);
}

TEST_CASE("values are checked against limits, types and formats") {
  CHECK(problems(R"({"type":"integer","minimum":1,"maximum":10,"multipleOf":2})", "4").empty());
  CHECK(problems(R"({"type":"integer","maximum":10,"multipleOf":2})", "11") ==
        Texts{"spec: Invalid value: 11: spec in body should be a multiple of 2", "spec: Invalid value: 11: spec in body should be less than or equal to 10"});
  CHECK(problems(R"({"type":"string","enum":["a","b"]})", R"("c")") == Texts{"spec: Unsupported value: \"c\": supported values: \"a\", \"b\""});
  CHECK(problems(R"({"type":"object","required":["r"],"properties":{"r":{"type":"string"}}})", "{}") == Texts{"spec.r: Required value"});
  CHECK(problems(R"({"type":"string","maxLength":2})", R"("äöü")") == Texts{"spec: Too long: may not be more than 2 bytes"});
  CHECK(problems(R"({"type":"string","pattern":"^[a-z]+$"})", R"("A")") == Texts{"spec: Invalid value: \"A\": spec in body should match '^[a-z]+$'"});
  CHECK(problems(R"({"type":"string","format":"date-time"})", R"("yesterday")").size() == 1);
  CHECK(problems(R"({"type":"string","format":"unheard-of"})", R"("x")").empty());
  CHECK(problems(R"({"x-kubernetes-int-or-string":true})", "true") ==
        Texts{"spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\""});
  CHECK(problems(R"({"type":"object","additionalProperties":{"type":"integer"}})", R"({"a":1,"b":"x"})") ==
        Texts{"spec.b: Invalid value: \"string\": spec.b in body must be of type integer: \"string\""});
  CHECK(problems(R"({"type":"array","items":{"type":"string"},"x-kubernetes-list-type":"set"})", R"(["a","b","a"])") ==
        Texts{"spec[2]: Duplicate value: \"a\""});
  CHECK(problems(R"({"type":"string","nullable":true})", "null").empty());
  CHECK(problems(R"({"type":"object","properties":{"a":{"type":"string"}},"oneOf":[{"required":["a"]},{"required":["b"]}]})", R"({"a":"x"})").empty());
  CHECK(problems(R"({"type":"object","properties":{"a":{"type":"string"}},"oneOf":[{"required":["a"]},{"required":["b"]}]})", "{}").size() == 2);
  CHECK(problems(R"({"type":"integer","not":{"minimum":5}})", "7").size() == 1);
}

TEST_CASE("patterns are told wrong in Go's words") {
  CHECK(check_pattern("^a+$").ok());
  CHECK(check_pattern("(").message() == "error parsing regexp: missing closing ): `(`");
}

TEST_CASE("JSONPath finds what printer columns ask for") {
  const json::Value v = parse(R"({"spec":{"list":[{"v":"a"},{"v":"b"}],"a.b":1},"status":{"conditions":[{"type":"X","status":"False"},{"type":"Ready","status":"True"}]}})");
  auto first = [&](const char* path) -> std::string {
    auto p = JsonPath::parse(path);
    REQUIRE(p);
    const auto found = p->find(v);
    return found.empty() ? "-" : json::dump(*found[0]);
  };
  CHECK(first(".spec.list[0].v") == "\"a\"");
  CHECK(first(".spec.list[-1].v") == "\"b\"");
  CHECK(first(".spec.list[5].v") == "-");
  CHECK(first(".spec['a.b']") == "1");
  CHECK(first(".spec.a\\.b") == "1");
  CHECK(first(".status.conditions[?(@.type=='Ready')].status") == "\"True\"");
  CHECK(first(".status.conditions[?(@.type==\"No\")].status") == "-");
  CHECK(JsonPath::parse(".spec.list[*].v")->find(v).size() == 2);
  CHECK(JsonPath::parse(".spec.replicas")->plain_names() == Texts{"spec", "replicas"});
  CHECK_FALSE(JsonPath::parse("spec.x"));
  CHECK_FALSE(JsonPath::parse(".spec["));
}

TEST_CASE("Go prints structs in their own order and internal ones whole") {
  const Schema number{.kind = Kind::kInt32, .go_type = "int32"};
  const Schema ports{.kind = Kind::kArray, .element = &number};
  const Field fields[] = {{.name = "apiGroup", .schema = &kText, .go_order = 2},
                          {.name = "port", .schema = &number, .go_order = 1, .pointer = true},
                          {.name = "ports", .schema = &ports, .go_order = 0}};
  const Schema schema{.kind = Kind::kObject, .fields = fields};
  const json::Value v = parse(R"({"apiGroup":"g","ports":[1,2]})");
  CHECK(go_json(schema, v) == R"({"ports":[1,2],"apiGroup":"g"})");
  CHECK(go_internal_json(schema, v) == R"({"Ports":[1,2],"Port":null,"APIGroup":"g"})");
  CHECK(go_map_text(parse(R"({"b":[1,"x"],"a":{"c":null}})")) == "map[a:map[c:<nil>] b:[1 x]]");
  FieldErrors errors;
  errors.invalid("f", raw_text("{\"B\":1}"), "is wrong");
  errors.invalid("g", raw_text(""), "is wrong");
  CHECK(errors.errors()[0].message() == "f: Invalid value: {\"B\":1}: is wrong");
  CHECK(errors.errors()[1].message() == "g: Invalid value: is wrong");
}
