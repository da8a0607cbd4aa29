// kube-proxy: Services as rules of one nftables table, `ip engenho`. Other tables are never touched.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/base/status.h"
#include "engenho/client/client.h"

namespace engenho::proxy {

struct Options {
  std::string cluster_cidr = "10.42.0.0/16";
  std::string node_name;
};

class Proxy {
 public:
  Proxy(std::shared_ptr<client::Transport> transport, Options options);
  ~Proxy();
  void start();
  void stop();  // the rules stay: connections go on while the process is away

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Removes the table; for `engenho reset`.
Status remove_rules();

}  // namespace engenho::proxy
