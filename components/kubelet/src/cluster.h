// What pods take from the cluster: configuration, secrets, services, tokens.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/catalog/core_v1.h"
#include "engenho/client/client.h"
#include "engenho/client/informer.h"

namespace engenho::kubelet {

namespace core_v1 = k8s::core_v1;
using Pod = core_v1::Pod;
using PodPtr = std::shared_ptr<const Pod>;

struct Token {
  std::string text;
  WallTime expires;
};

// An interface, so that volumes and environments are tested without a server. Thread-safe.
class Cluster {
 public:
  virtual ~Cluster() = default;
  virtual Result<core_v1::ConfigMap> config_map(const std::string& ns, const std::string& name) = 0;
  virtual Result<core_v1::Secret> secret(const std::string& ns, const std::string& name) = 0;
  // The volume that is bound to a claim. Error while it is not bound.
  virtual Result<core_v1::PersistentVolume> bound_volume(const std::string& ns, const std::string& claim) = 0;
  virtual std::vector<std::shared_ptr<const core_v1::Service>> services(const std::string& ns) = 0;
  virtual Result<Token> token(const Pod& pod, const std::string& audience, int64_t expiration_seconds) = 0;
  // Allocatable of this node, for resource fields without a limit.
  virtual int64_t allocatable_milli_cpu() const = 0;
  virtual int64_t allocatable_memory() const = 0;
};

}  // namespace engenho::kubelet
