// Whether a pod fits a node, and how well. Pure functions of their arguments; behaviour of the upstream plugins of these names.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engenho/catalog/core_v1.h"

namespace engenho::scheduler {

namespace core_v1 = k8s::core_v1;

// Amounts in milli-units for cpu, units (bytes) for everything else.
using Resources = std::map<std::string, int64_t>;
Resources requests_of(const core_v1::Pod& pod);  // what a pod takes, init containers and overhead included; "pods": 1
Resources allocatable_of(const core_v1::Node& node);

struct NodeView {
  std::shared_ptr<const core_v1::Node> node;
  Resources allocatable, requested;
  struct HostPort {
    std::string ip, protocol;
    int32_t port;
  };
  std::vector<HostPort> ports;
};

// Why it does not fit, in upstream's words; empty when it does.
std::vector<std::string> reasons_against(const core_v1::Pod& pod, const Resources& requests, const NodeView& node);
int64_t score(const core_v1::Pod& pod, const Resources& requests, const NodeView& node);

std::vector<NodeView::HostPort> host_ports(const core_v1::Pod& pod);

}  // namespace engenho::scheduler
