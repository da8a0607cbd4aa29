// Pods: containers, ports, probes, names, and what an update may change.
#include <algorithm>
#include <map>
#include <set>

#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

using schema::Messages;

void ports(FieldErrors& errors, const std::string& path, const json::Array& items) {
  std::set<std::string, std::less<>> names;
  for (size_t i = 0; i < items.size(); ++i) {
    const Value& p = items[i];
    const std::string here = at(path, i);
    const std::string_view name = p.str_at({"name"});
    if (!name.empty()) {
      const Messages wrong = schema::is_valid_port_name(name);
      messages(errors, here / "name", name, wrong);
      if (wrong.empty() && !names.emplace(name).second) errors.duplicate(here / "name", name);
    }
    const int64_t port = number(p, "containerPort"), host = number(p, "hostPort");
    if (port == 0) errors.required(here / "containerPort");
    else messages(errors, here / "containerPort", port, schema::is_valid_port_number(port));
    if (host != 0) messages(errors, here / "hostPort", host, schema::is_valid_port_number(host));
    const std::string_view protocol = p.str_at({"protocol"});
    if (protocol.empty()) errors.required(here / "protocol");
    else one_of(errors, here / "protocol", protocol, {"SCTP", "TCP", "UDP"});
  }
}

void host_port_conflicts(FieldErrors& errors, const std::string& path, const json::Array& containers, std::set<std::string>& seen) {
  for (size_t c = 0; c < containers.size(); ++c) {
    const json::Array& items = list(containers[c], "ports");
    for (size_t i = 0; i < items.size(); ++i) {
      const int64_t host = number(items[i], "hostPort");
      if (host == 0) continue;
      std::string key = std::string(items[i].str_at({"protocol"})) + "/" + std::string(items[i].str_at({"hostIP"})) + "/" + std::to_string(host);
      if (!seen.insert(key).second) errors.duplicate(at(at(path, c) / "ports", i) / "hostPort", key);
    }
  }
}

void handler(FieldErrors& errors, const std::string& path, const Value& h, int64_t grace) {
  int count = 0;
  auto begins = [&](const char* name) {
    const Value* v = h.get(name);
    if (!is_set(v)) return static_cast<const Value*>(nullptr);
    if (count++ > 0) {
      errors.forbidden(path / name, "may not specify more than 1 handler type");
      return static_cast<const Value*>(nullptr);
    }
    return v;
  };
  if (const Value* exec = begins("exec"); exec != nullptr && list(*exec, "command").empty()) {
    errors.required(path / "exec" / "command");
  }
  if (const Value* http = begins("httpGet")) {
    const std::string here = path / "httpGet";
    if (http->str_at({"path"}).empty()) errors.required(here / "path");
    port_number_or_name(errors, here / "port", http->get("port"));
    one_of(errors, here / "scheme", http->str_at({"scheme"}), {"HTTP", "HTTPS"});
    for (const Value& header : list(*http, "httpHeaders")) {
      const std::string_view name = header.str_at({"name"});
      const bool fine = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-'; });
      if (!fine) {
        errors.invalid(here / "httpHeaders", name,
                       "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation "
                       "is '[-A-Za-z0-9]+')");
      }
    }
  }
  if (const Value* tcp = begins("tcpSocket")) port_number_or_name(errors, path / "tcpSocket" / "port", tcp->get("port"));
  if (const Value* grpc = begins("grpc")) {
    const int64_t port = number(*grpc, "port");
    messages(errors, path / "grpc" / "port", port, schema::is_valid_port_number(port));
  }
  if (const Value* sleep = begins("sleep")) {
    const int64_t seconds = number(*sleep, "seconds");
    if (seconds < 0 || seconds > grace) {
      errors.invalid(path / "sleep", seconds,
                     "must be non-negative and less than terminationGracePeriodSeconds (" + std::to_string(grace) + ")");
    }
  }
  if (count == 0) errors.required(path, "must specify a handler type");
}

