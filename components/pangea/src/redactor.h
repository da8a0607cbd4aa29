// Takes secrets out of texts that others wrote.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engenho/base/json.h"

namespace engenho::pangea {

class Redactor {
 public:
  // Values too short or too common to be told from ordinary text are not looked for. Each line of a longer text counts for itself, too.
  void add(std::string_view secret);
  // All strings and numbers within.
  void add_all(const json::Value& value);
  // What `marks` (before_sensitive, sensitive_values, ...) marks within `value`.
  void add_marked(const json::Value* value, const json::Value* marks);
  // What a plan document marks as sensitive.
  void add_plan(const json::Value& document);
  // What a state document marks as sensitive.
  void add_state(std::string_view document);

  std::string text(std::string_view text) const;

 private:
  void add_one(std::string_view secret);
  std::vector<std::string> secrets_;  // longest first
};

}  // namespace engenho::pangea
