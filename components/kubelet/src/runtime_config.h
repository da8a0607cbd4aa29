// From a pod's specification to CRI's configurations.
#pragma once

#include <map>
#include <string>

#include "cluster.h"
#include "cri.h"
#include "pod_fields.h"
#include "volumes.h"

namespace engenho::kubelet {

struct NodeFacts {
  std::string node_name, node_address, cluster_dns, cluster_domain, resolv_conf;
  std::string logs_dir;    // holds <namespace>_<name>_<uid>/<container>/<attempt>.log
  std::string pods_dir;
  int64_t memory_capacity = 0;
};

std::string pod_log_dir(const NodeFacts& facts, const Pod& pod);
rt::PodSandboxConfig sandbox_config(const NodeFacts& facts, const Pod& pod, uint32_t attempt);
// A hash of what makes a running container outdated when it changes: name and image, as upstream's.
std::string container_hash(const core_v1::Container& container);
// The /etc/hosts of a pod.
std::string hosts_file(const Pod& pod, const std::string& pod_ip, const std::string& cluster_domain);

struct ContainerInputs {
  const Pod& pod;
  const core_v1::Container& container;
  uint32_t attempt = 0;
  std::string image_ref;
  const rt::Image* image = nullptr;   // for runAsNonRoot
  Environment environment;
  PodAddresses addresses;
  Volumes volumes;
  std::string target_id;              // container whose process namespace it joins (ephemeral containers)
};
// Makes what it mounts (log directory, hosts file, termination message, subpaths). Error messages are shown to the user.
Result<rt::ContainerConfig> container_config(const NodeFacts& facts, const ContainerInputs& in);
std::string log_path(const NodeFacts& facts, const Pod& pod, const std::string& container, uint32_t attempt);
std::string message_file(const NodeFacts& facts, const Pod& pod, const std::string& container, uint32_t attempt);

}  // namespace engenho::kubelet
