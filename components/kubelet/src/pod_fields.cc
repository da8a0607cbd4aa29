#include "pod_fields.h"

#include <algorithm>

#include "engenho/base/bytes.h"

namespace engenho::kubelet {

std::string expand_variables(const std::string& text, const std::map<std::string, std::string>& values) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 >= text.size()) {
      out += text[i];
      continue;
    }
    if (text[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    const size_t end = text[i + 1] == '(' ? text.find(')', i + 2) : std::string::npos;
    if (end == std::string::npos) {
      out += '$';
      continue;
    }
    auto it = values.find(text.substr(i + 2, end - i - 2));
    out += it != values.end() ? it->second : text.substr(i, end - i + 1);
    i = end;
  }
  return out;
}

namespace {

// As Go's strconv.Quote for printable text.
std::string quote(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += std::string("\\") + c;
    else if (c == '\n') out += "\\n";
    else if (c == '\t') out += "\\t";
    else if (c == '\r') out += "\\r";
    else out += c;
  }
  return out + "\"";
}

std::string map_text(const std::map<std::string, std::string>& map) {
  std::string out;
  for (const auto& [k, v] : map) {
    if (!out.empty()) out += "\n";
    out += k + "=" + quote(v);
  }
  return out;
}

// The x of metadata.labels['x'].
bool subscript(const std::string& path, std::string_view prefix, std::string& key) {
  if (!path.starts_with(prefix) || path.size() < prefix.size() + 4 || path[prefix.size()] != '[' || !path.ends_with("']")) return false;
  key = path.substr(prefix.size() + 2, path.size() - prefix.size() - 4);
  return true;
}

bool is_environment_name(std::string_view name) {
  if (name.empty()) return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) { return c >= 32 && c < 127 && c != '='; });
}

std::string variable_name(std::string_view name) {
  std::string out;
  for (char c : name) out += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return out;
}

int64_t divide_up(__int128 a, __int128 b) { return b <= 0 ? 0 : static_cast<int64_t>((a + b - 1) / b); }

}  // namespace

Result<std::string> field_value(const Pod& pod, const std::string& path, const PodAddresses& addresses) {
  std::string key;
  auto at = [](const std::map<std::string, std::string>& map, const std::string& k) {
    auto it = map.find(k);
    return it == map.end() ? std::string() : it->second;
  };
  if (subscript(path, "metadata.labels", key)) return at(pod.metadata.labels, key);
  if (subscript(path, "metadata.annotations", key)) return at(pod.metadata.annotations, key);
  if (path == "metadata.name") return pod.metadata.name;
  if (path == "metadata.namespace") return pod.metadata.namespace_;
  if (path == "metadata.uid") return pod.metadata.uid;
  if (path == "metadata.labels") return map_text(pod.metadata.labels);
  if (path == "metadata.annotations") return map_text(pod.metadata.annotations);
  if (path == "spec.nodeName") return pod.spec.node_name;
  if (path == "spec.serviceAccountName") return pod.spec.service_account_name;
  if (path == "status.hostIP" || path == "status.hostIPs") return addresses.host_ip;
  if (path == "status.podIP" || path == "status.podIPs") return addresses.pod_ip;
  return err(bad_request("unsupported fieldPath: " + path));
}

Result<std::string> resource_value(const Pod& pod, const core_v1::ResourceFieldSelector& selector, const std::string& default_container, Cluster& cluster) {
  const std::string& name = selector.container_name.empty() ? default_container : selector.container_name;
  const core_v1::Container* c = find_container(pod, name);
  if (c == nullptr) return err(bad_request("container " + name + " not found"));
  const size_t dot = selector.resource.find('.');
  const std::string kind = selector.resource.substr(0, dot), resource = dot == std::string::npos ? "" : selector.resource.substr(dot + 1);
  if (kind != "limits" && kind != "requests") return err(bad_request("unsupported container resource: " + selector.resource));
  const auto& map = kind == "limits" ? c->resources.limits : c->resources.requests;
  auto it = map.find(resource);
  const bool set = it != map.end() && !it->second.is_zero();
  const schema::Quantity divisor = selector.divisor.is_zero() ? schema::Quantity::from_int(1) : selector.divisor.parsed();
  if (resource == "cpu") {
    const int64_t milli = set ? it->second.milli_value() : kind == "limits" ? cluster.allocatable_milli_cpu() : 0;
    return std::to_string(divide_up(milli, divisor.milli_value()));
  }
  int64_t value = set ? it->second.value() : 0;
  if (!set && kind == "limits" && resource == "memory") value = cluster.allocatable_memory();
  return std::to_string(divide_up(value, divisor.value()));
}

std::map<std::string, std::string> service_environment(const Pod& pod, Cluster& cluster) {
  std::map<std::string, std::string> out;
  auto add = [&out](const core_v1::Service& s) {
    const std::string& ip = s.spec.cluster_ip;
    if (ip.empty() || ip == "None" || s.spec.ports.empty()) return;
    const std::string name = variable_name(s.metadata.name);
    out[name + "_SERVICE_HOST"] = ip;
    out[name + "_SERVICE_PORT"] = std::to_string(s.spec.ports.front().port);
    bool first = true;
    for (const auto& p : s.spec.ports) {
      const std::string port = std::to_string(p.port), protocol = p.protocol.empty() ? "TCP" : p.protocol;
      if (!p.name.empty()) out[name + "_SERVICE_PORT_" + variable_name(p.name)] = port;
      const std::string url = to_lower(protocol) + "://" + ip + ":" + port, prefix = name + "_PORT_" + port + "_" + variable_name(protocol);
      if (first) out[name + "_PORT"] = url;
      first = false;
      out[prefix] = url;
      out[prefix + "_PROTO"] = to_lower(protocol);
      out[prefix + "_PORT"] = port;
      out[prefix + "_ADDR"] = ip;
    }
  };
  for (const auto& s : cluster.services("default")) {
    if (s->metadata.name == "kubernetes") add(*s);
  }
  if (pod.spec.enable_service_links.value_or(true)) {
    for (const auto& s : cluster.services(pod.metadata.namespace_)) add(*s);
  }
  return out;
}

