// What a request is about: its path, parsed once. Authorization, admission and dispatch all use this parse, so none can see
// another resource than the other. Rules: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#request-verb-resource
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engenho/base/status.h"

namespace engenho::apiserver {

// Query parameters, decoded, in order of appearance.
class Query {
 public:
  Query() = default;
  explicit Query(std::string_view text);
  const std::string* find(std::string_view name) const;  // the first, or null
  std::string_view get(std::string_view name) const;     // the first, or empty
  std::vector<std::string> all(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  // Absent: false. Present: true unless "false" or "0".
  bool flag(std::string_view name) const;
  const std::vector<std::pair<std::string, std::string>>& items() const { return items_; }

 private:
  std::vector<std::pair<std::string, std::string>> items_;
};

struct RequestInfo {
  bool is_resource = false;
  std::string path;                // decoded
  std::string verb;                // get list watch create update patch delete deletecollection; else the lower-case method
  std::string prefix;              // "api" or "apis"
  std::string group, version;
  std::string namespace_;
  std::string resource, subresource, name;
  std::vector<std::string> parts;  // from the resource on, each decoded
};

// `method` and `target` as the client sent them. An encoded slash stays inside its segment.
RequestInfo parse_request(std::string_view method, std::string_view target, const Query& query);

}  // namespace engenho::apiserver
