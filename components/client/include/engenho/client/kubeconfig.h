// kubeconfig files: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/. One file, certificates, tokens; no exec plugins.
#pragma once

#include <string>

#include "engenho/client/transport.h"

namespace engenho::client {

struct Kubeconfig {
  HttpsOptions https;
  std::string namespace_name = "default";   // of the context
  std::string user;                         // its name in the file
};

// `context` empty: the current one. Errors: BadRequest that names the file and what is wrong with it.
Result<Kubeconfig> read_kubeconfig(const std::string& path, const std::string& context = "");

}  // namespace engenho::client
