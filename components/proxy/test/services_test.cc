#include "services.h"

#include <netinet/in.h>

#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::proxy;
namespace core_v1 = engenho::k8s::core_v1;
namespace discovery_v1 = engenho::k8s::discovery_v1;

namespace {

std::shared_ptr<core_v1::Service> service() {
  auto s = std::make_shared<core_v1::Service>();
  s->metadata.namespace_ = "default";
  s->metadata.name = "dns";
  s->spec.cluster_ip = "10.43.0.9";
  core_v1::ServicePort port;
  port.name = "dns";
  port.protocol = "UDP";
  port.port = 53;
  s->spec.ports = {port};
  return s;
}

discovery_v1::Endpoint endpoint(const char* address, const char* node, bool ready, bool ending) {
  discovery_v1::Endpoint e;
  e.addresses = {address};
  e.node_name = node;
  e.conditions.ready = ready;
  e.conditions.serving = true;
  e.conditions.terminating = ending;
  return e;
}

std::shared_ptr<discovery_v1::EndpointSlice> slice(std::vector<discovery_v1::Endpoint> endpoints) {
  auto s = std::make_shared<discovery_v1::EndpointSlice>();
  s->metadata.namespace_ = "default";
  s->metadata.labels["kubernetes.io/service-name"] = "dns";
  s->address_type = "IPv4";
  discovery_v1::EndpointPort port;
  port.name = "dns";
  port.protocol = "UDP";
  port.port = 5353;
  s->ports = {port};
  s->endpoints = std::move(endpoints);
  return s;
}

}  // namespace

TEST_CASE("ready endpoints are the targets; ending ones only while nothing is ready, on each node for itself") {
  const auto here_ending = endpoint("10.42.0.2", "here", false, true);
  const auto there_ready = endpoint("10.42.1.2", "there", true, false);
  auto ports = collect_services({service()}, {slice({here_ending, there_ready})}, "here");
  REQUIRE(ports.size() == 1);
  CHECK(ports[0].protocol == IPPROTO_UDP);
  CHECK(ports[0].targets == std::vector<Target>{{*parse_ipv4("10.42.1.2"), 5353}});
  CHECK(ports[0].local_targets == std::vector<Target>{{*parse_ipv4("10.42.0.2"), 5353}});
  ports = collect_services({service()}, {slice({here_ending})}, "here");
  CHECK(ports[0].targets == std::vector<Target>{{*parse_ipv4("10.42.0.2"), 5353}});
}

TEST_CASE("headless services, names and other proxies' services have no rules") {
  auto headless = service(), name = service(), other = service();
  headless->spec.cluster_ip = "None";
  name->spec.type = "ExternalName";
  other->metadata.labels["service.kubernetes.io/service-proxy-name"] = "mesh";
  CHECK(collect_services({headless, name, other}, {}, "here").empty());
}

TEST_CASE("affinity lasts three hours unless the service says otherwise") {
  auto s = service();
  s->spec.session_affinity = "ClientIP";
  CHECK(collect_services({s}, {}, "here")[0].affinity_seconds == 10800);
  s->spec.session_affinity_config = core_v1::SessionAffinityConfig{};
  s->spec.session_affinity_config->client_ip = core_v1::ClientIPConfig{};
  s->spec.session_affinity_config->client_ip->timeout_seconds = 7;
  CHECK(collect_services({s}, {}, "here")[0].affinity_seconds == 7);
}
