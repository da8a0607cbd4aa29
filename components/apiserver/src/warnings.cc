#include "warnings.h"

#include <map>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/schema/names.h"

namespace engenho::apiserver {

namespace {

using json::Value;
using Texts = std::vector<std::string>;

const json::Array& list(const Value& v, std::string_view member) {
  static const json::Array none;
  const Value* items = v.get(member);
  return items == nullptr ? none : items->items();
}

// Volume types that no longer do anything, and volumes without content.
void volumes(Texts& out, const std::string& path, const Value& spec) {
  size_t i = 0;
  for (const Value& v : list(spec, "volumes")) {
    for (const auto& [type, since] : {std::pair("rbd", "deprecated in v1.28, non-functional in v1.31+"), std::pair("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
                                      std::pair("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
                                      std::pair("storageos", "deprecated in v1.22, non-functional in v1.25+"),
                                      std::pair("scaleIO", "deprecated in v1.16, non-functional in v1.22+")}) {
      if (v.get(type) != nullptr) out.push_back(schema::index(path + ".volumes", i) + "." + type + ": " + since);
    }
    if (const Value* projected = v.get("projected"); projected != nullptr && list(*projected, "sources").empty()) {
      out.push_back("volume \"" + std::string(v.str_at({"name"})) + "\" (Projected) has no sources provided");
    }
    ++i;
  }
}

void containers(Texts& out, const std::string& path, const Value& spec) {
  for (const char* member : {"initContainers", "containers"}) {
    size_t i = 0;
    for (const Value& c : list(spec, member)) {
      const std::string here = schema::index(path + "." + member, i++);
      std::set<std::string_view> names;
      size_t n = 0;
      for (const Value& e : list(c, "env")) {
        const std::string_view name = e.str_at({"name"});
        if (!names.insert(name).second && e.str_at({"value"}).find("$(" + std::string(name) + ")") == std::string_view::npos) {
          out.push_back(schema::index(here + ".env", n) + ": hides previous definition of \"" + std::string(name) + "\", which may be dropped when using apply");
        }
        ++n;
      }
      std::map<std::string, size_t> ports;
      n = 0;
      for (const Value& p : list(c, "ports")) {
        const Value* number = p.get("containerPort");
        const std::string key = (number == nullptr ? "" : json::dump(*number)) + "/" + std::string(p.str_at({"protocol"})) + "/" +
                                std::string(p.str_at({"hostIP"})) + "/" + (p.get("hostPort") == nullptr ? "" : json::dump(*p.get("hostPort")));
        auto [first, fresh] = ports.emplace(key, n);
        if (!fresh) out.push_back(schema::index(here + ".ports", n) + ": duplicate port definition with " + schema::index(here + ".ports", first->second));
        ++n;
      }
    }
  }
}

void pod_spec(Texts& out, const std::string& path, const Value& spec) {
  size_t i = 0;
  for (const Value& c : list(spec, "topologySpreadConstraints")) {
    const std::string here = schema::index(path + ".topologySpreadConstraints", i++);
    if (c.get("labelSelector") == nullptr) out.push_back(here + ".labelSelector: a null labelSelector results in matching no pod");
  }
  volumes(out, path, spec);
  i = 0;
  for (const Value& s : list(spec, "imagePullSecrets")) {
    const std::string here = schema::index(path + ".imagePullSecrets", i++);
    if (s.str_at({"name"}).empty()) out.push_back(here + ".name: invalid empty name \"\"");
  }
  containers(out, path, spec);
}

void custom(Texts& out, const Value& object) {
  const Value* finalizers = object.at({"metadata", "finalizers"});
  if (finalizers == nullptr) return;
  for (const Value& f : finalizers->items()) {
    if (f.str().find('/') != std::string_view::npos || f.str() == "orphan" || f.str() == "foregroundDeletion") continue;
    out.push_back("metadata.finalizers: \"" + std::string(f.str()) + "\": prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers");
  }
}

bool has_rules(const Value& v, int depth = 0) {
  if (depth > 200) return false;
  if (v.get("x-kubernetes-validations") != nullptr) return true;
  for (const auto& [name, inner] : v.members()) {
    if (has_rules(inner, depth + 1)) return true;
  }
  for (const Value& item : v.items()) {
    if (has_rules(item, depth + 1)) return true;
  }
  return false;
}

// What a definition asks for and this server does not do.
void definition(Texts& out, const Value& object) {
  const Value* versions = object.at({"spec", "versions"});
  if (versions != nullptr && has_rules(*versions)) {
    out.push_back("spec.versions[*].schema: x-kubernetes-validations are stored and not evaluated: this server has no CEL yet");
  }
  if (object.str_at({"spec", "conversion", "strategy"}) == "Webhook") {
    out.push_back("spec.conversion: the webhook is stored and not called: only apiVersion changes between versions");
  }
}

}  // namespace

Texts warnings_of(const ResourceDef& resource, std::string_view subresource, const Value& object, bool create) {
  Texts out;
  if (!subresource.empty()) return out;
  if (resource.custom != nullptr) {
    if (create) custom(out, object);
    return out;
  }
  const std::string& kind = resource.kind;
  if (kind == "CustomResourceDefinition") {
    definition(out, object);
  } else if (kind == "Pod") {
    const std::string_view name = object.str_at({"metadata", "name"});
    if (const auto problems = schema::is_dns1123_label(name); create && !problems.empty()) {
      out.push_back("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [" +
                    join(problems, " ") + "]");
    }
    if (const Value* spec = object.get("spec")) pod_spec(out, "spec", *spec);
  } else if (const Value* spec = object.at({"spec", "template", "spec"}); spec != nullptr && (resource.group == "apps" || resource.group == "batch" || kind == "ReplicationController")) {
    pod_spec(out, "spec.template.spec", *spec);
  } else if (kind == "Service" && object.at({"spec", "externalIPs"}) != nullptr) {
    out.push_back("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
  } else if (kind == "Ingress" && create && object.at({"metadata", "annotations", "kubernetes.io/ingress.class"}) != nullptr &&
             object.at({"spec", "ingressClassName"}) == nullptr) {
    out.push_back("annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead");
  } else if (kind == "ServiceAccount" && object.at({"metadata", "annotations", "kubernetes.io/enforce-mountable-secrets"}) != nullptr) {
    out.push_back("metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets");
  }
  return out;
}

}  // namespace engenho::apiserver
