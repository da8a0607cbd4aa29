#include "ruleset.h"

#include <netinet/in.h>
// after the C library's, which it would fight otherwise
#include <linux/netfilter.h>

#include <algorithm>
#include <unordered_set>

#include "engenho/base/bytes.h"

namespace engenho::proxy {

namespace {

using Kind = Step::Kind;

constexpr uint32_t kMasqueradeMark = 0x4000, kDropMark = 0x8000;
constexpr char kServiceIps[] = "service_ips", kNodePorts[] = "node_ports", kNoTargets[] = "no_targets", kNoTargetPorts[] = "no_target_ports";

// Every chain that balances owns a range of the keys of one of 256 maps. Which map and where comes from its name, so that it stays when others come and go.
// (The kernel takes minutes for a transaction with ten thousand anonymous maps, which it searches in turn, or with one map of all, which it validates for every
// rule that refers to it.)
constexpr uint32_t kChoicesStep = 4096, kChoicesSteps = 1 << 20;

std::string short_hash(const std::string& text) { return sha256_hex(text).substr(0, 12); }

Step jump(std::string chain) { return {.kind = Kind::kJump, .name = std::move(chain)}; }
Step go_to(std::string chain) { return {.kind = Kind::kGoto, .name = std::move(chain)}; }
Step mark(uint32_t bits) { return {.kind = Kind::kMarkSet, .number = bits}; }
Step marked(uint32_t bits) { return {.kind = Kind::kMarkHas, .number = bits}; }
Step source_in(const Ipv4Range& cidr, bool negate = false) { return {.kind = Kind::kSourceIn, .cidr = cidr, .negate = negate}; }
Step destination_in(const Ipv4Range& cidr, bool negate = false) { return {.kind = Kind::kDestinationIn, .cidr = cidr, .negate = negate}; }
Step named(Kind kind, std::string name) { return {.kind = kind, .name = std::move(name)}; }

class Builder {
 public:
  Builder(Table& table, const Ipv4Range& cluster) : table_(table), cluster_(cluster) {}

  void add(const ServicePort& s) {
    const std::string id = short_hash(s.name + "/" + std::to_string(s.protocol));
    const Key own = service_key(s.cluster_ip, s.protocol, s.port);
    if (s.targets.empty()) {
      table_.sets[kNoTargets].elements.emplace(own, "");
      for (Ipv4 address : s.external_addresses) table_.sets[kNoTargets].elements.emplace(service_key(address, s.protocol, s.port), "");
      if (s.node_port != 0) table_.sets[kNoTargetPorts].elements.emplace(port_key(s.protocol, s.node_port), "");
      return;
    }
    go(kServiceIps, own, s.internal_local ? here(id, s) : everywhere(id, s));
    if (s.node_port == 0 && s.external_addresses.empty()) return;
    const std::string outside = from_outside(id, s);
    std::string guarded = outside;
    if (!s.source_ranges.empty() && !s.balancer_addresses.empty()) {
      guarded = "fw_" + id;
      auto& rules = table_.chains[guarded].rules;
      for (const Ipv4Range& range : s.source_ranges) rules.push_back({source_in(range), go_to(outside)});
      rules.push_back({go_to(drop_chain())});
    }
    for (Ipv4 address : s.external_addresses) {
      const bool balancer = std::find(s.balancer_addresses.begin(), s.balancer_addresses.end(), address) != s.balancer_addresses.end();
      go(kServiceIps, service_key(address, s.protocol, s.port), balancer ? guarded : outside);
    }
    if (s.node_port != 0) go(kNodePorts, port_key(s.protocol, s.node_port), outside);
  }

 private:
  void go(const char* map, Key key, const std::string& chain) { table_.sets[map].elements.emplace(std::move(key), chain); }

  // Dropping is for the filter hooks; the nat hooks only mark.
  std::string drop_chain() {
    table_.chains["drop_later"].rules = {{mark(kDropMark)}};
    return "drop_later";
  }

  std::string everywhere(const std::string& id, const ServicePort& s) { return balance("svc_" + id, s, s.targets); }
  std::string here(const std::string& id, const ServicePort& s) {
    return s.local_targets.empty() ? drop_chain() : balance("svl_" + id, s, s.local_targets);
  }

  // What comes from outside. Policy Cluster: any target, masqueraded, so that the answer comes back here. Policy Local: this node's, with the
  // client's own address; pods and this host itself are served as by the cluster IP.
  std::string from_outside(const std::string& id, const ServicePort& s) {
    const std::string name = "ext_" + id, all = everywhere(id, s);
    auto& rules = table_.chains[name].rules;
    if (s.external_local) {
      rules.push_back({source_in(cluster_), go_to(all)});
      rules.push_back({{.kind = Kind::kSourceLocal}, mark(kMasqueradeMark), go_to(all)});
      rules.push_back({go_to(here(id, s))});
    } else {
      rules.push_back({mark(kMasqueradeMark), go_to(all)});
    }
    return name;
  }

  std::string balance(const std::string& name, const ServicePort& s, const std::vector<Target>& targets) {
    if (table_.chains.contains(name)) return name;
    std::vector<Rule> rules;
    std::vector<std::string> chains;
    for (const Target& target : targets) {
      chains.push_back(target_chain(s, target));
      if (s.affinity_seconds > 0) rules.push_back({named(Kind::kSourceInSet, affinity_set(s, target)), go_to(chains.back())});
    }
    if (chains.size() == 1) {
      rules.push_back({go_to(chains[0])});
    } else {
      const std::string map = "choices_" + sha256_hex(name).substr(0, 2);
      const auto count = static_cast<uint32_t>(chains.size());
      const uint32_t first = choices_for(map, name, count);
      Set& set = table_.sets[map];
      set.type = Set::Type::kNumbers;
      set.verdicts = true;
      for (uint32_t i = 0; i < count; ++i) set.elements.emplace(number_key(first + i), chains[i]);
      rules.push_back({{.kind = Kind::kRandomMap, .name = map, .number = count, .first = first}});
      // Within a transaction a rule changes before the map does.
      rules.push_back({go_to(chains[0])});
    }
    table_.chains[name].rules = std::move(rules);
    return name;
  }

