#include "ruleset.h"

#include <netinet/in.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::proxy;

namespace {

const Ipv4Range kCluster = *parse_ipv4_range("10.42.0.0/16");

ServicePort web() {
  ServicePort s;
  s.name = "default/web:http";
  s.protocol = IPPROTO_TCP;
  s.cluster_ip = *parse_ipv4("10.43.0.7");
  s.port = 80;
  s.targets = {{*parse_ipv4("10.42.0.2"), 8080}, {*parse_ipv4("10.42.0.3"), 8080}};
  s.local_targets = {s.targets[0]};
  return s;
}

Table table(const ServicePort& s) { return make_table({s}, kCluster, false); }
std::string chain_of(const Table& t, const char* map, const Key& key) {
  auto& elements = t.sets.at(map).elements;
  return elements.contains(key) ? elements.at(key) : "";
}
size_t count(const Chain& chain, Step::Kind kind) {
  size_t n = 0;
  for (const Rule& rule : chain.rules) n += std::count_if(rule.begin(), rule.end(), [&](const Step& s) { return s.kind == kind; });
  return n;
}
size_t with_prefix(const auto& names, const std::string& prefix) {
  return static_cast<size_t>(std::count_if(names.begin(), names.end(), [&](const auto& item) { return item.first.starts_with(prefix); }));
}

}  // namespace

TEST_CASE("a service with two targets chooses between two chains that rewrite") {
  const ServicePort s = web();
  const Table t = table(s);
  const Chain& chain = t.chains.at(chain_of(t, "service_ips", service_key(s.cluster_ip, s.protocol, s.port)));
  const Step& choice = chain.rules.at(0).at(0);
  REQUIRE(choice.kind == Step::Kind::kRandomMap);
  REQUIRE(choice.number == 2);
  const Step& dnat = t.chains.at(chain_of(t, choice.name.c_str(), number_key(choice.first + 1))).rules.back().back();
  CHECK(dnat.kind == Step::Kind::kDnat);
  CHECK(ipv4_text(dnat.cidr.first) == "10.42.0.3");
  CHECK(dnat.number == 8080);
}

TEST_CASE("a service without targets is refused at each of its addresses and its node port") {
  ServicePort s = web();
  s.targets.clear();
  s.external_addresses = {*parse_ipv4("192.0.2.9")};
  s.node_port = 30080;
  const Table t = table(s);
  CHECK(t.sets.at("no_targets").elements.size() == 2);
  CHECK(t.sets.at("no_target_ports").elements.size() == 1);
  CHECK(t.sets.at("service_ips").elements.empty());
  CHECK(with_prefix(t.chains, "svc_") == 0);
}

TEST_CASE("session affinity has a set for each target, and another set when its time changes") {
  ServicePort s = web();
  s.affinity_seconds = 60;
  const Table t = table(s);
  CHECK(with_prefix(t.sets, "aff_") == 2);
  CHECK(count(t.chains.at(chain_of(t, "service_ips", service_key(s.cluster_ip, s.protocol, s.port))), Step::Kind::kSourceInSet) == 2);
  s.affinity_seconds = 61;
  for (const auto& [name, set] : table(s).sets) CHECK((!name.starts_with("aff_") || !t.sets.contains(name)));
}

TEST_CASE("node ports: policy Cluster masquerades; policy Local keeps to this node and to the client's address") {
  ServicePort s = web();
  s.node_port = 30080;
  const Table cluster = table(s);
  const std::string outside = chain_of(cluster, "node_ports", port_key(s.protocol, s.node_port));
  CHECK(cluster.chains.at(outside).rules.at(0).at(0).kind == Step::Kind::kMarkSet);

  s.external_local = true;
  Table local = table(s);
  const Rule& last = local.chains.at(outside).rules.back();
  REQUIRE(last.size() == 1);
  CHECK(last[0].name.starts_with("svl_"));

  s.local_targets.clear();
  local = table(s);
  CHECK(local.chains.at(outside).rules.back()[0].name == "drop_later");
}

TEST_CASE("internal traffic policy Local without a target on this node drops, it does not refuse") {
  ServicePort s = web();
  s.internal_local = true;
  s.local_targets.clear();
  const Table t = table(s);
  CHECK(chain_of(t, "service_ips", service_key(s.cluster_ip, s.protocol, s.port)) == "drop_later");
}

TEST_CASE("source ranges guard the load balancer's addresses only") {
  ServicePort s = web();
  s.external_addresses = {*parse_ipv4("192.0.2.9"), *parse_ipv4("192.0.2.10")};
  s.balancer_addresses = {s.external_addresses[0]};
  s.source_ranges = {*parse_ipv4_range("198.51.100.0/24")};
  const Table t = table(s);
  CHECK(chain_of(t, "service_ips", service_key(s.external_addresses[0], s.protocol, s.port)).starts_with("fw_"));
  CHECK(chain_of(t, "service_ips", service_key(s.external_addresses[1], s.protocol, s.port)).starts_with("ext_"));
}


TEST_CASE("a thousand balancing services share no key of the choices, and keep theirs when others go") {
  std::vector<ServicePort> services;
  for (int i = 0; i < 1000; ++i) {
    services.push_back(web());
    services.back().name = "default/s" + std::to_string(i) + ":p";
    services.back().cluster_ip += static_cast<Ipv4>(i);
  }
  const Table all = make_table(services, kCluster, false);
  auto choices = [](const Table& t) {
    std::set<std::tuple<std::string, Key, std::string>> out;
    for (const auto& [name, set] : t.sets) {
      if (set.type != Set::Type::kNumbers) continue;
      for (const auto& [key, chain] : set.elements) out.emplace(name, key, chain);
    }
    return out;
  };
  CHECK(choices(all).size() == 2000);
  services.erase(services.begin() + 500);
  const auto before = choices(all);
  size_t kept = 0;
  for (const auto& choice : choices(make_table(services, kCluster, false))) kept += before.count(choice);
  CHECK(kept >= 1990);
}
