// What a pod asks of a node: resources, tolerations, affinity, spread, and the rights of its processes.
#include <algorithm>
#include <map>
#include <set>

#include "engenho/schema/quantity.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

using schema::Quantity;

bool is_native(std::string_view name) { return name.find('/') == name.npos || name.find("kubernetes.io/") != name.npos; }
bool is_huge_page(std::string_view name) { return name.starts_with("hugepages-"); }
bool is_container_resource(std::string_view name) {
  return name == "cpu" || name == "memory" || name == "ephemeral-storage" || is_huge_page(name);
}
bool is_standard(std::string_view name) {
  static const std::set<std::string, std::less<>> others = {
      "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims", "storage",
      "services.nodeports", "services.loadbalancers", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage",
      "limits.cpu", "limits.memory", "limits.ephemeral-storage"};
  return is_container_resource(name) || others.find(name) != others.end();
}
bool is_extended(std::string_view name) {
  if (is_native(name) || name.starts_with("requests.")) return false;
  return schema::is_qualified_name("requests." + std::string(name)).empty();
}

void amounts(FieldErrors& errors, const std::string& path, const Value* map, bool& cpu_or_memory, bool& huge) {
  if (map == nullptr) return;
  for (const auto& [name, text] : map->members()) {
    const std::string here = schema::key(path, name);
    const schema::Messages wrong = schema::is_qualified_name(name);
    messages(errors, here, name, wrong);
    if (name.find('/') == name.npos) {
      if (wrong.empty() && !is_standard(name)) errors.invalid(here, name, "must be a standard resource type or fully qualified");
      if (!is_container_resource(name)) errors.invalid(here, name, "must be a standard resource for containers");
    } else if (wrong.empty() && !is_native(name) && !is_extended(name)) {
      errors.invalid(here, name, "doesn't follow extended resource name standard");
    }
    const Quantity q = Quantity::parse_or_zero(text.str());
    if (q.sign() < 0) errors.invalid(here, q.to_string(), "must be greater than or equal to 0");
    if (is_extended(name) && q.milli_value() % 1000 != 0) errors.invalid(here, q.to_string(), "must be an integer");
    if (is_huge_page(name)) {
      huge = true;
      const Quantity page = Quantity::parse_or_zero(std::string_view(name).substr(10));
      if (page.sign() > 0 && q.value() % page.value() != 0) {
        errors.invalid(here, q.to_string(), q.to_string() + " is not positive integer multiple of " + name);
      }
    }
    cpu_or_memory = cpu_or_memory || name == "cpu" || name == "memory";
  }
}

