#include "engenho/catalog/types.h"

#include "engenho/base/bytes.h"

namespace engenho::k8s {

std::optional<int64_t> IntOrString::scaled(int64_t total, bool round_up) const {
  if (!is_string_) return int_;
  std::string_view text = text_;
  int64_t percent = 0;
  if (text.empty() || text.back() != '%' || !parse_int(text.substr(0, text.size() - 1), percent)) return std::nullopt;
  __extension__ using Wide = __int128;
  const Wide product = Wide{percent} * total;
  Wide result = product / 100;
  if (product % 100 != 0) {
    if (round_up && product > 0) ++result;
    if (!round_up && product < 0) --result;
  }
  return static_cast<int64_t>(result);
}

}  // namespace engenho::k8s
