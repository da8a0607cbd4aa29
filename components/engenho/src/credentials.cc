#include "credentials.h"

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/yaml.h"

namespace engenho {

Result<Credentials> load_credentials(const ServerConfig& config, const std::string& node_address, const std::string& service_address) {
  const std::string dir = config.data_dir + "/server/tls";
  ENGENHO_TRY(make_dirs(dir, 0700));
  const WallTime now = Clock::real().wall();
  Credentials out;
  ENGENHO_ASSIGN(out.server_ca, pki::load_or_make_authority(dir, "server-ca", "engenho-server-ca", now));
  ENGENHO_ASSIGN(out.client_ca, pki::load_or_make_authority(dir, "client-ca", "engenho-client-ca", now));

  std::vector<std::string> dns = {"localhost", config.node_name, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
                                  "kubernetes.default.svc." + config.cluster_domain};
  std::vector<std::string> ips = {"127.0.0.1", "::1", service_address};
  if (node_address != "127.0.0.1") ips.push_back(node_address);
  for (const std::string& san : config.tls_san) {
    const bool is_ip = san.find_first_not_of("0123456789.") == std::string::npos || san.find(':') != std::string::npos;
    (is_ip ? ips : dns).push_back(san);
  }
  ENGENHO_ASSIGN(out.api_server, pki::load_or_issue(dir, "api-server", out.server_ca, pki::server_template("kube-apiserver", dns, ips), now));
  ENGENHO_ASSIGN(out.api_client, pki::load_or_issue(dir, "api-server-kubelet-client", out.client_ca,
                                                    pki::client_template("kube-apiserver-kubelet-client", {"system:masters"}), now));
  ENGENHO_ASSIGN(out.admin, pki::load_or_issue(dir, "admin", out.client_ca, pki::client_template("system:admin", {"system:masters"}), now));
  ENGENHO_ASSIGN(out.kubelet_client, pki::load_or_issue(dir, "kubelet-client", out.client_ca,
                                                        pki::client_template("system:node:" + config.node_name, {"system:nodes"}), now));
  ENGENHO_ASSIGN(out.kubelet_server,
                 pki::load_or_issue(dir, "kubelet-server", out.server_ca,
                                    pki::server_template("system:node:" + config.node_name, {config.node_name, "localhost"}, {"127.0.0.1", node_address}), now));
  ENGENHO_ASSIGN(out.service_account, pki::load_or_make_key(dir, "service-account", pki::KeyType::kRsa2048));
  return out;
}

std::string kubeconfig_text(const std::string& server, const std::string& ca_pem, const std::string& user, const pki::KeyPair& client) {
  json::Value out = json::Object();
  out["apiVersion"] = "v1";
  out["kind"] = "Config";
  out["current-context"] = "engenho";
  json::Value cluster = json::Object();
  cluster["name"] = "engenho";
  cluster["cluster"]["server"] = server;
  cluster["cluster"]["certificate-authority-data"] = base64_encode(ca_pem);
  out["clusters"] = json::Array{cluster};
  json::Value who = json::Object();
  who["name"] = user;
  who["user"]["client-certificate-data"] = base64_encode(client.certificate.pem());
  who["user"]["client-key-data"] = base64_encode(client.key.pem());
  out["users"] = json::Array{who};
  json::Value context = json::Object();
  context["name"] = "engenho";
  context["context"]["cluster"] = "engenho";
  context["context"]["user"] = user;
  out["contexts"] = json::Array{context};
  return yaml::dump(out);
}

}  // namespace engenho
