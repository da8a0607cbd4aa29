// ResourceQuotas: a write that would take more than its namespace has left is refused, and what it takes is noted at once. What goes is given back by the
// controller that counts anew. https://kubernetes.io/docs/concepts/policy/resource-quotas/
#include <algorithm>
#include <set>

#include "admission_plugins.h"
#include "engenho/base/bytes.h"
#include "engenho/schema/api_errors.h"
#include "pod_amounts.h"

namespace engenho::apiserver {

namespace {

using json::Value;
using schema::Quantity;

Quantity count(int64_t n) { return Quantity::from_int(n); }

bool terminal(const Value& pod) {
  const std::string_view phase = pod.str_at({"status", "phase"});
  return phase == "Succeeded" || phase == "Failed";
}

Amounts of_pod(const Value& pod) {
  Amounts out{{"count/pods", count(1)}};
  if (terminal(pod)) return out;
  out["pods"] = count(1);
  for (const auto& [name, q] : pod_amounts(pod, "requests")) {
    out["requests." + name] = q;
    if (name == "cpu" || name == "memory" || name == "ephemeral-storage" || name.starts_with("hugepages-")) out[name] = q;
  }
  for (const auto& [name, q] : pod_amounts(pod, "limits")) {
    if (name == "cpu" || name == "memory" || name == "ephemeral-storage") out["limits." + name] = q;
  }
  return out;
}

Amounts of_service(const Value& service) {
  Amounts out{{"services", count(1)}, {"count/services", count(1)}};
  const std::string_view type = service.str_at({"spec", "type"});
  const Value* ports = service.at({"spec", "ports"});
  const int64_t n = ports == nullptr ? 0 : static_cast<int64_t>(ports->items().size());
  if (type == "NodePort") out["services.nodeports"] = count(n);
  if (type == "LoadBalancer") {
    const Value* allocate = service.at({"spec", "allocateLoadBalancerNodePorts"});
    if (allocate == nullptr || allocate->bool_or(true)) out["services.nodeports"] = count(n);
    out["services.loadbalancers"] = count(1);
  }
  return out;
}

Amounts of_claim(const Value& claim) {
  Amounts out{{"persistentvolumeclaims", count(1)}, {"count/persistentvolumeclaims", count(1)}};
  const Quantity storage = Quantity::parse_or_zero(claim.str_at({"spec", "resources", "requests", "storage"}));
  out["requests.storage"] = storage;
  if (const std::string name(claim.str_at({"spec", "storageClassName"})); !name.empty()) {
    out[name + ".storageclass.storage.k8s.io/requests.storage"] = storage;
    out[name + ".storageclass.storage.k8s.io/persistentvolumeclaims"] = count(1);
  }
  return out;
}

// What an object takes of every resource that a quota can name.
Amounts usage(const AdmissionRequest& r, const Value& object) {
  if (r.is("", "pods")) return of_pod(object);
  if (r.is("", "services")) return of_service(object);
  if (r.is("", "persistentvolumeclaims")) return of_claim(object);
  Amounts out;
  out["count/" + std::string(r.resource) + (r.group.empty() ? "" : "." + std::string(r.group))] = count(1);
  for (const char* plain : {"configmaps", "secrets", "replicationcontrollers", "resourcequotas"}) {
    if (r.is("", plain)) out[plain] = count(1);
  }
  return out;
}

bool best_effort(const Value& pod) {
  for (const char* member : {"requests", "limits"}) {
    for (const auto& [name, q] : pod_amounts(pod, member)) {
      if ((name == "cpu" || name == "memory") && !q.is_zero()) return false;
    }
  }
  return true;
}

bool crosses_namespaces(const Value& pod) {
  for (const char* kind : {"podAffinity", "podAntiAffinity"}) {
    const Value* affinity = pod.at({"spec", "affinity", kind});
    if (affinity == nullptr) continue;
    auto crosses = [](const Value& term) {
      const Value* names = term.get("namespaces");
      return (names != nullptr && !names->items().empty()) || term.get("namespaceSelector") != nullptr;
    };
    if (const Value* list = affinity->get("requiredDuringSchedulingIgnoredDuringExecution")) {
      if (std::any_of(list->items().begin(), list->items().end(), crosses)) return true;
    }
    if (const Value* list = affinity->get("preferredDuringSchedulingIgnoredDuringExecution")) {
      for (const Value& weighted : list->items()) {
        if (weighted.get("podAffinityTerm") != nullptr && crosses(*weighted.get("podAffinityTerm"))) return true;
      }
    }
  }
  return false;
}

bool in_scope(std::string_view scope, std::string_view op, const Value* values, const Value& pod) {
  const bool terminating = pod.at({"spec", "activeDeadlineSeconds"}) != nullptr;
  if (scope == "Terminating") return terminating;
  if (scope == "NotTerminating") return !terminating;
  if (scope == "BestEffort") return best_effort(pod);
  if (scope == "NotBestEffort") return !best_effort(pod);
  if (scope == "CrossNamespacePodAffinity") return crosses_namespaces(pod);
  if (scope == "PriorityClass") {
    const std::string_view name = pod.str_at({"spec", "priorityClassName"});
    const bool listed = values != nullptr && std::find(values->items().begin(), values->items().end(), Value(name)) != values->items().end();
    if (op == "In") return listed;
    if (op == "NotIn") return !listed;
    if (op == "DoesNotExist") return name.empty();
    return !name.empty();
  }
  return false;
}

// Quotas with scopes count pods only.
bool concerns(const Value& quota, const AdmissionRequest& r) {
  const Value* scopes = quota.at({"spec", "scopes"});
  const Value* selector = quota.at({"spec", "scopeSelector", "matchExpressions"});
  const bool any = (scopes != nullptr && !scopes->items().empty()) || (selector != nullptr && !selector->items().empty());
  if (!any) return true;
  if (!r.is("", "pods")) return false;
  if (scopes != nullptr) {
    for (const Value& s : scopes->items()) {
      if (!in_scope(s.str(), "Exists", nullptr, *r.object)) return false;
    }
  }
  if (selector != nullptr) {
    for (const Value& e : selector->items()) {
      if (!in_scope(e.str_at({"scopeName"}), e.str_at({"operator"}), e.get("values"), *r.object)) return false;
    }
  }
  return true;
}

std::string pretty(const Amounts& all, const std::set<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    auto it = all.find(name);
    out += (out.empty() ? "" : ",") + name + "=" + (it == all.end() ? Quantity() : it->second).to_string();
  }
  return out;
}

// Containers must say what they take where a quota counts it: "limits.memory for: c; requests.cpu for: c".
std::string unsaid(const Amounts& hard, const Value& pod) {
  std::map<std::string, std::vector<std::string>> missing;
  for (const char* member : {"initContainers", "containers"}) {
    const Value* list = pod.at({"spec", member});
    if (list == nullptr) continue;
    for (const Value& c : list->items()) {
      for (const char* what : {"cpu", "memory"}) {
        const bool requested = c.at({"resources", "requests", what}) != nullptr, limited = c.at({"resources", "limits", what}) != nullptr;
        for (const auto& [name, there] : {std::pair(std::string(what), requested), std::pair("requests." + std::string(what), requested),
                                          std::pair("limits." + std::string(what), limited)}) {
          if (!there && hard.contains(name)) missing[name].emplace_back(c.str_at({"name"}));
        }
      }
    }
  }
  std::string out;
  for (const auto& [name, who] : missing) out += (out.empty() ? "" : "; ") + name + " for: " + join(who, ",");
  return out;
}

class Quota final : public AdmissionPlugin {
 public:
  explicit Quota(Rest& rest) : rest_(rest), quotas_(rest.resources().find("", "v1", "resourcequotas")) {}
  std::string_view name() const override { return "ResourceQuota"; }

