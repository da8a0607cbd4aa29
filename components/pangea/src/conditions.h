// Conditions, and writing a status only when it says something new.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "environment.h"

namespace engenho::pangea {

using Conditions = std::vector<pangea_v1::Condition>;

const pangea_v1::Condition* find_condition(const Conditions& conditions, std::string_view type);
inline bool is_true(const Conditions& conditions, std::string_view type) {
  const auto* c = find_condition(conditions, type);
  return c != nullptr && c->status == "True";
}
// Its time is that of the last change of its status.
void set_condition(Conditions& conditions, std::string_view type, bool status, std::string_view reason, std::string message, WallTime now);

// At most so many bytes of an error, cut between characters.
std::string shorten(std::string_view text, size_t limit = 2048);

// Writes `object`'s status when it differs from `before`'s. `object` becomes what the server has. Not found and conflict are errors.
template <typename T>
Status write_status(Environment& e, T& object, const T& before) {
  if (object.status == before.status) return {};
  auto written = e.client.update_status(object);
  if (!written) return written.error();
  object = std::move(*written);
  return {};
}

}  // namespace engenho::pangea
