// What the cluster's names mean: an immutable table made of Services, EndpointSlices and the names of Namespaces.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engenho/catalog/core_v1.h"
#include "engenho/catalog/discovery_v1.h"
#include "engenho/base/ipv4.h"
#include "engenho/dns/dns.h"
#include "wire.h"

namespace engenho::dns {

class Records {
 public:
  using Services = std::vector<std::shared_ptr<const k8s::core_v1::Service>>;
  using Slices = std::vector<std::shared_ptr<const k8s::discovery_v1::EndpointSlice>>;
  Records(const Options& options, const Services& services, const Slices& slices, std::set<std::string> namespaces);
  // `ours` of the result says whether the name is the cluster's.
  Answer lookup(const std::string& name, uint16_t type) const;

 private:
  void add(const std::string& name, Record r);
  void add_address(const std::string& name, uint32_t ip, bool reverse);
  void add_srv(const std::string& service, const std::string& port, const std::string& protocol, uint16_t number, const std::string& target);
  std::optional<Ipv4Range> services_, pods_;
  std::string zone_;
  std::unordered_map<std::string, std::vector<Record>> names_;  // no records: only names below it
  std::set<std::string> namespaces_;
};

}  // namespace engenho::dns
