// What this server serves, told to clients: /api, /apis, the aggregated form, /openapi and /version.
#pragma once

#include <memory>
#include <string>

#include "context.h"

namespace engenho::apiserver {

struct ServerVersion {
  std::string major = "1", minor = "36", git_version = "v1.36.2+engenho", git_commit, build_date, platform = "linux/amd64";
};

class Discovery {
 public:
  Discovery(std::string server_address, ServerVersion version, const ResourceTable& table);
  // Answers paths of discovery; false for others.
  bool handle(Context& context) const;

 private:
  json::Value api_versions() const;
  json::Value group_list() const;
  json::Value group(std::string_view name) const;
  json::Value resource_list(std::string_view group, std::string_view version) const;
  json::Value aggregated(bool core, const std::string& version) const;
  void openapi_index(Context& context) const;
  void openapi_document(Context& context, std::string_view rest) const;
  std::string server_address_;
  ServerVersion version_;
  const ResourceTable& table_;
};

}  // namespace engenho::apiserver