  Status validate(const AdmissionRequest& r) override {
    if (r.object == nullptr || r.namespace_name.empty() || (r.operation != Operation::kCreate && r.operation != Operation::kUpdate)) return {};
    if (r.resource == "events") return {};  // they are many and go by themselves
    if (!r.subresource.empty() && !(r.is("", "pods") && r.subresource == "resize")) return {};
    const bool measured = r.is("", "pods") || r.is("", "services") || r.is("", "persistentvolumeclaims");
    if (r.operation == Operation::kUpdate && !measured) return {};
    if (quotas_->cacher->size() == 0 && rest_.hub().is_current()) return {};
    (void)rest_.hub().wait_for(rest_.hub().store().revision(), std::chrono::seconds(3));
    Amounts delta = usage(r, *r.object);
    if (r.operation == Operation::kUpdate) {
      for (const auto& [name, q] : usage(r, *r.old_object)) delta[name] -= q;
      std::erase_if(delta, [](const auto& item) { return item.second.is_zero(); });
      if (delta.empty()) return {};
    }
    const std::string prefix = quotas_->store_prefix + std::string(r.namespace_name) + "/";
    for (const ObjectPtr& quota : quotas_->cacher->list(prefix, rest_.hub().revision_ref())) {
      ENGENHO_RETURN_IF_ERROR(charge(r, quota->name(), quota->value(), delta));
    }
    return {};
  }

