// Addresses of the root module: aws_vpc.main, data.aws_ami.x, aws_vpc.main[0], aws_vpc.main["a"].
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>

#include "engenho/base/status.h"
#include "expr.h"

namespace engenho::magma {

struct ResourceAddress {
  bool data = false;
  std::string type, name;
  std::string to_string() const { return (data ? "data." : "") + type + "." + name; }
  auto operator<=>(const ResourceAddress&) const = default;
};

using InstanceKey = std::variant<std::monostate, int64_t, std::string>;
std::string key_to_string(const InstanceKey& key);   // "", "[0]", "[\"a\"]"

struct InstanceAddress {
  ResourceAddress resource;
  InstanceKey key;
  std::string to_string() const { return resource.to_string() + key_to_string(key); }
  bool operator==(const InstanceAddress&) const = default;
  bool operator<(const InstanceAddress& o) const { return std::tie(resource, key) < std::tie(o.resource, o.key); }
};

// The resource that a reference names, if it names one; `steps` becomes the number of steps it takes (2 or 3).
bool resource_of(const Reference& reference, ResourceAddress& out, size_t& steps);
Result<ResourceAddress> parse_resource_address(std::string_view text);
Result<InstanceAddress> parse_instance_address(std::string_view text);

}  // namespace engenho::magma
