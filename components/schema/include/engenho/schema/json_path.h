// JSONPath as printer columns, scale subresources and selectable fields use it: ".spec.list[0].name", ".status.conditions[?(@.type=='Ready')].status",
// "['a key']", "[*]". Without braces, as in a CustomResourceDefinition.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::schema {

class JsonPath {
 public:
  // Errors: BadRequest.
  static Result<JsonPath> parse(std::string_view text);
  // What the path leads to; empty when nothing is there. The pointers point into `document`.
  std::vector<const json::Value*> find(const json::Value& document) const;
  // The names of a path made of names only (".spec.replicas"); empty for any other.
  std::vector<std::string> plain_names() const;

 private:
  struct Step {
    enum What : uint8_t { kName, kIndex, kAll, kFilter } what = kName;
    std::string name;                   // kName
    int64_t index = 0;                  // kIndex; negative counts from the end
    std::vector<std::string> filter;    // kFilter: the path behind @
    std::string op;                     // "", "==", "!=", "<", "<=", ">", ">="
    json::Value operand;
    bool passes(const json::Value& item) const;
  };
  std::vector<Step> steps_;
};

}  // namespace engenho::schema
