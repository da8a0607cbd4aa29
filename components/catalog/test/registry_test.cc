#include "engenho/catalog/resources.h"
#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::catalog;

TEST_CASE("resources are found by every name") {
  const Resource* r = find_resource("apps", "v1", "deployments");
  REQUIRE(r != nullptr);
  CHECK(r->kind == "Deployment");
  CHECK(r->list_kind == "DeploymentList");
  CHECK(r->namespaced);
  CHECK(r->api_version() == "apps/v1");
  CHECK(r->short_names[0] == "deploy");
  CHECK(r->categories[0] == "all");
  CHECK(r->has_verb("watch"));
  CHECK(r->columns[0].name == "Name");
  REQUIRE(r->subresource("scale") != nullptr);
  CHECK(r->subresource("scale")->group == "autoscaling");
  CHECK(r->subresource("scale")->schema->short_name() == "Scale");
  CHECK(find_kind("apps/v1", "Deployment") == r);
  CHECK(find_resource("apps", "deployments") == r);
  CHECK(find_resource("apps", "v1", "nope") == nullptr);
  CHECK(find_resource("nope", "v1", "deployments") == nullptr);
  CHECK(find_schema("apps/v1", "DeploymentList") == r->list_schema);
  CHECK(find_schema_by_name("io.k8s.api.core.v1.PodSpec")->field("nodeName") != nullptr);
  CHECK(find_schema("v1", "Status") != nullptr);
  CHECK(find_schema("apps/v1", "DeleteOptions") == find_schema("v1", "DeleteOptions"));
  CHECK(find_schema("meta.k8s.io/v1", "Table") != nullptr);
}

TEST_CASE("core group: names, subresources, storage") {
  const Resource* pods = find_resource("", "v1", "pods");
  REQUIRE(pods != nullptr);
  CHECK(pods->api_version() == "v1");
  for (std::string_view name : {"status", "log", "exec", "eviction", "binding", "ephemeralcontainers", "resize", "portforward"}) {
    INFO(name);
    CHECK(pods->subresource(name) != nullptr);
  }
  CHECK(pods->subresource("eviction")->group == "policy");
  const Resource* events = find_resource("events.k8s.io", "v1", "events");
  CHECK(storage_resource(*events).api_version() == "v1");
  CHECK(storage_resource(*find_resource("autoscaling", "v1", "horizontalpodautoscalers")).version == "v2");
  CHECK_FALSE(find_resource("authorization.k8s.io", "v1", "subjectaccessreviews")->persisted());
}

TEST_CASE("every resource has a schema and every group an OpenAPI document") {
  CHECK(groups().front().name.empty());
  for (const GroupVersion& gv : group_versions()) {
    INFO(gv.api_version);
    // That of declared kinds is made from their definitions, by the API server.
    CHECK(openapi_v3(gv.group, gv.version).empty() == gv.declared);
    if (!gv.declared) {
      Result<json::Value> doc = json::parse(openapi_v3(gv.group, gv.version));
      REQUIRE(doc);
      CHECK(doc->get("paths") != nullptr);
    }
    CHECK(openapi_v3(gv.group, gv.version).find("x-engenho") == std::string_view::npos);
    for (const Resource& r : gv.resources) {
      INFO(r.plural);
      REQUIRE(r.schema != nullptr);
      CHECK(r.schema->top_level);
      CHECK((!r.has_verb("list") || r.list_schema != nullptr));
      CHECK(find_resource(r.storage_group, r.storage_version, r.plural) != nullptr);
      for (const Subresource& s : r.subresources) CHECK((s.schema != nullptr || s.kind.ends_with("Options")));
    }
  }
}

TEST_CASE("schemas carry what merging needs") {
  const schema::Schema* spec = find_schema_by_name("io.k8s.api.core.v1.PodSpec");
  const schema::Field* containers = spec->field("containers");
  CHECK(containers->merges());
  CHECK(containers->merge_key == "name");
  CHECK(containers->schema->is_list_map());
  CHECK(containers->schema->list_keys[0] == "name");
  CHECK(spec->field("volumes")->retains_keys());
  CHECK(schema::is_atomic(*spec->field("tolerations")));
  CHECK(schema::is_atomic(*spec->field("nodeSelector")));
  CHECK_FALSE(schema::is_atomic(*containers));
  const schema::Schema* port = find_schema_by_name("io.k8s.api.core.v1.ContainerPort");
  CHECK(port->field("protocol")->default_json == "\"TCP\"");
}
