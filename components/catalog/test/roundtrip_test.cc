#include <set>

#include "documents.h"
#include "engenho/base/bytes.h"
#include "engenho/catalog/admissionregistration_v1.h"
#include "engenho/catalog/apiextensions_v1.h"
#include "engenho/catalog/apps_v1.h"
#include "engenho/catalog/autoscaling_v2.h"
#include "engenho/catalog/batch_v1.h"
#include "engenho/catalog/coordination_v1.h"
#include "engenho/catalog/core_v1.h"
#include "engenho/catalog/discovery_v1.h"
#include "engenho/catalog/events_v1.h"
#include "engenho/catalog/meta_v1.h"
#include "engenho/catalog/networking_v1.h"
#include "engenho/catalog/policy_v1.h"
#include "engenho/catalog/rbac_v1.h"
#include "engenho/catalog/resource_v1.h"
#include "engenho/catalog/resources.h"
#include "engenho/catalog/storage_v1.h"
#include "engenho/catalog/transcode.h"
#include "engenho/schema/decode.h"
#include "engenho/testing/catch.h"

namespace engenho::testing {

using schema::Kind;
using schema::Schema;

std::string Documents::word() {
  static constexpr std::string_view kWords[] = {"", "a", "engenho", "<&>", "\xC3\xA9t\xC3\xA9", "10%", "x/y", "Always", "\"q\"", "-"};
  return std::string(kWords[below(std::size(kWords))]);
}

json::Value Documents::make(const Schema& schema, int depth) {
  switch (schema.kind) {
    case Kind::kAny:
    case Kind::kRawExtension:
    case Kind::kJson: return json::Object{{word(), json::Array{1, "a", json::Value(), 1.5}}};
    case Kind::kFieldsV1: return json::Object{{"f:a", json::Object{{".", json::Object()}}}};
    case Kind::kObject: {
      json::Object out;
      for (const schema::Field& field : schema.fields) {
        const bool nests = field.schema->kind == Kind::kObject || field.schema->element != nullptr;
        if (schema.top_level && (field.name == "apiVersion" || field.name == "kind")) continue;
        if (depth > 0 && below(nests ? static_cast<size_t>(depth / 2 + 1) : 2) != 0) continue;
        out.set(field.name, make(*field.schema, depth + 1));
      }
      return out;
    }
    case Kind::kMap: {
      json::Object out;
      for (size_t n = below(depth > 8 ? 1 : 3); n-- > 0;) out.set("k" + std::to_string(n), make(*schema.element, depth + 1));
      return out;
    }
    case Kind::kArray: {
      json::Array out;
      for (size_t n = below(depth > 8 ? 1 : 3); n-- > 0;) out.push_back(make(*schema.element, depth + 1));
      return out;
    }
    case Kind::kString: return word();
    case Kind::kBytes: return base64_encode(std::string("\0\xFF", 2) + word());
    case Kind::kBool: return below(2) == 0;
    case Kind::kInt32: return static_cast<int>(static_cast<int32_t>(random_()));
    case Kind::kInt64: return static_cast<int64_t>(random_());
    case Kind::kDouble: return static_cast<double>(below(1000)) + 0.25;
    case Kind::kQuantity: return std::to_string(below(5000)) + (below(2) ? "Mi" : "m");
    case Kind::kTime: return "2026-01-0" + std::to_string(1 + below(9)) + "T00:00:0" + std::to_string(below(9)) + "Z";
    case Kind::kMicroTime: return "2026-01-02T03:04:05.00000" + std::to_string(below(9)) + "Z";
    case Kind::kDuration: return "1m0s";
    case Kind::kIntOrString: return below(2) ? json::Value(static_cast<int>(below(100))) : json::Value(word());
    case Kind::kSchemaOrArray: return below(2) || depth > 8 ? make(*schema.element, depth + 6) : json::Value(json::Array{make(*schema.element, depth + 6)});
    case Kind::kSchemaOrBool: return below(2) ? json::Value(true) : make(*schema.element, depth + 6);
    case Kind::kSchemaOrStringArray: return json::Array{"a", word()};
  }
  return {};
}

}  // namespace engenho::testing

using namespace engenho;

namespace {

// Protobuf and C++ cannot tell an empty list, map or byte string from none.
void null_empty(json::Value& v) {
  if (v.is_object()) {
    for (auto& [key, item] : v.as_object()) null_empty(item);
    if (v.as_object().empty()) v = json::Value();
  } else if (v.is_array()) {
    for (json::Value& item : v.as_array()) null_empty(item);
    if (v.as_array().empty()) v = json::Value();
  }
}

std::set<const schema::Schema*> all_kinds(std::vector<std::pair<std::string, std::string>>& names) {
  std::set<const schema::Schema*> seen;
  for (const catalog::GroupVersion& gv : catalog::group_versions()) {
    for (const catalog::Resource& r : gv.resources) {
      for (std::string_view kind : {r.kind, r.list_kind}) {
        const schema::Schema* s = kind.empty() ? nullptr : catalog::find_schema(gv.api_version, kind);
        if (s != nullptr && seen.insert(s).second) names.emplace_back(gv.api_version, kind);
      }
    }
  }
  for (std::string_view kind : {"Status", "DeleteOptions", "ListOptions", "GetOptions", "CreateOptions", "PatchOptions", "UpdateOptions",
                                "PartialObjectMetadata", "PartialObjectMetadataList", "APIResourceList", "APIGroupList", "APIVersions"}) {
    names.emplace_back("meta.k8s.io/v1", kind);
  }
  return seen;
}

template <typename T>
void typed_round_trip(testing::Documents& documents) {
  for (int i = 0; i < 5; ++i) {
    json::Value doc = documents.make(k8s::schema_of<T>());
    doc["apiVersion"] = T::kApiVersion;
    doc["kind"] = T::kKind;
    REQUIRE(schema::decode(k8s::schema_of<T>(), doc).ok());
    Result<T> object = k8s::from_json<T>(doc);
    INFO(T::kKind << " " << json::dump(doc));
    REQUIRE(object);
    json::Value again = k8s::to_json(*object);
    T copy = *object;
    CHECK(copy == *object);
    null_empty(doc);
    null_empty(again);
    INFO(json::dump(again));
    CHECK(again == doc);
  }
}

}  // namespace

