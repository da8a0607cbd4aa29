#include "address.h"

#include <algorithm>

#include "engenho/base/bytes.h"

namespace engenho::magma {

std::string key_to_string(const InstanceKey& key) {
  if (const auto* n = std::get_if<int64_t>(&key)) return "[" + std::to_string(*n) + "]";
  if (const auto* s = std::get_if<std::string>(&key)) {
    std::string out = "[";
    json::dump_string_to(*s, out);
    return out + "]";
  }
  return "";
}

bool resource_of(const Reference& reference, ResourceAddress& out, size_t& steps) {
  const auto& s = reference.steps;
  if (s.empty()) return false;
  static const char* const kOther[] = {"var", "local", "each", "count", "path", "terraform", "self", "module", "ephemeral"};
  if (std::find(std::begin(kOther), std::end(kOther), s[0]) != std::end(kOther)) return false;
  const size_t first = s[0] == "data" || s[0] == "resource" ? 1 : 0;
  if (s.size() < first + 2 || s[first + 1][0] == '[') return false;
  out = {s[0] == "data", s[first], s[first + 1]};
  steps = first + 2;
  return true;
}

Result<InstanceAddress> parse_instance_address(std::string_view text) {
  if (text.starts_with("module.")) return err(bad_request("\"" + std::string(text) + "\": modules are not supported"));
  ENGENHO_ASSIGN(const Reference reference, parse_reference(text));
  InstanceAddress out;
  size_t steps = 0;
  if (!resource_of(reference, out.resource, steps) || reference.steps.size() > steps + 1) {
    return err(bad_request("\"" + std::string(text) + "\" is no resource address; expected TYPE.NAME, optionally with [KEY]"));
  }
  if (reference.steps.size() == steps) return out;
  const std::string& key = reference.steps[steps];
  int64_t number = 0;
  if (key[0] != '[') return err(bad_request("\"" + std::string(text) + "\" is no resource address: it goes on after the resource's name"));
  if (key[1] == '"') {
    ENGENHO_ASSIGN(const json::Value name, json::parse(std::string_view(key).substr(1, key.size() - 2)));
    out.key = std::string(name.str());
  } else if (parse_int(std::string_view(key).substr(1, key.size() - 2), number)) {
    out.key = number;
  } else {
    return err(bad_request("\"" + std::string(text) + "\": the key must be a whole number or a string"));
  }
  return out;
}

Result<ResourceAddress> parse_resource_address(std::string_view text) {
  ENGENHO_ASSIGN(InstanceAddress address, parse_instance_address(text));
  if (address.key.index() != 0) return err(bad_request("\"" + std::string(text) + "\" names one instance where a whole resource is expected"));
  return address.resource;
}

}  // namespace engenho::magma
