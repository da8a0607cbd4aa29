#include "../src/records.h"
#include "engenho/testing/catch.h"

using namespace engenho::dns;

TEST_CASE("hostile names end") {
  std::string out;
  size_t at = 0;
  CHECK_FALSE(read_name(std::string("\xc0\x00", 2), at, out));
  at = 0;
  CHECK_FALSE(read_name(std::string("\x05" "ab", 3), at, out));
}
TEST_CASE("a service, a headless one and names that are not there") {
  auto s = std::make_shared<engenho::k8s::core_v1::Service>();
  s->metadata.name = "web";
  s->metadata.namespace_ = "default";
  s->spec.cluster_ip = "10.43.0.7";
  Records t(Options{}, {s}, {}, {"default"});
  CHECK(t.lookup("WEB.default.svc.cluster.local", kA).answers.size() == 1);
  CHECK(t.lookup("web.default.svc.cluster.local", kAaaa).rcode == kNoError);
  CHECK(t.lookup("no.default.svc.cluster.local", kA).rcode == kNxDomain);
  CHECK(t.lookup("7.0.43.10.in-addr.arpa", kPtr).answers.size() == 1);
  CHECK(t.lookup("10-42-0-9.default.pod.cluster.local", kA).answers.size() == 1);
  CHECK_FALSE(t.lookup("example.org", kA).ours);
}
