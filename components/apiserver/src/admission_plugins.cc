#include "admission_plugins.h"

#include <algorithm>

#include "engenho/base/bytes.h"
#include "engenho/base/random.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

namespace {

using json::Value;

schema::GroupResource what(const AdmissionRequest& r) { return {r.group, r.resource}; }
bool is_pod_create(const AdmissionRequest& r) { return r.is("", "pods") && r.subresource.empty() && r.operation == Operation::kCreate; }

class NamespaceLifecycle final : public AdmissionPlugin {
 public:
  explicit NamespaceLifecycle(Rest& rest) : rest_(rest) {}
  std::string_view name() const override { return "NamespaceLifecycle"; }
  Status mutate(AdmissionRequest& r) override {
    if (r.operation == Operation::kDelete && r.is("", "namespaces") &&
        (r.name == "default" || r.name == "kube-system" || r.name == "kube-public")) {
      return schema::forbidden(what(r), r.name, "this namespace may not be deleted");
    }
    if (r.namespace_name.empty() || r.is("", "namespaces")) return {};
    if (r.operation == Operation::kDelete || r.operation == Operation::kConnect) return {};
    // Reviews of access exist in namespaces that do not.
    if (r.group == "authorization.k8s.io") return {};
    auto namespaces = rest_.resources().find("", "v1", "namespaces");
    ObjectPtr ns = namespaces->cacher->get(namespaces->store_key("", r.namespace_name));
    if (ns == nullptr) {
      // The cache may lag behind a create that was just answered.
      auto fresh = rest_.read(*namespaces, "", r.namespace_name);
      if (!fresh) return fresh.error().not_found() ? schema::not_found({"", "namespaces"}, r.namespace_name) : fresh.error();
      return {};
    }
    if (r.operation != Operation::kCreate) return {};
    const Value value = ns->value();
    if (value.str_at({"status", "phase"}) == "Terminating" || value.at({"metadata", "deletionTimestamp"}) != nullptr) {
      Status s = schema::forbidden(what(r), r.name,
                                   "unable to create new content in namespace " + std::string(r.namespace_name) + " because it is being terminated");
      StatusDetails details = s.details();
      details.causes.push_back({"NamespaceTerminating", "namespace " + std::string(r.namespace_name) + " is being terminated", "metadata.namespace"});
      return Status(s.code(), s.reason(), s.message(), std::move(details));
    }
    return {};
  }

 private:
  Rest& rest_;
};

class ServiceAccountPlugin final : public AdmissionPlugin {
 public:
  explicit ServiceAccountPlugin(Rest& rest) : rest_(rest) {}
  std::string_view name() const override { return "ServiceAccount"; }
  Status mutate(AdmissionRequest& r) override {
    if (!is_pod_create(r)) return {};
    Value& pod = *r.object;
    // Mirror pods show what a kubelet runs by itself: they may not use the cluster's objects.
    if (pod.at({"metadata", "annotations", "kubernetes.io/config.mirror"}) != nullptr) {
      if (!pod.str_at({"spec", "serviceAccountName"}).empty()) return schema::forbidden(what(r), r.name, "a mirror pod may not reference service accounts");
      return {};
    }
    Value& spec = pod["spec"];
    if (spec.str_at({"serviceAccountName"}).empty()) {
      spec["serviceAccountName"] = "default";
      spec["serviceAccount"] = "default";
    }
    const std::string account_name(spec.str_at({"serviceAccountName"}));
    auto accounts = rest_.resources().find("", "v1", "serviceaccounts");
    auto account = rest_.read(*accounts, r.namespace_name, account_name);
    if (!account) {
      if (!account.error().not_found()) return account.error();
      return schema::forbidden(what(r), r.name, "error looking up service account " + std::string(r.namespace_name) + "/" + account_name +
                                                    ": serviceaccount \"" + account_name + "\" not found");
    }
    const Value* pod_mount = spec.get("automountServiceAccountToken");
    const Value* account_mount = account->get("automountServiceAccountToken");
    const bool mount = pod_mount != nullptr ? pod_mount->bool_or(true) : account_mount == nullptr || account_mount->bool_or(true);
    if (mount) add_token(spec);
    const Value* pull = spec.get("imagePullSecrets");
    if (pull == nullptr || pull->items().empty()) {
      if (const Value* secrets = account->get("imagePullSecrets"); secrets != nullptr && !secrets->items().empty()) spec["imagePullSecrets"] = *secrets;
    }
    return {};
  }

