// IPv4 addresses and ranges. Addresses are numbers in host byte order.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace engenho {

using Ipv4 = uint32_t;

// Dotted decimal, four parts, no leading zeros.
std::optional<Ipv4> parse_ipv4(std::string_view text);
std::string ipv4_text(Ipv4 address);

struct Ipv4Range {
  Ipv4 first = 0;  // the bits behind the prefix are 0
  int bits = 0;    // of the prefix, 0 to 32
  auto operator<=>(const Ipv4Range&) const = default;

  Ipv4 mask() const { return bits == 0 ? 0 : ~Ipv4{0} << (32 - bits); }
  uint64_t size() const { return uint64_t{1} << (32 - bits); }
  bool contains(Ipv4 address) const { return (address & mask()) == first; }
};

// "10.42.0.0/16"; bits behind the prefix are dropped.
std::optional<Ipv4Range> parse_ipv4_range(std::string_view text);

}  // namespace engenho
