#include "conditions.h"

#include <algorithm>

namespace engenho::pangea {

const pangea_v1::Condition* find_condition(const Conditions& conditions, std::string_view type) {
  auto it = std::find_if(conditions.begin(), conditions.end(), [&](const auto& c) { return c.type == type; });
  return it == conditions.end() ? nullptr : &*it;
}

void set_condition(Conditions& conditions, std::string_view type, bool value, std::string_view reason, std::string message, WallTime now) {
  const std::string_view status = value ? "True" : "False";
  auto it = std::find_if(conditions.begin(), conditions.end(), [&](const auto& c) { return c.type == type; });
  if (it == conditions.end()) {
    conditions.emplace_back();
    it = conditions.end() - 1;
    it->type = type;
  }
  if (it->status != status) it->last_transition_time = WallTime(std::chrono::floor<std::chrono::seconds>(now));
  it->status = status;
  it->reason = reason;
  it->message = shorten(message);
}

std::string shorten(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + " ...";
}

}  // namespace engenho::pangea
