// Host ports of pods, as nftables rules in the table "inet engenho", which is theirs alone (services have "ip engenho"). A record per pod in the state directory says which
// are wanted; every change renders all records anew, so rules and records cannot drift apart.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engenho/base/json.h"
#include "engenho/base/status.h"

namespace engenho::cni {

struct HostPort {
  std::string protocol;   // tcp, udp or sctp
  int host_port = 0, container_port = 0;
  std::string host_ip;    // empty or 0.0.0.0: every local address
};
std::vector<HostPort> host_ports(const json::Value& mappings);  // runtimeConfig.portMappings
// The nft script that replaces our host port chains by `records`.
std::string render_host_ports(const std::vector<std::pair<std::string, std::vector<HostPort>>>& records);

Status set_host_ports(const std::string& directory, const std::string& owner, const std::string& pod_ip, const std::vector<HostPort>& ports);
Status clear_host_ports(const std::string& directory, const std::string& owner);
Status remove_host_port_table();

}  // namespace engenho::cni
