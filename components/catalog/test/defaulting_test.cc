#include "engenho/catalog/defaulting.h"

#include "engenho/catalog/convert.h"
#include "engenho/schema/decode.h"
#include "engenho/testing/catch.h"

using namespace engenho;

namespace {

json::Value defaulted(std::string_view text) {
  json::Value v = *json::parse(text);
  const catalog::Resource* r = catalog::find_kind(v.str_at({"apiVersion"}), v.str_at({"kind"}));
  REQUIRE(r != nullptr);
  REQUIRE(schema::decode(*r->schema, v).ok());
  catalog::apply_all_defaults(*r, v);
  json::Value again = v;
  catalog::apply_all_defaults(*r, again);
  CHECK(again == v);
  return v;
}

std::string spec_of(std::string_view text) { return json::dump(*defaulted(text).get("spec")); }
json::Value parse(std::string_view text) { return *json::parse(text); }

}  // namespace

TEST_CASE("a minimal pod") {
  CHECK(spec_of(R"({"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c","image":"nginx"}]}})") ==
        R"({"containers":[{"image":"nginx","imagePullPolicy":"Always","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log",)"
        R"("terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","enableServiceLinks":true,"restartPolicy":"Always",)"
        R"("schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30})");
}

TEST_CASE("pull policies come from the tag") {
  for (const auto& [image, policy] : std::vector<std::pair<std::string, std::string>>{
           {"x", "Always"}, {"x:latest", "Always"}, {"x:1", "IfNotPresent"}, {"r.example:5000/x", "Always"}, {"r.example:5000/x:1", "IfNotPresent"},
           {"x@sha256:0", "IfNotPresent"}, {"x:latest@sha256:0", "Always"}, {"Bad Name", "IfNotPresent"}}) {
    INFO(image);
    json::Value pod = parse(R"({"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c"}]}})");
    pod.at({"spec", "containers"})->as_array()[0]["image"] = image;
    CHECK(defaulted(json::dump(pod)).at({"spec", "containers"})->items()[0].str_at({"imagePullPolicy"}) == policy);
  }
}

TEST_CASE("requests follow limits, host ports follow the host network, volumes get a source") {
  json::Value pod = defaulted(R"({"apiVersion":"v1","kind":"Pod","spec":{"hostNetwork":true,"serviceAccount":"s",
    "containers":[{"name":"c","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"1","memory":"0.0001"},"requests":{"cpu":"500m"}}}],
    "volumes":[{"name":"a"},{"name":"b","secret":{"secretName":"x"}},{"name":"h","hostPath":{"path":"/h"}}]}})");
  const json::Value& c = pod.at({"spec", "containers"})->items()[0];
  CHECK(json::dump(*c.get("resources")) == R"({"limits":{"cpu":"1","memory":"1m"},"requests":{"cpu":"500m","memory":"1m"}})");
  CHECK(json::dump(*c.get("ports")) == R"([{"containerPort":80,"hostPort":80,"protocol":"TCP"}])");
  CHECK(json::dump(*pod.at({"spec", "volumes"})) ==
        R"([{"emptyDir":{},"name":"a"},{"name":"b","secret":{"defaultMode":420,"secretName":"x"}},{"hostPath":{"path":"/h","type":""},"name":"h"}])");
  CHECK(pod.str_at({"spec", "serviceAccountName"}) == "s");
}

TEST_CASE("pod-level resources are completed from the containers") {
  json::Value pod = defaulted(R"({"apiVersion":"v1","kind":"Pod","spec":{"resources":{"limits":{"cpu":"4","memory":"1Gi"}},
    "initContainers":[{"name":"i","resources":{"requests":{"cpu":"3"}}},{"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"250m"}}}],
    "containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}},{"name":"b","resources":{"requests":{"cpu":"500m"}}}]}})");
  CHECK(json::dump(*pod.at({"spec", "resources", "requests"})) == R"({"cpu":"3","memory":"1Gi"})");
}

TEST_CASE("services") {
  CHECK(spec_of(R"({"apiVersion":"v1","kind":"Service","spec":{"type":"LoadBalancer","sessionAffinity":"ClientIP","ports":[{"port":80}]}})") ==
        R"({"allocateLoadBalancerNodePorts":true,"externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster",)"
        R"("ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"ClientIP",)"
        R"("sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10800}},"type":"LoadBalancer"})");
  CHECK(spec_of(R"({"apiVersion":"v1","kind":"Service","spec":{"type":"ExternalName","externalName":"a"}})") ==
        R"({"externalName":"a","sessionAffinity":"None","type":"ExternalName"})");
}

TEST_CASE("workloads") {
  json::Value d = defaulted(R"({"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{}}})");
  CHECK(json::dump(*d.at({"spec", "strategy"})) == R"({"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"})");
  CHECK(d.at({"spec", "replicas"})->as_int() == 1);
  CHECK(d.at({"spec", "template", "spec", "enableServiceLinks"}) == nullptr);
  d = defaulted(R"({"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":0,"strategy":{"type":"Recreate"}}})");
  CHECK(json::dump(*d.at({"spec", "strategy"})) == R"({"type":"Recreate"})");
  CHECK(d.at({"spec", "replicas"})->as_int() == 0);
  json::Value j = defaulted(R"({"apiVersion":"batch/v1","kind":"Job","spec":{"backoffLimitPerIndex":1,"template":{"metadata":{"labels":{"a":"b"}}}}})");
  CHECK(j.at({"spec", "backoffLimit"})->as_int() == 2147483647);
  CHECK(j.str_at({"metadata", "labels", "a"}) == "b");
  CHECK(j.str_at({"spec", "podReplacementPolicy"}) == "TerminatingOrFailed");
  json::Value c = defaulted(R"({"apiVersion":"batch/v1","kind":"CronJob","spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"x:1"}]}}}}}})");
  CHECK(c.at({"spec", "jobTemplate", "spec", "backoffLimit"}) == nullptr);
  CHECK(c.at({"spec", "jobTemplate", "spec", "template", "spec", "containers"})->items()[0].str_at({"imagePullPolicy"}) == "IfNotPresent");
}

