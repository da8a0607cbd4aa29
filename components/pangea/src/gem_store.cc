#include "gem_store.h"

namespace engenho::pangea {

namespace {

SourceOptions source_options(const Options& options) {
  SourceOptions out;
  out.cache_dir = options.data_dir;
  return out;
}

SourceOptions template_source_options(const Options& options) {
  SourceOptions out = source_options(options);
  out.file_roots = options.template_repositories;
  return out;
}

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

GemStore::GemStore(client::Client& client, const Options& options)
    : client_(client), cache_(source_options(options)), template_cache_(template_source_options(options)) {}

Result<GitSource> GemStore::source_of(const Repository& repository) {
  GitSource out;
  out.url = repository.url;
  out.ref = repository.ref;
  out.path = repository.path;
  if (repository.secret == nullptr) return out;
  const std::string& ns = repository.secret->namespace_.empty() ? repository.secret_namespace : repository.secret->namespace_;
  if (ns.empty()) return err(bad_request("secretRef.namespace: required: this object is in no namespace"));
  ENGENHO_ASSIGN(const core_v1::Secret secret, client_.get<core_v1::Secret>(ns, repository.secret->name));
  for (const auto& [key, into] : {std::pair("username", &out.credentials.username), {"password", &out.credentials.password}, {"token", &out.credentials.token}, {"ca.crt", &out.credentials.ca_pem}}) {
    auto it = secret.data.find(key);
    if (it != secret.data.end()) *into = it->second;
  }
  return out;
}

Result<std::string> GemStore::head(const Repository& repository, const StopToken& stop) {
  ENGENHO_ASSIGN(const GitSource source, source_of(repository));
  return cache_for(repository).resolve(source, stop);
}

Result<Checkout> GemStore::checkout(const Repository& repository, const std::string& commit, const StopToken& stop) {
  ENGENHO_ASSIGN(const GitSource source, source_of(repository));
  const SourceCache& cache = cache_for(repository);
  return commit.empty() ? cache.checkout(source, stop) : cache.fetch(source, commit, stop);
}

Repository repository_of(const pangea_v1::ArchitectureGem& gem) { return from(gem.spec.source, ""); }
Repository repository_of(const pangea_v1::InfrastructureTemplate& object) {
  Repository out = from(object.spec.source, object.metadata.namespace_);
  out.path.clear();   // of a template the path names its file
  out.of_template = true;
  return out;
}
Repository repository_of(const pangea_v1::WorkspaceCatalog& catalog) { return from(catalog.spec.source, ""); }

std::string gem_name_of(const pangea_v1::ArchitectureGem& gem) { return gem.spec.gem_name.empty() ? gem.metadata.name : gem.spec.gem_name; }

}  // namespace engenho::pangea