  uint32_t choices_for(const std::string& map, const std::string& chain, uint32_t count) {
    std::unordered_set<uint32_t>& taken = taken_[map];
    const uint32_t steps = (count + kChoicesStep - 1) / kChoicesStep;
    uint32_t at = static_cast<uint32_t>(std::stoul(sha256_hex(chain).substr(2, 8), nullptr, 16)) % kChoicesSteps;
    auto is_free = [&] {
      for (uint32_t i = 0; i < steps; ++i) {
        if (taken.contains(at + i)) return false;
      }
      return at + steps <= kChoicesSteps;
    };
    while (!is_free()) at = (at + 1) % kChoicesSteps;
    for (uint32_t i = 0; i < steps; ++i) taken.insert(at + i);
    return at * kChoicesStep;
  }

  static std::string target_hash(const ServicePort& s, const Target& target) {
    return short_hash(s.name + "/" + std::to_string(s.protocol) + "/" + ipv4_text(target.address) + "/" + std::to_string(target.port));
  }
  static std::string affinity_set(const ServicePort& s, const Target& target) {
    return "aff_" + target_hash(s, target) + "_" + std::to_string(s.affinity_seconds);
  }

  // Marks the target's own traffic to itself, remembers the client, rewrites.
  std::string target_chain(const ServicePort& s, const Target& target) {
    const std::string name = "ep_" + target_hash(s, target);
    if (table_.chains.contains(name)) return name;
    std::vector<Rule> rules;
    rules.push_back({{.kind = Kind::kSourceIs, .cidr = {target.address, 32}}, mark(kMasqueradeMark)});
    if (s.affinity_seconds > 0) {
      const std::string set = affinity_set(s, target);
      table_.sets[set] = {.type = Set::Type::kSources, .timeout_seconds = static_cast<uint32_t>(s.affinity_seconds)};
      rules.push_back({{.kind = Kind::kRememberSource, .name = set, .number = static_cast<uint32_t>(s.affinity_seconds)}});
    }
    rules.push_back({{.kind = Kind::kProtocol, .number = s.protocol}, {.kind = Kind::kDnat, .cidr = {target.address, 32}, .number = target.port}});
    table_.chains[name].rules = std::move(rules);
    return name;
  }

  Table& table_;
  const Ipv4Range& cluster_;
  std::map<std::string, std::unordered_set<uint32_t>> taken_;  // steps of the maps' keys
};

void add_base_chains(Table& table, const Ipv4Range& cluster, bool hairpin_by_masquerade) {
  const Ipv4Range loopback{0x7f000000, 8};
  auto& chains = table.chains;
  chains["services"].rules = {
      {named(Kind::kServiceMap, kServiceIps)},
      {{.kind = Kind::kDestinationLocal}, destination_in(loopback, true), named(Kind::kPortMap, kNodePorts)},
  };
  chains["refuse"].rules = {
      {named(Kind::kServiceInSet, kNoTargets), {.kind = Kind::kReject}},
                            {{.kind = Kind::kDestinationLocal}, destination_in(loopback, true), named(Kind::kPortInSet, kNoTargetPorts), {.kind = Kind::kReject}}};
  chains["prerouting"] = {Hook{NF_INET_PRE_ROUTING, -100, "nat"}, {{jump("services")}}};
  chains["output"] = {Hook{NF_INET_LOCAL_OUT, -100, "nat"}, {{jump("services")}}};
  const std::vector<Rule> filter = {{{.kind = Kind::kNewConnection}, jump("refuse")}, {marked(kDropMark), {.kind = Kind::kDrop}}};
  chains["forward"] = {Hook{NF_INET_FORWARD, 0, "filter"}, filter};
  chains["filter_output"] = {Hook{NF_INET_LOCAL_OUT, 0, "filter"}, filter};
  chains["filter_input"] = {Hook{NF_INET_LOCAL_IN, 0, "filter"}, filter};
  auto& postrouting = chains["postrouting"];
  postrouting = {Hook{NF_INET_POST_ROUTING, 100, "nat"},
                 {{marked(kMasqueradeMark), {.kind = Kind::kMasquerade}},
                  {source_in(cluster), destination_in(cluster, true), {.kind = Kind::kDestinationLocal, .negate = true}, {.kind = Kind::kMasquerade}}}};
  if (hairpin_by_masquerade) {
    postrouting.rules.push_back({{.kind = Kind::kTranslated}, source_in(cluster), destination_in(cluster), {.kind = Kind::kMasquerade}});
  }
  table.sets[kServiceIps] = {.type = Set::Type::kServices, .verdicts = true};
  table.sets[kNodePorts] = {.type = Set::Type::kPorts, .verdicts = true};
  table.sets[kNoTargets] = {.type = Set::Type::kServices};
  table.sets[kNoTargetPorts] = {.type = Set::Type::kPorts};
}

}  // namespace

Table make_table(const std::vector<ServicePort>& services, const Ipv4Range& cluster, bool hairpin_by_masquerade) {
  Table table;
  add_base_chains(table, cluster, hairpin_by_masquerade);
  Builder builder(table, cluster);
  for (const ServicePort& service : services) builder.add(service);
  return table;
}

}  // namespace engenho::proxy
