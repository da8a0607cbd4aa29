// Access rules, networking, disruption budgets, priorities, leases, endpoint slices and storage classes.
#include <algorithm>
#include <set>

#include "engenho/base/bytes.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

const Value& part(const Value& object, std::string_view member) {
  static const Value none = json::Object();
  const Value* v = object.get(member);
  return v == nullptr || v->is_null() ? none : *v;
}

void rules(FieldErrors& errors, const Value& object, bool namespaced) {
  const json::Array& items = list(object, "rules");
  for (size_t i = 0; i < items.size(); ++i) {
    const Value& r = items[i];
    const std::string here = at("rules", i);
    const json::Array& urls = list(r, "nonResourceURLs");
    if (list(r, "verbs").empty()) errors.required(here / "verbs", "verbs must contain at least one value");
    if (!urls.empty()) {
      if (namespaced) errors.invalid(here / "nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs");
      if (!list(r, "apiGroups").empty() || !list(r, "resources").empty() || !list(r, "resourceNames").empty()) {
        errors.invalid(here / "nonResourceURLs", urls, "rules cannot apply to both regular resources and non-resource URLs");
      }
      continue;
    }
    if (list(r, "apiGroups").empty()) errors.required(here / "apiGroups", "resource rules must supply at least one api group");
    if (list(r, "resources").empty()) errors.required(here / "resources", "resource rules must supply at least one resource");
  }
  if (const Value* aggregation = object.get("aggregationRule"); !namespaced && is_set(aggregation)) {
    const json::Array& selectors = list(*aggregation, "clusterRoleSelectors");
    const std::string here = "aggregationRule.clusterRoleSelectors";
    if (selectors.empty()) errors.required(here, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    for (size_t i = 0; i < selectors.size(); ++i) {
      const size_t before = errors.size();
      schema::validate_label_selector(&selectors[i], at(here, i), errors);
      if (errors.size() != before) errors.invalid(at(here, i), Value(), "invalid label selector.");
    }
  }
}

void binding(FieldErrors& errors, const Value& object, bool namespaced) {
  constexpr std::string_view kGroup = "rbac.authorization.k8s.io";
  const Value& role = part(object, "roleRef");
  one_of(errors, "roleRef.apiGroup", role.str_at({"apiGroup"}), {kGroup});
  if (namespaced) one_of(errors, "roleRef.kind", role.str_at({"kind"}), {"Role", "ClusterRole"});
  else one_of(errors, "roleRef.kind", role.str_at({"kind"}), {"ClusterRole"});
  if (role.str_at({"name"}).empty()) errors.required("roleRef.name");
  else messages(errors, "roleRef.name", role.str_at({"name"}), schema::is_path_segment_name(role.str_at({"name"})));
  const json::Array& subjects = list(object, "subjects");
  for (size_t i = 0; i < subjects.size(); ++i) {
    const Value& s = subjects[i];
    const std::string here = at("subjects", i);
    const std::string_view kind = s.str_at({"kind"}), name = s.str_at({"name"}), group = s.str_at({"apiGroup"});
    if (name.empty()) errors.required(here / "name");
    if (kind == "ServiceAccount") {
      if (!name.empty()) messages(errors, here / "name", name, schema::is_dns1123_subdomain(name));
      if (!group.empty()) one_of(errors, here / "apiGroup", group, {""});
      if (!namespaced && s.str_at({"namespace"}).empty()) errors.required(here / "namespace");
    } else if (kind == "User" || kind == "Group") {
      one_of(errors, here / "apiGroup", group, {kGroup});
    } else {
      one_of(errors, here / "kind", kind, {"ServiceAccount", "User", "Group"});
    }
  }
}

void autoscaler(FieldErrors& errors, const Value& spec) {
  const Value *least = spec.get("minReplicas"), *most = spec.get("maxReplicas");
  const int64_t low = least == nullptr ? 1 : least->int_or(1), high = most == nullptr ? 0 : most->int_or(0);
  if (low < 1) errors.invalid("spec.minReplicas", low, "must be greater than or equal to 1");
  if (high < 1) errors.invalid("spec.maxReplicas", high, "must be greater than 0");
  if (high < low) errors.invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`");
}

void budget(FieldErrors& errors, const Value& spec) {
  if (is_set(spec.get("minAvailable")) && is_set(spec.get("maxUnavailable"))) {
    errors.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
  }
  for (const char* member : {"minAvailable", "maxUnavailable"}) {
    const Value* v = spec.get(member);
    if (!is_set(v)) continue;
    number_or_percent(errors, std::string("spec.") + member, *v);
    not_above_100_percent(errors, std::string("spec.") + member, *v);
  }
  schema::validate_label_selector(spec.get("selector"), "spec.selector", errors);
  if (const Value* p = spec.get("unhealthyPodEvictionPolicy"); is_set(p)) {
    one_of(errors, "spec.unhealthyPodEvictionPolicy", p->str(), {"AlwaysAllow", "IfHealthyBudget"});
  }
}

void priority_class(FieldErrors& errors, const Value& object, const Value* old) {
  const std::string name(object.str_at({"metadata", "name"}));
  const int64_t value = number(object, "value");
  if (name.starts_with("system-")) {
    const int64_t known = name == "system-node-critical" ? 2000001000 : name == "system-cluster-critical" ? 2000000000 : 0;
    std::string why;
    if (known == 0) why = name + " is not a known system priority class";
    else if (known != value) why = "value of " + name + " PriorityClass must be " + std::to_string(known);
    else if (flag(object, "globalDefault")) why = "globalDefault of " + name + " PriorityClass must be false";
    if (!why.empty()) {
      errors.forbidden("metadata.name", "priority class names with 'system-' prefix are reserved for system use only. error: " + why);
    }
  } else if (value > 1000000000) {
    errors.forbidden("value", "maximum allowed value of a user defined priority is 1000000000");
  }
  if (const Value* p = object.get("preemptionPolicy"); is_set(p)) one_of(errors, "preemptionPolicy", p->str(), {"PreemptLowerPriority", "Never"});
  if (old == nullptr) return;
  if (number(*old, "value") != value) errors.forbidden("value", "may not be changed in an update.");
  immutable(errors, "preemptionPolicy", object.get("preemptionPolicy"), old->get("preemptionPolicy"));
}

void backend(FieldErrors& errors, const std::string& path, const Value& b) {
  const Value *service = b.get("service"), *resource = b.get("resource");
  if (is_set(service) && is_set(resource)) return errors.invalid(path, "", "cannot set both resource and service backends");
  if (!is_set(service) && !is_set(resource)) return errors.required(path, "resource or service backend is required");
  if (!is_set(service)) return;
  const std::string here = path / "service";
  const std::string_view name = service->str_at({"name"}), port = service->str_at({"port", "name"});
  if (name.empty()) errors.required(here / "name");
  else messages(errors, here / "name", name, schema::is_dns1123_label(name));
  const Value* n = service->at({"port", "number"});
  const int64_t number = n == nullptr ? 0 : n->int_or(0);
  if (!port.empty() && number != 0) errors.invalid(here, "", "cannot set both port name & port number");
  else if (!port.empty()) messages(errors, here / "port" / "name", port, schema::is_valid_port_name(port));
  else if (number != 0) messages(errors, here / "port" / "number", number, schema::is_valid_port_number(number));
  else errors.required(here, "port name or number is required");
}

void host_name(FieldErrors& errors, const std::string& path, std::string_view host) {
  if (host.empty()) return;
  if (schema::parse_ip(host)) errors.invalid(path, host, "must be a DNS name, not an IP address");
  if (host.find('*') == host.npos) return messages(errors, path, host, schema::is_dns1123_subdomain(host));
  if (host.starts_with("*.") && schema::is_dns1123_subdomain(host.substr(2)).empty()) return;
  errors.invalid(path, host,
                 "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case "
                 "alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation "
                 "is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
}

void ingress(FieldErrors& errors, const Value& spec) {
  const json::Array& items = list(spec, "rules");
  const Value* fallback = spec.get("defaultBackend");
  if (items.empty() && !is_set(fallback)) errors.invalid("spec", items, "either `defaultBackend` or `rules` must be specified");
  const json::Array& tls = list(spec, "tls");
  for (size_t i = 0; i < tls.size(); ++i) {
    const json::Array& hosts = list(tls[i], "hosts");
    for (size_t k = 0; k < hosts.size(); ++k) host_name(errors, at(at("spec.tls", i) / "hosts", k), hosts[k].str());
  }
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string here = at("spec.rules", i);
    host_name(errors, here / "host", items[i].str_at({"host"}));
    const Value* http = items[i].get("http");
    if (!is_set(http)) continue;
    const json::Array& paths = list(*http, "paths");
    if (paths.empty()) errors.required(here / "http.paths");
    for (size_t k = 0; k < paths.size(); ++k) {
      const std::string at_path = at(here / "http.paths", k);
      const std::string_view path = paths[k].str_at({"path"}), type = paths[k].str_at({"pathType"});
      if (type.empty()) {
        errors.required(at_path / "pathType", "pathType must be specified");
      } else if (type == "Exact" || type == "Prefix") {
        if (!path.starts_with('/')) errors.invalid(at_path / "path", path, "must be an absolute path");
        for (const char* bad : {"//", "/./", "/../", "%2f", "%2F"}) {
          if (path.find(bad) != path.npos) errors.invalid(at_path / "path", path, std::string("must not contain '") + bad + "'");
        }
        for (const char* bad : {"/..", "/."}) {
          if (path.ends_with(bad)) errors.invalid(at_path / "path", path, std::string("cannot end with '") + bad + "'");
        }
      } else if (type == "ImplementationSpecific") {
        if (!path.empty() && !path.starts_with('/')) errors.invalid(at_path / "path", path, "must be an absolute path");
      } else {
        one_of(errors, at_path / "pathType", type, {"Exact", "ImplementationSpecific", "Prefix"});
      }
      backend(errors, at_path / "backend", part(paths[k], "backend"));
    }
  }
  if (is_set(fallback)) backend(errors, "spec.defaultBackend", *fallback);
  if (const Value* name = spec.get("ingressClassName"); is_set(name)) {
    messages(errors, "spec.ingressClassName", *name, schema::is_dns1123_subdomain(name->str()));
  }
}

void ingress_class(FieldErrors& errors, const Value& spec, const Value* old) {
  const std::string_view controller = spec.str_at({"controller"});
  const size_t slash = controller.find('/');
  if (old != nullptr) immutable(errors, "spec.controller", spec.get("controller"), old->at({"spec", "controller"}));
  if (controller.empty()) errors.required("spec.controller");
  else if (slash == controller.npos || slash == 0 || slash + 1 == controller.size()) {
    errors.invalid("spec.controller", controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
  }
  const Value* p = spec.get("parameters");
  if (!is_set(p)) return;
  const std::string here = "spec.parameters";
  const std::string_view scope = p->str_at({"scope"}), ns = p->str_at({"namespace"});
  if (p->str_at({"kind"}).empty()) errors.required(here / "kind");
  if (p->str_at({"name"}).empty()) errors.required(here / "name");
  if (scope.empty()) return errors.required(here / "scope");
  one_of(errors, here / "scope", scope, {"Cluster", "Namespace"});
  if (scope == "Namespace" && ns.empty()) errors.required(here / "namespace", "`parameters.scope` is set to 'Namespace'");
  if (scope == "Cluster" && is_set(p->get("namespace"))) errors.forbidden(here / "namespace", "`parameters.scope` is set to 'Cluster'");
}

bool cidr(std::string_view text) {
  const size_t slash = text.find('/');
  int64_t bits = 0;
  bool six = false;
  return slash != text.npos && schema::parse_ip(text.substr(0, slash), nullptr, &six) && parse_int(text.substr(slash + 1), bits) && bits >= 0 &&
         bits <= (six ? 128 : 32);
}

void policy_rules(FieldErrors& errors, const std::string& path, const json::Array& items, const char* peers) {
  for (size_t i = 0; i < items.size(); ++i) {
    const json::Array& ports = list(items[i], "ports");
    for (size_t k = 0; k < ports.size(); ++k) {
      const std::string here = at(at(path, i) / "ports", k);
      const Value *port = ports[k].get("port"), *end = ports[k].get("endPort");
      if (const Value* protocol = ports[k].get("protocol"); is_set(protocol)) {
        one_of(errors, here / "protocol", protocol->str(), {"TCP", "UDP", "SCTP"});
      }
      if (is_set(port)) {
        port_number_or_name(errors, here / "port", port);
        if (is_set(end)) {
          if (port->is_string()) errors.invalid(here / "endPort", *end, "may not be specified when `port` is non-numeric");
          else if (end->int_or(0) < port->int_or(0)) errors.invalid(here / "endPort", *port, "must be greater than or equal to `port`");
        }
      } else if (is_set(end)) {
        errors.invalid(here / "endPort", *end, "may not be specified when `port` is not specified");
      }
    }
    const json::Array& from = list(items[i], peers);
    for (size_t k = 0; k < from.size(); ++k) {
      const std::string here = at(at(path, i) / peers, k);
      const Value *pods = from[k].get("podSelector"), *spaces = from[k].get("namespaceSelector"), *block = from[k].get("ipBlock");
      int count = 0;
      if (is_set(pods)) ++count, schema::validate_label_selector(pods, here / "podSelector", errors);
      if (is_set(spaces)) ++count, schema::validate_label_selector(spaces, here / "namespaceSelector", errors);
      if (is_set(block)) {
        if (block->str_at({"cidr"}).empty()) errors.required(here / "ipBlock.cidr");
        else if (!cidr(block->str_at({"cidr"}))) {
          errors.invalid(here / "ipBlock.cidr", block->str_at({"cidr"}), "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
      }
      if (is_set(block) && count > 0) errors.forbidden(here, "may not specify both ipBlock and another peer");
      else if (!is_set(block) && count == 0) errors.required(here, "must specify a peer");
    }
  }
}

void network_policy(FieldErrors& errors, const Value& spec) {
  schema::validate_label_selector(spec.get("podSelector"), "spec.podSelector", errors);
  policy_rules(errors, "spec.ingress", list(spec, "ingress"), "from");
  policy_rules(errors, "spec.egress", list(spec, "egress"), "to");
  const json::Array& types = list(spec, "policyTypes");
  if (types.size() > 2) return errors.invalid("spec.policyTypes", types, "may not specify more than two policyTypes");
  for (size_t i = 0; i < types.size(); ++i) one_of(errors, at("spec.policyTypes", i), types[i].str(), {"Ingress", "Egress"});
}

void lease(FieldErrors& errors, const Value& spec) {
  if (const Value* d = spec.get("leaseDurationSeconds"); is_set(d) && d->int_or(1) <= 0) {
    errors.invalid("spec.leaseDurationSeconds", *d, "must be greater than 0");
  }
  nonnegative(errors, "spec.leaseTransitions", spec.get("leaseTransitions"));
}

}  // namespace

bool policy(FieldErrors& errors, const ResourceDef& resource, const Value& object, const Value* old) {
  const std::string &group = resource.group, &plural = resource.plural;
  const Value& spec = part(object, "spec");
  if (group == "rbac.authorization.k8s.io") {
    if (plural == "roles" || plural == "clusterroles") rules(errors, object, plural == "roles");
    else binding(errors, object, plural == "rolebindings");
    if ((plural == "rolebindings" || plural == "clusterrolebindings") && old != nullptr) {
      const Value *now = object.get("roleRef"), *then = old->get("roleRef");
      if (now != nullptr && then != nullptr && !(*now == *then)) errors.invalid("roleRef", *now, "cannot change roleRef");
    }
  } else if (group == "policy" && plural == "poddisruptionbudgets") {
    budget(errors, spec);
  } else if (plural == "horizontalpodautoscalers") {
    autoscaler(errors, spec);
  } else if (plural == "apiservices") {
    const std::string wanted = std::string(spec.str_at({"version"})) + "." + std::string(spec.str_at({"group"}));
    if (object.str_at({"metadata", "name"}) != wanted) {
      errors.invalid("metadata.name", object.str_at({"metadata", "name"}), "must be `spec.version+\".\"+spec.group`: \"" + wanted + "\"");
    }
  } else if (group == "scheduling.k8s.io" && plural == "priorityclasses") {
    priority_class(errors, object, old);
  } else if (group == "networking.k8s.io") {
    if (plural == "ingresses") ingress(errors, spec);
    else if (plural == "ingressclasses") ingress_class(errors, spec, old);
    else if (plural == "networkpolicies") network_policy(errors, spec);
  } else if (group == "coordination.k8s.io" && plural == "leases") {
    lease(errors, spec);
  } else if (group == "storage.k8s.io" && plural == "storageclasses" && old != nullptr) {
    for (const char* member : {"parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"}) {
      immutable(errors, member, object.get(member), old->get(member));
    }
  } else {
    return false;
  }
  return true;
}

}  // namespace engenho::apiserver::validation
