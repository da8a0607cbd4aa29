#include "ruleset.h"

#include "engenho/base/bytes.h"

namespace engenho::proxy {

namespace {

std::string short_hash(const std::string& text) { return sha256_hex(text).substr(0, 12); }

}  // namespace

Ruleset make_ruleset(const std::vector<ServicePort>& services, const std::string& cluster_cidr, bool bridge_filtering, const Ruleset& before) {
  Ruleset out;
  std::string definitions, rules, elements;
  std::string ip_elements, port_elements, refused;
  auto add = [](std::string& list, const std::string& element) { list += (list.empty() ? "" : ", ") + element; };

  for (const ServicePort& s : services) {
    const std::string id = short_hash(s.name + "/" + s.protocol);
    const std::string chain = "svc_" + id;
    auto keys = [&](auto fn) {
      for (const std::string& a : s.addresses) fn(a + " . " + s.protocol + " . " + std::to_string(s.port));
    };
    if (s.targets.empty()) {
      keys([&](const std::string& k) { add(refused, k); });
      continue;
    }
    // A chain per target: marks its own traffic to itself for masquerading, remembers the client, and rewrites.
    auto balance = [&](const std::string& name, const std::vector<const Target*>& targets) {
      definitions += "add chain ip engenho " + name + "\nflush chain ip engenho " + name + "\n";
      out.chains.insert(name);
      auto endpoint = [&](const Target& t) { return "ep_" + short_hash(s.name + "/" + s.protocol + "/" + t.ip + "/" + std::to_string(t.port)); };
      if (s.affinity_seconds > 0) {
        for (const Target* t : targets) rules += "add rule ip engenho " + name + " ip saddr @aff_" + endpoint(*t) + " goto " + endpoint(*t) + "\n";
      }
      if (targets.size() == 1) {
        rules += "add rule ip engenho " + name + " goto " + endpoint(*targets[0]) + "\n";
      } else {
        std::string map;
        for (size_t i = 0; i < targets.size(); ++i) add(map, std::to_string(i) + " : goto " + endpoint(*targets[i]));
        rules += "add rule ip engenho " + name + " numgen random mod " + std::to_string(targets.size()) + " vmap { " + map + " }\n";
      }
    };
    std::vector<const Target*> all, local;
    for (const Target& t : s.targets) {
      all.push_back(&t);
      if (t.local) local.push_back(&t);
      const std::string ep = "ep_" + short_hash(s.name + "/" + s.protocol + "/" + t.ip + "/" + std::to_string(t.port));
      if (out.chains.contains(ep)) continue;
      definitions += "add chain ip engenho " + ep + "\nflush chain ip engenho " + ep + "\n";
      out.chains.insert(ep);
      rules += "add rule ip engenho " + ep + " ip saddr " + t.ip + " meta mark set meta mark or 0x4000\n";
      if (s.affinity_seconds > 0) {
        const std::string set = "aff_" + ep;
        definitions += "add set ip engenho " + set + " { type ipv4_addr; flags dynamic,timeout; timeout " + std::to_string(s.affinity_seconds) + "s; }\n";
        out.sets.insert(set);
        rules += "add rule ip engenho " + ep + " update @" + set + " { ip saddr }\n";
      }
      rules += "add rule ip engenho " + ep + " meta l4proto " + s.protocol + " dnat to " + t.ip + ":" + std::to_string(t.port) + "\n";
    }
    balance(chain, all);
    keys([&](const std::string& k) { add(ip_elements, k + " : goto " + chain); });
    if (s.node_port != 0) {
      const std::string external = "ext_" + id;
      if (s.local_only) {
        // Keeps the client's address; without a local target the packet is dropped.
        if (local.empty()) {
          definitions += "add chain ip engenho " + external + "\nflush chain ip engenho " + external + "\n";
          out.chains.insert(external);
          rules += "add rule ip engenho " + external + " meta mark set meta mark or 0x8000\n";
        } else {
          balance(external, local);
        }
      } else {
        definitions += "add chain ip engenho " + external + "\nflush chain ip engenho " + external + "\n";
        out.chains.insert(external);
        rules += "add rule ip engenho " + external + " meta mark set meta mark or 0x4000\n";
        rules += "add rule ip engenho " + external + " goto " + chain + "\n";
      }
      add(port_elements, s.protocol + " . " + std::to_string(s.node_port) + " : goto " + external);
    }
  }

  std::string& t = out.text;
  t = "add table ip engenho\n"
      "add map ip engenho service_ips { type ipv4_addr . inet_proto . inet_service : verdict; }\n"
      "add map ip engenho node_ports { type inet_proto . inet_service : verdict; }\n"
      "add set ip engenho no_targets { type ipv4_addr . inet_proto . inet_service; }\n"
      "add chain ip engenho services\n"
      "add chain ip engenho refuse\n"
      "add chain ip engenho prerouting { type nat hook prerouting priority -100; }\n"
      "add chain ip engenho output { type nat hook output priority -100; }\n"
      "add chain ip engenho postrouting { type nat hook postrouting priority 100; }\n"
      "add chain ip engenho forward { type filter hook forward priority 0; }\n"
      "add chain ip engenho filter_output { type filter hook output priority 0; }\n"
      "add chain ip engenho filter_input { type filter hook input priority 0; }\n";
  for (const char* chain : {"services", "refuse", "prerouting", "output", "postrouting", "forward", "filter_output", "filter_input"}) {
    t += std::string("flush chain ip engenho ") + chain + "\n";
  }
  t += "flush map ip engenho service_ips\nflush map ip engenho node_ports\nflush set ip engenho no_targets\n";
  t += definitions + rules;
  t += "add rule ip engenho services ip daddr . meta l4proto . th dport vmap @service_ips\n"
       "add rule ip engenho services fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @node_ports\n"
       "add rule ip engenho prerouting jump services\n"
       "add rule ip engenho output jump services\n"
       "add rule ip engenho refuse ip daddr . meta l4proto . th dport @no_targets reject\n"
       "add rule ip engenho forward ct state new jump refuse\n"
       "add rule ip engenho forward meta mark & 0x8000 == 0x8000 drop\n"
       "add rule ip engenho filter_output ct state new jump refuse\n"
       "add rule ip engenho filter_input meta mark & 0x8000 == 0x8000 drop\n"
       "add rule ip engenho postrouting meta mark & 0x4000 == 0x4000 masquerade\n"
       "add rule ip engenho postrouting ip saddr " + cluster_cidr + " ip daddr != " + cluster_cidr + " fib daddr type != local masquerade\n";
  if (!bridge_filtering) {
    // Answers between two pods of one bridge would not pass here, and keep the wrong address: they are made to.
    t += "add rule ip engenho postrouting ct status dnat ip saddr " + cluster_cidr + " ip daddr " + cluster_cidr + " masquerade\n";
  }
  if (!ip_elements.empty()) t += "add element ip engenho service_ips { " + ip_elements + " }\n";
  if (!port_elements.empty()) t += "add element ip engenho node_ports { " + port_elements + " }\n";
  if (!refused.empty()) t += "add element ip engenho no_targets { " + refused + " }\n";
  for (const std::string& chain : before.chains) {
    if (!out.chains.contains(chain)) t += "flush chain ip engenho " + chain + "\n";
  }
  for (const std::string& chain : before.chains) {
    if (!out.chains.contains(chain)) t += "delete chain ip engenho " + chain + "\n";
  }
  for (const std::string& set : before.sets) {
    if (!out.sets.contains(set)) t += "delete set ip engenho " + set + "\n";
  }
  return out;
}

}  // namespace engenho::proxy
