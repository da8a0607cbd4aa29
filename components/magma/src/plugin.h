// Provider executables: the Terraform plugin protocol, versions 5 and 6, over gRPC.
#pragma once

#include <memory>
#include <string>

#include "engenho/magma/engine.h"
#include "provider.h"

namespace engenho::magma {

struct PluginLocation {
  std::string path, version;
};
// The newest version below `dirs` that meets the constraint ("~> 5.0, != 5.3.0"). Error (NotFound) names the directories.
Result<PluginLocation> find_plugin(const std::vector<std::string>& dirs, const std::string& source, const std::string& constraint);
bool version_matches(const std::string& version, const std::string& constraint);

// Starts it and reads its schema. The process ends with the returned object.
Result<std::unique_ptr<Provider>> start_plugin(const PluginLocation& location, const std::string& source, const EngineOptions& options);

}  // namespace engenho::magma
