#include "gem_store.h"
namespace engenho::pangea {
struct GemStore::Impl {};
GemStore::GemStore(client::Client&, const Options&) {}
GemStore::~GemStore() = default;
Result<std::string> GemStore::head(const Repository&, const StopToken&) { return err(Status(503, reason::kServiceUnavailable, "no git yet")); }
Result<Checkout> GemStore::checkout(const Repository&, const std::string&, const StopToken&) { return err(Status(503, reason::kServiceUnavailable, "no git yet")); }
namespace {
template <typename S>
Repository from(const S& source, std::string secret_namespace) {
  Repository out;
  if (!source) return out;
  out.url = source->git;
  out.ref = source->ref.empty() ? "main" : source->ref;
  out.path = source->path;
  out.secret = source->secret_ref.get();
  out.secret_namespace = std::move(secret_namespace);
  return out;
}
}  // namespace
Repository repository_of(const pangea_v1::ArchitectureGem& gem) { return from(gem.spec.source, ""); }
Repository repository_of(const pangea_v1::InfrastructureTemplate& object) {
  Repository out = from(object.spec.source, object.metadata.namespace_);
  out.path.clear();   // of a template the path names its file
  return out;
}
Repository repository_of(const pangea_v1::WorkspaceCatalog& catalog) { return from(catalog.spec.source, ""); }
std::string gem_name_of(const pangea_v1::ArchitectureGem& gem) { return gem.spec.gem_name.empty() ? gem.metadata.name : gem.spec.gem_name; }
}  // namespace engenho::pangea
