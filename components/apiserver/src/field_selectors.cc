#include "field_selectors.h"

#include <algorithm>
#include <map>

#include "engenho/base/bytes.h"
#include "custom_resources.h"

namespace engenho::apiserver {

namespace {

using json::Value;

std::string plain(const Value* v) {
  if (v == nullptr || v->is_null()) return "";
  if (v->is_string()) return v->as_string();
  return json::dump(*v);
}

// Dotted path of the document for a selectable field; most are spelled the same.
std::string value_of(std::string_view field, const Value& object) {
  const Value* at = &object;
  for (std::string_view part : split(field, '.')) {
    at = at->get(part);
    if (at == nullptr) return "";
  }
  return plain(at);
}

using Names = std::vector<std::string_view>;
const Names* selectable(const ResourceDef& r) {
  static const std::map<std::string, Names, std::less<>> kFields = {
      {"/pods", {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
                 "spec.host", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"}},
      {"/nodes", {"spec.unschedulable"}},
      {"/namespaces", {"status.phase"}},
      {"/secrets", {"type"}},
      {"/replicationcontrollers", {"status.replicas"}},
      {"/services", {"spec.clusterIP", "spec.type"}},
      {"/events",
       {"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
        "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"}},
      {"events.k8s.io/events", {"reason", "reportingController", "regarding.kind", "regarding.namespace", "regarding.name",
        "regarding.uid", "regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath", "type"}},
      {"batch/jobs", {"status.successful"}},
      {"certificates.k8s.io/certificatesigningrequests", {"spec.signerName"}},
      {"certificates.k8s.io/clustertrustbundles", {"spec.signerName"}},
      {"certificates.k8s.io/podcertificaterequests", {"spec.signerName", "spec.podName", "spec.nodeName"}},
      {"networking.k8s.io/ipaddresses", {}},
      {"resource.k8s.io/resourceslices", {"spec.nodeName", "spec.driver"}},
  };
  auto it = kFields.find(r.group + "/" + r.plural);
  return it == kFields.end() ? nullptr : &it->second;
}

std::string special(const ResourceDef& r, std::string_view field, const Value& object, bool& known) {
  known = true;
  if (r.plural == "jobs" && field == "status.successful") {
    const Value* n = object.at({"status", "succeeded"});
    return n == nullptr ? "0" : plain(n);
  }
  if (r.plural == "pods" && field == "spec.hostNetwork") {
    const Value* v = object.at({"spec", "hostNetwork"});
    return v != nullptr && v->bool_or(false) ? "true" : "false";
  }
  if (r.plural == "pods" && field == "spec.host") return std::string(object.str_at({"spec", "nodeName"}));  // its old name
  if (r.plural == "nodes" && field == "spec.unschedulable") {
    const Value* v = object.at({"spec", "unschedulable"});
    return v != nullptr && v->bool_or(false) ? "true" : "false";
  }
  if (r.plural == "replicationcontrollers" && field == "status.replicas") {
    const Value* n = object.at({"status", "replicas"});
    return n == nullptr ? "0" : plain(n);
  }
  if (r.plural == "events" && field == "source") {
    std::string source(object.str_at({"source", "component"}));
    return source.empty() ? std::string(object.str_at({"reportingComponent"})) : source;
  }
  known = false;
  return "";
}

}  // namespace

Status check_field_selector(const ResourceDef& resource, const std::vector<schema::FieldRequirement>& requirements) {
  const Names* names = selectable(resource);
  for (const schema::FieldRequirement& r : requirements) {
    if (r.field == "metadata.name" || (r.field == "metadata.namespace" && (resource.namespaced || resource.group == "resource.k8s.io"))) continue;
    bool known = resource.custom != nullptr && std::find(resource.custom->selectable_fields.begin(), resource.custom->selectable_fields.end(), r.field) !=
                                                   resource.custom->selectable_fields.end();
    if (names != nullptr) {
      for (std::string_view n : *names) known = known || n == r.field;
    }
    if (!known) {
      const bool own_text = resource.custom != nullptr || (names != nullptr && !names->empty());
      if (resource.kind == "Job" && resource.group == "batch") return bad_request("field label \"" + r.field + "\" not supported for Job");
      if (resource.plural == "resourceslices" && resource.custom == nullptr) {
        return bad_request("field label not supported for " + resource.api_version() + ", Kind=" + resource.kind + ": " + r.field);
      }
      return bad_request(own_text ? "field label not supported: " + r.field
                                  : "\"" + r.field + "\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"");
    }
  }
  return {};
}

bool Filter::matches(const ResourceDef& resource, const Object& object) const {
  if (!labels.matches([&](std::string_view name) { return object.label(name); })) return false;
  Value document;
  bool parsed = false;
  for (const schema::FieldRequirement& r : fields) {
    std::string value;
    if (r.field == "metadata.name") {
      value = object.name();
    } else if (r.field == "metadata.namespace") {
      value = object.namespace_name();
    } else {
      if (!parsed) {
        document = object.value();
        parsed = true;
      }
      bool known = false;
      value = special(resource, r.field, document, known);
      if (!known) value = value_of(r.field, document);
    }
    if ((value == r.value) != r.equal) return false;
  }
  return true;
}

Result<Filter> filter_of(const ResourceDef& resource, std::string_view label_selector, std::string_view field_selector) {
  Filter out;
  if (!label_selector.empty()) {
    ENGENHO_ASSIGN(out.labels, schema::LabelSelector::parse(label_selector));
  }
  if (!field_selector.empty()) {
    ENGENHO_ASSIGN(out.fields, schema::parse_field_selector(field_selector));
    ENGENHO_TRY(check_field_selector(resource, out.fields));
  }
  return out;
}

}  // namespace engenho::apiserver
