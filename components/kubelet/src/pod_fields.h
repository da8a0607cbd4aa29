// Values of a pod's own fields and a container's environment.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cluster.h"

namespace engenho::kubelet {

// Addresses as they are known when the value is made; the object's own status may lag behind.
struct PodAddresses {
  std::string host_ip, pod_ip;
};

// "$(NAME)" is replaced where `values` has it and kept where not; "$$" stands for "$".
std::string expand_variables(const std::string& text, const std::map<std::string, std::string>& values);

// The downward API: metadata.name, metadata.labels['x'], status.podIP, ... Error: BadRequest for a path that is not supported.
Result<std::string> field_value(const Pod& pod, const std::string& path, const PodAddresses& addresses);
Result<std::string> resource_value(const Pod& pod, const core_v1::ResourceFieldSelector& selector, const std::string& default_container, Cluster& cluster);

// "KUBERNETES_SERVICE_HOST" and the like, for the services of the pod's namespace and the API server's own.
std::map<std::string, std::string> service_environment(const Pod& pod, Cluster& cluster);

using Environment = std::vector<std::pair<std::string, std::string>>;
Result<Environment> make_environment(const Pod& pod, const core_v1::Container& container, const PodAddresses& addresses, Cluster& cluster);

// All containers that run beside each other or one after the other: init containers first.
const core_v1::Container* find_container(const Pod& pod, const std::string& name);
// An ephemeral container as a container: it has the same fields.
core_v1::Container as_container(const core_v1::EphemeralContainer& ephemeral);
bool is_sidecar(const core_v1::Container& init_container);
// Guaranteed, Burstable or BestEffort: the one in the status, or derived.
std::string qos_class(const Pod& pod);

}  // namespace engenho::kubelet
