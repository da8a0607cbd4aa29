// Git repositories as the controllers need them: what a ref means now, and the tree of a commit, with the credentials that a Secret has.
#pragma once

#include <string>

#include "engenho/pangea/source.h"
#include "environment.h"

namespace engenho::pangea {

struct Repository {
  std::string url, ref, path;
  const pangea_v1::SecretReference* secret = nullptr;   // may be null
  std::string secret_namespace;                         // when the reference names none
  bool of_template = false;                             // named by whoever may write templates: not every file of this machine is for them
};

// Errors: those of SourceCache, and of reading the Secret.
class GemStore {
 public:
  GemStore(client::Client& client, const Options& options);

  Result<std::string> head(const Repository& repository, const StopToken& stop);
  // `commit` empty: what the ref means now. The tree is in Checkout::path.
  Result<Checkout> checkout(const Repository& repository, const std::string& commit, const StopToken& stop);
  // Removes trees that nobody wanted for long.
  Result<int> collect() { return cache_.collect(std::chrono::hours(24 * 7)); }

 private:
  Result<GitSource> source_of(const Repository& repository);
  const SourceCache& cache_for(const Repository& repository) const { return repository.of_template ? template_cache_ : cache_; }
  client::Client& client_;
  SourceCache cache_, template_cache_;  // one directory, different rules
};

Repository repository_of(const pangea_v1::ArchitectureGem& gem);
Repository repository_of(const pangea_v1::InfrastructureTemplate& object);
Repository repository_of(const pangea_v1::WorkspaceCatalog& catalog);

// "pangea-aws" of a gem object.
std::string gem_name_of(const pangea_v1::ArchitectureGem& gem);

}  // namespace engenho::pangea