void requirements(FieldErrors& errors, const std::string& path, const json::Array& items, bool fields) {
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string here = at(path, i);
    const Value& r = items[i];
    const std::string_view key = r.str_at({"key"}), op = r.str_at({"operator"});
    const json::Array& values = list(r, "values");
    if (fields) {
      if (op == "In" || op == "NotIn") {
        if (values.size() != 1) errors.required(here / "values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
      } else {
        errors.invalid(here / "operator", op, "not a valid selector operator");
      }
      if (key != "metadata.name") {
        errors.invalid(here / "key", key, "not a valid field selector key");
      } else {
        for (size_t k = 0; k < values.size(); ++k) messages(errors, at(here / "values", k), values[k], schema::is_dns1123_subdomain(values[k].str()));
      }
      continue;
    }
    if (op == "In" || op == "NotIn") {
      if (values.empty()) errors.required(here / "values", "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (!values.empty()) errors.forbidden(here / "values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    } else if (op == "Gt" || op == "Lt") {
      if (values.size() != 1) errors.required(here / "values", "must be specified single value when `operator` is 'Lt' or 'Gt'");
    } else {
      errors.invalid(here / "operator", op, "not a valid selector operator");
    }
    messages(errors, here / "key", key, schema::is_qualified_name(key));
  }
}

void node_term(FieldErrors& errors, const std::string& path, const Value& term) {
  requirements(errors, path / "matchExpressions", list(term, "matchExpressions"), false);
  requirements(errors, path / "matchFields", list(term, "matchFields"), true);
}

void label_keys(FieldErrors& errors, const std::string& path, const Value& term) {
  for (const char* member : {"matchLabelKeys", "mismatchLabelKeys"}) {
    const json::Array& keys = list(term, member);
    if (keys.empty()) continue;
    if (!is_set(term.get("labelSelector"))) errors.forbidden(path / member, "must not be specified when labelSelector is not set");
    for (size_t i = 0; i < keys.size(); ++i) messages(errors, at(path / member, i), keys[i], schema::is_qualified_name(keys[i].str()));
  }
}

void pod_term(FieldErrors& errors, const std::string& path, const Value& term) {
  schema::validate_label_selector(term.get("labelSelector"), path / "labelSelector", errors);
  schema::validate_label_selector(term.get("namespaceSelector"), path / "namespaceSelector", errors);
  for (const Value& ns : list(term, "namespaces")) messages(errors, path / "namespace", ns, schema::is_dns1123_label(ns.str()));
  label_keys(errors, path, term);
  const std::string_view key = term.str_at({"topologyKey"});
  if (key.empty()) errors.required(path / "topologyKey", "can not be empty");
  messages(errors, path / "topologyKey", key, schema::is_qualified_name(key));
}

void weight(FieldErrors& errors, const std::string& path, const Value& term) {
  const int64_t n = number(term, "weight");
  if (n < 1 || n > 100) errors.invalid(path / "weight", n, "must be in the range 1-100");
}

void id_range(FieldErrors& errors, const std::string& path, const Value* id) {
  if (is_set(id) && (id->int_or(0) < 0 || id->int_or(0) > INT32_MAX)) {
    errors.invalid(path, *id, "must be between 0 and 2147483647, inclusive");
  }
}

void profiles(FieldErrors& errors, const std::string& path, const Value& context) {
  for (const char* name : {"seccompProfile", "appArmorProfile"}) {
    const Value* p = context.get(name);
    if (!is_set(p)) continue;
    const std::string_view type = p->str_at({"type"}), local = p->str_at({"localhostProfile"});
    const std::string here = path / name;
    const bool has_local = is_set(p->get("localhostProfile"));
    if (type == "Localhost") {
      if (!has_local) errors.required(here / "localhostProfile", "must be set when seccomp type is Localhost");
      else if (std::string_view(name) == "seccompProfile") descending_path(errors, here / "localhostProfile", local);
      continue;
    }
    if (has_local) {
      if (std::string_view(name) == "seccompProfile") {
        errors.invalid(here / "localhostProfile", p->get("localhostProfile") == nullptr ? Value() : *p->get("localhostProfile"),
                       "can only be set when seccomp type is Localhost");
      } else {
        errors.invalid(here / "localhostProfile", local, "can only be set when AppArmor type is Localhost");
      }
    }
    if (type.empty()) errors.required(here / "type", std::string_view(name) == "seccompProfile" ? "type is required when seccompProfile is set" : "type is required when appArmorProfile is set");
    else one_of(errors, here / "type", type, {"Localhost", "RuntimeDefault", "Unconfined"});
  }
}

void windows(FieldErrors& errors, const std::string& path, const Value* options) {
  if (!is_set(options)) return;
  if (const Value* name = options->get("gmsaCredentialSpecName"); is_set(name)) {
    messages(errors, path / "gmsaCredentialSpecName", *name, schema::is_dns1123_subdomain(name->str()));
  }
  if (const Value* spec = options->get("gmsaCredentialSpec"); is_set(spec) && spec->str().empty()) {
    errors.invalid(path / "gmsaCredentialSpec", *spec, "gmsaCredentialSpec cannot be an empty string");
  }
  if (const Value* user = options->get("runAsUserName"); is_set(user) && user->str().empty()) {
    errors.invalid(path / "runAsUserName", *user, "runAsUserName cannot be an empty string");
  }
}

bool is_sysctl_name(std::string_view name) {
  // Segments of [a-z0-9]([-_a-z0-9]*[a-z0-9])? between dots or slashes.
  if (name.empty() || name.size() > 253) return false;
  auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool separator = c == '.' || c == '/';
    if (!alnum(c) && !separator && c != '-' && c != '_') return false;
    const bool edge = i == 0 || i + 1 == name.size() || name[i - 1] == '.' || name[i - 1] == '/' || name[i + 1] == '.' || name[i + 1] == '/';
    if (edge && !alnum(c) && !(separator && i != 0 && i + 1 != name.size() && alnum(name[i - 1]) && alnum(name[i + 1]))) return false;
  }
  return true;
}

}  // namespace