TEST_CASE("every kind survives JSON to protobuf to JSON") {
  testing::Documents documents(testing::seed());
  std::vector<std::pair<std::string, std::string>> names;
  all_kinds(names);
  CHECK(names.size() > 130);
  for (const auto& [api_version, kind] : names) {
    const schema::Schema* s = catalog::find_schema(api_version, kind);
    INFO(api_version << " " << kind);
    REQUIRE(s != nullptr);
    if (api_version.starts_with("pangea.pleme.io/")) {   // declared kinds have no protobuf, as custom resources have none
      CHECK_FALSE(s->has_proto);
      continue;
    }
    REQUIRE(s->has_proto);
    for (int i = 0; i < 3; ++i) {
      json::Value doc = documents.make(*s);
      doc["apiVersion"] = api_version;
      doc["kind"] = kind;
      Status decoded = schema::decode(*s, doc);
      INFO(decoded.to_string());
      REQUIRE(decoded.ok());
      json::Value twice = doc;
      schema::normalize(*s, twice);
      CHECK(twice == doc);
      Result<std::string> bytes = catalog::encode_protobuf(doc);
      REQUIRE(bytes);
      Result<json::Value> back = catalog::decode_protobuf(*bytes);
      INFO((back ? "" : back.error().message()));
      REQUIRE(back);
      // Embedded objects have no apiVersion and kind in protobuf.
      CHECK(*catalog::encode_protobuf(*back) == *bytes);
      null_empty(doc);
      null_empty(*back);
      INFO(json::dump(doc));
      INFO(json::dump(*back));
      CHECK(*back == doc);
    }
  }
}

TEST_CASE("typed structs give back what they read") {
  using namespace k8s;
  testing::Documents documents(testing::seed());
  typed_round_trip<core_v1::Pod>(documents);
  typed_round_trip<core_v1::PodList>(documents);
  typed_round_trip<core_v1::Node>(documents);
  typed_round_trip<core_v1::Service>(documents);
  typed_round_trip<core_v1::Secret>(documents);
  typed_round_trip<core_v1::ConfigMap>(documents);
  typed_round_trip<core_v1::PersistentVolume>(documents);
  typed_round_trip<core_v1::PersistentVolumeClaim>(documents);
  typed_round_trip<core_v1::Event>(documents);
  typed_round_trip<events_v1::Event>(documents);
  typed_round_trip<apps_v1::Deployment>(documents);
  typed_round_trip<apps_v1::StatefulSet>(documents);
  typed_round_trip<apps_v1::DaemonSet>(documents);
  typed_round_trip<apps_v1::ReplicaSet>(documents);
  typed_round_trip<apps_v1::ControllerRevision>(documents);
  typed_round_trip<batch_v1::Job>(documents);
  typed_round_trip<batch_v1::CronJob>(documents);
  typed_round_trip<discovery_v1::EndpointSlice>(documents);
  typed_round_trip<coordination_v1::Lease>(documents);
  typed_round_trip<networking_v1::Ingress>(documents);
  typed_round_trip<policy_v1::PodDisruptionBudget>(documents);
  typed_round_trip<rbac_v1::ClusterRole>(documents);
  typed_round_trip<storage_v1::CSINode>(documents);
  typed_round_trip<resource_v1::ResourceSlice>(documents);
  typed_round_trip<autoscaling_v2::HorizontalPodAutoscaler>(documents);
  typed_round_trip<admissionregistration_v1::ValidatingWebhookConfiguration>(documents);
  typed_round_trip<apiextensions_v1::CustomResourceDefinition>(documents);
  typed_round_trip<meta_v1::Status>(documents);
}

TEST_CASE("typed structs tell absent from zero where Go does") {
  using namespace k8s;
  core_v1::Pod pod;
  pod.metadata.name = "p";
  pod.metadata.creation_timestamp = Time(WallTime(std::chrono::seconds(1767225600)));
  pod.spec.containers.emplace_back().name = "c";
  pod.spec.containers[0].resources.limits["cpu"] = "500m";
  pod.spec.termination_grace_period_seconds = 0;
  pod.spec.security_context.ensure().run_as_user = 0;
  CHECK(json::dump(to_json(pod)) ==
        R"({"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","name":"p"},)"
        R"("spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"500m"}}}],"securityContext":{"runAsUser":0},)"
        R"("terminationGracePeriodSeconds":0},"status":{}})");
  CHECK(pod.spec.containers[0].resources.limits["cpu"].milli_value() == 500);
  core_v1::Pod other = pod;
  CHECK(other == pod);
  other.spec.security_context->run_as_user = 1;
  CHECK_FALSE(other == pod);
  CHECK(*pod.spec.security_context->run_as_user == 0);

  Result<core_v1::Pod> wrong = from_json_text<core_v1::Pod>(R"({"spec":{"containers":[{"name":5}]}})");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().message() == "spec.containers[0].name: want text, got integer");
  CHECK(IntOrString("30%").scaled(10, true) == 3);
  CHECK(IntOrString("25%").scaled(10, true) == 3);
  CHECK(IntOrString("25%").scaled(10, false) == 2);
  CHECK_FALSE(IntOrString("x").scaled(10, false));
}
