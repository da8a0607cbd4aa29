#include "strategy.h"

#include <algorithm>
#include <map>

#include "engenho/base/bytes.h"
#include "engenho/schema/go_values.h"
#include "custom_resources.h"

namespace engenho::apiserver {

namespace {

using json::Value;
using schema::FieldErrors;

void init_pod(Value& object, WallTime now) {
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
    condition["lastProbeTime"] = nullptr;
    condition["lastTransitionTime"] = format_rfc3339(now);
    status["conditions"] = json::Array{condition};
  }
}

void init_namespace(Value& object, WallTime now) {
  object["status"] = json::Object();
  object["status"]["phase"] = "Active";
  bool has = false;
  json::Array& finalizers = object["spec"]["finalizers"].make_array();
  for (const Value& f : finalizers) has = has || f.str() == "kubernetes";
  if (!has) finalizers.push_back("kubernetes");
  object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object.str_at({"metadata", "name"});
}
void update_namespace(Value& object, const Value& old, std::string_view subresource, WallTime) {
  if (!subresource.empty()) return;
  // Finalizers change through the finalize subresource only.
  if (const Value* spec = old.get("spec")) object["spec"] = *spec;
  else object.as_object().erase("spec");
  object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object.str_at({"metadata", "name"});
}

void init_claim(Value& object, WallTime now) { object["status"] = json::Object(); object["status"]["phase"] = "Pending"; }
void init_volume(Value& object, WallTime now) {
  object["status"] = json::Object();
  object["status"]["phase"] = "Pending";
  object["status"]["lastPhaseTransitionTime"] = format_rfc3339(now);
}
// When the phase changed last; the writer may say it himself.
void update_volume(Value& object, const Value& old, std::string_view subresource, WallTime now) {
  if (subresource != "status") return;
  const Value* mine = object.at({"status", "lastPhaseTransitionTime"});
  const Value* before = old.at({"status", "lastPhaseTransitionTime"});
  const bool own = mine != nullptr && !mine->is_null() && !(before != nullptr && *mine == *before);
  if (own) return;
  if (object.str_at({"status", "phase"}) != old.str_at({"status", "phase"})) object["status"]["lastPhaseTransitionTime"] = format_rfc3339(now);
  else if (before != nullptr) object["status"]["lastPhaseTransitionTime"] = *before;
}
void init_service(Value& object, WallTime now) {
  object["status"] = json::Object();
  object["status"]["loadBalancer"] = json::Object();
}

// An update that says nothing of what belongs to outside traffic loses it with the type that needed it.
void update_service(Value& object, const Value& old, std::string_view subresource, WallTime) {
  if (!subresource.empty()) return;
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
void init_job(Value& object, WallTime now) {
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

constexpr std::string_view kCrdFinalizer = "customresourcecleanup.apiextensions.k8s.io";

void remember_storage_version(Value& definition) {
  const Value* versions = definition.at({"spec", "versions"});
  if (versions == nullptr) return;
  json::Array& stored = definition["status"]["storedVersions"].make_array();
  for (const Value& v : versions->items()) {
    const Value* storage = v.get("storage");
    if (storage == nullptr || !storage->bool_or(false)) continue;
    const Value name(v.str_at({"name"}));
    if (std::find(stored.begin(), stored.end(), name) == stored.end()) stored.push_back(name);
    return;
  }
}
void init_definition(Value& object, WallTime now) {
  Value& status = object["status"];
  status = json::Object();
  status["acceptedNames"]["kind"] = "";
  status["acceptedNames"]["plural"] = "";
  status["conditions"] = nullptr;
  remember_storage_version(object);
}
void update_definition(Value& object, const Value& old, std::string_view subresource, WallTime now) {
  if (subresource.empty()) remember_storage_version(object);
}
bool begin_definition_delete(Value& object, WallTime now) {
  // Its objects go first; whoever empties it takes the finalizer away.
  if (object.at({"metadata", "deletionTimestamp"}) != nullptr) return false;
  object["metadata"]["deletionTimestamp"] = format_rfc3339(now);
  json::Array& finalizers = object["metadata"]["finalizers"].make_array();
  if (std::find(finalizers.begin(), finalizers.end(), Value(kCrdFinalizer)) == finalizers.end()) finalizers.push_back(kCrdFinalizer);
  Value condition = json::Object();
  condition["type"] = "Terminating";
  condition["status"] = "True";
  condition["reason"] = "InstanceDeletionPending";
  condition["message"] = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
  condition["lastTransitionTime"] = format_rfc3339(now);
  json::Array& conditions = object["status"]["conditions"].make_array();
  std::erase_if(conditions, [](const Value& c) { return c.str_at({"type"}) == "Terminating"; });
  conditions.push_back(std::move(condition));
  return true;
}

// When a decision was made, and when it was last touched.
void update_certificate_request(Value& object, const Value& old, std::string_view subresource, WallTime now) {
  if (subresource.empty()) return;
  Value* conditions = object.at({"status", "conditions"});
  if (conditions == nullptr || !conditions->is_array()) return;
  for (Value& c : conditions->as_array()) {
    auto absent = [&](const char* member) { return c.get(member) == nullptr || c.get(member)->is_null(); };
    if (absent("lastUpdateTime")) c["lastUpdateTime"] = format_rfc3339(now);
    if (!absent("lastTransitionTime")) continue;
    c["lastTransitionTime"] = format_rfc3339(now);
    if (const Value* before = old.at({"status", "conditions"})) {
      for (const Value& b : before->items()) {
        if (b.str_at({"type"}) == c.str_at({"type"}) && b.str_at({"status"}) == c.str_at({"status"}) && !b.str_at({"lastTransitionTime"}).empty()) {
          c["lastTransitionTime"] = b.str_at({"lastTransitionTime"});
        }
      }
    }
  }
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
  t["apps/statefulsets"].name_rule = [](std::string_view name) {
    return name.find('.') != std::string_view::npos ? schema::Messages{"must not contain dots"} : schema::is_dns1123_label(name);
  };
  t["/nodes"].keeps_status = true;
  for (const char* key : {"/namespaces"}) t[key].name_rule = schema::is_dns1123_label;
  t["/services"].name_rule = schema::is_dns1123_label;
  with("/pods", [](Strategy& s) { s.prepare_create = init_pod; });
  with("/namespaces", [](Strategy& s) {
    s.prepare_create = init_namespace;
    s.prepare_update = update_namespace;
  });
  with("/persistentvolumeclaims", [](Strategy& s) { s.prepare_create = init_claim; });
  with("/persistentvolumes", [](Strategy& s) {
    s.prepare_create = init_volume;
    s.prepare_update = update_volume;
  });
  with("/services", [](Strategy& s) {
    s.prepare_create = init_service;
    s.prepare_update = update_service;
  });
  with("apps/daemonsets", [](Strategy& s) { s.complete = complete_daemon_set; });
  with("certificates.k8s.io/certificatesigningrequests", [](Strategy& s) { s.prepare_update = update_certificate_request; });
  with("batch/jobs", [](Strategy& s) { s.prepare_create = init_job; });
  with("apiextensions.k8s.io/customresourcedefinitions", [](Strategy& s) {
    s.prepare_create = init_definition;
    s.prepare_update = update_definition;
    s.begin_delete = begin_definition_delete;
  });
  return t;
}

}  // namespace

const Strategy& strategy_of(const ResourceDef& resource) {
  static const std::map<Key, Strategy, std::less<>> table = make_table();
  static const Strategy plain;
  static const Strategy custom{.unconditional_update = false, .any_finalizer = true, .generation = GenerationRule::kAllWithStatus};
  static const Strategy custom_with_status{.unconditional_update = false, .any_finalizer = true, .generation = GenerationRule::kAllButMeta};
  if (resource.custom != nullptr) return resource.custom->has_status ? custom_with_status : custom;
  std::string key = resource.group + "/" + resource.plural;
  auto it = table.find(key);
  return it == table.end() ? plain : it->second;
}

bool has_status(const ResourceDef& resource) {
  return resource.facts->subresource("status") != nullptr;
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
  if (subresource == "status" && resource.custom != nullptr) {
    // Of a custom resource nothing but the status.
    if (const Value* status = object.get("status")) next["status"] = *status;
    else next.as_object().erase("status");
    return next;
  }
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

namespace {

const schema::Schema& owner_schema() { return *catalog::find_schema_by_name("io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference"); }

void validate_owners(const Value* owners, FieldErrors& errors) {
  if (owners == nullptr) return;
  const std::string path = "metadata.ownerReferences";
  std::string first;
  for (const Value& o : owners->items()) {
    for (const char* member : {"apiVersion", "kind", "name", "uid"}) {
      if (!o.str_at({member}).empty()) continue;
      errors.invalid(path + "." + member, "", std::string_view(member) == "apiVersion" ? "version must not be empty" : "must not be empty");
    }
    if (o.str_at({"kind"}) == "Event" && o.str_at({"apiVersion"}) == "v1") {
      errors.add(schema::FieldErrorType::kInvalid, path, schema::raw_text(schema::go_json(owner_schema(), o)), "/v1, Kind=Event is disallowed from being an owner");
    }
    if (const Value* c = o.get("controller"); c == nullptr || !c->bool_or(false)) continue;
    const std::string name = std::string(o.str_at({"kind"})) + "/" + std::string(o.str_at({"name"}));
    if (first.empty()) {
      first = name;
      continue;
    }
    std::string all = "[";
    for (const Value& other : owners->items()) all += (all.size() > 1 ? "," : "") + schema::go_json(owner_schema(), other);
    errors.add(schema::FieldErrorType::kInvalid, path, schema::raw_text(all + "]"),
               "Only one reference can have Controller set to true. Found \"true\" in references for " + first + " and " + name);
  }
}

}  // namespace

void validate_object_meta(const Value& object, bool namespaced, const Strategy& strategy, FieldErrors& errors) {
  const bool any_finalizer = strategy.any_finalizer;
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
  validate_owners(object.at({"metadata", "ownerReferences"}), errors);
  if (const Value* finalizers = object.at({"metadata", "finalizers"})) {
    bool orphan = false, foreground = false;
    size_t i = 0;
    for (const Value& f : finalizers->items()) {
      const std::string at = schema::index("metadata.finalizers", i++);
      for (std::string& m : schema::is_qualified_name(f.str())) errors.invalid("metadata.finalizers", f, std::move(m));
      if (!any_finalizer && schema::is_qualified_name(f.str()).empty() && f.str().find('/') == std::string_view::npos && f.str() != "orphan" &&
          f.str() != "foregroundDeletion" && f.str() != "kubernetes") {
        errors.invalid(at, f, "name is neither a standard finalizer name nor is it fully qualified");
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
  for (const char* member : {"name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"}) {
    const Value *now = object.at({"metadata", member}), *before = old.at({"metadata", member});
    const Value a = now == nullptr ? Value() : *now, b = before == nullptr ? Value() : *before;
    if (!(a == b) && !(a.str("x").empty() && b.is_null())) errors.invalid(std::string("metadata.") + member, a, "field is immutable");
  }
  schema::validate_labels(object.at({"metadata", "labels"}), "metadata.labels", errors);
  schema::validate_annotations(object.at({"metadata", "annotations"}), "metadata.annotations", errors);
  validate_owners(object.at({"metadata", "ownerReferences"}), errors);
}

}  // namespace engenho::apiserver