void probes(FieldErrors& errors, const std::string& path, const Value& container, int64_t grace) {
  for (const char* name : {"livenessProbe", "readinessProbe", "startupProbe"}) {
    const Value* p = container.get(name);
    if (!is_set(p)) continue;
    const std::string here = path / name;
    handler(errors, here, *p, grace);
    for (const char* member : {"initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"}) {
      nonnegative(errors, here / member, p->get(member));
    }
    const Value* own_grace = p->get("terminationGracePeriodSeconds");
    const bool readiness = std::string_view(name) == "readinessProbe";
    if (is_set(own_grace)) {
      if (own_grace->int_or(0) <= 0) errors.invalid(here / "terminationGracePeriodSeconds", *own_grace, "must be greater than 0");
      if (readiness) errors.invalid(here / "terminationGracePeriodSeconds", *own_grace, "must not be set for readinessProbes");
    }
    if (!readiness && number(*p, "successThreshold", 1) != 1) {
      errors.invalid(here / "successThreshold", *p->get("successThreshold"), "must be 1");
    }
  }
}

void lifecycle(FieldErrors& errors, const std::string& path, const Value& container, int64_t grace) {
  const Value* l = container.get("lifecycle");
  if (!is_set(l)) return;
  for (const char* hook : {"postStart", "preStop"}) {
    if (const Value* h = l->get(hook); is_set(h)) handler(errors, path / "lifecycle" / hook, *h, grace);
  }
}

struct Around {
  const Value& spec;
  std::vector<std::string> claims;
  int64_t grace;
  bool host_users;
  bool trim_image;  // a pod's own, not a template's
};

void container(FieldErrors& errors, const std::string& path, const Value& c, const Around& around) {
  const std::string_view name = c.str_at({"name"}), image = c.str_at({"image"});
  if (name.empty()) errors.required(path / "name");
  else messages(errors, path / "name", name, schema::is_dns1123_label(name));
  if (image.empty()) errors.required(path / "image");
  const std::string_view termination = c.str_at({"terminationMessagePolicy"});
  if (termination.empty()) errors.required(path / "terminationMessagePolicy");
  else one_of(errors, path / "terminationMessagePolicy", termination, {"File", "FallbackToLogsOnError"});
  ports(errors, path / "ports", list(c, "ports"));
  env_sources(errors, path, c);
  volume_mounts(errors, path, c, list(around.spec, "volumes"));
  const std::string_view pull = c.str_at({"imagePullPolicy"});
  if (pull.empty()) errors.required(path / "imagePullPolicy");
  else one_of(errors, path / "imagePullPolicy", pull, {"Always", "IfNotPresent", "Never"});
  container_resources(errors, path / "resources", c.get("resources"), around.claims);
  std::set<std::string, std::less<>> resized;
  const json::Array& resize = list(c, "resizePolicy");
  for (size_t i = 0; i < resize.size(); ++i) {
    const std::string_view resource = resize[i].str_at({"resourceName"}), policy = resize[i].str_at({"restartPolicy"});
    const std::string here = path / "resizePolicy";
    if (!resized.emplace(resource).second) errors.duplicate(at(here, i), resource);
    if (resource.empty()) errors.required(here);
    else one_of(errors, here, resource, {"cpu", "memory"});
    if (policy.empty()) errors.required(here);
    else one_of(errors, here, policy, {"NotRequired", "RestartContainer"});
    if (around.spec.str_at({"restartPolicy"}) == "Never" && policy != "NotRequired") {
      errors.invalid(here, policy, "must be 'NotRequired' when `restartPolicy` is 'Never'");
    }
  }
  container_security(errors, path / "securityContext", c.get("securityContext"), around.host_users);
}

void containers(FieldErrors& errors, const std::string& path, const Around& around) {
  const json::Array& items = list(around.spec, "containers");
  if (items.empty()) return errors.required(path / "containers");
  std::set<std::string, std::less<>> names;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string here = at(path / "containers", i);
    container(errors, here, items[i], around);
    if (!names.emplace(items[i].str_at({"name"})).second) errors.duplicate(here / "name", items[i].str_at({"name"}));
    lifecycle(errors, here, items[i], around.grace);
    probes(errors, here, items[i], around.grace);
    if (const Value* policy = items[i].get("restartPolicy"); is_set(policy)) {
      one_of(errors, here / "restartPolicy", policy->str(), {"Always", "Never", "OnFailure"});
    }
  }
  std::set<std::string> seen;
  host_port_conflicts(errors, path / "containers", items, seen);
}