 private:
  static void add_token(Value& spec) {
    constexpr std::string_view kPath = "/var/run/secrets/kubernetes.io/serviceaccount";
    const std::string volume_name = "kube-api-access-" + random_name_suffix(5);
    bool used = false;
    for (const char* list : {"initContainers", "containers"}) {
      Value* containers = spec.get(list);
      if (containers == nullptr || !containers->is_array()) continue;
      for (Value& c : containers->as_array()) {
        bool has = false;
        if (const Value* mounts = c.get("volumeMounts")) {
          for (const Value& m : mounts->items()) has = has || m.str_at({"mountPath"}) == kPath;
        }
        if (has) continue;
        Value m = json::Object();
        m["name"] = volume_name;
        m["readOnly"] = true;
        m["mountPath"] = kPath;
        c["volumeMounts"].is_array() ? c["volumeMounts"].as_array().push_back(std::move(m))
                                     : c["volumeMounts"].make_array().push_back(std::move(m));
        used = true;
      }
    }
    if (!used) return;
    auto parsed = json::parse(R"({"projected":{"defaultMode":420,"sources":[
      {"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},
      {"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},
      {"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}]}})");
    Value volume = std::move(*parsed);
    volume["name"] = volume_name;
    Value& volumes = spec["volumes"];
    if (!volumes.is_array()) volumes.make_array();
    volumes.as_array().push_back(std::move(volume));
  }
  Rest& rest_;
};

class DefaultTolerationSeconds final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "DefaultTolerationSeconds"; }
  Status mutate(AdmissionRequest& r) override {
    if (!r.is("", "pods") || !r.subresource.empty() || r.object == nullptr || r.operation == Operation::kConnect) return {};
    for (const char* taint : {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}) {
      bool tolerated = false;
      if (const Value* tolerations = r.object->at({"spec", "tolerations"})) {
        for (const Value& t : tolerations->items()) {
          const std::string_view key = t.str_at({"key"}), effect = t.str_at({"effect"});
          tolerated = tolerated || ((key == taint || key.empty()) && (effect == "NoExecute" || effect.empty()));
        }
      }
      if (tolerated) continue;
      Value t = json::Object();
      t["key"] = taint;
      t["operator"] = "Exists";
      t["effect"] = "NoExecute";
      t["tolerationSeconds"] = 300;
      Value& tolerations = (*r.object)["spec"]["tolerations"];
      if (!tolerations.is_array()) tolerations.make_array();
      tolerations.as_array().push_back(std::move(t));
    }
    return {};
  }
};

class PodPriority final : public AdmissionPlugin {
 public:
  explicit PodPriority(Rest& rest) : rest_(rest) {}
  std::string_view name() const override { return "Priority"; }
  Status mutate(AdmissionRequest& r) override {
    if (!is_pod_create(r)) return {};
    Value& spec = (*r.object)["spec"];
    auto classes = rest_.resources().find("scheduling.k8s.io", "v1", "priorityclasses");
    int64_t priority = 0;
    std::string policy = "PreemptLowerPriority";
    const std::string wanted(spec.str_at({"priorityClassName"}));
    if (!wanted.empty()) {
      auto found = rest_.read(*classes, "", wanted);
      if (!found) {
        if (!found.error().not_found()) return found.error();
        return schema::forbidden(what(r), r.name, "no PriorityClass with name " + wanted + " was found");
      }
      if (const Value* v = found->get("value")) priority = v->int_or(0);
      if (!found->str_at({"preemptionPolicy"}).empty()) policy = found->str_at({"preemptionPolicy"});
    } else {
      std::atomic<Revision> unused{0};
      const Value* best = nullptr;
      std::vector<Value> all;
      for (const ObjectPtr& c : classes->cacher->list(classes->store_prefix, unused)) all.push_back(c->value());
      for (const Value& c : all) {
        const Value* global = c.get("globalDefault");
        if (global == nullptr || !global->bool_or(false)) continue;
        if (best == nullptr || c.get("value")->int_or(0) < best->get("value")->int_or(0)) best = &c;
      }
      if (best != nullptr) {
        spec["priorityClassName"] = best->str_at({"metadata", "name"});
        priority = best->get("value")->int_or(0);
        if (!best->str_at({"preemptionPolicy"}).empty()) policy = best->str_at({"preemptionPolicy"});
      }
    }
    if (const Value* given = spec.get("priority"); given != nullptr && given->int_or(priority) != priority) {
      return schema::forbidden(what(r), r.name, "the integer value of priority (" + std::to_string(given->int_or(0)) +
                                                    ") must not be provided in pod spec; priority admission controller computed " +
                                                    std::to_string(priority) + " from the given PriorityClass name");
    }
    spec["priority"] = priority;
    if (const std::string_view given = spec.str_at({"preemptionPolicy"}); !given.empty() && given != policy) {
      return schema::forbidden(what(r), r.name, "the string value of PreemptionPolicy (" + std::string(given) +
                                                    ") must not be provided in pod spec; priority admission controller computed " + policy +
                                                    " from the given PriorityClass name");
    }
    spec["preemptionPolicy"] = policy;
    return {};
  }

