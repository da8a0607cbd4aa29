#include <algorithm>

#include "defaults_internal.h"
#include "engenho/base/bytes.h"
#include "engenho/schema/quantity.h"

namespace engenho::catalog::defaulting {

namespace {

using schema::Quantity;

// "Always" for the tag "latest", be it written or implied; a digest or any other tag gives "IfNotPresent". A reference that cannot be parsed
// has no tag.
std::string_view pull_policy_of(std::string_view image) {
  const bool has_digest = image.find('@') != std::string_view::npos;
  std::string_view name = image.substr(0, image.find('@'));
  const size_t slash = name.rfind('/');
  const std::string_view last = slash == std::string_view::npos ? name : name.substr(slash + 1);
  const size_t colon = last.find(':');
  if (colon != std::string_view::npos) return last.substr(colon + 1) == "latest" ? "Always" : "IfNotPresent";
  if (has_digest) return "IfNotPresent";
  // References are lower case but for the tag and the registry's host.
  const size_t first_slash = name.find('/');
  std::string_view path = name;
  if (first_slash != std::string_view::npos) {
    std::string_view host = name.substr(0, first_slash);
    const bool is_host = host.find_first_of(".:") != std::string_view::npos || host == "localhost" ||
                         std::any_of(host.begin(), host.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    if (is_host) path = name.substr(first_slash + 1);
  }
  const bool valid = !path.empty() && std::all_of(path.begin(), path.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' || c == '/';
  });
  return valid ? "Always" : "IfNotPresent";
}

void container_defaults(json::Value& container) {
  if (container.str_at({"imagePullPolicy"}).empty()) container["imagePullPolicy"] = pull_policy_of(container.str_at({"image"}));
}

template <typename F>
void each(json::Value* list, F f) {
  if (list == nullptr || !list->is_array()) return;
  for (json::Value& item : list->as_array()) f(item);
}

constexpr std::string_view kContainerLists[] = {"containers", "initContainers"};

// Requests that are missing become the limits.
void requests_from_limits(json::Value& container) {
  const json::Value* limits = container.at({"resources", "limits"});
  if (absent(limits)) return;
  const json::Object copy = limits->members();
  if (copy.empty()) return;
  json::Value& requests = container["resources"]["requests"];
  for (const auto& [name, amount] : copy) set_default(requests.is_object() ? requests : (requests = json::Object()), name, amount);
}

using Amounts = std::vector<std::pair<std::string, Quantity>>;

Quantity* find(Amounts& amounts, const std::string& name) {
  for (auto& [n, q] : amounts) {
    if (n == name) return &q;
  }
  return nullptr;
}
void add(Amounts& to, const Amounts& from) {
  for (const auto& [name, q] : from) {
    if (Quantity* have = find(to, name)) {
      *have += q;
    } else {
      to.emplace_back(name, q);
    }
  }
}
void raise(Amounts& to, const Amounts& from) {
  for (const auto& [name, q] : from) {
    if (Quantity* have = find(to, name)) {
      if (q > *have) *have = q;
    } else {
      to.emplace_back(name, q);
    }
  }
}

// What the containers need together: the sum of the running ones (sidecars included) or the peak of an init container, whichever is more.
Amounts aggregate(const json::Value& spec, std::string_view which) {
  auto of = [&](const json::Value& container) {
    Amounts out;
    if (const json::Value* map = container.at({"resources", which})) {
      for (const auto& [name, q] : map->members()) out.emplace_back(name, Quantity::parse_or_zero(q.str("0")));
    }
    return out;
  };
  Amounts total, sidecars, peak;
  if (const json::Value* list = spec.get("containers")) {
    for (const json::Value& c : list->items()) add(total, of(c));
  }
  if (const json::Value* list = spec.get("initContainers")) {
    for (const json::Value& c : list->items()) {
      Amounts mine = of(c);
      if (c.str_at({"restartPolicy"}) == "Always") {
        add(total, mine);
        add(sidecars, mine);
        raise(peak, sidecars);
      } else {
        add(mine, sidecars);
        raise(peak, mine);
      }
    }
  }
  raise(total, peak);
  return total;
}

bool is_huge_page(std::string_view name) { return name.starts_with("hugepages-"); }
bool is_pod_level(std::string_view name) { return name == "cpu" || name == "memory" || is_huge_page(name); }

// Pod-level resources that are partly given are completed from the containers and from each other.
void pod_level_resources(json::Value& spec) {
  json::Value* resources = spec.get("resources");
  if (absent(resources)) return;
  const bool has_limits = !is_empty_list_or_map(resources->get("limits"));
  if (has_limits || !is_empty_list_or_map(resources->get("requests"))) {
    for (const auto& [name, q] : aggregate(spec, "limits")) {
      if (!is_huge_page(name) || resources->at({"requests", name}) != nullptr) continue;
      set_default((*resources)["limits"], name, q.to_string());
    }
  }
  if (is_empty_list_or_map(resources->get("limits"))) return;
  json::Value requests = absent(resources->get("requests")) ? json::Value(json::Object()) : *resources->get("requests");
  for (const auto& [name, q] : aggregate(spec, "requests")) {
    if (is_pod_level(name) && !is_huge_page(name)) set_default(requests, name, q.to_string());
  }
  for (const auto& [name, q] : resources->get("limits")->members()) {
    if (is_pod_level(name)) set_default(requests, name, q);
  }
  if (!requests.as_object().empty()) (*resources)["requests"] = std::move(requests);
}

}  // namespace

void pod_spec_defaults(json::Value& spec) {
  if (!spec.is_object()) return;
  for (std::string_view list : {"containers", "initContainers", "ephemeralContainers"}) each(spec.get(list), container_defaults);
  each(spec.get("volumes"), [](json::Value& volume) {
    if (!volume.is_object()) return;
    if (volume.as_object().size() <= (volume.get("name") ? 1u : 0u)) volume["emptyDir"] = json::Object();
    if (json::Value* image = volume.get("image"); image && image->is_object() && image->str_at({"pullPolicy"}).empty()) {
      (*image)["pullPolicy"] = pull_policy_of(image->str_at({"reference"}));
    }
  });
  // One value behind two names.
  const std::string account(spec.str_at({"serviceAccountName"}).empty() ? spec.str_at({"serviceAccount"}) : spec.str_at({"serviceAccountName"}));
  if (!account.empty()) {
    spec["serviceAccountName"] = account;
    spec["serviceAccount"] = account;
  } else if (spec.is_object()) {
    spec.as_object().erase("serviceAccount");
  }
}

// Annotations of the time before init containers were a field.
void drop_init_container_annotations(json::Value& object) {
  json::Value* annotations = object.at({"metadata", "annotations"});
  if (annotations == nullptr || !annotations->is_object()) return;
  for (std::string_view stage : {"alpha", "beta"}) {
    for (std::string_view what : {"init-containers", "init-container-statuses"}) {
      annotations->as_object().erase("pod." + std::string(stage) + ".kubernetes.io/" + std::string(what));
    }
  }
}

void pod(json::Value& object) {
  json::Value& spec = object["spec"].is_object() ? object["spec"] : (object["spec"] = json::Object());
  for (std::string_view list : kContainerLists) each(spec.get(list), requests_from_limits);
  pod_level_resources(spec);
  set_default(spec, "enableServiceLinks", true);
  if (const json::Value* host = spec.get("hostNetwork"); host && host->bool_or(false)) {
    for (std::string_view list : kContainerLists) {
      each(spec.get(list), [](json::Value& container) {
        each(container.get("ports"), [](json::Value& port) {
          const json::Value* host_port = port.get("hostPort");
          const json::Value* container_port = port.get("containerPort");
          if ((host_port == nullptr || host_port->int_or(0) == 0) && container_port) port["hostPort"] = json::Value(*container_port);
        });
      });
    }
  }
  pod_spec_defaults(spec);
  if (const json::Value* grace = spec.get("terminationGracePeriodSeconds"); grace && grace->int_or(0) < 0) {
    spec["terminationGracePeriodSeconds"] = 1;  // in a Pod only, not in templates
  }
  drop_init_container_annotations(object);

  // podIP and podIPs[0] are one value.
  json::Value* status = object.get("status");
  if (status == nullptr || !status->is_object()) return;
  const std::string ip(status->str_at({"podIP"}));
  const json::Value* ips = status->get("podIPs");
  const std::string first(ips && !ips->items().empty() ? ips->items()[0].str_at({"ip"}) : std::string_view());
  if (!ip.empty() && first != ip) {
    (*status)["podIPs"] = json::Array{json::Object{{"ip", ip}}};
  } else if (ip.empty() && !first.empty()) {
    (*status)["podIP"] = first;
  }
}

void replication_controller(json::Value& object) {
  json::Value* tmpl = object.at({"spec", "template"});
  const json::Value* labels = tmpl ? tmpl->at({"metadata", "labels"}) : nullptr;
  if (!absent(labels)) {
    const json::Value copy = *labels;
    if (is_empty_list_or_map(object.at({"spec", "selector"}))) object["spec"]["selector"] = copy;
    if (is_empty_list_or_map(object.at({"metadata", "labels"}))) object["metadata"]["labels"] = copy;
  }
}

void service(json::Value& object) {
  json::Value& spec = object["spec"].is_object() ? object["spec"] : (object["spec"] = json::Object());
  const std::string affinity(spec.str_at({"sessionAffinity"}));
  if (affinity == "None") {
    spec.as_object().erase("sessionAffinityConfig");
  } else if (affinity == "ClientIP" && absent(spec.at({"sessionAffinityConfig", "clientIP", "timeoutSeconds"}))) {
    spec["sessionAffinityConfig"] = json::Object{{"clientIP", json::Object{{"timeoutSeconds", 10800}}}};
  }
  each(spec.get("ports"), [](json::Value& port) {
    const json::Value* target = port.get("targetPort");
    if (absent(target) || (target->is_int() && target->as_int() == 0) || (target->is_string() && target->as_string().empty())) {
      port["targetPort"] = port.get("port") ? *port.get("port") : json::Value(0);
    }
  });
  const std::string type(spec.str_at({"type"}));
  const bool external = type == "LoadBalancer" || type == "NodePort" || (type == "ClusterIP" && !is_empty_list_or_map(spec.get("externalIPs")));
  if (external && spec.str_at({"externalTrafficPolicy"}).empty()) spec["externalTrafficPolicy"] = "Cluster";
  if (type == "NodePort" || type == "LoadBalancer" || type == "ClusterIP") set_default(spec, "internalTrafficPolicy", "Cluster");
  if (type == "LoadBalancer") {
    set_default(spec, "allocateLoadBalancerNodePorts", true);
    each(object.at({"status", "loadBalancer", "ingress"}), [](json::Value& ingress) {
      if (!ingress.str_at({"ip"}).empty()) set_default(ingress, "ipMode", "VIP");
    });
  }
}

// stringData is a write-only way to fill data.
void secret(json::Value& object) {
  json::Value* texts = object.get("stringData");
  if (texts == nullptr) return;
  const json::Object copy = texts->members();
  object.as_object().erase("stringData");
  for (const auto& [key, value] : copy) object["data"][key] = base64_encode(value.str());
}

void name_space(json::Value& object) {
  const std::string name(object.str_at({"metadata", "name"}));
  if (!name.empty()) object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
}

void node(json::Value& object) {
  if (json::Value* status = object.get("status"); status && status->is_object()) {
    if (absent(status->get("allocatable")) && !absent(status->get("capacity"))) {
      json::Value copy = *status->get("capacity");  // inserting moves the members
      (*status)["allocatable"] = std::move(copy);
    }
  }
  // podCIDR and podCIDRs[0] are one value.
  json::Value* spec = object.get("spec");
  if (spec == nullptr || !spec->is_object()) return;
  const std::string cidr(spec->str_at({"podCIDR"}));
  const json::Value* cidrs = spec->get("podCIDRs");
  const std::string first(cidrs && !cidrs->items().empty() ? cidrs->items()[0].str() : std::string_view());
  if (!cidr.empty() && first != cidr) {
    (*spec)["podCIDRs"] = json::Array{cidr};
  } else if (cidr.empty() && !first.empty()) {
    (*spec)["podCIDR"] = first;
  }
}

void persistent_volume(json::Value& object) {
  json::Value& spec = object["spec"].is_object() ? object["spec"] : (object["spec"] = json::Object());
  if (spec.str_at({"persistentVolumeReclaimPolicy"}).empty()) spec["persistentVolumeReclaimPolicy"] = "Retain";
  set_default(spec, "volumeMode", "Filesystem");
}

void limit_range(json::Value& object) {
  each(object.at({"spec", "limits"}), [](json::Value& item) {
    if (item.str_at({"type"}) != "Container") return;
    auto complete = [&](std::string_view to, std::string_view from) {
      const json::Value* source = item.get(from);
      if (absent(source)) return;
      const json::Object copy = source->members();
      for (const auto& [name, q] : copy) set_default(item[to], name, q);
    };
    complete("default", "max");
    complete("defaultRequest", "default");
    complete("defaultRequest", "min");
  });
}

}  // namespace engenho::catalog::defaulting
