// Git repositories as the controllers need them: what a ref means now, and the tree of a commit, with the credentials that a Secret has.
#pragma once

#include <string>

#include "environment.h"

namespace engenho::pangea {

struct Checkout {
  std::string commit;   // 40 hexadecimal digits
  std::string dir;      // read-only tree, with the path within the repository that was asked for
};

struct Repository {
  std::string url, ref, path;
  const pangea_v1::SecretReference* secret = nullptr;   // may be null
  std::string secret_namespace;                         // when the reference names none
};

class GemStore {
 public:
  GemStore(client::Client& client, const Options& options);
  ~GemStore();

  // Errors: ServiceUnavailable when the repository cannot be asked, NotFound when it has no such ref.
  Result<std::string> head(const Repository& repository, const StopToken& stop);
  // `commit` empty: what the ref means now.
  Result<Checkout> checkout(const Repository& repository, const std::string& commit, const StopToken& stop);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

Repository repository_of(const pangea_v1::ArchitectureGem& gem);
Repository repository_of(const pangea_v1::InfrastructureTemplate& object);
Repository repository_of(const pangea_v1::WorkspaceCatalog& catalog);

// "pangea-aws" of a gem object.
std::string gem_name_of(const pangea_v1::ArchitectureGem& gem);

}  // namespace engenho::pangea
