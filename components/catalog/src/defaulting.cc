#include "engenho/catalog/defaulting.h"

#include "defaults_internal.h"
#include "engenho/schema/decode.h"
#include "engenho/schema/defaults.h"
#include "engenho/schema/quantity.h"

namespace engenho::catalog {

namespace {

using schema::Kind;
using schema::Schema;

struct Entry {
  std::string_view group, kind;
  void (*apply)(std::string_view version, json::Value& object);
};

template <void (*F)(json::Value&)>
void plain(std::string_view, json::Value& object) {
  F(object);
}
// Before the kind's own: the pod spec at `template`.
void pod_template(json::Value* tmpl) {
  if (tmpl == nullptr) return;
  defaulting::drop_init_container_annotations(*tmpl);
  if (json::Value* spec = tmpl->get("spec")) defaulting::pod_spec_defaults(*spec);
}
template <void (*F)(json::Value&)>
void with_template(std::string_view, json::Value& object) {
  F(object);
  pod_template(object.at({"spec", "template"}));
}
void nothing(json::Value&) {}
void cron_job(std::string_view, json::Value& object) { pod_template(object.at({"spec", "jobTemplate", "spec", "template"})); }
void pod_template_kind(std::string_view, json::Value& object) { pod_template(object.get("template")); }
void hpa(std::string_view version, json::Value& object) {
  if (version == "v1") {
    defaulting::horizontal_pod_autoscaler_v1(object);
  } else {
    defaulting::horizontal_pod_autoscaler_v2(object);
  }
}

constexpr Entry kEntries[] = {
    {"", "Pod", plain<defaulting::pod>},
    {"", "PodTemplate", pod_template_kind},
    {"", "ReplicationController", with_template<defaulting::replication_controller>},
    {"", "Service", plain<defaulting::service>},
    {"", "Secret", plain<defaulting::secret>},
    {"", "Namespace", plain<defaulting::name_space>},
    {"", "Node", plain<defaulting::node>},
    {"", "PersistentVolume", plain<defaulting::persistent_volume>},
    {"", "LimitRange", plain<defaulting::limit_range>},
    {"apps", "Deployment", with_template<defaulting::deployment>},
    {"apps", "DaemonSet", with_template<defaulting::daemon_set>},
    {"apps", "StatefulSet", with_template<defaulting::stateful_set>},
    {"apps", "ReplicaSet", with_template<nothing>},
    {"batch", "Job", with_template<defaulting::job>},
    {"batch", "CronJob", cron_job},
    {"autoscaling", "HorizontalPodAutoscaler", hpa},
    {"networking.k8s.io", "NetworkPolicy", plain<defaulting::network_policy>},
    {"rbac.authorization.k8s.io", "RoleBinding", plain<defaulting::rbac_subjects>},
    {"rbac.authorization.k8s.io", "ClusterRoleBinding", plain<defaulting::rbac_subjects>},
    {"apiextensions.k8s.io", "CustomResourceDefinition", plain<defaulting::custom_resource_definition>},
    {"resource.k8s.io", "ResourceClaim", defaulting::resource_claim},
    {"resource.k8s.io", "ResourceClaimTemplate", defaulting::resource_claim},
    {"resource.k8s.io", "ResourceSlice", plain<defaulting::resource_slice>},
    {"resource.k8s.io", "DeviceTaintRule", plain<defaulting::device_taint_rule>},
};

// Amounts in a ResourceList have at most three decimals: finer ones round up, away from zero.
void round_amounts(json::Value& map) {
  for (auto& [name, value] : map.as_object()) {
    if (!value.is_string()) continue;
    const std::string& text = value.as_string();
    if (text.find_first_of(".nue") == std::string::npos && text.find('E') == std::string::npos) continue;
    Result<schema::Quantity> q = schema::Quantity::parse(text);
    if (q && q->nano() % 1'000'000 != 0) value = schema::Quantity::from_milli(q->milli_value(), q->format()).to_string();
  }
}

void round_resource_lists(const Schema& schema, json::Value& v) {
  switch (schema.kind) {
    case Kind::kObject:
      if (!v.is_object()) return;
      for (auto& [name, member] : v.as_object()) {
        if (!member.is_object() && !member.is_array()) continue;
        if (const schema::Field* field = schema.field(name)) round_resource_lists(*field->schema, member);
      }
      return;
    case Kind::kMap:
      if (!v.is_object()) return;
      if (schema.go_type == "v1.ResourceList") {
        round_amounts(v);
      } else if (schema.element->kind == Kind::kObject) {
        for (auto& [key, item] : v.as_object()) round_resource_lists(*schema.element, item);
      }
      return;
    case Kind::kArray:
      if (!v.is_array() || schema.element->kind != Kind::kObject) return;
      for (json::Value& item : v.as_array()) round_resource_lists(*schema.element, item);
      return;
    default: return;
  }
}

// Upstream stores protobuf, which cannot tell an empty list or map from none: fields that Go always writes come back as null.
void null_empty(const Schema& schema, json::Value& v) {
  switch (schema.kind) {
    case Kind::kObject:
      if (!v.is_object()) return;
      for (auto& [name, member] : v.as_object()) {
        if (!member.is_object() && !member.is_array()) continue;
        const schema::Field* field = schema.field(name);
        if (field == nullptr) continue;
        const Kind kind = field->schema->kind;
        if ((kind == Kind::kArray && member.items().empty()) || (kind == Kind::kMap && member.members().empty())) {
          if (!field->pointer) member = json::Value();
        } else {
          null_empty(*field->schema, member);
        }
      }
      return;
    case Kind::kMap:
      if (!v.is_object() || schema.element->kind != Kind::kObject) return;
      for (auto& [key, item] : v.as_object()) null_empty(*schema.element, item);
      return;
    case Kind::kArray:
      if (!v.is_array() || schema.element->kind != Kind::kObject) return;
      for (json::Value& item : v.as_array()) null_empty(*schema.element, item);
      return;
    default: return;
  }
}

}  // namespace

void apply_conditional_defaults(std::string_view group, std::string_view version, std::string_view kind, json::Value& object) {
  if (!object.is_object()) return;
  for (const Entry& entry : kEntries) {
    if (entry.kind == kind && entry.group == group) entry.apply(version, object);
  }
}

void apply_all_defaults(const Resource& resource, json::Value& object) {
  schema::apply_defaults(*resource.schema, object);
  apply_conditional_defaults(resource, object);
  round_resource_lists(*resource.schema, object);
  schema::normalize(*resource.schema, object);
  // These two are stored as JSON.
  if (resource.group != "apiextensions.k8s.io" && resource.group != "apiregistration.k8s.io") null_empty(*resource.schema, object);
}

}  // namespace engenho::catalog
