// The kinds as the API server serves them, and what PangeaNamespaces say of their backends.
#include "operator_fixture.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;
using namespace std::chrono_literals;

TEST_CASE("each kind is served once a version, with its scope, short names, category and status") {
  Cluster cluster;
  auto client = cluster.client();
  struct Kind {
    const char *plural, *kind;
    bool namespaced, status;
    std::vector<std::string> names;
  };
  const std::vector<Kind> kinds = {{"architecturegems", "ArchitectureGem", false, true, {"archgem", "agem"}},
                                   {"cyclereceipts", "CycleReceipt", true, false, {}},
                                   {"infrastructuretemplates", "InfrastructureTemplate", true, true, {"infra", "it"}},
                                   {"operatorpolicies", "OperatorPolicy", false, true, {"oppol"}},
                                   {"pangeanamespaces", "PangeaNamespace", false, true, {"pns"}},
                                   {"workspacecatalogs", "WorkspaceCatalog", false, true, {"wsc", "wcat"}}};
  for (const char* version : {"v1", "v1alpha1"}) {
    auto listed = client->request("GET", std::string("/apis/pangea.pleme.io/") + version);
    REQUIRE(listed);
    for (const Kind& k : kinds) {
      INFO(version << " " << k.kind);
      int found = 0, status = 0;
      for (const json::Value& r : listed->get("resources")->items()) {
        status += r.str_at({"name"}) == std::string(k.plural) + "/status";
        if (r.str_at({"name"}) != k.plural) continue;
        ++found;
        CHECK(r.str_at({"kind"}) == k.kind);
        CHECK(r.get("namespaced")->as_bool() == k.namespaced);
        CHECK(json::dump(*r.get("categories")) == R"(["pangea"])");
        for (const std::string& name : k.names) CHECK(json::dump(*r.get("shortNames")).find("\"" + name + "\"") != std::string::npos);
      }
      CHECK(found == 1);
      CHECK(status == (k.status ? 1 : 0));
    }
    for (const char* command : {"approve", "plan", "reconcile", "unlock"}) {
      CHECK(json::dump(*listed).find(std::string("\"infrastructuretemplates/") + command + "\"") != std::string::npos);
    }
  }
}

TEST_CASE("there is one OperatorPolicy, and its name is default") {
  Cluster cluster;
  auto make = [&](const std::string& name) {
    return cluster.client()->request("POST", "/apis/pangea.pleme.io/v1/operatorpolicies", "application/json",
                                     R"({"apiVersion": "pangea.pleme.io/v1", "kind": "OperatorPolicy", "metadata": {"name": ")" + name + R"("}, "spec": {}})");
  };
  CHECK_FALSE(make("other"));
  CHECK(make("default"));
}

TEST_CASE("a backend is ready when it is, and says why when it is not") {
  OperatorFixture f;
  core_v1::Secret credentials;
  credentials.metadata.namespace_ = "default";
  credentials.metadata.name = "pg";
  credentials.data = {{"username", "u"}};
  REQUIRE(f.client->create(credentials));
  auto condition = [&](const std::string& name) {
    auto place = f.client->get<pangea_v1::PangeaNamespace>("", name);
    if (!place || place->status.conditions.empty()) return std::string();
    CHECK(place->status.backend_ready == (place->status.conditions[0].status == "True"));
    return place->status.conditions[0].reason + ": " + place->status.conditions[0].message;
  };
  f.create("PangeaNamespace", "good", R"({"backend": {"type": "cluster"}})");
  f.create("PangeaNamespace", "resting", R"({"backend": {"type": "cluster"}, "suspend": true})");
  f.create("PangeaNamespace", "nowhere", R"({"backend": {"type": "pg", "pg": {"host": "127.0.0.1", "port": 1, "secretRef": {"name": "pg", "namespace": "default", "passwordKey": "username"}}}})");
  f.create("PangeaNamespace", "no-key", R"({"backend": {"type": "pg", "pg": {"host": "127.0.0.1", "secretRef": {"name": "pg", "namespace": "default"}}}})");
  f.create("PangeaNamespace", "no-secret", R"({"backend": {"type": "pg", "pg": {"host": "127.0.0.1", "secretRef": {"name": "absent", "namespace": "default"}}}})");
  f.create("PangeaNamespace", "no-place", R"({"backend": {"type": "pg", "pg": {"host": "127.0.0.1", "secretRef": {"name": "pg"}}}})");
  for (const auto& [name, says] : {std::pair("good", "BackendReady: "), {"resting", "Suspended: "}, {"nowhere", "BackendUnavailable: 127.0.0.1:1: "}, {"no-key", "has no key \"password\""},
                                   {"no-secret", "not found"}, {"no-place", "must name a namespace"}}) {
    INFO(name);
    CHECK(f.until([&] { return condition(name).find(says) != std::string::npos; }));
    INFO(condition(name));
  }
  // A template waits for it, and says so.
  f.create("InfrastructureTemplate", "t", R"({"pangeaNamespace": "nowhere", "source": {"inline": "{}"}})", "default");
  CHECK(f.has_reason("t", "Verified", "NamespaceNotReady"));
  // A block without its type, and a type without its block.
  for (const char* backend : {R"({"type": "pg"})", R"({"type": "cluster", "s3": {"bucket": "b", "region": "r"}})", R"({"type": "floppy"})", "{}"}) {
    INFO(backend);
    CHECK_FALSE(f.client->request("POST", "/apis/pangea.pleme.io/v1/pangeanamespaces", "application/json",
                                  std::string(R"({"apiVersion": "pangea.pleme.io/v1", "kind": "PangeaNamespace", "metadata": {"name": "wrong"}, "spec": {"backend": )") + backend + "}}"));
  }
}