TEST_CASE("secrets, namespaces, roles, custom resource definitions") {
  json::Value s = defaulted(R"({"apiVersion":"v1","kind":"Secret","stringData":{"a":"b"},"data":{"a":"eA==","c":"ZA=="}})");
  CHECK(json::dump(*s.get("data")) == R"({"a":"Yg==","c":"ZA=="})");
  CHECK(s.get("stringData") == nullptr);
  CHECK(s.str_at({"type"}) == "Opaque");
  json::Value n = defaulted(R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}})");
  CHECK(n.str_at({"metadata", "labels", "kubernetes.io/metadata.name"}) == "n");
  CHECK(n.str_at({"status", "phase"}) == "Active");
  json::Value r = defaulted(R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","rules":[]})");
  CHECK(r.get("rules")->is_null());
  json::Value b = defaulted(R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","roleRef":{"kind":"Role","name":"x"},
    "subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s"}]})");
  CHECK(b.str_at({"roleRef", "apiGroup"}) == "rbac.authorization.k8s.io");
  CHECK(b.get("subjects")->items()[0].str_at({"apiGroup"}) == "rbac.authorization.k8s.io");
  CHECK(b.get("subjects")->items()[1].get("apiGroup") == nullptr);
  json::Value crd = defaulted(R"({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","spec":{"names":{"kind":"Foo","plural":"foos"},
    "versions":[{"name":"v1","served":true,"storage":true}]}})");
  CHECK(crd.str_at({"spec", "names", "singular"}) == "foo");
  CHECK(crd.str_at({"spec", "names", "listKind"}) == "FooList");
  CHECK(crd.str_at({"spec", "conversion", "strategy"}) == "None");
  CHECK(crd.at({"status", "storedVersions"})->items()[0].str() == "v1");
}

TEST_CASE("autoscalers convert without loss") {
  json::Value v2 = defaulted(R"({"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"maxReplicas":3,
    "scaleTargetRef":{"kind":"Deployment","name":"d"},"behavior":{"scaleDown":{"policies":[{"type":"Pods","value":1,"periodSeconds":60}]}},
    "metrics":[{"type":"Resource","resource":{"name":"memory","target":{"type":"AverageValue","averageValue":"1Gi"}}},
    {"type":"External","external":{"metric":{"name":"q"},"target":{"type":"Value","value":"5"}}},
    {"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":60}}}]}})");
  CHECK(v2.at({"spec", "behavior", "scaleUp", "policies"})->items().size() == 2);
  json::Value v1 = v2;
  REQUIRE(catalog::convert(v1, "autoscaling", "v1").ok());
  CHECK(v1.at({"spec", "targetCPUUtilizationPercentage"})->as_int() == 60);
  CHECK(v1.at({"spec", "metrics"}) == nullptr);
  CHECK(v1.str_at({"metadata", "annotations", "autoscaling.alpha.kubernetes.io/metrics"}).starts_with(
      R"([{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Gi"}},{"type":"External")"));
  json::Value back = v1;
  REQUIRE(catalog::convert(back, "autoscaling", "v2").ok());
  INFO(json::dump(back));
  CHECK(back == v2);
}

TEST_CASE("events and device requests convert; strangers do not") {
  json::Value e = parse(R"({"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"involvedObject":{"name":"p"},"message":"m","count":2,"reportingComponent":"c"})");
  REQUIRE(catalog::convert(e, "events.k8s.io", "v1").ok());
  CHECK(e.str_at({"regarding", "name"}) == "p");
  CHECK(e.str_at({"note"}) == "m");
  CHECK(e.str_at({"reportingController"}) == "c");
  REQUIRE(catalog::convert(e, "", "v1").ok());
  CHECK(e.str_at({"message"}) == "m");

  json::Value c = parse(R"({"apiVersion":"resource.k8s.io/v1beta1","kind":"ResourceClaim","spec":{"devices":{"requests":[
    {"name":"a","deviceClassName":"x","count":2},{"name":"b","firstAvailable":[{"name":"s","deviceClassName":"y"}]}]}}})");
  REQUIRE(catalog::convert(c, "resource.k8s.io", "v1").ok());
  CHECK(c.at({"spec", "devices", "requests"})->items()[0].str_at({"exactly", "deviceClassName"}) == "x");
  CHECK(c.at({"spec", "devices", "requests"})->items()[1].get("exactly") == nullptr);
  REQUIRE(catalog::convert(c, "resource.k8s.io", "v1beta1").ok());
  CHECK(c.at({"spec", "devices", "requests"})->items()[0].str_at({"deviceClassName"}) == "x");

  json::Value list = parse(R"({"apiVersion":"v1","kind":"EventList","items":[{"metadata":{"name":"e"},"message":"m"}]})");
  REQUIRE(catalog::convert(list, "events.k8s.io", "v1").ok());
  CHECK(list.get("items")->items()[0].str_at({"note"}) == "m");
  json::Value pod = parse(R"({"apiVersion":"v1","kind":"Pod"})");
  CHECK_FALSE(catalog::convert(pod, "apps", "v1").ok());
}
