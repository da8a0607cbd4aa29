// The rules for a set of services, as the text of one nft transaction. Pure: same services, same text.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace engenho::proxy {

struct Target {
  std::string ip;
  int port = 0;
  bool local = false;   // on this node
  auto operator<=>(const Target&) const = default;
};

// One port of one service.
struct ServicePort {
  std::string name;          // "namespace/name:port", for comments and chain names
  std::string protocol;      // tcp, udp, sctp
  std::vector<std::string> addresses;   // cluster IP, external IPs
  int port = 0, node_port = 0;
  int affinity_seconds = 0;  // 0: none
  bool local_only = false;   // externalTrafficPolicy: Local
  std::vector<Target> targets;
};

struct Ruleset {
  std::string text;               // for nft -f
  std::set<std::string> chains, sets;  // what it defines per service, to be deleted when they are no longer wanted
};

// `stale`: names of chains and sets of an earlier ruleset that this one may no longer need.
Ruleset make_ruleset(const std::vector<ServicePort>& services, const std::string& cluster_cidr, bool bridge_filtering, const Ruleset& before);

}  // namespace engenho::proxy
