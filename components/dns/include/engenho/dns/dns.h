// The cluster's DNS: names of Services, endpoints and pods by the Kubernetes DNS specification 1.1.0; the rest goes to the host's
// resolvers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engenho/base/status.h"
#include "engenho/client/client.h"

namespace engenho::dns {

struct Options {
  std::string cluster_domain = "cluster.local";
  std::string cluster_dns = "10.43.0.10";      // address of the Service kube-dns
  std::string listen_address;                  // the node's address: replies must leave from the address that was asked
  uint16_t port = 10053;
  std::string cluster_cidr = "10.42.0.0/16", service_cidr = "10.43.0.0/16";
  std::string resolv_conf = "/etc/resolv.conf";
};

class Dns {
 public:
  Dns(std::shared_ptr<client::Transport> transport, Options options);
  ~Dns();
  Status start();  // fails when the port cannot be bound
  void stop();     // joins all threads; may be called twice

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace engenho::dns
