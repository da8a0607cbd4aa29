// What may be written through the status subresources.
#include <arpa/inet.h>

#include <set>

#include "engenho/schema/go_values.h"
#include "engenho/schema/quantity.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

const Value& status_of(const Value& object) {
  static const Value none = json::Object();
  const Value* v = object.get("status");
  return v == nullptr || v->is_null() ? none : *v;
}

void counters(FieldErrors& errors, const Value& status, std::initializer_list<const char*> names) {
  for (const char* name : names) nonnegative(errors, std::string("status.") + name, status.get(name));
}

void not_above(FieldErrors& errors, const Value& status, const char* name, const char* limit, const char* text) {
  const int64_t n = number(status, name);
  if (n > number(status, limit)) errors.invalid(std::string("status.") + name, n, text);
}

constexpr const char* kAboveReplicas = "cannot be greater than status.replicas";

void not_decremented(FieldErrors& errors, const Value& status, const Value& old, const char* name) {
  const int64_t now = number(status, name), before = number(old, name);
  if (now < before) errors.invalid(std::string("status.") + name, now, "cannot be decremented");
}

void replicas(FieldErrors& errors, const std::string& kind, const Value& status, const Value& old) {
  if (kind == "Deployment") {
    counters(errors, status, {"observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas", "collisionCount"});
    for (const char* name : {"updatedReplicas", "readyReplicas", "availableReplicas"}) not_above(errors, status, name, "replicas", kAboveReplicas);
    not_above(errors, status, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas");
  } else if (kind == "StatefulSet") {
    counters(errors, status, {"replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas", "observedGeneration", "collisionCount"});
    for (const char* name : {"readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"}) not_above(errors, status, name, "replicas", kAboveReplicas);
    not_above(errors, status, "availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas");
  } else {
    counters(errors, status, {"replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"});
    for (const char* name : {"fullyLabeledReplicas", "readyReplicas", "availableReplicas"}) not_above(errors, status, name, "replicas", kAboveReplicas);
    not_above(errors, status, "availableReplicas", "readyReplicas", "cannot be greater than readyReplicas");
  }
  if (kind == "Deployment") not_decremented(errors, status, old, "collisionCount");
}

bool is_address(std::string_view text) {
  unsigned char raw[16];
  const std::string s(text);
  return inet_pton(AF_INET, s.c_str(), raw) == 1 || inet_pton(AF_INET6, s.c_str(), raw) == 1;
}
constexpr const char* kBadAddress = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

void load_balancer(FieldErrors& errors, const Value& status) {
  const Value* balancer = status.get("loadBalancer");
  if (balancer == nullptr) return;
  size_t i = 0;
  for (const Value& ingress : list(*balancer, "ingress")) {
    const std::string here = at("status.loadBalancer.ingress", i++);
    const std::string_view ip = ingress.str_at({"ip"}), host = ingress.str_at({"hostname"});
    if (!ip.empty() && !is_address(ip)) errors.invalid(here / "ip", ip, kBadAddress);
    if (host.empty()) continue;
    messages(errors, here / "hostname", host, schema::is_dns1123_subdomain(host));
    if (is_address(host)) errors.invalid(here / "hostname", host, "must be a DNS name, not an IP address");
  }
}

void amounts(FieldErrors& errors, const Value& status, const char* member, bool bracketed) {
  const Value* map = status.get(member);
  if (map == nullptr) return;
  for (const auto& [name, v] : map->members()) {
    auto q = schema::Quantity::parse(v.str());
    const std::string path = std::string("status.") + member;
    if (q && q->sign() < 0) errors.invalid(bracketed ? schema::key(path, name) : path / name, v, "must be greater than or equal to 0");
  }
}

void pod(FieldErrors& errors, const Value& status, const Value& old) {
  size_t i = 0;
  for (const Value& ip : list(status, "podIPs")) {
    const std::string here = at("status.podIPs", i++);
    if (!is_address(ip.str_at({"ip"}))) errors.invalid(here, ip.str_at({"ip"}), kBadAddress);
  }
  const std::string_view qos = status.str_at({"qosClass"});
  if (qos != old.str_at({"qosClass"})) errors.invalid("status.qosClass", qos, "field is immutable");
}

bool condition(const Value& status, std::string_view type) {
  for (const Value& c : list(status, "conditions")) {
    if (c.str_at({"type"}) == type && c.str_at({"status"}) == "True") return true;
  }
  return false;
}

void job(FieldErrors& errors, const Value& status, const Value& old) {
  counters(errors, status, {"active", "succeeded", "failed"});
  for (const char* name : {"succeeded", "failed"}) {
    const int64_t now = number(status, name);
    if (now < number(old, name)) errors.invalid(std::string("status.") + name, now, std::string("cannot decrease the ") + name + " counter");
  }
  const bool complete = condition(status, "Complete"), failed = condition(status, "Failed");
  const auto bare = [] { return schema::raw_text(""); };
  if (complete && !is_set(status.get("completionTime"))) errors.required("status.completionTime", "completionTime is required for Complete jobs");
  if (complete && !condition(status, "SuccessCriteriaMet")) {
    errors.invalid("status.conditions", bare(), "cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
  }
  if (failed && !condition(status, "FailureTarget")) {
    errors.invalid("status.conditions", bare(), "cannot set Failed=True condition without the FailureTarget=true condition");
  }
  if (complete && failed) errors.invalid("status.conditions", bare(), "cannot set Complete=True and Failed=true conditions");
  if ((complete || failed) && number(status, "active") > 0) {
    errors.invalid("status.active", number(status, "active"), "active>0 is invalid for finished job");
  }
}

void node(FieldErrors& errors, const ResourceDef& resource, const Value& status) {
  std::set<std::string> seen;
  size_t i = 0;
  for (const Value& address : list(status, "addresses")) {
    const std::string here = at("status.addresses", i++);
    if (!seen.insert(json::dump(address)).second) {
      const schema::Schema* list_schema = resource.schema->field("status")->schema->field("addresses")->schema;
      errors.add(FieldErrorType::kDuplicate, here, schema::raw_text(schema::go_internal_json(*list_schema->element, address)), "");
    }
  }
  amounts(errors, status, "capacity", false);
  amounts(errors, status, "allocatable", false);
}

}  // namespace

bool status_rules(FieldErrors& errors, const ResourceDef& resource, const Value& object, const Value& old_object) {
  const Value& status = status_of(object);
  const Value& old = status_of(old_object);
  const std::string& kind = resource.kind;
  if (kind == "Deployment" || kind == "StatefulSet" || kind == "ReplicaSet" || kind == "ReplicationController") replicas(errors, kind, status, old);
  else if (kind == "DaemonSet") {
    counters(errors, status, {"currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
                              "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount"});
    not_decremented(errors, status, old, "collisionCount");
  } else if (kind == "PodDisruptionBudget") {
    counters(errors, status, {"disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"});
  } else if (kind == "HorizontalPodAutoscaler") {
    counters(errors, status, {"currentReplicas", "desiredReplicas"});
  } else if (kind == "Job") {
    job(errors, status, old);
  } else if (kind == "Pod") {
    pod(errors, status, old);
  } else if (kind == "Node") {
    node(errors, resource, status);
  } else if (kind == "ResourceQuota") {
    amounts(errors, status, "hard", true);
    amounts(errors, status, "used", true);
  } else if (kind == "Ingress") {
    load_balancer(errors, status);
  } else if (kind == "Service") {
    load_balancer(errors, status);
    const Value* balancer = status.get("loadBalancer");
    if (balancer != nullptr && !list(*balancer, "ingress").empty() && object.str_at({"spec", "type"}) != "LoadBalancer") {
      errors.forbidden("status.loadBalancer.ingress", "may only be used when `spec.type` is 'LoadBalancer'");
    }
  } else if (kind == "Namespace") {
    const bool going = is_set(object.at({"metadata", "deletionTimestamp"}));
    const std::string_view phase = status.str_at({"phase"});
    if (!going && phase != "Active") errors.invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty");
    if (going && phase != "Terminating") errors.invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
  } else if (kind == "PersistentVolumeClaim") {
    if (const Value* capacity = status.get("capacity")) {
      for (const auto& [name, v] : capacity->members()) {
        auto q = schema::Quantity::parse(v.str());
        if (q && q->sign() < 0) errors.invalid(schema::key("status.capacity", name), q->value(), "must be a valid resource quantity");
      }
    }
  } else {
    return false;
  }
  return true;
}

}  // namespace engenho::apiserver::validation