Result<Environment> make_environment(const Pod& pod, const core_v1::Container& container, const PodAddresses& addresses, Cluster& cluster) {
  const std::map<std::string, std::string> services = service_environment(pod, cluster);
  std::map<std::string, std::string> known = services;  // what $(NAME) may refer to
  std::map<std::string, std::string> result;
  std::vector<std::string> order;
  auto set = [&](const std::string& name, std::string value) {
    if (!result.contains(name)) order.push_back(name);
    known[name] = value;
    result[name] = std::move(value);
  };
  const std::string& ns = pod.metadata.namespace_;
  for (const auto& from : container.env_from) {
    std::map<std::string, std::string> data;
    if (from.config_map_ref) {
      auto object = cluster.config_map(ns, from.config_map_ref->name);
      if (object) data = object->data;
      else if (!object.error().not_found() || !from.config_map_ref->optional.value_or(false)) return err(object.error());
    }
    if (from.secret_ref) {
      auto object = cluster.secret(ns, from.secret_ref->name);
      if (!object) {
        if (!object.error().not_found() || !from.secret_ref->optional.value_or(false)) return err(object.error());
      } else {
        data = object->data;
      }
    }
    for (auto& [k, v] : data) {
      if (is_environment_name(from.prefix + k)) set(from.prefix + k, v);
    }
  }
  for (const auto& e : container.env) {
    if (!e.value_from) {
      set(e.name, expand_variables(e.value, known));
      continue;
    }
    const auto& source = *e.value_from;
    if (source.field_ref) {
      ENGENHO_ASSIGN(std::string value, field_value(pod, source.field_ref->field_path, addresses));
      set(e.name, std::move(value));
    } else if (source.resource_field_ref) {
      ENGENHO_ASSIGN(std::string value, resource_value(pod, *source.resource_field_ref, container.name, cluster));
      set(e.name, std::move(value));
    } else if (source.config_map_key_ref) {
      const auto& ref = *source.config_map_key_ref;
      auto object = cluster.config_map(ns, ref.name);
      if (!object && (!object.error().not_found() || !ref.optional.value_or(false))) return err(object.error());
      if (!object) continue;
      auto it = object->data.find(ref.key);
      if (it != object->data.end()) set(e.name, it->second);
      else if (!ref.optional.value_or(false)) return err(bad_request("couldn't find key " + ref.key + " in ConfigMap " + ns + "/" + ref.name));
    } else if (source.secret_key_ref) {
      const auto& ref = *source.secret_key_ref;
      auto object = cluster.secret(ns, ref.name);
      if (!object && (!object.error().not_found() || !ref.optional.value_or(false))) return err(object.error());
      if (!object) continue;
      auto it = object->data.find(ref.key);
      if (it != object->data.end()) {
        set(e.name, it->second);
      } else if (!ref.optional.value_or(false)) {
        return err(bad_request("couldn't find key " + ref.key + " in Secret " + ns + "/" + ref.name));
      }
    } else {
      return err(bad_request("environment variable " + e.name + ": this kind of source is not supported"));
    }
  }
  Environment out;
  for (const auto& [k, v] : services) {
    if (!result.contains(k)) out.emplace_back(k, v);
  }
  for (const std::string& name : order) out.emplace_back(name, result[name]);
  return out;
}

const core_v1::Container* find_container(const Pod& pod, const std::string& name) {
  for (const auto* list : {&pod.spec.init_containers, &pod.spec.containers}) {
    for (const auto& c : *list) {
      if (c.name == name) return &c;
    }
  }
  return nullptr;
}

core_v1::Container as_container(const core_v1::EphemeralContainer& ephemeral) {
  return k8s::from_json<core_v1::Container>(k8s::to_json(ephemeral)).value_or(core_v1::Container());
}

bool is_sidecar(const core_v1::Container& init_container) { return init_container.restart_policy.value_or("") == "Always"; }

std::string qos_class(const Pod& pod) {
  if (!pod.status.qos_class.empty()) return pod.status.qos_class;
  bool any = false, guaranteed = true;
  for (const auto* list : {&pod.spec.init_containers, &pod.spec.containers}) {
    for (const auto& c : *list) {
      for (const char* r : {"cpu", "memory"}) {
        auto limit = c.resources.limits.find(r), request = c.resources.requests.find(r);
        const bool has_limit = limit != c.resources.limits.end() && !limit->second.is_zero();
        const bool has_request = request != c.resources.requests.end() && !request->second.is_zero();
        any |= has_limit || has_request;
        if (!has_limit || (has_request && !(limit->second == request->second))) guaranteed = false;
      }
    }
  }
  return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

}  // namespace engenho::kubelet