void init_containers(FieldErrors& errors, const std::string& path, const Around& around) {
  std::set<std::string, std::less<>> names;
  for (const Value& c : list(around.spec, "containers")) names.emplace(c.str_at({"name"}));
  const json::Array& items = list(around.spec, "initContainers");
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string here = at(path / "initContainers", i);
    const Value& c = items[i];
    container(errors, here, c, around);
    const std::string_view name = c.str_at({"name"}), policy = c.str_at({"restartPolicy"});
    if (!policy.empty()) one_of(errors, here / "restartPolicy", policy, {"Always", "Never", "OnFailure"});
    if (!name.empty() && !names.emplace(name).second) errors.duplicate(here / "name", name);
    std::set<std::string> seen;
    host_port_conflicts(errors, path / "initContainers", {c}, seen);
    if (policy == "Always") {
      lifecycle(errors, here, c, around.grace);
      probes(errors, here, c, around.grace);
      continue;
    }
    for (const char* member : {"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"}) {
      if (is_set(c.get(member))) errors.forbidden(here / member, "may not be set for init containers without restartPolicy=Always");
    }
  }
}

void ephemeral_containers(FieldErrors& errors, const std::string& path, const Around& around) {
  std::set<std::string, std::less<>> names, targets;
  for (const char* which : {"containers", "initContainers"}) {
    for (const Value& c : list(around.spec, which)) names.emplace(c.str_at({"name"}));
  }
  for (const Value& c : list(around.spec, "containers")) targets.emplace(c.str_at({"name"}));
  const json::Array& items = list(around.spec, "ephemeralContainers");
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string here = at(path / "ephemeralContainers", i);
    const Value& c = items[i];
    container(errors, here, c, around);
    const std::string_view name = c.str_at({"name"}), target = c.str_at({"targetContainerName"});
    if (!name.empty() && !names.emplace(name).second) errors.duplicate(here / "name", name);
    if (!target.empty() && targets.find(target) == targets.end()) errors.not_found(here / "targetContainerName", target);
    for (const char* member : {"ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "restartPolicy"}) {
      const Value* v = c.get(member);
      if (!is_set(v) || (v->is_array() && v->items().empty()) || (v->is_object() && std::string_view(member) == "resources" && v->members().empty())) {
        continue;
      }
      errors.forbidden(here / member, "cannot be set for an Ephemeral Container");
    }
  }
}

void dns(FieldErrors& errors, const std::string& path, const Value& spec) {
  const bool none = spec.str_at({"dnsPolicy"}) == "None";
  const Value* config = spec.get("dnsConfig");
  const std::string here = path / "dnsConfig";
  if (!is_set(config)) {
    if (none) errors.required(here, "must provide `dnsConfig` when `dnsPolicy` is None");
    return;
  }
  const json::Array& servers = list(*config, "nameservers");
  if (none && servers.empty()) errors.required(here / "nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None");
  if (servers.size() > 3) errors.invalid(here / "nameservers", servers, "must not have more than 3 nameservers");
  for (size_t i = 0; i < servers.size(); ++i) messages(errors, at(here / "nameservers", i), servers[i], schema::is_valid_ip(servers[i].str()));
  const json::Array& searches = list(*config, "searches");
  if (searches.size() > 32) errors.invalid(here / "searches", searches, "must not have more than 32 search paths");
  for (size_t i = 0; i < searches.size(); ++i) {
    std::string_view s = searches[i].str();
    if (s == ".") continue;
    if (s.ends_with('.')) s.remove_suffix(1);
    std::string plain(s);
    std::replace(plain.begin(), plain.end(), '_', '-');
    messages(errors, at(here / "searches", i), s, schema::is_dns1123_subdomain(plain));
  }
  const json::Array& options = list(*config, "options");
  for (size_t i = 0; i < options.size(); ++i) {
    if (options[i].str_at({"name"}).empty()) errors.required(at(here / "options", i), "must not be empty");
  }
}

