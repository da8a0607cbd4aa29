#include "strategy.h"

#include <map>

#include "engenho/base/bytes.h"

namespace engenho::apiserver {

namespace {

using json::Value;
using schema::FieldErrors;

void init_pod(Value& object) {
  Value& status = object["status"];
  status = json::Object();
  status["phase"] = "Pending";
  // Quality of service: Guaranteed when every container has equal requests and limits of cpu and memory, BestEffort when none has any.
  bool any = false, all = true, has_containers = false;
  for (const char* list : {"containers", "initContainers"}) {
    const Value* containers = object.at({"spec", list});
    if (containers == nullptr) continue;
    for (const Value& c : containers->items()) {
      has_containers = true;
      for (const char* r : {"cpu", "memory"}) {
        const std::string_view limit = c.str_at({"resources", "limits", r});
        const std::string_view request = c.str_at({"resources", "requests", r});
        auto set = [](std::string_view q) { return !q.empty() && q != "0"; };
        any = any || set(limit) || set(request);
        all = all && set(limit) && (request.empty() || request == limit);
      }
    }
  }
  status["qosClass"] = !any ? "BestEffort" : all && has_containers ? "Guaranteed" : "Burstable";
  // Scheduling gates are told by a condition.
  const Value* gates = object.at({"spec", "schedulingGates"});
  if (gates != nullptr && !gates->items().empty()) {
    Value condition = json::Object();
    condition["type"] = "PodScheduled";
    condition["status"] = "False";
    condition["reason"] = "SchedulingGated";
    condition["message"] = "Scheduling is blocked due to non-empty scheduling gates";
    status["conditions"] = json::Array{condition};
  }
}

void init_namespace(Value& object) {
  object["status"] = json::Object();
  object["status"]["phase"] = "Active";
  bool has = false;
  json::Array& finalizers = object["spec"]["finalizers"].make_array();
  for (const Value& f : finalizers) has = has || f.str() == "kubernetes";
  if (!has) finalizers.push_back("kubernetes");
  object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object.str_at({"metadata", "name"});
}
void update_namespace(Value& object, const Value& old) {
  // Finalizers change through the finalize subresource only.
  if (const Value* spec = old.get("spec")) object["spec"] = *spec;
  else object.as_object().erase("spec");
  object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object.str_at({"metadata", "name"});
}

void init_claim(Value& object) { object["status"] = json::Object(); object["status"]["phase"] = "Pending"; }
void init_volume(Value& object) { object["status"] = json::Object(); object["status"]["phase"] = "Pending"; }
void init_service(Value& object) {
  object["status"] = json::Object();
  object["status"]["loadBalancer"] = json::Object();
}

// An update that says nothing of what belongs to outside traffic loses it with the type that needed it.
void update_service(Value& object, const Value& old) {
  Value& spec = object["spec"];
  const std::string type(spec.str_at({"type"}));
  const std::string_view was = old.str_at({"spec", "type"});
  if ((type == "ClusterIP" || type == "ExternalName") && (was == "NodePort" || was == "LoadBalancer")) {
    // Node ports that came along unchanged go with the type.
    const Value* before = old.at({"spec", "ports"});
    Value* ports = spec.get("ports");
    json::Array none;
    for (Value& p : ports == nullptr || before == nullptr ? none : ports->make_array()) {
      for (const Value& b : before->items()) {
        const Value *now = p.get("nodePort"), *then = b.get("nodePort");
        if (now == nullptr || then == nullptr || !(*now == *then)) continue;
        p.as_object().erase("nodePort");
        break;
      }
    }
  }
  const Value* external = spec.get("externalIPs");
  const bool outside = type == "NodePort" || type == "LoadBalancer" || (external != nullptr && !external->items().empty());
  if (!outside) spec.as_object().erase("externalTrafficPolicy");
  if (type != "LoadBalancer") {
    spec.as_object().erase("allocateLoadBalancerNodePorts");
    spec.as_object().erase("healthCheckNodePort");
  }
}

// How often the template has changed, kept in an annotation since the field is gone.
void complete_daemon_set(Value& object, const Value* old) {
  constexpr std::string_view kKey = "deprecated.daemonset.template.generation";
  int64_t generation = 1;
  if (old != nullptr) {
    int64_t before = 0;
    parse_int(old->str_at({"metadata", "annotations", kKey}), before);
    const Value *a = object.at({"spec", "template"}), *b = old->at({"spec", "template"});
    generation = a != nullptr && b != nullptr && *a == *b ? before : before + 1;
  }
  object["metadata"]["annotations"][kKey] = std::to_string(generation);
}

// A Job that does not bring its own selector gets one of its uid.
void init_job(Value& object) {
  const Value* manual = object.at({"spec", "manualSelector"});
  if (manual != nullptr && manual->bool_or(false)) return;
  const std::string uid(object.str_at({"metadata", "uid"})), name(object.str_at({"metadata", "name"}));
  Value& labels = object["spec"]["template"]["metadata"]["labels"];
  labels.make_object();
  for (const char* key : {"batch.kubernetes.io/controller-uid", "controller-uid"}) labels[key] = uid;
  for (const char* key : {"batch.kubernetes.io/job-name", "job-name"}) labels[key] = name;
  const Value copy = labels;  // the next line moves what `labels` refers to
  object["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] = uid;
  const Value* own = object.at({"metadata", "labels"});
  if (own == nullptr || own->members().empty()) object["metadata"]["labels"] = copy;
}

using Key = std::string;
std::map<Key, Strategy, std::less<>> make_table() {
  std::map<Key, Strategy, std::less<>> t;
  auto with = [&](const char* key, auto fn) { fn(t[key]); };
  auto generation = [&](GenerationRule rule, std::initializer_list<const char*> keys) {
    for (const char* key : keys) t[key].generation = rule;
  };
  generation(GenerationRule::kSpec,
             {"/pods", "/replicationcontrollers", "apps/daemonsets", "apps/replicasets", "apps/statefulsets", "batch/jobs", "batch/cronjobs",
              "networking.k8s.io/ingresses", "networking.k8s.io/networkpolicies", "networking.k8s.io/ingressclasses",
              "policy/poddisruptionbudgets", "flowcontrol.apiserver.k8s.io/flowschemas",
              "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations", "apiextensions.k8s.io/customresourcedefinitions",
              "admissionregistration.k8s.io/validatingadmissionpolicies", "admissionregistration.k8s.io/validatingadmissionpolicybindings",
              "admissionregistration.k8s.io/mutatingadmissionpolicies", "admissionregistration.k8s.io/mutatingadmissionpolicybindings",
              "resource.k8s.io/deviceclasses", "resource.k8s.io/resourceslices"});
  generation(GenerationRule::kSpecOrAnnotations, {"apps/deployments"});
  generation(GenerationRule::kAllButMeta, {"/podtemplates", "admissionregistration.k8s.io/validatingwebhookconfigurations",
                                           "admissionregistration.k8s.io/mutatingwebhookconfigurations"});
  generation(GenerationRule::kAllAndLabels, {"discovery.k8s.io/endpointslices"});
  generation(GenerationRule::kFixed, {"scheduling.k8s.io/priorityclasses"});

  for (const char* key : {"/services", "/endpoints", "/events", "events.k8s.io/events", "/limitranges", "coordination.k8s.io/leases",
                          "rbac.authorization.k8s.io/roles", "rbac.authorization.k8s.io/rolebindings", "rbac.authorization.k8s.io/clusterroles",
                          "rbac.authorization.k8s.io/clusterrolebindings", "node.k8s.io/runtimeclasses"}) {
    t[key].create_on_update = true;
  }
  for (const char* key : {"policy/poddisruptionbudgets", "coordination.k8s.io/leases", "apiextensions.k8s.io/customresourcedefinitions",
                          "storage.k8s.io/volumeattachments", "admissionregistration.k8s.io/validatingwebhookconfigurations",
                          "admissionregistration.k8s.io/mutatingwebhookconfigurations", "apiregistration.k8s.io/apiservices",
                          "admissionregistration.k8s.io/validatingadmissionpolicies",
                          "admissionregistration.k8s.io/validatingadmissionpolicybindings",
                          "admissionregistration.k8s.io/mutatingadmissionpolicies",
                          "admissionregistration.k8s.io/mutatingadmissionpolicybindings"}) {
    t[key].unconditional_update = false;
  }
  for (const char* key : {"/pods", "/services", "/serviceaccounts", "/resourcequotas", "/podtemplates", "storage.k8s.io/storageclasses",
                          "storage.k8s.io/csidrivers", "storage.k8s.io/volumeattachments", "resource.k8s.io/resourceclaims",
                          "resource.k8s.io/deviceclasses", "/persistentvolumes", "/persistentvolumeclaims",
                          "storage.k8s.io/csinodes", "resource.k8s.io/resourceclaimtemplates", "resource.k8s.io/resourceslices"}) {
    t[key].delete_returns_object = true;
  }
  t["batch/jobs"].delete_default_orphan = true;
  t["batch/jobs"].warn_default_orphan = true;
  t["/replicationcontrollers"].delete_default_orphan = true;
  for (const char* key : {"rbac.authorization.k8s.io/roles", "rbac.authorization.k8s.io/rolebindings",
                          "rbac.authorization.k8s.io/clusterroles", "rbac.authorization.k8s.io/clusterrolebindings"}) {
    t[key].name_rule = schema::is_path_segment_name;
  }
  for (const char* key : {"/namespaces"}) t[key].name_rule = schema::is_dns1123_label;
  t["/services"].name_rule = schema::is_dns1123_label;
  with("/pods", [](Strategy& s) { s.prepare_create = init_pod; });
  with("/namespaces", [](Strategy& s) {
    s.prepare_create = init_namespace;
    s.prepare_update = update_namespace;
  });
  with("/persistentvolumeclaims", [](Strategy& s) { s.prepare_create = init_claim; });
  with("/persistentvolumes", [](Strategy& s) { s.prepare_create = init_volume; });
  with("/services", [](Strategy& s) {
    s.prepare_create = init_service;
    s.prepare_update = update_service;
  });
  with("apps/daemonsets", [](Strategy& s) { s.complete = complete_daemon_set; });
  with("batch/jobs", [](Strategy& s) { s.prepare_create = init_job; });
  return t;
}

}  // namespace

const Strategy& strategy_of(std::string_view group, std::string_view plural) {
  static const std::map<Key, Strategy, std::less<>> table = make_table();
  static const Strategy plain;
  std::string key(group);
  key += '/';
  key += plural;
  auto it = table.find(key);
  return it == table.end() ? plain : it->second;
}

bool has_status(const ResourceDef& resource) {
  return resource.builtin != nullptr && resource.builtin->subresource("status") != nullptr;
}

Value restrict_to_subresource(const ResourceDef& resource, std::string_view subresource, const Value& object, const Value& old) {
  if (subresource == "binding" || subresource == "scale" || subresource == "eviction") return object;
  Value next = old;
  json::Object& metadata = next["metadata"].make_object();
  auto take = [&](const char* member) {
    if (const Value* v = object.at({"metadata", member})) metadata.set(member, *v);
    else metadata.erase(member);
  };
  take("managedFields");
  for (const char* member : {"uid", "name"}) take(member);
  const bool core = resource.group.empty();
  if (subresource == "status") {
    // Metadata travels along, but for what some kinds hold back.
    const bool deployment = resource.group == "apps" && resource.plural == "deployments";
    if (!deployment) take("labels");
    take("annotations");
    take("finalizers");
    if (!(core && resource.plural == "pods")) take("ownerReferences");
    if (const Value* status = object.get("status")) next["status"] = *status;
    else next.as_object().erase("status");
  } else if (subresource == "finalize") {
    take("finalizers");
    if (const Value* finalizers = object.at({"spec", "finalizers"})) next["spec"]["finalizers"] = *finalizers;
    else if (Value* spec = next.get("spec")) spec->as_object().erase("finalizers");
  } else if (subresource == "approval") {
    if (const Value* conditions = object.at({"status", "conditions"})) next["status"]["conditions"] = *conditions;
    else if (Value* status = next.get("status")) status->as_object().erase("conditions");
  } else if (subresource == "ephemeralcontainers") {
    if (const Value* containers = object.at({"spec", "ephemeralContainers"})) next["spec"]["ephemeralContainers"] = *containers;
  } else if (subresource == "resize") {
    for (const char* list : {"containers", "initContainers"}) {
      const Value* wanted = object.at({"spec", list});
      Value* have = next.at({"spec", list});
      if (wanted == nullptr || have == nullptr || !have->is_array()) continue;
      for (Value& c : have->as_array()) {
        for (const Value& w : wanted->items()) {
          if (w.str_at({"name"}) != c.str_at({"name"})) continue;
          for (const char* member : {"resources", "resizePolicy"}) {
            if (const Value* v = w.get(member)) c[member] = *v;
          }
        }
      }
    }
  }
  return next;
}

void validate_object_meta(const Value& object, bool namespaced, const Strategy& strategy, FieldErrors& errors) {
  const std::string_view name = object.str_at({"metadata", "name"});
  const std::string_view generate = object.str_at({"metadata", "generateName"});
  auto rule = strategy.name_rule != nullptr ? strategy.name_rule : schema::is_dns1123_subdomain;
  if (!generate.empty()) {
    std::string sample(generate);
    if (sample.back() == '-') sample.back() = 'a';
    for (std::string& m : rule(sample)) errors.invalid("metadata.generateName", generate, std::move(m));
  }
  if (name.empty()) {
    errors.required("metadata.name", "name or generateName is required");
  } else {
    for (std::string& m : rule(name)) errors.invalid("metadata.name", name, std::move(m));
  }
  const std::string_view ns = object.str_at({"metadata", "namespace"});
  if (namespaced) {
    if (ns.empty()) errors.required("metadata.namespace");
    else
      for (std::string& m : schema::is_dns1123_label(ns)) errors.invalid("metadata.namespace", ns, std::move(m));
  }
  if (const Value* generation = object.at({"metadata", "generation"}); generation != nullptr && generation->int_or(0) < 0) {
    errors.invalid("metadata.generation", *generation, "must be greater than or equal to 0");
  }
  schema::validate_labels(object.at({"metadata", "labels"}), "metadata.labels", errors);
  schema::validate_annotations(object.at({"metadata", "annotations"}), "metadata.annotations", errors);
  if (const Value* owners = object.at({"metadata", "ownerReferences"})) {
    size_t i = 0;
    int controllers = 0;
    std::string controller;
    for (const Value& o : owners->items()) {
      const std::string at = schema::index("metadata.ownerReferences", i++);
      for (const char* member : {"apiVersion", "kind", "name", "uid"}) {
        if (!o.str_at({member}).empty()) continue;
        if (std::string_view(member) == "apiVersion") errors.invalid(at + ".apiVersion", "", "version must not be empty");
        else errors.invalid(at + "." + member, "", "must not be empty");
      }
      if (const Value* c = o.get("controller"); c != nullptr && c->bool_or(false)) ++controllers;
    }
    if (controllers > 1) {
      errors.invalid("metadata.ownerReferences", *owners, "Only one reference can have Controller set to true. Found \"true\" in references");
    }
  }
  if (const Value* finalizers = object.at({"metadata", "finalizers"})) {
    bool orphan = false, foreground = false;
    for (const Value& f : finalizers->items()) {
      for (std::string& m : schema::is_qualified_name(f.str())) errors.invalid("metadata.finalizers", f, std::move(m));
      if (schema::is_qualified_name(f.str()).empty() && f.str().find('/') == std::string_view::npos && f.str() != "orphan" &&
          f.str() != "foregroundDeletion" && f.str() != "kubernetes") {
        errors.invalid("metadata.finalizers", f, "name is neither a standard finalizer name nor is it fully qualified");
      }
      orphan = orphan || f.str() == "orphan";
      foreground = foreground || f.str() == "foregroundDeletion";
    }
    if (orphan && foreground) {
      errors.invalid("metadata.finalizers", *finalizers,
                     "finalizer orphan and foregroundDeletion cannot be both set");
    }
  }
}

void validate_object_meta_update(const Value& object, const Value& old, FieldErrors& errors) {
  auto text = [](const Value& v, const char* member) { return v.str_at({"metadata", member}); };
  if (const Value* deleted = old.at({"metadata", "deletionTimestamp"}); deleted != nullptr && !deleted->is_null()) {
    std::string added;
    const Value* before = old.at({"metadata", "finalizers"});
    if (const Value* after = object.at({"metadata", "finalizers"})) {
      for (const Value& f : after->items()) {
        bool had = false;
        if (before != nullptr) {
          for (const Value& b : before->items()) had = had || b == f;
        }
        if (!had) added += (added.empty() ? "\"" : ", \"") + std::string(f.str()) + "\"";
      }
    }
    if (!added.empty()) {
      errors.forbidden("metadata.finalizers",
                       "no new finalizers can be added if the object is being deleted, found new finalizers []string{" + added + "}");
    }
  }
  for (const char* member : {"name", "namespace", "uid", "creationTimestamp"}) {
    if (text(object, member) != text(old, member)) {
      errors.invalid(std::string("metadata.") + member, text(object, member), "field is immutable");
    }
  }
  schema::validate_labels(object.at({"metadata", "labels"}), "metadata.labels", errors);
  schema::validate_annotations(object.at({"metadata", "annotations"}), "metadata.annotations", errors);
}

}  // namespace engenho::apiserver
