#include "bootstrap.h"

#include <arpa/inet.h>

#include <algorithm>

#include "bootstrap_policy.h"
#include "context.h"
#include "engenho/base/bytes.h"
#include "engenho/base/log.h"
#include "engenho/catalog/defaulting.h"
#include "engenho/schema/decode.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

using json::Value;

Bootstrapper::Bootstrapper(Rest& rest) : rest_(rest) {
  context_.user.name = "system:apiserver";
  context_.user.groups = {std::string(kMasters)};
}

Status Bootstrapper::ensure(Value object) {
  std::string_view group, version;
  catalog::split_api_version(object.str_at({"apiVersion"}), group, version);
  auto resource = rest_.resources().find_kind(group, version, object.str_at({"kind"}));
  if (resource == nullptr) return internal_error("bootstrap: unknown kind " + std::string(object.str_at({"kind"})));
  const std::string ns(object.str_at({"metadata", "namespace"})), name(object.str_at({"metadata", "name"}));
  if (resource->cacher->get(resource->store_key(ns, name)) != nullptr) return {};
  ENGENHO_RETURN_IF_ERROR(schema::decode(*resource->schema, object));
  catalog::apply_all_defaults(*resource->facts, object);
  context_.resource = resource;
  context_.info.namespace_ = ns;
  auto created = rest_.create(context_, *resource, std::move(object), {});
  if (!created && !created.error().already_exists()) return created.error().with_context("bootstrap of " + name);
  return {};
}

Status Bootstrapper::add_rules(Value object) {
  auto resource = rest_.resources().find_kind("rbac.authorization.k8s.io", "v1", "ClusterRole");
  const std::string name(object.str_at({"metadata", "name"}));
  ObjectPtr present = resource->cacher->get(resource->store_key("", name));
  if (present == nullptr) return ensure(std::move(object));
  const Value now = present->value();
  json::Array rules = now.get("rules") != nullptr ? now.get("rules")->items() : json::Array();
  const size_t before = rules.size();
  for (const Value& rule : object.get("rules")->items()) {
    if (std::find(rules.begin(), rules.end(), rule) == rules.end()) rules.push_back(rule);
  }
  if (rules.size() == before) return {};
  object["rules"] = std::move(rules);
  return keep(std::move(object), {"rules"});
}

Status Bootstrapper::keep(Value object, std::initializer_list<const char*> members) {
  std::string_view group, version;
  catalog::split_api_version(object.str_at({"apiVersion"}), group, version);
  auto resource = rest_.resources().find_kind(group, version, object.str_at({"kind"}));
  const std::string ns(object.str_at({"metadata", "namespace"})), name(object.str_at({"metadata", "name"}));
  ENGENHO_RETURN_IF_ERROR(ensure(object));
  context_.resource = resource;
  context_.info.namespace_ = ns;
  auto updated = rest_.update(
      context_, *resource, name, "",
      [&](const Value* current) -> Result<Value> {
        Value next = *current;
        for (const char* member : members) {
          if (const Value* v = object.get(member)) next[member] = *v;
        }
        return next;
      },
      {}, false);
  return updated ? Status() : updated.error();
}

Value object_of(const char* api_version, const char* kind, const std::string& name, const std::string& ns) {
  Value out = json::Object();
  out["apiVersion"] = api_version;
  out["kind"] = kind;
  out["metadata"]["name"] = name;
  if (!ns.empty()) out["metadata"]["namespace"] = ns;
  return out;
}

Status bootstrap(Rest& rest, const BootstrapOptions& options) {
  Bootstrapper make(rest);
  for (const char* name : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
    ENGENHO_RETURN_IF_ERROR(make.ensure(object_of("v1", "Namespace", name)));
  }
  auto policy = bootstrap_policy();
  if (!policy) return policy.error();
  for (Value& object : *policy) {
    if (object.str_at({"kind"}) == "ClusterRole") ENGENHO_RETURN_IF_ERROR(make.add_rules(std::move(object)));
    else ENGENHO_RETURN_IF_ERROR(make.ensure(std::move(object)));
  }

  for (const auto& [name, value] : {std::pair("system-node-critical", 2000001000), std::pair("system-cluster-critical", 2000000000)}) {
    Value c = object_of("scheduling.k8s.io/v1", "PriorityClass", name);
    c["value"] = value;
    c["description"] = std::string_view(name) == "system-node-critical"
                           ? "Used for system critical pods that must not be moved from their current node."
                           : "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.";
    ENGENHO_RETURN_IF_ERROR(make.ensure(std::move(c)));
  }

  Value cidr = object_of("networking.k8s.io/v1", "ServiceCIDR", "kubernetes");
  cidr["spec"]["cidrs"] = json::Array{options.service_cidr};
  ENGENHO_RETURN_IF_ERROR(make.ensure(std::move(cidr)));

  Value service = object_of("v1", "Service", "kubernetes", "default");
  service["metadata"]["labels"]["component"] = "apiserver";
  service["metadata"]["labels"]["provider"] = "kubernetes";
  Value& spec = service["spec"];
  spec["clusterIP"] = options.service_address;
  spec["clusterIPs"] = json::Array{options.service_address};
  spec["ipFamilies"] = json::Array{"IPv4"};
  spec["ipFamilyPolicy"] = "SingleStack";
  Value port = json::Object();
  port["name"] = "https";
  port["port"] = 443;
  port["protocol"] = "TCP";
  port["targetPort"] = options.advertise_port;
  spec["ports"] = json::Array{port};
  ENGENHO_RETURN_IF_ERROR(make.ensure(std::move(service)));

  return {};
}

}  // namespace engenho::apiserver