void host_network_ports(FieldErrors& errors, const std::string& path, const Value& spec) {
  if (!flag(spec, "hostNetwork")) return;
  for (const char* which : {"containers", "initContainers"}) {
    const json::Array& items = list(spec, which);
    for (size_t c = 0; c < items.size(); ++c) {
      const json::Array& ports = list(items[c], "ports");
      for (size_t i = 0; i < ports.size(); ++i) {
        if (number(ports[i], "hostPort") != number(ports[i], "containerPort")) {
          errors.invalid(at(at(path / which, c) / "ports", i) / "hostPort", number(ports[i], "hostPort"),
                         "must match `containerPort` when `hostNetwork` is true");
        }
      }
    }
  }
}

void gates(FieldErrors& errors, const std::string& path, const Value& spec) {
  const json::Array& readiness = list(spec, "readinessGates");
  for (size_t i = 0; i < readiness.size(); ++i) {
    const std::string_view type = readiness[i].str_at({"conditionType"});
    messages(errors, at(path / "readinessGates", i) / "conditionType", type, schema::is_qualified_name(type));
  }
  std::set<std::string, std::less<>> seen;
  const json::Array& scheduling = list(spec, "schedulingGates");
  for (size_t i = 0; i < scheduling.size(); ++i) {
    const std::string_view name = scheduling[i].str_at({"name"});
    messages(errors, at(path / "schedulingGates", i), name, schema::is_qualified_name(name));
    if (!seen.emplace(name).second) errors.duplicate(at(path / "schedulingGates", i), name);
  }
}

void resource_claims(FieldErrors& errors, const std::string& path, const Value& spec) {
  std::set<std::string, std::less<>> seen;
  const json::Array& items = list(spec, "resourceClaims");
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string here = at(path / "resourceClaims", i);
    const std::string_view name = items[i].str_at({"name"});
    if (name.empty()) errors.required(here / "name");
    else if (!seen.emplace(name).second) errors.duplicate(here / "name", name);
    else messages(errors, here / "name", name, schema::is_dns1123_label(name));
    const Value *claim = items[i].get("resourceClaimName"), *from = items[i].get("resourceClaimTemplateName");
    Value shown = json::Object();
    shown["Name"] = name;
    shown["ResourceClaimName"] = claim == nullptr ? Value() : *claim;
    shown["ResourceClaimTemplateName"] = from == nullptr ? Value() : *from;
    if (is_set(claim) && is_set(from)) {
      errors.invalid(here, shown, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
    }
    if (!is_set(claim) && !is_set(from)) {
      errors.invalid(here, shown, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
    }
    for (const char* member : {"resourceClaimName", "resourceClaimTemplateName"}) {
      if (const Value* v = items[i].get(member); is_set(v)) messages(errors, here / member, *v, schema::is_dns1123_subdomain(v->str()));
    }
  }
}

void names(FieldErrors& errors, const std::string& path, const Value& spec) {
  auto check = [&](const char* member, Messages (*rule)(std::string_view)) {
    const std::string_view v = spec.str_at({member});
    if (!v.empty()) messages(errors, path / member, v, rule(v));
  };
  check("hostnameOverride", schema::is_dns1123_subdomain);
  check("serviceAccountName", schema::is_dns1123_subdomain);
  check("nodeName", schema::is_dns1123_subdomain);
  if (const Value* deadline = spec.get("activeDeadlineSeconds"); is_set(deadline)) {
    const int64_t n = deadline->int_or(0);
    if (n < 1 || n > INT32_MAX) errors.invalid(path / "activeDeadlineSeconds", *deadline, "must be between 1 and 2147483647, inclusive");
  }
  check("hostname", schema::is_dns1123_label);
  check("subdomain", schema::is_dns1123_label);
  tolerations(errors, path / "tolerations", list(spec, "tolerations"));
  const json::Array& aliases = list(spec, "hostAliases");
  for (size_t i = 0; i < aliases.size(); ++i) {
    const std::string here = at(path / "hostAliases", i);
    messages(errors, here / "ip", aliases[i].str_at({"ip"}), schema::is_valid_ip(aliases[i].str_at({"ip"})));
    const json::Array& hosts = list(aliases[i], "hostnames");
    for (size_t k = 0; k < hosts.size(); ++k) messages(errors, at(here / "hostnames", k), hosts[k], schema::is_dns1123_subdomain(hosts[k].str()));
  }
  check("priorityClassName", schema::is_dns1123_subdomain);
  check("runtimeClassName", schema::is_dns1123_subdomain);
  if (const std::string_view p = spec.str_at({"preemptionPolicy"}); !p.empty()) {
    one_of(errors, path / "preemptionPolicy", p, {"Never", "PreemptLowerPriority"});
  }
}

void operating_system(FieldErrors& errors, const std::string& path, const Value& spec) {
  const Value* os = spec.get("os");
  if (!is_set(os)) return;
  const std::string_view name = os->str_at({"name"});
  if (name.empty()) return errors.required(path / "os" / "name");
  if (!one_of(errors, path / "os", name, {"linux", "windows"})) return;
  auto inside = [&](const char* member) { return is_set(spec.at({"securityContext", member})); };
  if (name == "linux") {
    if (inside("windowsOptions")) errors.forbidden(path / "securityContext.windowsOptions", "windows options cannot be set for a linux pod");
    for (const char* which : {"containers", "initContainers"}) {
      const json::Array& items = list(spec, which);
      for (size_t i = 0; i < items.size(); ++i) {
        if (is_set(items[i].at({"securityContext", "windowsOptions"}))) {
          errors.forbidden(at(path / which, i) / "securityContext.windowsOptions", "windows options cannot be set for a linux pod");
        }
      }
    }
    return;
  }
  const std::string_view no = "cannot be set for a windows pod";
  for (const char* member : {"hostPID", "hostIPC"}) {
    if (flag(spec, member)) errors.forbidden(path / member, std::string(no));
  }
  for (const char* member : {"appArmorProfile", "seLinuxOptions", "hostUsers", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls",
                             "runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy"}) {
    if (inside(member)) errors.forbidden(path / "securityContext" / member, std::string(no));
  }
}

}  // namespace

