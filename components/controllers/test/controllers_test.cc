// Deployments, replica sets, namespaces.
#include "fixture.h"

using namespace engenho;
using controllers::testing::Cluster;
namespace core_v1 = k8s::core_v1;
namespace apps_v1 = k8s::apps_v1;

namespace {

apps_v1::Deployment deployment(const std::string& name, int replicas) {
  apps_v1::Deployment d;
  d.metadata.name = name;
  d.metadata.namespace_ = "default";
  d.spec.replicas = replicas;
  d.spec.selector.ensure().match_labels["app"] = name;
  d.spec.template_.metadata.labels["app"] = name;
  core_v1::Container c;
  c.name = "c";
  c.image = "image:1";
  d.spec.template_.spec.containers.push_back(c);
  return d;
}

}  // namespace

TEST_CASE("a deployment becomes a replica set becomes pods; deleting it leaves none", "[controllers]") {
  Cluster cluster;
  REQUIRE(cluster.eventually<core_v1::ServiceAccount>([&] { return cluster.client->get<core_v1::ServiceAccount>("default", "default").has_value(); }));
  REQUIRE(cluster.client->create(deployment("web", 3)));
  auto pods = [&] {
    auto list = cluster.client->list<core_v1::Pod>({.namespace_name = "default", .label_selector = "app=web", .field_selector = "", .resource_version = ""});
    return list ? list->items.size() : size_t{0};
  };
  REQUIRE(cluster.eventually<core_v1::Pod>([&] { return pods() == 3; }));
  auto sets = cluster.client->list<apps_v1::ReplicaSet>();
  REQUIRE(sets);
  REQUIRE(sets->items.size() == 1);
  CHECK(sets->items[0].metadata.annotations["deployment.kubernetes.io/revision"] == "1");

  REQUIRE(cluster.client->patch<apps_v1::Deployment>("default", "web", client::PatchType::kMerge, R"({"spec":{"replicas":1}})"));
  REQUIRE(cluster.eventually<core_v1::Pod>([&] { return pods() == 1; }));

  REQUIRE(cluster.client->remove<apps_v1::Deployment>("default", "web").ok());
  REQUIRE(cluster.eventually<core_v1::Pod>([&] {
    auto left = cluster.client->list<apps_v1::ReplicaSet>();
    return pods() == 0 && left && left->items.empty();
  }));
}

TEST_CASE("a namespace that is deleted takes its objects along", "[controllers]") {
  Cluster cluster;
  core_v1::Namespace ns;
  ns.metadata.name = "gone";
  REQUIRE(cluster.client->create(ns));
  core_v1::ConfigMap map;
  map.metadata.name = "m";
  map.metadata.namespace_ = "gone";
  REQUIRE(cluster.client->create(map));
  // A custom resource lives in it, too.
  REQUIRE(cluster.client->request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "application/json",
                                  R"({"metadata":{"name":"things.acme.example"},"spec":{"group":"acme.example","scope":"Namespaced","names":{"plural":"things","kind":"Thing"},
    "versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}})"));
  const std::string things = "/apis/acme.example/v1/namespaces/gone/things";
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!cluster.client->request("POST", things, "application/json", R"({"apiVersion":"acme.example/v1","kind":"Thing","metadata":{"name":"t"}})")) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::yield();
  }
  REQUIRE(cluster.client->remove<core_v1::Namespace>("", "gone").ok());
  REQUIRE(cluster.eventually<core_v1::Namespace>([&] { return !cluster.client->get<core_v1::Namespace>("", "gone"); }));
  CHECK(cluster.client->get<core_v1::ConfigMap>("gone", "m").error().not_found());
  CHECK(cluster.client->request("GET", things + "/t").error().not_found());
}