 private:
  // Whether the quota has that much left; `used` as it is after the charge.
  static Status check(const AdmissionRequest& r, const std::string& name, const Value& quota, const Amounts& delta, Amounts& used) {
    const Amounts hard = amounts(quota.at({"status", "hard"}));
    used = amounts(quota.at({"status", "used"}));
    auto forbid = [&](const std::string& why) { return schema::forbidden({r.group, r.resource}, r.name, why); };
    if (r.is("", "pods") && r.operation == Operation::kCreate) {
      if (const std::string missing = unsaid(hard, *r.object); !missing.empty()) return forbid("failed quota: " + name + ": must specify " + missing);
    }
    std::set<std::string> unknown, exceeded;
    const Amounts before = used;
    for (const auto& [resource, q] : delta) {
      auto limit = hard.find(resource);
      if (limit == hard.end()) continue;
      if (!used.contains(resource)) unknown.insert(resource);
      Quantity& now = used[resource];
      now += q;
      if (q.sign() > 0 && now > limit->second) exceeded.insert(resource);
    }
    if (!unknown.empty()) return forbid("status unknown for quota: " + name + ", resources: " + join({unknown.begin(), unknown.end()}, ","));
    if (!exceeded.empty()) {
      return forbid("exceeded quota: " + name + ", requested: " + pretty(delta, exceeded) + ", used: " + pretty(before, exceeded) + ", limited: " +
                    pretty(hard, exceeded));
    }
    return {};
  }

  Status charge(const AdmissionRequest& r, const std::string& name, const Value& seen, const Amounts& delta) {
    if (!concerns(seen, r)) return {};
    Amounts used;
    ENGENHO_RETURN_IF_ERROR(check(r, name, seen, delta, used));
    if (r.dry_run || used == amounts(seen.at({"status", "used"}))) return {};
    Context context;
    context.user.name = "system:apiserver";
    context.user.groups = {std::string(kMasters)};
    context.resource = quotas_;
    context.info.namespace_ = r.namespace_name;
    auto noted = rest_.update(
        context, *quotas_, name, "status",
        [&](const Value* current) -> Result<Value> {
          if (current == nullptr) return err(schema::not_found({"", "resourcequotas"}, name));
          Amounts now;
          ENGENHO_TRY(check(r, name, *current, delta, now));  // others may have taken some since
          Value next = *current;
          for (const auto& [resource, q] : now) next["status"]["used"][resource] = q.to_string();
          return next;
        },
        {}, false);
    if (!noted && !noted.error().not_found()) return noted.error();
    return {};
  }

  Rest& rest_;
  ResourcePtr quotas_;
};

}  // namespace

std::unique_ptr<AdmissionPlugin> resource_quota(Rest& rest) { return std::make_unique<Quota>(rest); }

}  // namespace engenho::apiserver