void container_resources(FieldErrors& errors, const std::string& path, const Value* resources, const std::vector<std::string>& claims) {
  if (!is_set(resources)) return;
  const Value *limits = resources->get("limits"), *requests = resources->get("requests");
  bool cpu_or_memory = false, huge = false;
  amounts(errors, path / "limits", limits, cpu_or_memory, huge);
  amounts(errors, path / "requests", requests, cpu_or_memory, huge);
  if (requests != nullptr) {
    for (const auto& [name, text] : requests->members()) {
      const bool exact = !is_native(name) || is_huge_page(name);
      const Value* limit = limits == nullptr ? nullptr : limits->get(name);
      const Quantity q = Quantity::parse_or_zero(text.str());
      if (limit == nullptr) {
        if (exact) errors.required(path / "limits", "Limit must be set for non overcommitable resources");
        continue;
      }
      const Quantity l = Quantity::parse_or_zero(limit->str());
      if (exact && q != l) {
        errors.invalid(path / "requests", q.to_string(), "must be equal to " + name + " limit of " + l.to_string());
      } else if (!exact && q > l) {
        errors.invalid(path / "requests", q.to_string(), "must be less than or equal to " + name + " limit of " + l.to_string());
      }
    }
  }
  if (huge && !cpu_or_memory) errors.forbidden(path, "HugePages require cpu or memory");
  std::set<std::pair<std::string, std::string>> seen;
  const json::Array& wanted = list(*resources, "claims");
  for (size_t i = 0; i < wanted.size(); ++i) {
    const std::string here = at(path / "claims", i);
    const std::string name(wanted[i].str_at({"name"}));
    const std::string request(wanted[i].str_at({"request"}));
    if (name.empty()) {
      errors.required(here);
    } else if (!seen.emplace(name, request).second) {
      errors.duplicate(here, request.empty() ? name : name + "/" + request);
    } else if (std::find(claims.begin(), claims.end(), name) == claims.end()) {
      std::string why = "must be one of the names in pod.spec.resourceClaims";
      if (claims.empty()) why += " which is empty";
      else {
        std::vector<std::string> sorted = claims;
        std::sort(sorted.begin(), sorted.end());
        why += ": ";
        for (size_t k = 0; k < sorted.size(); ++k) why += (k > 0 ? ", " : "") + sorted[k];
      }
      errors.add(FieldErrorType::kNotFound, here, name, why);
    }
  }
}

