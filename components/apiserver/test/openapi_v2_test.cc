#include "openapi_v2_protobuf.h"

#include "engenho/testing/catch.h"

using namespace engenho;

namespace {

std::string protobuf(const char* document) {
  auto parsed = json::parse(document);
  REQUIRE(parsed);
  return apiserver::openapi_v2_to_protobuf(*parsed);
}

// A field of length-delimited type.
std::string field(int number, const std::string& content) {
  std::string tag;
  for (int v = number << 3 | 2;; v >>= 7) {
    tag += static_cast<char>(v >= 0x80 ? v | 0x80 : v);
    if (v < 0x80) break;
  }
  return tag + static_cast<char>(content.size()) + content;
}

}  // namespace

TEST_CASE("a definition keeps its reference, type, items and extensions in OpenAPI v2's protobuf form") {
  const std::string reference = field(1, "#/definitions/B");
  const std::string list = field(22, field(1, "array")) + field(23, field(1, reference));
  const std::string extension = field(31, field(1, "x-a") + field(2, field(2, "[1]")));
  const std::string definition = field(22, field(1, "object")) + field(25, field(1, field(1, "b") + field(2, list))) + extension;
  CHECK(protobuf(R"({"swagger":"2.0","definitions":{"A":{"type":"object","x-a":[1],"properties":{"b":{"type":"array","items":{"$ref":"#/definitions/B"}}}}}})") ==
        field(1, "2.0") + field(9, field(1, field(1, "A") + field(2, definition))));
}

TEST_CASE("parameters go to the message of the place that they are in") {
  auto path = [](const std::string& parameter) { return field(8, field(2, field(1, "/a") + field(2, field(2, field(8, parameter))))); };
  CHECK(protobuf(R"({"paths":{"/a":{"get":{"parameters":[{"in":"query","name":"n","type":"string"}]}}}})") ==
        path(field(1, field(2, field(3, field(2, "query") + field(4, "n") + field(6, "string"))))));
  CHECK(protobuf(R"({"paths":{"/a":{"get":{"parameters":[{"in":"path","name":"n","type":"string"}]}}}})") ==
        path(field(1, field(2, field(4, field(2, "path") + field(4, "n") + field(5, "string"))))));
  CHECK(protobuf(R"({"paths":{"/a":{"get":{"parameters":[{"in":"body","name":"n","schema":{"$ref":"r"}}]}}}})") ==
        path(field(1, field(1, field(2, "n") + field(3, "body") + field(5, field(1, "r"))))));
}
