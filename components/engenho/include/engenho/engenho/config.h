// The configuration of `engenho server`: flags, ENGENHO_… variables and keys of the YAML file are one table, so they cannot
// differ. A flag wins over a variable, a variable over the file.
#pragma once

#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"

namespace engenho {

struct ServerConfig {
  std::string config_file;
  std::string data_dir = "/var/lib/engenho";
  std::string bind_address = "0.0.0.0";
  int https_listen_port = 6443;
  std::string write_kubeconfig;                  // default: <data-dir>/server/admin.kubeconfig
  std::string write_kubeconfig_mode = "0600";
  std::string node_name;                         // default: the host's name, lower case
  std::string cluster_cidr = "10.42.0.0/16";
  std::string service_cidr = "10.43.0.0/16";
  std::string cluster_dns = "10.43.0.10";
  std::string resolv_conf = "/etc/resolv.conf";
  std::vector<std::string> datastore_endpoint;  // empty: a datastore of our own
  std::string datastore_cafile, datastore_certfile, datastore_keyfile;
  std::string token;
  std::string cluster_domain = "cluster.local";
  std::string container_runtime_endpoint;        // default: a containerd of our own
  std::vector<std::string> tls_san;
  std::string token_auth_file;
  std::vector<std::string> disable;              // controllers, scheduler, proxy, dns, pangea
  bool disable_agent = false;
  std::string log_level = "info";
  std::string advertise_address;                 // default: the address of the default route's interface
  int kubelet_port = 10250;
  Duration snapshot_interval{0};                 // 0: no scheduled snapshots of the datastore
  int snapshot_retention = 5;
  std::vector<std::string> encrypt_resources;    // default: secrets; "none": nothing
  std::string pangea_executor = "magma";         // magma or tofu
  std::vector<std::string> pangea_plugin_dirs;   // default: <data-dir>/pangea/plugins and terraform's own
  std::vector<std::string> pangea_template_repositories;   // where templates may name repositories by file://
  int pangea_workers = 4;
  std::string pangea_ntfy_url = "https://ntfy.sh";
  std::string snapshot_dir;                      // default: <data-dir>/server/snapshots

  bool disabled(std::string_view component) const;
  std::string encryption_key_path() const { return data_dir + "/server/encryption-keys"; }
  // The store's prefixes whose values are encrypted.
  std::vector<std::string> encrypted_prefixes() const;
  std::string snapshot_path() const { return snapshot_dir.empty() ? data_dir + "/server/snapshots" : snapshot_dir; }
  std::string kubeconfig_path() const { return write_kubeconfig.empty() ? data_dir + "/server/admin.kubeconfig" : write_kubeconfig; }
};

// `args` without the program and command names. `env`: "NAME=value". Errors (BadRequest) name the flag, key or variable, the value, what was
// expected, and the nearest valid name for one that does not exist.
Result<ServerConfig> parse_server_config(const std::vector<std::string>& args, const std::vector<std::string>& env);
// Every flag with its default and meaning, for --help.
std::string server_help();

}  // namespace engenho
