// Schemas as a custom resource has them: built by hand here, in an arena later.
#include "engenho/schema/decode.h"
#include "engenho/schema/defaults.h"
#include "engenho/schema/schema.h"
#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::schema;

namespace {

const Schema kText{.kind = Kind::kString, .go_type = "string"};
const Schema kNumber{.kind = Kind::kInt64, .go_type = "int64"};
const json::Value kFive(5);
const Field kItemFields[] = {{.name = "name", .schema = &kText}, {.name = "size", .schema = &kNumber, .default_value = &kFive}};
const Schema kItem{.kind = Kind::kObject, .fields = kItemFields};
const Schema kItems{.kind = Kind::kArray, .list_type = ListType::kMap, .element = &kItem};
const Schema kOpen{.kind = Kind::kObject, .preserve_unknown = true, .fields = kItemFields};
const Schema kByName{.kind = Kind::kMap, .element = &kItem};
const json::Value kOptionsDefault = json::Object{{"name", "n"}};
const Field kSpecFields[] = {{.name = "byName", .schema = &kByName},
                             {.name = "items", .schema = &kItems},
                             {.name = "nothing", .schema = &kText, .default_value = &kFive, .nullable = true},
                             {.name = "open", .schema = &kOpen},
                             {.name = "options", .schema = &kItem, .default_value = &kOptionsDefault}};
const Schema kSpec{.kind = Kind::kObject, .fields = kSpecFields};
const Field kRootFields[] = {{.name = "spec", .schema = &kSpec}};
const Schema kRoot{.kind = Kind::kObject, .fields = kRootFields};

json::Value parse(std::string_view text) { return *json::parse(text); }

}  // namespace

TEST_CASE("pruning keeps what the schema names and what it leaves open") {
  json::Value v = parse(R"({"apiVersion":"a/v1","kind":"T","metadata":{"x":1},"top":1,
    "spec":{"nope":1,"items":[{"name":"a","other":1},{"name":"b"}],"open":{"deep":{"other":1},"name":"n"},"byName":{"k":{"z":1}}}})");
  std::vector<std::string> unknown;
  prune(kRoot, v, &unknown);
  CHECK(v == parse(R"({"apiVersion":"a/v1","kind":"T","metadata":{"x":1},
    "spec":{"items":[{"name":"a"},{"name":"b"}],"open":{"deep":{"other":1},"name":"n"},"byName":{"k":{}}}})"));
  CHECK(unknown == std::vector<std::string>{"unknown field \"spec.byName.k.z\"", "unknown field \"spec.items[0].other\"",
                                            "unknown field \"spec.nope\"", "unknown field \"top\""});
}

TEST_CASE("defaults reach into lists, maps and defaults") {
  json::Value v = parse(R"({"spec":{"items":[{"name":"a"},{"size":7}],"byName":{"k":{}},"nothing":null,"options":null}})");
  apply_defaults(kRoot, v);
  CHECK(v == parse(R"({"spec":{"items":[{"name":"a","size":5},{"size":7}],"byName":{"k":{"size":5}},"nothing":null,
    "options":{"name":"n","size":5}}})"));
  json::Value empty = json::Object();
  apply_defaults(kRoot, empty);
  CHECK(empty == json::Value(json::Object()));
}

TEST_CASE("fields are found by name, and paths resolve through lists") {
  CHECK(kSpec.field("items")->schema == &kItems);
  CHECK(kSpec.field("item") == nullptr);
  const std::string_view path[] = {"spec", "items", "size"};
  CHECK(resolve(kRoot, path) == &kNumber);
  const std::string_view wrong[] = {"spec", "items", "weight"};
  CHECK(resolve(kRoot, wrong) == nullptr);
}

TEST_CASE("strict errors come in the order of the text") {
  std::vector<std::string> got = strict_errors_in_order(R"({"z":1,"a":[{"n\u0061me":1},{"y":2}],"z":2})",
                                                        {"unknown field \"a[0].name\"", "unknown field \"a[1].y\"", "unknown field \"z\""}, {"z"});
  CHECK(got == std::vector<std::string>{"duplicate field \"z\"", "unknown field \"z\"", "unknown field \"a[0].name\"", "unknown field \"a[1].y\""});
}
