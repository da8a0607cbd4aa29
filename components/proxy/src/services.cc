#include "services.h"

#include <netinet/in.h>

#include <algorithm>
#include <map>

#include "engenho/client/informer.h"

namespace engenho::proxy {

namespace core_v1 = k8s::core_v1;
namespace discovery_v1 = k8s::discovery_v1;

namespace {

using Slices = std::vector<std::shared_ptr<const discovery_v1::EndpointSlice>>;

constexpr int kDefaultAffinitySeconds = 10800;

uint8_t protocol_number(const std::string& name) {
  if (name == "UDP") return IPPROTO_UDP;
  if (name == "SCTP") return IPPROTO_SCTP;
  return IPPROTO_TCP;
}

// The endpoints of one set that traffic may go to: the ready ones, or else what is on its way out and still serves.
struct Choice {
  std::vector<Target> ready, ending;
  std::vector<Target> take() {
    std::vector<Target> out = ready.empty() ? std::move(ending) : std::move(ready);
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }
};

void choose_targets(ServicePort& port, const std::string& port_name, const Slices& slices, const std::string& node_name) {
  Choice everywhere, here;
  for (const auto& slice : slices) {
    int number = 0;
    for (const auto& p : slice->ports) {
      if (p.name.value_or("") == port_name && protocol_number(p.protocol.value_or("TCP")) == port.protocol) number = p.port.value_or(0);
    }
    if (number <= 0) continue;
    for (const auto& endpoint : slice->endpoints) {
      if (endpoint.addresses.empty()) continue;
      const auto address = parse_ipv4(endpoint.addresses[0]);
      if (!address) continue;
      const Target target{*address, static_cast<uint16_t>(number)};
      const bool ready = endpoint.conditions.ready.value_or(true);
      if (!ready && !(endpoint.conditions.serving.value_or(false) && endpoint.conditions.terminating.value_or(false))) continue;
      (ready ? everywhere.ready : everywhere.ending).push_back(target);
      if (endpoint.node_name.value_or("") == node_name) (ready ? here.ready : here.ending).push_back(target);
    }
  }
  port.targets = everywhere.take();
  port.local_targets = here.take();
}

int affinity_seconds(const core_v1::ServiceSpec& spec) {
  if (spec.session_affinity != "ClientIP") return 0;
  if (!spec.session_affinity_config || !spec.session_affinity_config->client_ip) return kDefaultAffinitySeconds;
  return spec.session_affinity_config->client_ip->timeout_seconds.value_or(kDefaultAffinitySeconds);
}

}  // namespace

std::vector<ServicePort> collect_services(const std::vector<std::shared_ptr<const core_v1::Service>>& services, const Slices& slices,
                                          const std::string& node_name) {
  std::map<std::string, Slices> of_service;
  for (const auto& slice : slices) {
    auto owner = slice->metadata.labels.find("kubernetes.io/service-name");
    if (owner != slice->metadata.labels.end() && slice->address_type == "IPv4") {
      of_service[client::key_of(slice->metadata.namespace_, owner->second)].push_back(slice);
    }
  }
  std::vector<ServicePort> out;
  for (const auto& service : services) {
    const core_v1::ServiceSpec& spec = service->spec;
    const auto cluster_ip = parse_ipv4(spec.cluster_ip);  // neither "None" nor an IPv6 address is one
    if (!cluster_ip || spec.type == "ExternalName") continue;
    if (service->metadata.labels.contains("service.kubernetes.io/service-proxy-name")) continue;  // another proxy's
    const std::string key = client::key_of(service->metadata.namespace_, service->metadata.name);
    for (const core_v1::ServicePort& p : spec.ports) {
      ServicePort port;
      port.name = key + ":" + p.name;
      port.protocol = protocol_number(p.protocol);
      port.port = static_cast<uint16_t>(p.port);
      port.node_port = static_cast<uint16_t>(p.node_port);
      port.cluster_ip = *cluster_ip;
      for (const auto& text : spec.external_ips) {
        if (auto address = parse_ipv4(text)) port.external_addresses.push_back(*address);
      }
      for (const auto& ingress : service->status.load_balancer.ingress) {
        if (ingress.ip_mode.value_or("VIP") == "Proxy") continue;  // the balancer itself must see the traffic
        if (auto address = parse_ipv4(ingress.ip)) {
          port.external_addresses.push_back(*address);
          port.balancer_addresses.push_back(*address);
        }
      }
      for (const auto& text : spec.load_balancer_source_ranges) {
        if (auto range = parse_ipv4_range(text)) port.source_ranges.push_back(*range);
      }
      port.affinity_seconds = affinity_seconds(spec);
      port.internal_local = spec.internal_traffic_policy.value_or("Cluster") == "Local";
      port.external_local = spec.external_traffic_policy == "Local";
      choose_targets(port, p.name, of_service[key], node_name);
      out.push_back(std::move(port));
    }
  }
  return out;
}

}  // namespace engenho::proxy
