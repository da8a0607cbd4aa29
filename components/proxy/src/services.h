// Services and their EndpointSlices as what the rules need to know: one entry for each port of each service.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/catalog/core_v1.h"
#include "engenho/catalog/discovery_v1.h"
#include "table.h"

namespace engenho::proxy {

struct Target {
  Ipv4 address = 0;
  uint16_t port = 0;
  auto operator<=>(const Target&) const = default;
};

struct ServicePort {
  std::string name;                 // "namespace/name:port"
  uint8_t protocol = 0;             // IPPROTO_TCP, _UDP, _SCTP
  uint16_t port = 0, node_port = 0;  // node_port 0: none
  Ipv4 cluster_ip = 0;
  std::vector<Ipv4> external_addresses;  // external IPs and the load balancer's
  std::vector<Ipv4Range> source_ranges;  // who may come by the load balancer's addresses; empty: anyone
  std::vector<Ipv4> balancer_addresses;  // those of external_addresses that source_ranges guard
  int affinity_seconds = 0;         // 0: none
  bool internal_local = false, external_local = false;  // the traffic policies
  // Sorted. Ready ones, or, while nothing is ready, those that end and still serve; local_targets are those of this node, chosen by the same rule
  // among themselves.
  std::vector<Target> targets, local_targets;
};

std::vector<ServicePort> collect_services(const std::vector<std::shared_ptr<const k8s::core_v1::Service>>& services,
                                          const std::vector<std::shared_ptr<const k8s::discovery_v1::EndpointSlice>>& slices,
                                          const std::string& node_name);

}  // namespace engenho::proxy
