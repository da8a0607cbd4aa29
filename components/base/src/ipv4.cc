#include "engenho/base/ipv4.h"

#include <arpa/inet.h>

#include "engenho/base/bytes.h"

namespace engenho {

std::optional<Ipv4> parse_ipv4(std::string_view text) {
  in_addr address{};
  if (inet_pton(AF_INET, std::string(text).c_str(), &address) != 1) return std::nullopt;
  return ntohl(address.s_addr);
}

std::string ipv4_text(Ipv4 address) {
  const in_addr network{htonl(address)};
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, &network, text, sizeof text);
}

std::optional<Ipv4Range> parse_ipv4_range(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = parse_ipv4(text.substr(0, slash));
  int64_t bits = 0;
  if (!address || !parse_int(text.substr(slash + 1), bits) || bits < 0 || bits > 32) return std::nullopt;
  Ipv4Range out{0, static_cast<int>(bits)};
  out.first = *address & out.mask();
  return out;
}

}  // namespace engenho
