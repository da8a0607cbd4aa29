#include "engenho/schema/decode.h"

#include "engenho/catalog/resources.h"
#include "engenho/testing/catch.h"

using namespace engenho;

namespace {

Status decode(std::string_view text, json::Value* out = nullptr, std::vector<std::string>* unknown = nullptr) {
  json::Value v = *json::parse(text);
  const schema::Schema* s = catalog::find_schema(v.str_at({"apiVersion"}), v.str_at({"kind"}));
  REQUIRE(s != nullptr);
  Status status = schema::decode(*s, v, unknown);
  if (out != nullptr) *out = std::move(v);
  return status;
}

}  // namespace

TEST_CASE("type errors read as Go's") {
  struct Case {
    const char *text, *message;
  };
  const Case cases[] = {
      {R"({"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":"3"}})",
       "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"},
      {R"({"apiVersion":"v1","kind":"ConfigMap","data":{"a":5}})", "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"},
      {R"({"apiVersion":"v1","kind":"ConfigMap","data":[1]})",
       "json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string"},
      {R"({"apiVersion":"v1","kind":"ConfigMap","metadata":5})",
       "json: cannot unmarshal number into Go struct field ConfigMap.metadata of type v1.ObjectMeta"},
      {R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":true}})",
       "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.name of type string"},
      {R"({"apiVersion":"v1","kind":"Secret","data":{"a":5}})", "json: cannot unmarshal number into Go struct field Secret.data of type []uint8"},
      {R"({"apiVersion":"v1","kind":"Secret","data":{"a":"!!"}})", "illegal base64 data at input byte 0"},
      {R"({"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","value":3000000000})",
       "json: cannot unmarshal number 3000000000 into Go struct field PriorityClass.value of type int32"},
      {R"({"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":3.0}})",
       "json: cannot unmarshal number 3.0 into Go struct field DeploymentSpec.spec.replicas of type int32"},
      {R"({"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"x"}}}]}})",
       "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
      {R"({"apiVersion":"v1","kind":"Pod","spec":{"containers":["c"]}})",
       "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container"},
      {R"({"apiVersion":"v1","kind":"Pod","spec":{"restartPolicy":5}})",
       "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy"},
      {R"({"apiVersion":"v1","kind":"Service","spec":{"ports":[{"targetPort":true}]}})",
       "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32"},
      {R"({"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":"x"})",
       "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    Status status = decode(c.text);
    CHECK(status.code() == 400);
    CHECK(status.message() == c.message);
  }
}

TEST_CASE("the normal form drops what Go drops and writes what Go writes") {
  json::Value v;
  std::vector<std::string> unknown;
  REQUIRE(decode(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":null,"annotations":{},"Name":"x"},
    "spec":{"nodeName":"","priority":0,"containers":[{"name":"c","image":"","ports":[{"containerPort":80,"hostPort":0}],"stdin":false,
    "resources":{"requests":{"cpu":0.1,"memory":"1024Mi"}},"nope":1}],"tolerations":[],"volumes":[null]}})",
                 &v, &unknown)
              .ok());
  CHECK(json::dump(v) ==
        R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","ports":[{"containerPort":80}],)"
        R"("resources":{"requests":{"cpu":"100m","memory":"1Gi"}}}],"priority":0,"volumes":[{"name":""}]},"status":{}})");
  CHECK(unknown == std::vector<std::string>{"unknown field \"metadata.Name\"", "unknown field \"spec.containers[0].nope\""});
  REQUIRE(decode(R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role"})", &v).ok());
  CHECK(json::dump(v) == R"({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{},"rules":null})");
}

TEST_CASE("a document nested without end is refused, not a stack overflow") {
  std::string deep, tail;
  for (int i = 0; i < 900; ++i) {
    deep += R"({"not":)";
    tail += "}";
  }
  json::Value v = *json::parse(R"({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","spec":{"versions":[{"schema":{"openAPIV3Schema":)" +
                               deep + "{}" + tail + "}}]}}");
  const schema::Schema* s = catalog::find_schema("apiextensions.k8s.io/v1", "CustomResourceDefinition");
  CHECK(schema::decode(*s, v).ok());
}