 private:
  Rest& rest_;
};

class TaintNodesByCondition final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "TaintNodesByCondition"; }
  Status mutate(AdmissionRequest& r) override {
    if (!r.is("", "nodes") || !r.subresource.empty() || r.operation != Operation::kCreate) return {};
    constexpr std::string_view kNotReady = "node.kubernetes.io/not-ready";
    Value& taints = (*r.object)["spec"]["taints"];
    if (!taints.is_array()) taints.make_array();
    for (const Value& t : taints.as_array()) {
      if (t.str_at({"key"}) == kNotReady && t.str_at({"effect"}) == "NoSchedule") return {};
    }
    Value taint = json::Object();
    taint["key"] = kNotReady;
    taint["effect"] = "NoSchedule";
    taints.as_array().push_back(std::move(taint));
    return {};
  }
};

// A kubelet changes only its own Node and the pods bound to it.
class NodeRestriction final : public AdmissionPlugin {
 public:
  explicit NodeRestriction(Rest& rest) : rest_(rest) {}
  std::string_view name() const override { return "NodeRestriction"; }
  Status mutate(AdmissionRequest& r) override {
    constexpr std::string_view kPrefix = "system:node:";
    if (!r.user->in_group("system:nodes") || !r.user->name.starts_with(kPrefix)) return {};
    const std::string node = r.user->name.substr(kPrefix.size());
    if (r.is("", "nodes")) {
      const std::string_view target = r.object != nullptr && r.operation == Operation::kCreate ? r.object->str_at({"metadata", "name"}) : r.name;
      if (target != node) {
        return schema::forbidden(what(r), target, "node \"" + node + "\" is not allowed to modify node \"" + std::string(target) + "\"");
      }
      return {};
    }
    if (r.is("", "pods")) {
      const Value* pod = r.operation == Operation::kCreate ? r.object : r.old_object;
      if (pod == nullptr) return {};
      if (r.operation == Operation::kCreate && r.subresource.empty()) {
        if (pod->at({"metadata", "annotations", "kubernetes.io/config.mirror"}) == nullptr) {
          return schema::forbidden(what(r), r.name, "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"" + node +
                                                        "\" can only create mirror pods");
        }
      }
      if (pod->str_at({"spec", "nodeName"}) != node) {
        return schema::forbidden(what(r), r.name, "node \"" + node + "\" can only " +
                                                      (r.operation == Operation::kDelete ? "delete" : "update") +
                                                      " pods with spec.nodeName set to itself");
      }
      return {};
    }
    if (r.is("coordination.k8s.io", "leases")) {
      const std::string_view name = r.operation == Operation::kCreate && r.object != nullptr ? r.object->str_at({"metadata", "name"}) : r.name;
      if (r.namespace_name != "kube-node-lease" || name != node) {
        return schema::forbidden(what(r), name, "can only access node lease with the same name as the requesting node");
      }
    }
    (void)rest_;
    return {};
  }

 private:
  Rest& rest_;
};

class StorageInUseProtection final : public AdmissionPlugin {
 public:
  std::string_view name() const override { return "StorageObjectInUseProtection"; }
  Status mutate(AdmissionRequest& r) override {
    if (r.operation != Operation::kCreate || !r.subresource.empty()) return {};
    const char* finalizer = r.is("", "persistentvolumeclaims") ? "kubernetes.io/pvc-protection"
                            : r.is("", "persistentvolumes")    ? "kubernetes.io/pv-protection"
                                                               : nullptr;
    if (finalizer == nullptr) return {};
    Value& list = (*r.object)["metadata"]["finalizers"];
    if (!list.is_array()) list.make_array();
    for (const Value& f : list.as_array()) {
      if (f.str() == finalizer) return {};
    }
    list.as_array().push_back(finalizer);
    return {};
  }
};

}  // namespace

std::unique_ptr<AdmissionPlugin> namespace_lifecycle(Rest& rest) { return std::make_unique<NamespaceLifecycle>(rest); }
std::unique_ptr<AdmissionPlugin> service_account(Rest& rest) { return std::make_unique<ServiceAccountPlugin>(rest); }
std::unique_ptr<AdmissionPlugin> default_toleration_seconds() { return std::make_unique<DefaultTolerationSeconds>(); }
std::unique_ptr<AdmissionPlugin> pod_priority(Rest& rest) { return std::make_unique<PodPriority>(rest); }
std::unique_ptr<AdmissionPlugin> taint_nodes_by_condition() { return std::make_unique<TaintNodesByCondition>(); }
std::unique_ptr<AdmissionPlugin> node_restriction(Rest& rest) { return std::make_unique<NodeRestriction>(rest); }
std::unique_ptr<AdmissionPlugin> storage_in_use_protection() { return std::make_unique<StorageInUseProtection>(); }

}  // namespace engenho::apiserver