void tolerations(FieldErrors& errors, const std::string& path, const json::Array& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    const Value& t = items[i];
    const std::string here = at(path, i);
    const std::string_view key = t.str_at({"key"}), op = t.str_at({"operator"}), value = t.str_at({"value"}), effect = t.str_at({"effect"});
    if (!key.empty()) messages(errors, here / "key", key, schema::is_qualified_name(key));
    if (key.empty() && op != "Exists") {
      errors.invalid(here / "operator", op, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
    }
    if (is_set(t.get("tolerationSeconds")) && effect != "NoExecute") {
      errors.invalid(here / "effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    if (op.empty() || op == "Equal") {
      messages(errors, here / "operator", value, schema::is_label_value(value));
    } else if (op == "Exists") {
      if (!value.empty()) errors.invalid(here / "operator", value, "value must be empty when `operator` is 'Exists'");
    } else if (op == "Lt" || op == "Gt") {
      unsupported(errors, here / "operator", op, {"Equal", "Exists", "Lt", "Gt"});  // a feature that is off, but listed
    } else {
      unsupported(errors, here / "operator", op, {"Equal", "Exists"});
    }
    if (!effect.empty()) one_of(errors, here / "effect", effect, {"NoSchedule", "PreferNoSchedule", "NoExecute"});
  }
}

void node_selector(FieldErrors& errors, const std::string& path, const Value& selector) {
  const json::Array& terms = list(selector, "nodeSelectorTerms");
  if (terms.empty()) errors.required(path / "nodeSelectorTerms", "must have at least one node selector term");
  for (size_t i = 0; i < terms.size(); ++i) node_term(errors, at(path / "nodeSelectorTerms", i), terms[i]);
}

void affinity(FieldErrors& errors, const std::string& path, const Value* affinity) {
  if (!is_set(affinity)) return;
  constexpr const char* kRequired = "requiredDuringSchedulingIgnoredDuringExecution";
  constexpr const char* kPreferred = "preferredDuringSchedulingIgnoredDuringExecution";
  if (const Value* node = affinity->get("nodeAffinity"); is_set(node)) {
    const std::string here = path / "nodeAffinity";
    if (const Value* required = node->get(kRequired); is_set(required)) node_selector(errors, here / kRequired, *required);
    const json::Array& preferred = list(*node, kPreferred);
    for (size_t i = 0; i < preferred.size(); ++i) {
      weight(errors, at(here / kPreferred, i), preferred[i]);
      if (const Value* p = preferred[i].get("preference")) node_term(errors, at(here / kPreferred, i) / "preference", *p);
    }
  }
  for (const char* kind : {"podAffinity", "podAntiAffinity"}) {
    const Value* pods = affinity->get(kind);
    if (!is_set(pods)) continue;
    const json::Array &required = list(*pods, kRequired), &preferred = list(*pods, kPreferred);
    for (size_t i = 0; i < required.size(); ++i) pod_term(errors, at(path / kind / kRequired, i), required[i]);
    for (size_t i = 0; i < preferred.size(); ++i) {
      const std::string here = at(path / kind / kPreferred, i);
      weight(errors, here, preferred[i]);
      if (const Value* term = preferred[i].get("podAffinityTerm")) pod_term(errors, here / "podAffinityTerm", *term);
    }
  }
}

void topology_spread(FieldErrors& errors, const std::string& path, const json::Array& items) {
  std::map<std::pair<std::string, std::string>, size_t> first;  // where a pair stood first
  for (size_t i = 0; i < items.size(); ++i) {
    const Value& c = items[i];
    const std::string here = at(path, i);
    const std::string key(c.str_at({"topologyKey"})), action(c.str_at({"whenUnsatisfiable"}));
    if (number(c, "maxSkew") <= 0) errors.invalid(here / "maxSkew", number(c, "maxSkew"), "must be greater than zero");
    if (key.empty()) errors.required(here / "topologyKey", "can not be empty");
    else messages(errors, here / "topologyKey", key, schema::is_qualified_name(key));
    one_of(errors, here / "whenUnsatisfiable", action, {"DoNotSchedule", "ScheduleAnyway"});
    if (!first.emplace(std::pair{key, action}, i).second) {
      errors.duplicate(at(path, first[{key, action}]) / "{topologyKey, whenUnsatisfiable}", "{" + key + ", " + action + "}");
    }
    if (const Value* domains = c.get("minDomains"); is_set(domains)) {
      if (domains->int_or(0) <= 0) errors.invalid(here / "minDomains", *domains, "must be greater than zero");
      if (action != "DoNotSchedule") {
        errors.invalid(here / "minDomains", *domains, "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not " + action);
      }
    }
    for (const char* member : {"nodeAffinityPolicy", "nodeTaintsPolicy"}) {
      if (const Value* p = c.get(member); is_set(p)) one_of(errors, here / member, p->str(), {"Honor", "Ignore"});
    }
    label_keys(errors, here, c);
    schema::validate_label_selector(c.get("labelSelector"), here / "labelSelector", errors);
  }
}

void pod_security(FieldErrors& errors, const std::string& path, const Value& spec) {
  const std::string here = path / "securityContext";
  if (flag(spec, "shareProcessNamespace") && flag(spec, "hostPID")) {
    errors.invalid(here / "shareProcessNamespace", true, "ShareProcessNamespace and HostPID cannot both be enabled");
  }
  const Value* context = spec.get("securityContext");
  if (!is_set(context)) return;
  id_range(errors, here / "fsGroup", context->get("fsGroup"));
  id_range(errors, here / "runAsUser", context->get("runAsUser"));
  id_range(errors, here / "runAsGroup", context->get("runAsGroup"));
  const json::Array& groups = list(*context, "supplementalGroups");
  for (size_t i = 0; i < groups.size(); ++i) id_range(errors, at(here / "supplementalGroups", i), &groups[i]);
  std::set<std::string, std::less<>> names;
  const json::Array& sysctls = list(*context, "sysctls");
  for (size_t i = 0; i < sysctls.size(); ++i) {
    const std::string name(sysctls[i].str_at({"name"})), at_name = at(here / "sysctls", i) / "name";
    if (name.empty()) {
      errors.required(at_name);
    } else if (!is_sysctl_name(name)) {
      errors.invalid(at_name, name,
                     "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$");
    } else if (!names.insert(name).second) {
      errors.duplicate(at_name, name);
    }
    const bool of_net = name.starts_with("net.") || name.starts_with("net/");
    const bool of_ipc = name.starts_with("kernel.shm") || name.starts_with("kernel.msg") || name == "kernel.sem" || name.starts_with("fs.mqueue.");
    if (of_net && flag(spec, "hostNetwork")) errors.invalid(at_name, name, "may not be specified when 'hostNetwork' is true");
    if (of_ipc && flag(spec, "hostIPC")) errors.invalid(at_name, name, "may not be specified when 'hostIPC' is true");
  }
  if (const Value* policy = context->get("fsGroupChangePolicy"); is_set(policy)) {
    one_of(errors, here / "fsGroupChangePolicy", policy->str(), {"Always", "OnRootMismatch"});
  }
  profiles(errors, here, *context);
  windows(errors, here / "windowsOptions", context->get("windowsOptions"));
  if (const Value* policy = context->get("supplementalGroupsPolicy"); is_set(policy)) {
    one_of(errors, here / "supplementalGroupsPolicy", policy->str(), {"Merge", "Strict"});
  }
  const Value* host_process = context->at({"windowsOptions", "hostProcess"});
  if (host_process != nullptr && host_process->bool_or(false) && !flag(spec, "hostNetwork")) {
    errors.invalid(path / "hostNetwork", false, "hostNetwork must be true if pod contains any hostProcess containers");
  }
}

void container_security(FieldErrors& errors, const std::string& path, const Value* context, bool host_users) {
  if (!is_set(context)) return;
  id_range(errors, path / "runAsUser", context->get("runAsUser"));
  id_range(errors, path / "runAsGroup", context->get("runAsGroup"));
  if (const Value* mount = context->get("procMount"); is_set(mount)) {
    one_of(errors, path / "procMount", mount->str(), {"Default", "Unmasked"});
    if (host_users && mount->str() == "Unmasked") errors.invalid(path / "procMount", *mount, "`hostUsers` must be false to use `Unmasked`");
  }
  profiles(errors, path, *context);
  const Value* escalation = context->get("allowPrivilegeEscalation");
  if (is_set(escalation) && !escalation->bool_or(true)) {
    if (flag(*context, "privileged")) {
      errors.invalid(path, *context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
    const Value* added = context->at({"capabilities", "add"});
    for (const Value& capability : added == nullptr ? json::Array() : added->items()) {
      if (capability.str() == "CAP_SYS_ADMIN") {
        errors.invalid(path, *context, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
      }
    }
  }
  windows(errors, path / "windowsOptions", context->get("windowsOptions"));
}

}  // namespace engenho::apiserver::validation
