// What a template may refer to, and what whoever may write templates in one namespace cannot reach.
#include "references.h"

#include "operator_fixture.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;
using namespace std::chrono_literals;

namespace {

pangea_v1::InfrastructureTemplate parsed(const std::string& spec) {
  auto out = k8s::from_json<pangea_v1::InfrastructureTemplate>(parse_json(R"({"metadata": {"name": "t", "namespace": "mine"}, "spec": )" + spec + "}"));
  REQUIRE(out);
  return *out;
}

}  // namespace

TEST_CASE("each reference of a template is known, and none leaves its namespace by itself") {
  const std::pair<const char*, const char*> cases[] = {
      {"spec.source.configMapRef", R"({"source": {"configMapRef": {"name": "a", "key": "k", "namespace": "theirs"}}})"},
      {"spec.source.secretRef", R"({"source": {"git": "https://host/x", "secretRef": {"name": "a", "namespace": "theirs"}}})"},
      {"spec.variableRefs.v.templateRef", R"({"variableRefs": {"v": {"templateRef": {"name": "a", "namespace": "theirs"}, "outputKey": "o"}}})"},
      {"spec.providerCredentials.aws.secretRef", R"({"providerCredentials": {"aws": {"secretRef": {"name": "a", "namespace": "theirs"}}}})"},
      {"spec.providerCredentials.datadog.secretRef", R"({"providerCredentials": {"datadog": {"secretRef": {"name": "a", "namespace": "theirs"}}}})"},
      {"spec.outputBindings[1].secretRef",
       R"({"outputBindings": [{"output": "o", "secretRef": {"name": "a", "key": "k"}}, {"output": "o", "secretRef": {"name": "a", "key": "k", "namespace": "theirs"}}]})"},
      {"spec.secretFiles[0].secretRef", R"({"secretFiles": [{"name": "f", "key": "k", "secretRef": {"name": "a", "namespace": "theirs"}}]})"},
      {"spec.policy.approvalRouting.slackWebhookSecretRef",
       R"({"policy": {"approvalRouting": {"slackWebhookSecretRef": {"name": "a", "key": "k", "namespace": "theirs"}}}})"},
      {"spec.policy.reactive.failureEscalation.routing.slackWebhookSecretRef",
       R"({"policy": {"reactive": {"failureEscalation": {"routing": {"slackWebhookSecretRef": {"name": "a", "key": "k", "namespace": "theirs"}}}}}})"},
      {"spec.policy.reactive.phaseTimeout.routing.slackWebhookSecretRef",
       R"({"policy": {"reactive": {"phaseTimeout": {"routing": {"slackWebhookSecretRef": {"name": "a", "key": "k", "namespace": "theirs"}}}}}})"},
      {"spec.policy.reactive.verifiedBlocked.routing.slackWebhookSecretRef",
       R"({"policy": {"reactive": {"verifiedBlocked": {"routing": {"slackWebhookSecretRef": {"name": "a", "key": "k", "namespace": "theirs"}}}}}})"},
  };
  pangea_v1::PangeaNamespace open, other;
  open.spec.allowed_reference_namespaces = {"theirs"};
  other.spec.allowed_reference_namespaces = {"elsewhere"};
  for (const auto& [field, spec] : cases) {
    INFO(field);
    const auto object = parsed(spec);
    for (const pangea_v1::PangeaNamespace* place :
         {static_cast<const pangea_v1::PangeaNamespace*>(nullptr), static_cast<const pangea_v1::PangeaNamespace*>(&other)}) {
      const Status refused = check_references(object, place);
      CHECK(refused.is(reason::kForbidden));
      CHECK(refused.message().starts_with(std::string(field) + ": namespace theirs"));
    }
    CHECK(check_references(object, &open).ok());
    // The same in its own namespace, written or not.
    std::string own = spec;
    own.replace(own.find("theirs"), 6, "mine");
    CHECK(check_references(parsed(own), nullptr).ok());
  }
  CHECK(references_of(parsed("{}")).empty());
}

TEST_CASE("a PangeaNamespace is for the namespaces that it names") {
  pangea_v1::PangeaNamespace place;
  place.metadata.name = "prod";
  CHECK(check_references(parsed(R"({"pangeaNamespace": "prod"})"), &place).ok());
  place.spec.allowed_namespaces = {"ops"};
  CHECK(check_references(parsed(R"({"pangeaNamespace": "prod"})"), &place).message() ==
        "spec.pangeaNamespace: PangeaNamespace prod is not for templates of namespace mine (its spec.allowedNamespaces)");
  place.spec.allowed_namespaces.push_back("mine");
  CHECK(check_references(parsed(R"({"pangeaNamespace": "prod"})"), &place).ok());
}

TEST_CASE("a Secret of another namespace: not read, not written, until its namespace is named") {
  OperatorFixture f;
  core_v1::Secret theirs;
  theirs.metadata.namespace_ = "theirs";
  theirs.metadata.name = "s";
  theirs.data["k"] = "top-secret";
  core_v1::Namespace home;
  home.metadata.name = "theirs";
  (void)f.client->create(home);
  REQUIRE(f.client->create(theirs));
  f.place();
  f.apply("reads", R"({"output": {"o": {"value": "${file(\"s\")}"}}})", R"("defaultDecision": "autoApply")",
          R"("secretFiles": [{"name": "s", "key": "k", "secretRef": {"name": "s", "namespace": "theirs"}}])");
  f.apply("writes", R"({"output": {"o": {"value": "mine"}}})", R"("defaultDecision": "autoApply")",
          R"("outputBindings": [{"output": "o", "secretRef": {"name": "s", "key": "k", "namespace": "theirs"}}])");
  for (const char* name : {"reads", "writes"}) {
    REQUIRE(f.has_reason(name, "Verified", "ReferenceForbidden"));
    CHECK(f.get(name).status.phase == "Verifying");
    CHECK(f.get(name).status.outputs.empty());
  }
  CHECK(f.client->get<core_v1::Secret>("theirs", "s")->data["k"] == "top-secret");
  // One that never did anything may go.
  f.remove("reads");
  CHECK(f.until([&] { return f.gone("reads"); }));
  REQUIRE(f.client->patch<pangea_v1::PangeaNamespace>("", "dev", client::PatchType::kMerge, R"({"spec": {"allowedReferenceNamespaces": ["theirs"]}})"));
  CHECK(f.applied("writes"));
  CHECK(f.client->get<core_v1::Secret>("theirs", "s")->data["k"] == "mine");
  // Taken away again: the next look stops.
  REQUIRE(f.client->patch<pangea_v1::PangeaNamespace>("", "dev", client::PatchType::kMerge, R"({"spec": {"allowedReferenceNamespaces": null}})"));
  CHECK(f.has_reason("writes", "Verified", "ReferenceForbidden"));
}