void pod_spec(FieldErrors& errors, const std::string& path, const Value& spec, const Value& metadata) {
  Around around{spec, {}, number(spec, "terminationGracePeriodSeconds", 30), true, false};
  if (const Value* users = spec.get("hostUsers")) around.host_users = users->bool_or(true);
  for (const Value& c : list(spec, "resourceClaims")) around.claims.emplace_back(c.str_at({"name"}));
  volumes(errors, path / "volumes", list(spec, "volumes"), metadata);
  resource_claims(errors, path, spec);
  containers(errors, path, around);
  init_containers(errors, path, around);
  ephemeral_containers(errors, path, around);
  if (const Value* own = spec.get("resources"); is_set(own)) {
    if (!list(*own, "claims").empty()) errors.forbidden(path / "resources.claims", "claims may not be set for Resources at pod-level");
    for (const char* which : {"limits", "requests"}) {
      const Value* m = own->get(which);
      if (m == nullptr) continue;
      for (const auto& [name, unused] : m->members()) {
        if (name != "cpu" && name != "memory" && !name.starts_with("hugepages-")) {
          unsupported(errors, schema::key(path / "resources" / which, name), name, {"cpu", "hugepages-", "memory"});
        }
      }
    }
    container_resources(errors, path / "resources", own, around.claims);
  }
  host_network_ports(errors, path, spec);
  const std::string_view restart = spec.str_at({"restartPolicy"}), dns_policy = spec.str_at({"dnsPolicy"});
  if (restart.empty()) errors.required(path / "restartPolicy");
  else one_of(errors, path / "restartPolicy", restart, {"Always", "OnFailure", "Never"});
  if (dns_policy.empty()) errors.required(path / "dnsPolicy");
  else one_of(errors, path / "dnsPolicy", dns_policy, {"ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"});
  schema::validate_labels(spec.get("nodeSelector"), path / "nodeSelector", errors);
  pod_security(errors, path, spec);
  affinity(errors, path / "affinity", spec.get("affinity"));
  dns(errors, path, spec);
  gates(errors, path, spec);
  topology_spread(errors, path / "topologySpreadConstraints", list(spec, "topologySpreadConstraints"));
  if (!around.host_users) {
    for (const auto& [member, shown] : {std::pair{"hostNetwork", "hostNetwork"}, {"hostPID", "HostPID"}, {"hostIPC", "HostIPC"}}) {
      if (flag(spec, member)) errors.forbidden(path / shown, "when `hostUsers` is false");
    }
  }
  names(errors, path, spec);
  operating_system(errors, path, spec);
}

