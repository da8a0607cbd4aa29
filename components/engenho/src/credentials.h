// The cluster's own authorities, certificates and keys, below <data-dir>/server/tls, and the administrator's kubeconfig.
#pragma once

#include <string>

#include "engenho/base/status.h"
#include "engenho/engenho/config.h"
#include "engenho/pki/store.h"

namespace engenho {

struct Credentials {
  pki::Authority server_ca, client_ca;
  pki::KeyPair api_server;        // serving certificate
  pki::KeyPair api_client;        // the API server towards kubelets
  pki::KeyPair admin;
  pki::KeyPair kubelet_client, kubelet_server;
  pki::PrivateKey service_account;
};

// Made at the first start, loaded later, renewed when they are about to end.
Result<Credentials> load_credentials(const ServerConfig& config, const std::string& node_address, const std::string& service_address);
// A kubeconfig for `user` with a client certificate.
std::string kubeconfig_text(const std::string& server, const std::string& ca_pem, const std::string& user, const pki::KeyPair& client);

}  // namespace engenho
