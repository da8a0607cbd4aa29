#include "ruleset.h"

#include "engenho/testing/catch.h"

using namespace engenho::proxy;

namespace {
ServicePort web() {
  ServicePort s;
  s.name = "default/web:http";
  s.protocol = "tcp";
  s.addresses = {"10.43.0.7"};
  s.port = 80;
  s.targets = {{"10.42.0.2", 8080, true}, {"10.42.0.3", 8080, false}};
  return s;
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("a service with two targets balances between two chains") {
  const Ruleset r = make_ruleset({web()}, "10.42.0.0/16", true, {});
  CHECK(has(r.text, "10.43.0.7 . tcp . 80 : goto svc_"));
  CHECK(has(r.text, "numgen random mod 2 vmap"));
  CHECK(has(r.text, "dnat to 10.42.0.2:8080"));
  CHECK(r.chains.size() == 3);
  CHECK_FALSE(has(r.text, "ct status dnat"));
}

TEST_CASE("a service without targets is refused") {
  ServicePort s = web();
  s.targets.clear();
  const Ruleset r = make_ruleset({s}, "10.42.0.0/16", true, {});
  CHECK(has(r.text, "add element ip engenho no_targets { 10.43.0.7 . tcp . 80 }"));
  CHECK(r.chains.empty());
}

TEST_CASE("what is no longer wanted is deleted in the same transaction") {
  ServicePort s = web();
  s.affinity_seconds = 60;
  const Ruleset before = make_ruleset({s}, "10.42.0.0/16", true, {});
  CHECK(before.sets.size() == 2);
  const Ruleset after = make_ruleset({}, "10.42.0.0/16", true, before);
  for (const std::string& chain : before.chains) CHECK(has(after.text, "delete chain ip engenho " + chain + "\n"));
  for (const std::string& set : before.sets) CHECK(has(after.text, "delete set ip engenho " + set + "\n"));
}

TEST_CASE("node ports: policy Local keeps to this node, Cluster masquerades") {
  ServicePort s = web();
  s.node_port = 30080;
  const Ruleset cluster = make_ruleset({s}, "10.42.0.0/16", true, {});
  CHECK(has(cluster.text, "tcp . 30080 : goto ext_"));
  s.local_only = true;
  const Ruleset local = make_ruleset({s}, "10.42.0.0/16", true, {});
  const size_t at = local.text.find("add rule ip engenho ext_");
  REQUIRE(at != std::string::npos);
  CHECK_FALSE(has(local.text.substr(at, local.text.find('\n', at) - at), "0x4000"));
}