void pod_template(FieldErrors& errors, const std::string& path, const Value& pod_template) {
  static const Value none = json::Object();
  schema::validate_labels(pod_template.at({"metadata", "labels"}), path / "metadata.labels", errors);
  schema::validate_annotations(pod_template.at({"metadata", "annotations"}), path / "metadata.annotations", errors);
  const Value *spec = pod_template.get("spec"), *metadata = pod_template.get("metadata");
  pod_spec(errors, path / "spec", spec == nullptr ? none : *spec, metadata == nullptr ? none : *metadata);
  if (spec != nullptr && !list(*spec, "ephemeralContainers").empty()) {
    errors.forbidden(path / "spec.ephemeralContainers", "ephemeral containers not allowed in pod template");
  }
}

namespace {
void whole_pod(FieldErrors& errors, const Value& object) {
  static const Value none = json::Object();
  const Value *spec = object.get("spec"), *metadata = object.get("metadata");
  pod_spec(errors, "spec", spec == nullptr ? none : *spec, metadata == nullptr ? none : *metadata);
  if (spec == nullptr) return;
  for (const char* which : {"containers", "initContainers"}) {
    const json::Array& items = list(*spec, which);
    for (size_t i = 0; i < items.size(); ++i) {
      const std::string_view image = items[i].str_at({"image"});
      if (!image.empty() && (std::isspace(static_cast<unsigned char>(image.front())) || std::isspace(static_cast<unsigned char>(image.back())))) {
        errors.invalid(at(std::string("spec.") + which, i) / "image", image, "must not have leading or trailing whitespace");
      }
    }
  }
}
}  // namespace

void create_pod(FieldErrors& errors, const Value& object) {
  whole_pod(errors, object);
  const Value* spec = object.get("spec");
  if (spec == nullptr) return;
  if (!list(*spec, "ephemeralContainers").empty()) errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
  if (!list(*spec, "schedulingGates").empty() && !spec->str_at({"nodeName"}).empty()) {
    errors.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared");
  }
}

