// The kubelet's own API: logs, exec, attach, port-forward, pods, for those whom the API server allows it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster.h"
#include "cri.h"

namespace engenho::kubelet {

class KubeletServer {
 public:
  struct Options {
    std::string address, certificate_pem, key_pem, client_ca_pem, node_name, logs_dir;
    int port = 10250;
    std::function<std::vector<PodPtr>()> pods;
  };
  KubeletServer(Options options, client::Client& client, Cri& cri);
  ~KubeletServer();
  Status start();
  void stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace engenho::kubelet
