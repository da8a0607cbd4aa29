#include "defaults_internal.h"
#include "engenho/base/bytes.h"
#include "engenho/base/clock.h"

namespace engenho::catalog::defaulting {

namespace {

template <typename F>
void each(json::Value* list, F f) {
  if (list == nullptr || !list->is_array()) return;
  for (json::Value& item : list->as_array()) f(item);
}

json::Value scaling_policy(std::string_view type, int64_t value) {
  return json::Object{{"type", type}, {"value", value}, {"periodSeconds", 15}};
}

void fill_rules(json::Value& behavior, std::string_view direction, bool up) {
  json::Value& rules = behavior[direction];
  if (!rules.is_object()) rules = json::Object();
  if (up) set_default(rules, "stabilizationWindowSeconds", 0);
  set_default(rules, "selectPolicy", "Max");
  if (absent(rules.get("policies"))) {
    json::Array policies;
    if (up) policies.push_back(scaling_policy("Pods", 4));
    policies.push_back(scaling_policy("Percent", 100));
    rules["policies"] = std::move(policies);
  }
}

void device_request_count(json::Value& request) {
  if (!request.is_object() || request.str_at({"allocationMode"}) != "ExactCount") return;
  const json::Value* count = request.get("count");
  if (count == nullptr || count->int_or(0) == 0) request["count"] = 1;
}

void taint_time(json::Value& taint) { set_default(taint, "timeAdded", format_rfc3339(Clock::real().wall())); }

}  // namespace

// An HPA without any metric scales on 80 % of the requested CPU; the metrics that v1 cannot name are in an annotation.
void horizontal_pod_autoscaler_v1(json::Value& object) {
  const json::Value* annotations = object.at({"metadata", "annotations"});
  const json::Value* metrics = annotations ? annotations->get("autoscaling.alpha.kubernetes.io/metrics") : nullptr;
  bool has_metrics = false;
  if (metrics != nullptr) {
    Result<json::Value> list = json::parse(metrics->str());
    has_metrics = list && !list->items().empty();
  }
  if (!has_metrics && absent(object.at({"spec", "targetCPUUtilizationPercentage"}))) object["spec"]["targetCPUUtilizationPercentage"] = 80;
}

void horizontal_pod_autoscaler_v2(json::Value& object) {
  json::Value* behavior = object.at({"spec", "behavior"});
  if (absent(behavior)) return;
  fill_rules(*behavior, "scaleUp", true);
  fill_rules(*behavior, "scaleDown", false);
}

void network_policy(json::Value& object) {
  json::Value& spec = object["spec"];
  if (!is_empty_list_or_map(spec.get("policyTypes"))) return;
  json::Array types{"Ingress"};
  if (!is_empty_list_or_map(spec.get("egress"))) types.emplace_back("Egress");
  spec["policyTypes"] = std::move(types);
}

void rbac_subjects(json::Value& object) {
  each(object.get("subjects"), [](json::Value& subject) {
    if (!subject.str_at({"apiGroup"}).empty()) return;
    const std::string_view kind = subject.str_at({"kind"});
    if (kind == "User" || kind == "Group") subject["apiGroup"] = "rbac.authorization.k8s.io";
  });
}

void custom_resource_definition(json::Value& object) {
  json::Value& names = object["spec"]["names"];
  const std::string kind(names.str_at({"kind"}));
  if (names.str_at({"singular"}).empty() && !kind.empty()) names["singular"] = to_lower(kind);
  if (names.str_at({"listKind"}).empty() && !kind.empty()) names["listKind"] = kind + "List";
  if (is_empty_list_or_map(object.at({"status", "storedVersions"}))) {
    if (const json::Value* versions = object.at({"spec", "versions"})) {
      for (const json::Value& version : versions->items()) {
        if (const json::Value* storage = version.get("storage"); storage && storage->bool_or(false)) {
          const std::string name(version.str_at({"name"}));
          object["status"]["storedVersions"] = json::Array{name};
          break;
        }
      }
    }
  }
}

void resource_claim(std::string_view version, json::Value& object) {
  json::Value* devices = object.at({"spec", "devices"});
  if (devices == nullptr) devices = object.at({"spec", "spec", "devices"});  // ResourceClaimTemplate
  if (devices == nullptr) return;
  each(devices->get("requests"), [&](json::Value& request) {
    if (version == "v1beta1") {
      // The exact request is inlined there; without a class it is a list of alternatives.
      if (!request.str_at({"deviceClassName"}).empty()) {
        if (request.str_at({"allocationMode"}).empty()) request["allocationMode"] = "ExactCount";
        device_request_count(request);
      }
    } else if (json::Value* exactly = request.get("exactly")) {
      device_request_count(*exactly);
    }
    each(request.get("firstAvailable"), device_request_count);
  });
}

void resource_slice(json::Value& object) {
  each(object.at({"spec", "devices"}), [](json::Value& device) {
    json::Value* basic = device.get("basic");  // v1beta1 keeps the content one level down
    each((basic ? *basic : device).get("taints"), taint_time);
  });
}

void device_taint_rule(json::Value& object) {
  if (json::Value* taint = object.at({"spec", "taint"})) taint_time(*taint);
}

}  // namespace engenho::catalog::defaulting
