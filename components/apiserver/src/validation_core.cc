// Services, config maps, secrets, nodes, endpoints, volumes and claims of the core group.
#include <algorithm>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/schema/quantity.h"
#include "validation.h"

namespace engenho::apiserver::validation {

namespace {

using schema::Quantity;

const Value& part(const Value& object, std::string_view member) {
  static const Value none = json::Object();
  const Value* v = object.get(member);
  return v == nullptr || v->is_null() ? none : *v;
}

bool is_cidr(std::string_view text, bool* v6 = nullptr) {
  const size_t slash = text.find('/');
  int64_t bits = 0;
  bool six = false;
  if (slash == text.npos || !schema::parse_ip(text.substr(0, slash), nullptr, &six) || !parse_int(text.substr(slash + 1), bits)) return false;
  if (v6 != nullptr) *v6 = six;
  return bits >= 0 && bits <= (six ? 128 : 32);
}

// An address others send to: not this host's own, nor none at all.
void outside_address(FieldErrors& errors, const std::string& path, std::string_view ip) {
  std::string canonical;
  if (!schema::parse_ip(ip, &canonical)) return;
  if (canonical == "0.0.0.0" || canonical == "::") {
    errors.invalid(path, ip, "may not be unspecified (" + canonical + ")");
  } else if (canonical.starts_with("127.") || canonical == "::1") {
    errors.invalid(path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
  } else if (canonical.starts_with("169.254.") || canonical.starts_with("fe80:")) {
    errors.invalid(path, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
  } else if (canonical.starts_with("224.0.0.") || canonical.starts_with("ff02:")) {
    errors.invalid(path, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
  }
}

void service_ports(FieldErrors& errors, const Value& spec) {
  const std::string_view type = spec.str_at({"type"});
  const json::Array& ports = list(spec, "ports");
  std::set<std::string, std::less<>> names;
  std::set<std::pair<std::string, int64_t>> seen;
  for (size_t i = 0; i < ports.size(); ++i) {
    const Value& p = ports[i];
    const std::string here = at("spec.ports", i);
    const std::string_view name = p.str_at({"name"}), protocol = p.str_at({"protocol"});
    if (name.empty()) {
      if (ports.size() > 1) errors.required(here / "name");
    } else {
      messages(errors, here / "name", name, schema::is_dns1123_label(name));
      if (!names.emplace(name).second) errors.duplicate(here / "name", name);
    }
    messages(errors, here / "port", number(p, "port"), schema::is_valid_port_number(number(p, "port")));
    if (protocol.empty()) errors.required(here / "protocol");
    else one_of(errors, here / "protocol", protocol, {"SCTP", "TCP", "UDP"});
    port_number_or_name(errors, here / "targetPort", p.get("targetPort"));
    if (const Value* application = p.get("appProtocol"); is_set(application)) {
      messages(errors, here / "appProtocol", *application, schema::is_qualified_name(application->str()));
    }
  }
  for (size_t i = 0; i < ports.size(); ++i) {
    const std::string here = at("spec.ports", i);
    if (type == "ClusterIP" && number(ports[i], "nodePort") != 0) {
      errors.forbidden(here / "nodePort", "may not be used when `type` is 'ClusterIP'");
    }
    if (!seen.emplace(std::string(ports[i].str_at({"protocol"})), number(ports[i], "port")).second) {
      Value shown = json::Object();
      shown["protocol"] = ports[i].str_at({"protocol"});
      shown["port"] = number(ports[i], "port");
      errors.duplicate(here, shown);
    }
  }
}

void service(FieldErrors& errors, const Value& spec) {
  const std::string_view type = spec.str_at({"type"});
  const bool headless = spec.str_at({"clusterIP"}) == "None", balanced = type == "LoadBalancer";
  if (list(spec, "ports").empty() && !headless && type != "ExternalName") errors.required("spec.ports");
  if ((balanced || type == "NodePort") && headless) {
    errors.invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for " + std::string(type) + " services");
  }
  if (type == "ExternalName") {
    if (!list(spec, "clusterIPs").empty()) errors.forbidden("spec.clusterIPs", "may not be set for ExternalName services");
    std::string_view name = spec.str_at({"externalName"});
    if (name.ends_with('.')) name.remove_suffix(1);
    if (name.empty()) errors.required("spec.externalName");
    else messages(errors, "spec.externalName", name, schema::is_dns1123_subdomain(name));
  }
  service_ports(errors, spec);
  schema::validate_labels(spec.get("selector"), "spec.selector", errors);
  const std::string_view affinity = spec.str_at({"sessionAffinity"});
  if (affinity.empty()) errors.required("spec.sessionAffinity");
  else one_of(errors, "spec.sessionAffinity", affinity, {"ClientIP", "None"});
  if (affinity == "ClientIP") {
    const Value* seconds = spec.at({"sessionAffinityConfig", "clientIP", "timeoutSeconds"});
    if (is_set(seconds) && (seconds->int_or(0) <= 0 || seconds->int_or(0) > 86400)) {
      errors.invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", *seconds, "must be greater than 0 and less than 86400");
    }
  }
  const json::Array& external = list(spec, "externalIPs");
  for (size_t i = 0; i < external.size(); ++i) {
    const schema::Messages wrong = schema::is_valid_ip(external[i].str());
    messages(errors, at("spec.externalIPs", i), external[i], wrong);
    if (wrong.empty()) outside_address(errors, at("spec.externalIPs", i), external[i].str());
  }
  if (type.empty()) errors.required("spec.type");
  else one_of(errors, "spec.type", type, {"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"});
  const json::Array& ranges = list(spec, "loadBalancerSourceRanges");
  if (!balanced && !ranges.empty()) errors.forbidden("spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'");
  for (size_t i = 0; balanced && i < ranges.size(); ++i) {
    std::string_view range = ranges[i].str();
    while (range.starts_with(' ')) range.remove_prefix(1);
    while (range.ends_with(' ')) range.remove_suffix(1);
    if (!is_cidr(range)) {
      errors.invalid(at("spec.LoadBalancerSourceRanges", i), ranges[i], "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
  }
  if (is_set(spec.get("allocateLoadBalancerNodePorts")) && !balanced) {
    errors.forbidden("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'");
  }
  if (const Value* name = spec.get("loadBalancerClass"); is_set(name)) {
    if (!balanced) errors.forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'");
    else messages(errors, "spec.loadBalancerClass", *name, schema::is_qualified_name(name->str()));
  }
  if (const int64_t port = number(spec, "healthCheckNodePort");
      port != 0 && !(balanced && spec.str_at({"externalTrafficPolicy"}) == "Local")) {
    errors.invalid("spec.healthCheckNodePort", port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
  }
}

void keys(FieldErrors& errors, const Value& object, const char* member, const char* other, size_t& total) {
  for (const auto& [key, value] : part(object, member).members()) {
    const std::string here = schema::key(member, key);
    messages(errors, here, key, schema::is_config_map_key(key));
    if (other != nullptr && part(object, other).get(key) != nullptr) {
      errors.invalid(here, key, std::string("duplicate of key present in ") + other);
    }
    total += value.str().size();
  }
}

void config(FieldErrors& errors, const Value& object, const Value* old, bool secret) {
  size_t total = 0;
  keys(errors, object, "data", secret ? nullptr : "binaryData", total);
  if (!secret) keys(errors, object, "binaryData", nullptr, total);
  if (total > (secret ? 1024 * 1024 * 4 / 3 + 4096 : 1024 * 1024)) errors.too_long(secret ? "data" : "", 1024 * 1024);
  if (old == nullptr) return;
  if (secret) immutable(errors, "type", object.get("type"), old->get("type"));
  if (!flag(*old, "immutable")) return;
  if (!flag(object, "immutable")) errors.forbidden("immutable", "field is immutable when `immutable` is set");
  for (const char* member : {"data", "binaryData"}) {
    if (!(part(object, member) == part(*old, member))) errors.forbidden(member, "field is immutable when `immutable` is set");
  }
}

void node(FieldErrors& errors, const Value& object, const Value* old) {
  const Value& spec = part(object, "spec");
  const json::Array& taints = list(spec, "taints");
  std::set<std::pair<std::string, std::string>> seen;
  for (size_t i = 0; i < taints.size(); ++i) {
    const std::string here = at("metadata.taints", i);
    const std::string key(taints[i].str_at({"key"})), effect(taints[i].str_at({"effect"}));
    messages(errors, here / "key", key, schema::is_qualified_name(key));
    messages(errors, here / "value", taints[i].str_at({"value"}), schema::is_label_value(taints[i].str_at({"value"})));
    if (effect.empty()) errors.required(here / "effect");
    else one_of(errors, here / "effect", effect, {"NoSchedule", "PreferNoSchedule", "NoExecute"});
    if (!seen.emplace(key, effect).second) {
      errors.add(FieldErrorType::kDuplicate, here, taints[i], "taints must be unique by key and effect pair");
    }
  }
  const json::Array& ranges = list(spec, "podCIDRs");
  int four = 0, six = 0;
  for (size_t i = 0; i < ranges.size(); ++i) {
    bool v6 = false;
    if (!is_cidr(ranges[i].str(), &v6)) {
      errors.invalid(at("spec.podCIDRs", i), ranges[i], "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    } else {
      ++(v6 ? six : four);
    }
  }
  if (four > 1 || six > 1) errors.invalid("spec.podCIDRs", ranges, "may specify no more than one CIDR for each IP family");
  if (old == nullptr) return;
  if (!list(part(*old, "spec"), "podCIDRs").empty() && !(list(part(*old, "spec"), "podCIDRs") == ranges)) {
    errors.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
  }
}

void access_modes(FieldErrors& errors, const Value& spec) {
  const json::Array& modes = list(spec, "accessModes");
  if (modes.empty()) errors.required("spec.accessModes");
  bool single = false;
  for (const Value& m : modes) {
    one_of(errors, "spec.accessModes", m.str(), {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"});
    single = single || m.str() == "ReadWriteOncePod";
  }
  if (single && modes.size() > 1) errors.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes");
}

void persistent_volume(FieldErrors& errors, const Value& spec) {
  access_modes(errors, spec);
  const Value* capacity = spec.get("capacity");
  if (part(spec, "capacity").members().empty()) errors.required("spec.capacity");
  if (part(spec, "capacity").get("storage") == nullptr || part(spec, "capacity").members().size() > 1) {
    unsupported(errors, "spec.capacity", capacity == nullptr ? Value() : *capacity, {"storage"});
  } else if (const Quantity q = Quantity::parse_or_zero(capacity->str_at({"storage"})); q.sign() <= 0) {
    errors.invalid("spec.capacity[storage]", q.to_string(), "must be greater than zero");
  }
  if (const std::string_view p = spec.str_at({"persistentVolumeReclaimPolicy"}); !p.empty()) {
    one_of(errors, "spec.persistentVolumeReclaimPolicy", p, {"Delete", "Recycle", "Retain"});
  }
  const Value* required = spec.at({"nodeAffinity", "required"});
  if (is_set(spec.get("nodeAffinity"))) {
    if (!is_set(required)) errors.required("spec.nodeAffinity.required", "must specify required node constraints");
    else node_selector(errors, "spec.nodeAffinity.required", *required);
  }
  int count = 0;
  for (const char* kind : {"hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs",
                           "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume",
                           "azureDisk", "scaleIO", "local", "storageos", "csi"}) {
    const Value* s = spec.get(kind);
    if (!is_set(s)) continue;
    const std::string here = std::string("spec.") + kind;
    const std::string_view k = kind;
    if (count++ > 0) {
      errors.forbidden(here, "may not specify more than 1 volume type");
      continue;
    }
    const std::string_view path = s->str_at({"path"});
    if (k == "hostPath" || k == "local") {
      if (path.empty()) errors.required(here / "path");
      else if (("/" + std::string(path) + "/").find("/../") != std::string::npos) errors.invalid(here / "path", path, "must not contain '..'");
      if (k == "local" && !is_set(spec.get("nodeAffinity"))) errors.required("spec.nodeAffinity", "Local volume requires node affinity");
      if (k == "hostPath" && path == "/" && spec.str_at({"persistentVolumeReclaimPolicy"}) == "Recycle") {
        errors.forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'");
      }
    } else if (k == "nfs") {
      for (const char* m : {"server", "path"}) {
        if (s->str_at({m}).empty()) errors.required(here / m);
      }
      if (!path.starts_with('/')) errors.invalid(here / "path", path, "must be an absolute path");
    } else if (k == "csi") {
      for (const char* m : {"driver", "volumeHandle"}) {
        if (s->str_at({m}).empty()) errors.required(here / m);
      }
    }
  }
  if (count == 0) errors.required("spec", "must specify a volume type");
  if (const std::string_view name = spec.str_at({"storageClassName"}); !name.empty()) {
    messages(errors, "spec.storageClassName", name, schema::is_dns1123_subdomain(name));
  }
  if (const Value* mode = spec.get("volumeMode"); is_set(mode)) one_of(errors, "spec.volumeMode", mode->str(), {"Block", "Filesystem"});
  if (const Value* name = spec.get("volumeAttributesClassName"); is_set(name)) {
    if (name->str().empty()) errors.required("spec.volumeAttributesClassName", "an empty string is disallowed");
    if (!is_set(spec.get("csi"))) errors.required("spec.csi", "has to be specified when using volumeAttributesClassName");
  }
}

void claim(FieldErrors& errors, const Value& spec) {
  access_modes(errors, spec);
  schema::validate_label_selector(spec.get("selector"), "spec.selector", errors);
  const Value* storage = spec.at({"resources", "requests", "storage"});
  if (!is_set(storage)) errors.required("spec.resources[storage]");
  else if (const Quantity q = Quantity::parse_or_zero(storage->str()); q.sign() <= 0) {
    errors.invalid("spec.resources[storage]", q.to_string(), "must be greater than zero");
  }
  for (const char* member : {"storageClassName", "volumeAttributesClassName"}) {
    const std::string_view name = spec.str_at({member});
    if (!name.empty()) messages(errors, std::string("spec.") + member, name, schema::is_dns1123_subdomain(name));
  }
  if (const Value* mode = spec.get("volumeMode"); is_set(mode)) one_of(errors, "spec.volumeMode", mode->str(), {"Block", "Filesystem"});
  for (const char* member : {"dataSource", "dataSourceRef"}) {
    const Value* s = spec.get(member);
    if (!is_set(s)) continue;
    const std::string here = std::string("spec.") + member;
    const std::string_view kind = s->str_at({"kind"});
    // A source of another kind without its reference is not looked at.
    if (std::string_view(member) == "dataSource" && !is_set(spec.get("dataSourceRef")) && kind != "PersistentVolumeClaim") continue;
    if (s->str_at({"name"}).empty()) errors.required(here / "name");
    if (kind.empty()) errors.required(here / "kind");
    else if (s->str_at({"apiGroup"}).empty() && kind != "PersistentVolumeClaim") {
      errors.invalid(here, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
  }
}

void endpoints(FieldErrors& errors, const Value& object) {
  const json::Array& subsets = list(object, "subsets");
  for (size_t i = 0; i < subsets.size(); ++i) {
    const std::string here = at("subsets", i);
    if (list(subsets[i], "addresses").empty() && list(subsets[i], "notReadyAddresses").empty()) {
      errors.required(here, "must specify `addresses` or `notReadyAddresses`");
    }
    for (const char* which : {"addresses", "notReadyAddresses"}) {
      const json::Array& items = list(subsets[i], which);
      for (size_t k = 0; k < items.size(); ++k) {
        const std::string path = at(here / which, k);
        const std::string_view ip = items[k].str_at({"ip"}), host = items[k].str_at({"hostname"}), on = items[k].str_at({"nodeName"});
        messages(errors, path / "ip", ip, schema::is_valid_ip(ip));
        if (!host.empty()) messages(errors, path / "hostname", host, schema::is_dns1123_label(host));
        if (!on.empty()) messages(errors, path / "nodeName", on, schema::is_dns1123_subdomain(on));
        if (!schema::parse_ip(ip)) errors.invalid(path / "ip", ip, "must be a valid IP address");
        outside_address(errors, path / "ip", ip);
      }
    }
    const json::Array& ports = list(subsets[i], "ports");
    for (size_t k = 0; k < ports.size(); ++k) {
      const std::string path = at(here / "ports", k);
      const std::string_view name = ports[k].str_at({"name"}), protocol = ports[k].str_at({"protocol"});
      if (name.empty() && ports.size() > 1) errors.required(path / "name");
      else if (!name.empty()) messages(errors, path / "name", name, schema::is_dns1123_label(name));
      messages(errors, path / "port", number(ports[k], "port"), schema::is_valid_port_number(number(ports[k], "port")));
      if (protocol.empty()) errors.required(path / "protocol");
      else one_of(errors, path / "protocol", protocol, {"SCTP", "TCP", "UDP"});
    }
  }
}

}  // namespace

bool core(FieldErrors& errors, const ResourceDef& resource, const Value& object, const Value* old) {
  if (!resource.group.empty()) return false;
  const std::string& plural = resource.plural;
  const Value& spec = part(object, "spec");
  if (plural == "services") service(errors, spec);
  else if (plural == "configmaps") config(errors, object, old, false);
  else if (plural == "secrets") config(errors, object, old, true);
  else if (plural == "nodes") node(errors, object, old);
  else if (plural == "endpoints") endpoints(errors, object);
  else if (plural == "persistentvolumes") {
    persistent_volume(errors, spec);
    if (old != nullptr) immutable(errors, "volumeMode", spec.get("volumeMode"), old->at({"spec", "volumeMode"}));
  } else if (plural == "persistentvolumeclaims" && old == nullptr) {
    claim(errors, spec);
  }
  return true;
}

}  // namespace engenho::apiserver::validation
