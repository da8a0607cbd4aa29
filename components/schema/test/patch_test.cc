// JSON patch (RFC 6902) and merge patch (RFC 7386): the appendices' examples, and what one patch may not do.
#include "engenho/schema/patch.h"

#include "engenho/testing/catch.h"

using namespace engenho;
using json::Value;

namespace {

Value value(const char* text) {
  auto parsed = json::parse(text);
  REQUIRE(parsed);
  return *parsed;
}

// The patched document, or "refused".
std::string patched(const char* document, const char* patch) {
  Value v = value(document);
  return schema::apply_json_patch(v, value(patch)).ok() ? json::dump(v) : "refused";
}

std::string merged(const char* document, const char* patch) {
  Value v = value(document);
  schema::apply_merge_patch(v, value(patch));
  return json::dump(v);
}

}  // namespace

TEST_CASE("JSON patch does what RFC 6902's examples show") {
  struct Example {
    const char *document, *patch, *expected;
  };
  const Example example = GENERATE(
      Example{R"({"foo":"bar"})", R"([{"op":"add","path":"/baz","value":"qux"}])", R"({"foo":"bar","baz":"qux"})"},
      Example{R"({"foo":["bar","baz"]})", R"([{"op":"add","path":"/foo/1","value":"qux"}])", R"({"foo":["bar","qux","baz"]})"},
      Example{R"({"baz":"qux","foo":"bar"})", R"([{"op":"remove","path":"/baz"}])", R"({"foo":"bar"})"},
      Example{R"({"foo":["bar","qux","baz"]})", R"([{"op":"remove","path":"/foo/1"}])", R"({"foo":["bar","baz"]})"},
      Example{R"({"baz":"qux"})", R"([{"op":"replace","path":"/baz","value":"boo"}])", R"({"baz":"boo"})"},
      Example{R"({"foo":{"bar":"baz"},"qux":{}})", R"([{"op":"move","from":"/foo/bar","path":"/qux/thud"}])", R"({"foo":{},"qux":{"thud":"baz"}})"},
      Example{R"({"foo":["all","grass","cows","eat"]})", R"([{"op":"move","from":"/foo/1","path":"/foo/3"}])", R"({"foo":["all","cows","eat","grass"]})"},
      Example{R"({"baz":"qux","foo":["a",2,"c"]})", R"([{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}])",
              R"({"baz":"qux","foo":["a",2,"c"]})"},
      Example{R"({"baz":"qux"})", R"([{"op":"test","path":"/baz","value":"bar"}])", "refused"},
      Example{R"({"foo":"bar"})", R"([{"op":"add","path":"/baz/bat","value":"qux"}])", "refused"},
      Example{R"({"/":9,"~1":10})", R"([{"op":"test","path":"/~01","value":10}])", R"({"/":9,"~1":10})"},
      Example{R"({"foo":["bar"]})", R"([{"op":"add","path":"/foo/-","value":["abc","def"]}])", R"({"foo":["bar",["abc","def"]]})"});
  CAPTURE(example.document, example.patch);
  const std::string got = patched(example.document, example.patch);
  CHECK(got == (got == "refused" ? example.expected : json::dump(value(example.expected))));
}

TEST_CASE("merge patch does what RFC 7386's examples show") {
  CHECK(merged(R"({"a":"b"})", R"({"a":"c"})") == R"({"a":"c"})");
  CHECK(merged(R"({"a":"b","b":"c"})", R"({"a":null})") == R"({"b":"c"})");
  CHECK(merged(R"({"a":[{"b":"c"}]})", R"({"a":[1]})") == R"({"a":[1]})");
  CHECK(merged(R"({"e":null})", R"({"a":1})") == R"({"a":1,"e":null})");
  CHECK(merged(R"({})", R"({"a":{"bb":{"ccc":null}}})") == R"({"a":{"bb":{}}})");
}

TEST_CASE("the copies of one patch add no more than 3 MiB: a few of them could double a document without end") {
  Value document = value("{}");
  document["data"]["a"] = Value(std::string(50000, 'x'));
  std::string patch = "[";
  for (int i = 0; i < 30; ++i) patch += std::string(i == 0 ? "" : ",") + R"({"op":"copy","from":"/data","path":"/data/c)" + std::to_string(i) + "\"}";
  const Status status = schema::apply_json_patch(document, value((patch + "]").c_str()));
  CHECK(status.code() == 422);
  CHECK(json::dump(document).size() < (8u << 20));
}

TEST_CASE("strategic merge: what the patch names comes in its order, the rest stays where it was") {
  using namespace schema;
  static const Schema text{.kind = Kind::kString, .go_type = "string"};
  static const Field item_fields[] = {{.name = "name", .schema = &text}, {.name = "value", .schema = &text, .omit_empty = true}};
  static const Schema item{.kind = Kind::kObject, .fields = item_fields};
  static const Schema items{.kind = Kind::kArray, .element = &item};
  static const Schema words{.kind = Kind::kArray, .element = &text};
  static const Field fields[] = {{.name = "items", .schema = &items, .merge_key = "name", .patch = PatchStrategy::kMerge},
                                 {.name = "words", .schema = &words, .patch = PatchStrategy::kMerge}};
  static const Schema root{.kind = Kind::kObject, .fields = fields};
  auto strategic = [&](const char* document, const char* patch) -> std::string {
    Value v = value(document);
    const Status status = apply_strategic_merge_patch(root, v, value(patch));
    return status.ok() ? json::dump(v) : status.message();
  };
  const char* ab = R"({"items":[{"name":"a","value":"1"},{"name":"b","value":"2"}]})";
  CHECK(strategic(ab, R"({"items":[{"name":"a","value":"3"},{"name":"c","value":"4"}]})") ==
        R"({"items":[{"name":"a","value":"3"},{"name":"c","value":"4"},{"name":"b","value":"2"}]})");
  CHECK(strategic(ab, R"({"items":[{"name":"c"}]})") == R"({"items":[{"name":"c"},{"name":"a","value":"1"},{"name":"b","value":"2"}]})");
  CHECK(strategic(ab, R"({"$setElementOrder/items":[{"name":"b"},{"name":"a"}]})") == R"({"items":[{"name":"b","value":"2"},{"name":"a","value":"1"}]})");
  CHECK(strategic(ab, R"({"items":[{"$patch":"delete","name":"a"}]})") == R"({"items":[{"name":"b","value":"2"}]})");
  CHECK(strategic(R"({"words":["x","y"]})", R"({"words":["z","x"]})") == R"({"words":["z","x","y"]})");
  CHECK(strategic(ab, R"({"$retainKeys":["words"],"items":[{"name":"c"}]})") == "invalid patch format of retainKeys");
}