void update_pod(FieldErrors& errors, std::string_view subresource, const Value& object, const Value& old) {
  const Value *now = object.get("spec"), *before = old.get("spec");
  if (now == nullptr || before == nullptr) return;
  if (subresource == "ephemeralcontainers") {
    Around around{*now, {}, number(*now, "terminationGracePeriodSeconds", 30), true, false};
    ephemeral_containers(errors, "spec", around);
    // Those that are there stay as they are.
    const json::Array& had = list(*before, "ephemeralContainers");
    const json::Array& has = list(*now, "ephemeralContainers");
    for (const Value& c : had) {
      auto same = std::find_if(has.begin(), has.end(), [&](const Value& n) { return n.str_at({"name"}) == c.str_at({"name"}); });
      if (same == has.end()) {
        errors.forbidden("spec.ephemeralContainers", "existing ephemeral containers \"" + std::string(c.str_at({"name"})) + "\" may not be removed");
      } else if (!(*same == c)) {
        errors.forbidden("spec.ephemeralContainers", "existing ephemeral containers \"" + std::string(c.str_at({"name"})) + "\" may not be changed");
      }
    }
    return;
  }
  if (subresource == "resize") {
    std::vector<std::string> claims;
    for (const Value& c : list(*now, "resourceClaims")) claims.emplace_back(c.str_at({"name"}));
    for (const char* which : {"containers", "initContainers"}) {
      const json::Array& items = list(*now, which);
      for (size_t i = 0; i < items.size(); ++i) {
        container_resources(errors, at(std::string("spec.") + which, i) / "resources", items[i].get("resources"), claims);
      }
    }
    return;
  }
  if (!subresource.empty()) return;
  if (*now == *before) return;
  whole_pod(errors, object);
  for (const char* which : {"containers", "initContainers"}) {
    const json::Array& items = list(*now, which);
    if (items.size() != list(*before, which).size()) {
      errors.forbidden(std::string("spec.") + which, "pod updates may not add or remove containers");
      return;
    }
  }
  const Value *deadline = now->get("activeDeadlineSeconds"), *deadline_before = before->get("activeDeadlineSeconds");
  if (is_set(deadline)) {
    if (deadline->int_or(0) < 0 || deadline->int_or(0) > INT32_MAX) {
      return errors.invalid("spec.activeDeadlineSeconds", *deadline, "must be between 0 and 2147483647, inclusive");
    }
    if (is_set(deadline_before) && deadline_before->int_or(0) < deadline->int_or(0)) {
      return errors.invalid("spec.activeDeadlineSeconds", *deadline, "must be less than or equal to previous value");
    }
  } else if (is_set(deadline_before)) {
    errors.invalid("spec.activeDeadlineSeconds", Value(), "must not update from a positive integer to nil value");
  }
  // Tolerations are only added, but the seconds of one may change.
  for (const Value& t : list(*before, "tolerations")) {
    Value plain = t;
    plain.make_object().erase("tolerationSeconds");
    bool kept = false;
    for (const Value& n : list(*now, "tolerations")) {
      Value other = n;
      other.make_object().erase("tolerationSeconds");
      kept = kept || other == plain;
    }
    if (!kept) {
      errors.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds");
      break;
    }
  }
  // Scheduling gates are only taken away.
  const json::Array& gates_now = list(*now, "schedulingGates");
  const json::Array& gates_before = list(*before, "schedulingGates");
  for (size_t i = 0; i < gates_now.size(); ++i) {
    if (std::find(gates_before.begin(), gates_before.end(), gates_now[i]) == gates_before.end()) {
      errors.forbidden(at("spec.schedulingGates", i) / "name", "only deletion is allowed, but found new scheduling gate '" +
                                                          std::string(gates_now[i].str_at({"name"})) + "'");
    }
  }
  // All else is as it was.
  Value rest = *now;
  json::Object& members = rest.make_object();
  auto restore = [&](const char* member) {
    if (const Value* v = before->get(member)) members.set(member, *v);
    else members.erase(member);
  };
  for (const char* which : {"containers", "initContainers"}) {
    Value* items = rest.get(which);
    if (items == nullptr || !items->is_array()) continue;
    for (size_t i = 0; i < items->as_array().size(); ++i) {
      if (const Value* image = list(*before, which)[i].get("image")) items->as_array()[i]["image"] = *image;
    }
  }
  for (const char* member : {"activeDeadlineSeconds", "schedulingGates", "tolerations", "ephemeralContainers"}) restore(member);
  if (number(*before, "terminationGracePeriodSeconds") < 0 && number(rest, "terminationGracePeriodSeconds") == 1) {
    restore("terminationGracePeriodSeconds");
  }
  if (!gates_before.empty()) {
    // A gated pod may narrow where it goes.
    bool widened = false;
    if (const Value* selector = before->get("nodeSelector")) {
      for (const auto& [k, v] : selector->members()) {
        const Value* n = now->at({"nodeSelector", k});
        widened = widened || n == nullptr || !(*n == v);
      }
    }
    const Value* selector = now->get("nodeSelector");
    if (widened) {
      errors.invalid("spec.nodeSelector", selector == nullptr ? Value() : *selector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
    }
    for (const char* member : {"nodeSelector", "affinity"}) restore(member);
  }
  if (!(rest == *before)) {
    errors.forbidden("spec",
                     "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
                     "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
                     "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n");
  }
}

}  // namespace engenho::apiserver::validation
