// Label and field selectors in their text form and as metav1.LabelSelector documents.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::schema {

class LabelSelector {
 public:
  enum class Op { kIn, kNotIn, kExists, kNotExists, kGreater, kLess };
  struct Requirement {
    std::string key;
    Op op;
    std::vector<std::string> values;
  };
  LabelSelector() = default;  // matches everything
  static LabelSelector nothing();
  // "a=b,c!=d,e in (f,g),h notin (i),j,!k,l>3". Errors: BadRequest with apimachinery's text.
  static Result<LabelSelector> parse(std::string_view text);
  // A metav1.LabelSelector document; null matches nothing, an empty one everything.
  static Result<LabelSelector> from_document(const json::Value* selector);
  static LabelSelector from_map(const json::Value* labels);  // a plain map, as Service.spec.selector

  bool everything() const { return !nothing_ && requirements_.empty(); }
  bool is_nothing() const { return nothing_; }
  bool matches(const std::function<const std::string*(std::string_view key)>& label) const;
  bool matches(const json::Value* labels) const;  // a JSON object of strings, or null
  const std::vector<Requirement>& requirements() const { return requirements_; }
  std::string to_string() const;

 private:
  bool nothing_ = false;
  std::vector<Requirement> requirements_;
};

struct FieldRequirement {
  std::string field, value;
  bool equal = true;
};
// "metadata.name=x,status.phase!=Running". Errors: BadRequest.
Result<std::vector<FieldRequirement>> parse_field_selector(std::string_view text);

}  // namespace engenho::schema
