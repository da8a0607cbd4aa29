#include "plugin.h"
namespace engenho::magma {
Result<PluginLocation> find_plugin(const std::vector<std::string>&, const std::string& source, const std::string&) { return err(not_found_error("no provider " + source)); }
Result<std::unique_ptr<Provider>> start_plugin(const PluginLocation&, const std::string&, const EngineOptions&) { return err(internal_error("no plugins")); }
}
