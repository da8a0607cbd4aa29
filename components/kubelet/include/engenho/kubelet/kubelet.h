// The node agent: registers the node, runs the pods bound to it on a CRI v1 runtime, and serves the kubelet's API.
#pragma once

#include <memory>
#include <string>

#include "engenho/base/status.h"
#include "engenho/client/client.h"

namespace engenho::kubelet {

struct Options {
  std::string data_dir;             // everything lives below <data_dir>/agent
  std::string node_name, node_address;
  std::string bind_address = "0.0.0.0";
  std::string cluster_dns, cluster_domain = "cluster.local";
  std::string resolv_conf = "/etc/resolv.conf";  // what pods with dnsPolicy Default get
  std::string pod_cidr;             // of this node; set at registration
  std::string runtime_endpoint;     // CRI socket; empty: a containerd of our own
  std::string cni_bin_dir, cni_conf_dir;  // for our own containerd
  int port = 10250;
  std::string serving_certificate_pem, serving_key_pem;
  std::string client_ca_pem;        // who may present client certificates
  std::string version;              // kubeletVersion, "v1.36.2"
  int max_pods = 110;
};

// All of it runs on threads of its own. `client` must outlive it.
class Kubelet {
 public:
  static Result<std::unique_ptr<Kubelet>> create(Options options, client::Client& client);
  virtual ~Kubelet() = default;     // stop()
  virtual Status start() = 0;
  // Stops managing; pods and the container runtime keep running and are re-adopted by the next start.
  virtual void stop() = 0;
};

// For `engenho reset`: removes every pod of our own containerd, ends it, and unmounts and removes what is below
// <data_dir>/agent. What is not there is fine. Not while a Kubelet runs.
Status reset(const std::string& data_dir);

}  // namespace engenho::kubelet
