// Host-local addresses: one file per reserved address, named after it, holding the container's id and interface. A lock file
// serialises plugin calls of several processes.
#pragma once

#include <cstdint>
#include <string>

#include "engenho/base/status.h"

namespace engenho::cni {

struct Subnet {
  uint32_t base = 0;   // host byte order
  int prefix = 0;
  uint32_t gateway() const { return base + 1; }
  uint32_t last() const { return base + ((prefix >= 32 ? 1u : 1u << (32 - prefix)) - 1); }  // the broadcast address
};
Result<Subnet> parse_subnet(const std::string& text);

class Ipam {
 public:
  Ipam(std::string directory, Subnet subnet) : directory_(std::move(directory)), subnet_(subnet) {}
  // The address of `owner`: the one it has, or the next free one after the last given out, so that an address that was just
  // released is not used again at once. Error when the range is full.
  Result<uint32_t> reserve(const std::string& owner);
  Status release(const std::string& owner);             // fine when it has none
  Result<uint32_t> find(const std::string& owner);      // 0: none

 private:
  const std::string directory_;
  const Subnet subnet_;
};

}  // namespace engenho::cni
