#include "printers.h"

#include <algorithm>
#include <map>
#include <vector>

#include "engenho/base/bytes.h"
#include "engenho/catalog/convert.h"
#include "engenho/schema/selector.h"
#include "custom_resources.h"

namespace engenho::apiserver {

namespace {

using json::Value;

std::string age(WallTime now, std::string_view created) {
  auto then = parse_rfc3339(created);
  if (!then) return "<unknown>";
  int64_t s = std::chrono::duration_cast<std::chrono::seconds>(now - *then).count();
  if (s < 0) return s >= -1 ? "0s" : "<invalid>";
  auto two = [](int64_t a, const char* ua, int64_t b, const char* ub) {
    return std::to_string(a) + ua + (b == 0 ? "" : std::to_string(b) + ub);
  };
  if (s < 120) return std::to_string(s) + "s";
  const int64_t m = s / 60, h = s / 3600, d = s / 86400;
  if (m < 10) return two(m, "m", s % 60, "s");
  if (m < 180) return std::to_string(m) + "m";
  if (h < 8) return two(h, "h", m % 60, "m");
  if (h < 48) return std::to_string(h) + "h";
  if (h < 192) return two(d, "d", h % 24, "h");
  if (d < 730) return std::to_string(d) + "d";
  if (d < 2920) return two(d / 365, "y", d % 365, "d");
  return std::to_string(d / 365) + "y";
}


using Cells = json::Array;

std::string join_text(const std::vector<std::string>& list, std::string_view separator = ",", std::string_view none = "<none>") {
  return list.empty() ? std::string(none) : join(list, separator);
}
int64_t number(const Value& o, std::initializer_list<std::string_view> path, int64_t otherwise = 0) {
  const Value* v = o.at(path);
  return v == nullptr ? otherwise : v->int_or(otherwise);
}
std::string text(const Value& o, std::initializer_list<std::string_view> path, std::string_view otherwise = "<none>") {
  const Value* v = o.at(path);
  if (v == nullptr || v->is_null()) return std::string(otherwise);
  if (v->is_string()) return v->as_string().empty() ? std::string(otherwise) : v->as_string();
  return json::dump(*v);
}
std::string since(const Value& o, std::initializer_list<std::string_view> path, WallTime now) {
  const Value* v = o.at(path);
  return v == nullptr || v->str().empty() ? "<unknown>" : age(now, v->str());
}
std::string created(const Value& o, WallTime now) { return since(o, {"metadata", "creationTimestamp"}, now); }
std::string labels(const Value* map) {
  std::vector<std::string> out;
  if (map != nullptr) {
    for (const auto& [k, v] : map->members()) out.push_back(k + "=" + std::string(v.str()));
  }
  return join_text(out);
}
std::string selector(const Value* s) {
  if (s == nullptr) return "<none>";
  auto parsed = schema::LabelSelector::from_document(s);
  return parsed && !parsed->to_string().empty() ? parsed->to_string() : "<none>";
}
void containers(const Value& template_spec, std::string& names, std::string& images) {
  std::vector<std::string> n, i;
  if (const Value* list = template_spec.get("containers")) {
    for (const Value& c : list->items()) {
      n.emplace_back(c.str_at({"name"}));
      i.emplace_back(c.str_at({"image"}));
    }
  }
  names = join(n, ",");
  images = join(i, ",");
}
const Value& at_or_null(const Value& o, std::initializer_list<std::string_view> path) {
  static const Value null;
  const Value* v = o.at(path);
  return v == nullptr ? null : *v;
}

// What a pod is doing, in one word, and how often its containers were restarted.
struct PodLook {
  int ready = 0, total = 0;
  std::string status, restarts;
};
PodLook look_at(const Value& pod, WallTime now) {
  PodLook out;
  const Value* spec_containers = pod.at({"spec", "containers"});
  out.total = spec_containers == nullptr ? 0 : static_cast<int>(spec_containers->items().size());
  out.status = text(pod, {"status", "phase"}, "");
  if (std::string reason = text(pod, {"status", "reason"}, ""); !reason.empty()) out.status = reason;
  if (const Value* conditions = pod.at({"status", "conditions"})) {
    for (const Value& c : conditions->items()) {
      if (c.str_at({"type"}) == "PodScheduled" && c.str_at({"reason"}) == "SchedulingGated") out.status = "SchedulingGated";
    }
  }
  int64_t restarts = 0, side_restarts = 0;
  WallTime last{}, side_last{};
  std::map<std::string, bool> sidecar;
  const Value& inits = at_or_null(pod, {"spec", "initContainers"});
  for (const Value& c : inits.items()) {
    sidecar[std::string(c.str_at({"name"}))] = c.str_at({"restartPolicy"}) == "Always";
    if (sidecar[std::string(c.str_at({"name"}))]) ++out.total;
  }
  auto ended = [&](const Value& s, WallTime& into) {
    if (auto t = parse_rfc3339(s.str_at({"lastState", "terminated", "finishedAt"})); t && *t > into) into = *t;
  };
  bool initializing = false;
  size_t i = 0;
  for (const Value& s : at_or_null(pod, {"status", "initContainerStatuses"}).items()) {
    const bool side = sidecar[std::string(s.str_at({"name"}))];
    restarts += number(s, {"restartCount"});
    ended(s, last);
    if (side) {
      side_restarts += number(s, {"restartCount"});
      ended(s, side_last);
    }
    const Value* terminated = s.at({"state", "terminated"});
    const Value* ready = s.get("ready");
    const Value* started = s.get("started");
    ++i;
    if (initializing) continue;
    if (terminated != nullptr && number(*terminated, {"exitCode"}) == 0) continue;
    if (side && started != nullptr && started->bool_or(false)) {
      if (ready != nullptr && ready->bool_or(false)) ++out.ready;
      continue;
    }
    initializing = true;
    const std::string waiting = text(s, {"state", "waiting", "reason"}, "");
    if (terminated != nullptr) {
      const std::string reason = text(*terminated, {"reason"}, "");
      const int64_t signal = number(*terminated, {"signal"});
      out.status = !reason.empty() ? "Init:" + reason
                   : signal != 0   ? "Init:Signal:" + std::to_string(signal)
                                   : "Init:ExitCode:" + std::to_string(number(*terminated, {"exitCode"}));
    } else if (!waiting.empty() && waiting != "PodInitializing") {
      out.status = "Init:" + waiting;
    } else {
      out.status = "Init:" + std::to_string(i - 1) + "/" + std::to_string(inits.items().size());
    }
  }
  if (!initializing) {
    restarts = side_restarts;
    last = side_last;
    bool running = false;
    const json::Array& statuses = at_or_null(pod, {"status", "containerStatuses"}).items();
    for (auto it = statuses.rbegin(); it != statuses.rend(); ++it) {
      const Value& s = *it;
      restarts += number(s, {"restartCount"});
      ended(s, last);
      const std::string waiting = text(s, {"state", "waiting", "reason"}, "");
      const Value* terminated = s.at({"state", "terminated"});
      const Value* ready = s.get("ready");
      if (!waiting.empty()) {
        out.status = waiting;
      } else if (terminated != nullptr) {
        const std::string reason = text(*terminated, {"reason"}, "");
        const int64_t signal = number(*terminated, {"signal"});
        out.status = !reason.empty() ? reason
                     : signal != 0   ? "Signal:" + std::to_string(signal)
                                     : "ExitCode:" + std::to_string(number(*terminated, {"exitCode"}));
      } else if (ready != nullptr && ready->bool_or(false) && s.at({"state", "running"}) != nullptr) {
        running = true;
        ++out.ready;
      }
    }
    if (out.status == "Completed" && running) {
      bool is_ready = false;
      for (const Value& c : at_or_null(pod, {"status", "conditions"}).items()) {
        is_ready = is_ready || (c.str_at({"type"}) == "Ready" && c.str_at({"status"}) == "True");
      }
      out.status = is_ready ? "Running" : "NotReady";
    }
  }
  if (pod.at({"metadata", "deletionTimestamp"}) != nullptr) {
    if (text(pod, {"status", "reason"}, "") == "NodeLost") out.status = "Unknown";
    else if (text(pod, {"status", "phase"}, "") != "Succeeded" && text(pod, {"status", "phase"}, "") != "Failed") out.status = "Terminating";
  }
  out.restarts = std::to_string(restarts);
  if (restarts != 0 && last != WallTime()) out.restarts += " (" + age(now, format_rfc3339(last)) + " ago)";
  return out;
}

using Printer = void (*)(const Value& o, WallTime now, Cells& out);

void print_pod(const Value& o, WallTime now, Cells& out) {
  const PodLook look = look_at(o, now);
  int gates = 0, passed = 0;
  for (const Value& g : at_or_null(o, {"spec", "readinessGates"}).items()) {
    ++gates;
    for (const Value& c : at_or_null(o, {"status", "conditions"}).items()) {
      if (c.str_at({"type"}) == g.str_at({"conditionType"}) && c.str_at({"status"}) == "True") ++passed;
    }
  }
  std::string ip = "<none>";
  if (const json::Array& ips = at_or_null(o, {"status", "podIPs"}).items(); !ips.empty()) ip = ips[0].str_at({"ip"});
  for (Value v : {Value(std::to_string(look.ready) + "/" + std::to_string(look.total)), Value(look.status), Value(look.restarts), Value(created(o, now)),
                  Value(ip), Value(text(o, {"spec", "nodeName"})), Value(text(o, {"status", "nominatedNodeName"})),
                  Value(gates == 0 ? std::string("<none>") : std::to_string(passed) + "/" + std::to_string(gates))}) {
    out.push_back(std::move(v));
  }
}

void print_node(const Value& o, WallTime now, Cells& out) {
  std::string status = "Unknown";
  for (const Value& c : at_or_null(o, {"status", "conditions"}).items()) {
    if (c.str_at({"type"}) == "Ready") status = c.str_at({"status"}) == "True" ? "Ready" : "NotReady";
  }
  if (const Value* u = o.at({"spec", "unschedulable"}); u != nullptr && u->bool_or(false)) status += ",SchedulingDisabled";
  std::vector<std::string> roles;
  constexpr std::string_view kRole = "node-role.kubernetes.io/";
  for (const auto& [k, v] : at_or_null(o, {"metadata", "labels"}).members()) {
    if (k.starts_with(kRole) && k.size() > kRole.size()) roles.push_back(k.substr(kRole.size()));
    else if (k == "kubernetes.io/role" && !v.str().empty()) roles.emplace_back(v.str());
  }
  auto address = [&](std::string_view type) -> std::string {
    for (const Value& a : at_or_null(o, {"status", "addresses"}).items()) {
      if (a.str_at({"type"}) == type) return std::string(a.str_at({"address"}));
    }
    return "<none>";
  };
  for (Value v : {Value(status), Value(join_text(roles)), Value(created(o, now)), Value(text(o, {"status", "nodeInfo", "kubeletVersion"}, "")),
                  Value(address("InternalIP")), Value(address("ExternalIP")), Value(text(o, {"status", "nodeInfo", "osImage"}, "<unknown>")),
                  Value(text(o, {"status", "nodeInfo", "kernelVersion"}, "<unknown>")),
                  Value(text(o, {"status", "nodeInfo", "containerRuntimeVersion"}, "<unknown>"))}) {
    out.push_back(std::move(v));
  }
}

void print_service(const Value& o, WallTime now, Cells& out) {
  const std::string type = text(o, {"spec", "type"}, "");
  std::string ip = text(o, {"spec", "clusterIP"});
  std::string external = "<none>";
  std::vector<std::string> addresses;
  for (const Value& i : at_or_null(o, {"status", "loadBalancer", "ingress"}).items()) {
    addresses.emplace_back(i.str_at({"ip"}).empty() ? i.str_at({"hostname"}) : i.str_at({"ip"}));
  }
  std::vector<std::string> given;
  for (const Value& i : at_or_null(o, {"spec", "externalIPs"}).items()) given.emplace_back(i.str());
  if (type == "LoadBalancer") {
    addresses.insert(addresses.end(), given.begin(), given.end());
    external = addresses.empty() ? "<pending>" : join(addresses, ",");
  } else if (type == "ExternalName") {
    external = text(o, {"spec", "externalName"});
  } else if (!given.empty()) {
    external = join(given, ",");
  }
  std::vector<std::string> ports;
  for (const Value& p : at_or_null(o, {"spec", "ports"}).items()) {
    std::string one = std::to_string(number(p, {"port"}));
    if (const int64_t n = number(p, {"nodePort"}); n != 0) one += ":" + std::to_string(n);
    ports.push_back(one + "/" + text(p, {"protocol"}, "TCP"));
  }
  for (Value v : {Value(type), Value(ip), Value(external), Value(join_text(ports)), Value(created(o, now)), Value(labels(o.at({"spec", "selector"})))}) {
    out.push_back(std::move(v));
  }
}

template <typename... T>
void push(Cells& out, T... values) {
  (out.push_back(Value(std::move(values))), ...);
}

void print_deployment(const Value& o, WallTime now, Cells& out) {
  std::string names, images;
  containers(at_or_null(o, {"spec", "template", "spec"}), names, images);
  push(out, std::to_string(number(o, {"status", "readyReplicas"})) + "/" + std::to_string(number(o, {"spec", "replicas"})),
       number(o, {"status", "updatedReplicas"}), number(o, {"status", "availableReplicas"}), created(o, now), names, images,
       selector(o.at({"spec", "selector"})));
}
void print_replica_set(const Value& o, WallTime now, Cells& out) {
  std::string names, images;
  containers(at_or_null(o, {"spec", "template", "spec"}), names, images);
  const bool plain = o.str_at({"kind"}) == "ReplicationController";
  push(out, number(o, {"spec", "replicas"}), number(o, {"status", "replicas"}), number(o, {"status", "readyReplicas"}), created(o, now), names,
       images, plain ? labels(o.at({"spec", "selector"})) : selector(o.at({"spec", "selector"})));
}
void print_stateful_set(const Value& o, WallTime now, Cells& out) {
  std::string names, images;
  containers(at_or_null(o, {"spec", "template", "spec"}), names, images);
  push(out, std::to_string(number(o, {"status", "readyReplicas"})) + "/" + std::to_string(number(o, {"spec", "replicas"})), created(o, now), names, images);
}
void print_daemon_set(const Value& o, WallTime now, Cells& out) {
  std::string names, images;
  containers(at_or_null(o, {"spec", "template", "spec"}), names, images);
  push(out, number(o, {"status", "desiredNumberScheduled"}), number(o, {"status", "currentNumberScheduled"}), number(o, {"status", "numberReady"}),
       number(o, {"status", "updatedNumberScheduled"}), number(o, {"status", "numberAvailable"}),
       labels(o.at({"spec", "template", "spec", "nodeSelector"})), created(o, now), names, images, selector(o.at({"spec", "selector"})));
}
void print_job(const Value& o, WallTime now, Cells& out) {
  std::string names, images;
  containers(at_or_null(o, {"spec", "template", "spec"}), names, images);
  std::string status = "Running";
  for (const Value& c : at_or_null(o, {"status", "conditions"}).items()) {
    if (c.str_at({"status"}) != "True") continue;
    const std::string_view type = c.str_at({"type"});
    if (type == "Complete" || type == "Failed" || type == "Suspended" || type == "FailureTarget" || type == "SuccessCriteriaMet") status = type;
  }
  if (o.at({"metadata", "deletionTimestamp"}) != nullptr && status == "Running") status = "Terminating";
  const Value* completions = o.at({"spec", "completions"});
  const int64_t parallel = number(o, {"spec", "parallelism"});
  const std::string done = std::to_string(number(o, {"status", "succeeded"}));
  const std::string of = completions != nullptr ? done + "/" + json::dump(*completions) : parallel > 1 ? done + "/1 of " + std::to_string(parallel) : done + "/1";
  std::string duration;
  if (auto start = parse_rfc3339(o.str_at({"status", "startTime"}))) {
    auto end = parse_rfc3339(o.str_at({"status", "completionTime"}));
    duration = age(end ? *end : now, format_rfc3339(*start));
  }
  push(out, status, of, duration, created(o, now), names, images, selector(o.at({"spec", "selector"})));
}
void print_cron_job(const Value& o, WallTime now, Cells& out) {
  std::string names, images;
  containers(at_or_null(o, {"spec", "jobTemplate", "spec", "template", "spec"}), names, images);
  const Value* suspend = o.at({"spec", "suspend"});
  const std::string last = o.at({"status", "lastScheduleTime"}) ? since(o, {"status", "lastScheduleTime"}, now) : "<none>";
  push(out, text(o, {"spec", "schedule"}, ""), text(o, {"spec", "timeZone"}), suspend != nullptr && suspend->bool_or(false) ? "True" : "False",
       static_cast<int64_t>(at_or_null(o, {"status", "active"}).items().size()), last, created(o, now), names, images,
       selector(o.at({"spec", "jobTemplate", "spec", "selector"})));
}
void print_event(const Value& o, WallTime now, Cells& out) {
  auto when = [&](std::string_view a) {
    if (!o.str_at({a}).empty()) return age(now, o.str_at({a}));
    return o.str_at({"eventTime"}).empty() ? std::string("<unknown>") : age(now, o.str_at({"eventTime"}));
  };
  std::string last = when("lastTimestamp");
  if (!o.str_at({"series", "lastObservedTime"}).empty()) last = age(now, o.str_at({"series", "lastObservedTime"}));
  std::string target = to_lower(text(o, {"involvedObject", "kind"}, ""));
  if (const std::string n = text(o, {"involvedObject", "name"}, ""); !n.empty()) target += "/" + n;
  std::string component = text(o, {"source", "component"}, "");
  if (component.empty()) component = text(o, {"reportingComponent"}, "");
  if (const std::string host = text(o, {"source", "host"}, ""); !host.empty()) component += ", " + host;
  int64_t count = number(o, {"count"});
  if (const Value* series = o.get("series")) count = number(*series, {"count"});
  else if (count == 0) count = 1;
  std::string message(trim(o.str_at({"message"})));
  push(out, last, text(o, {"type"}, ""), text(o, {"reason"}, ""), target, text(o, {"involvedObject", "fieldPath"}, ""), component, message,
       when("firstTimestamp"), count, text(o, {"metadata", "name"}, ""));
}
void print_endpoints(const Value& o, WallTime now, Cells& out) {
  std::vector<std::string> all;
  for (const Value& s : at_or_null(o, {"subsets"}).items()) {
    const json::Array& ports = at_or_null(s, {"ports"}).items();
    for (const Value& a : at_or_null(s, {"addresses"}).items()) {
      if (ports.empty()) all.emplace_back(a.str_at({"ip"}));
      for (const Value& p : ports) all.push_back(std::string(a.str_at({"ip"})) + ":" + std::to_string(number(p, {"port"})));
    }
  }
  std::string shown = all.empty() ? "<none>" : join({all.begin(), all.begin() + static_cast<long>(std::min<size_t>(3, all.size()))}, ",");
  if (all.size() > 3) shown += " + " + std::to_string(all.size() - 3) + " more...";
  push(out, shown, created(o, now));
}
void print_endpoint_slice(const Value& o, WallTime now, Cells& out) {
  auto few = [](const std::vector<std::string>& all, std::string_view none) {
    if (all.empty()) return std::string(none);
    std::string shown = join({all.begin(), all.begin() + static_cast<long>(std::min<size_t>(3, all.size()))}, ",");
    return all.size() > 3 ? shown + " + " + std::to_string(all.size() - 3) + " more..." : shown;
  };
  std::vector<std::string> ports, addresses;
  for (const Value& p : at_or_null(o, {"ports"}).items()) {
    ports.push_back(p.get("port") != nullptr ? std::to_string(number(p, {"port"})) : p.str_at({"name"}).empty() ? "*" : std::string(p.str_at({"name"})));
  }
  for (const Value& e : at_or_null(o, {"endpoints"}).items()) {
    for (const Value& a : at_or_null(e, {"addresses"}).items()) addresses.emplace_back(a.str());
  }
  push(out, text(o, {"addressType"}, ""), few(ports, "<unset>"), few(addresses, "<unset>"), created(o, now));
}
void print_config_map(const Value& o, WallTime now, Cells& out) {
  push(out, static_cast<int64_t>(at_or_null(o, {"data"}).members().size() + at_or_null(o, {"binaryData"}).members().size()), created(o, now));
}
void print_secret(const Value& o, WallTime now, Cells& out) {
  push(out, text(o, {"type"}, ""), static_cast<int64_t>(at_or_null(o, {"data"}).members().size()), created(o, now));
}
void print_namespace(const Value& o, WallTime now, Cells& out) { push(out, text(o, {"status", "phase"}, ""), created(o, now)); }
void print_age(const Value& o, WallTime now, Cells& out) { push(out, created(o, now)); }
void print_role_binding(const Value& o, WallTime now, Cells& out) {
  std::vector<std::string> users, groups, accounts;
  for (const Value& s : at_or_null(o, {"subjects"}).items()) {
    const std::string name(s.str_at({"name"}));
    if (s.str_at({"kind"}) == "User") users.push_back(name);
    else if (s.str_at({"kind"}) == "Group") groups.push_back(name);
    else accounts.push_back(std::string(s.str_at({"namespace"})) + "/" + name);
  }
  push(out, text(o, {"roleRef", "kind"}, "") + "/" + text(o, {"roleRef", "name"}, ""), created(o, now), join(users, ", "), join(groups, ", "),
       join(accounts, ", "));
}
std::string access_modes(const Value& modes) {
  std::vector<std::string> out;
  for (const Value& m : modes.items()) {
    const std::string_view v = m.str();
    out.emplace_back(v == "ReadWriteOnce" ? "RWO" : v == "ReadOnlyMany" ? "ROX" : v == "ReadWriteMany" ? "RWX" : v == "ReadWriteOncePod" ? "RWOP" : v);
  }
  return join(out, ",");
}
void print_claim(const Value& o, WallTime now, Cells& out) {
  std::string phase = text(o, {"status", "phase"}, "");
  if (o.at({"metadata", "deletionTimestamp"}) != nullptr) phase = "Terminating";
  const bool bound = !text(o, {"spec", "volumeName"}, "").empty();
  push(out, phase, text(o, {"spec", "volumeName"}, ""), bound ? text(o, {"status", "capacity", "storage"}, "0") : std::string(),
       bound ? access_modes(at_or_null(o, {"status", "accessModes"})) : std::string(), text(o, {"spec", "storageClassName"}, ""),
       text(o, {"spec", "volumeAttributesClassName"}, "<unset>"), created(o, now), text(o, {"spec", "volumeMode"}, "<unset>"));
}
void print_volume(const Value& o, WallTime now, Cells& out) {
  std::string phase = text(o, {"status", "phase"}, "");
  if (o.at({"metadata", "deletionTimestamp"}) != nullptr) phase = "Terminating";
  const Value* claim = o.at({"spec", "claimRef"});
  push(out, text(o, {"spec", "capacity", "storage"}, ""), access_modes(at_or_null(o, {"spec", "accessModes"})),
       text(o, {"spec", "persistentVolumeReclaimPolicy"}, ""), phase,
       claim == nullptr ? std::string() : text(*claim, {"namespace"}, "") + "/" + text(*claim, {"name"}, ""), text(o, {"spec", "storageClassName"}, ""),
       text(o, {"spec", "volumeAttributesClassName"}, "<unset>"), text(o, {"status", "reason"}, ""), created(o, now),
       text(o, {"spec", "volumeMode"}, "<unset>"));
}
void print_storage_class(const Value& o, WallTime now, Cells& out) {
  const Value* expand = o.get("allowVolumeExpansion");
  const Value* fallback = o.at({"metadata", "annotations", "storageclass.kubernetes.io/is-default-class"});
  if (fallback != nullptr && fallback->str() == "true") out[0] = std::string(out[0].str()) + " (default)";
  push(out, text(o, {"provisioner"}, ""), text(o, {"reclaimPolicy"}, "Delete"), text(o, {"volumeBindingMode"}, "Immediate"),
       expand != nullptr && expand->bool_or(false), created(o, now));
}
void print_lease(const Value& o, WallTime now, Cells& out) { push(out, text(o, {"spec", "holderIdentity"}, ""), created(o, now)); }
void print_priority_class(const Value& o, WallTime now, Cells& out) {
  const Value* global = o.get("globalDefault");
  push(out, number(o, {"value"}), global != nullptr && global->bool_or(false), created(o, now), text(o, {"preemptionPolicy"}, ""));
}
void print_budget(const Value& o, WallTime now, Cells& out) {
  push(out, text(o, {"spec", "minAvailable"}, "N/A"), text(o, {"spec", "maxUnavailable"}, "N/A"), number(o, {"status", "disruptionsAllowed"}),
       created(o, now));
}
void print_ingress(const Value& o, WallTime now, Cells& out) {
  std::vector<std::string> hosts, addresses;
  for (const Value& r : at_or_null(o, {"spec", "rules"}).items()) {
    if (!r.str_at({"host"}).empty()) hosts.emplace_back(r.str_at({"host"}));
  }
  for (const Value& i : at_or_null(o, {"status", "loadBalancer", "ingress"}).items()) {
    addresses.emplace_back(i.str_at({"ip"}).empty() ? i.str_at({"hostname"}) : i.str_at({"ip"}));
  }
  push(out, text(o, {"spec", "ingressClassName"}), join_text(hosts, ",", "*"), join(addresses, ","),
       at_or_null(o, {"spec", "tls"}).items().empty() ? "80" : "80, 443", created(o, now));
}
void print_ingress_class(const Value& o, WallTime now, Cells& out) {
  std::string parameters = "<none>";
  if (const Value* p = o.at({"spec", "parameters"})) {
    parameters = text(*p, {"kind"}, "");
    if (const std::string group = text(*p, {"apiGroup"}, ""); !group.empty()) parameters += "." + group;
    parameters += "/" + text(*p, {"name"}, "");
  }
  push(out, text(o, {"spec", "controller"}, ""), parameters, created(o, now));
}
void print_runtime_class(const Value& o, WallTime now, Cells& out) { push(out, text(o, {"handler"}, ""), created(o, now)); }
void print_service_cidr(const Value& o, WallTime now, Cells& out) {
  std::vector<std::string> cidrs;
  for (const Value& c : at_or_null(o, {"spec", "cidrs"}).items()) cidrs.emplace_back(c.str());
  push(out, join(cidrs, ","), created(o, now));
}
void print_webhooks(const Value& o, WallTime now, Cells& out) {
  push(out, static_cast<int64_t>(at_or_null(o, {"webhooks"}).items().size()), created(o, now));
}
void print_flow_schema(const Value& o, WallTime now, Cells& out) {
  std::string missing = "?";
  for (const Value& c : at_or_null(o, {"status", "conditions"}).items()) {
    if (c.str_at({"type"}) == "Dangling") missing = c.str_at({"status"});
  }
  push(out, text(o, {"spec", "priorityLevelConfiguration", "name"}, ""), number(o, {"spec", "matchingPrecedence"}),
       text(o, {"spec", "distinguisherMethod", "type"}), created(o, now), missing);
}
void print_quota(const Value& o, WallTime now, Cells& out) {
  std::vector<std::string> requests, limits;
  for (const auto& [name, hard] : at_or_null(o, {"status", "hard"}).members()) {
    const std::string one = name + ": " + text(o, {"status", "used", name}, "0") + "/" + std::string(hard.str());
    (name.starts_with("limits.") ? limits : requests).push_back(one);
  }
  push(out, join(requests, ", "), join(limits, ", "), created(o, now));
}
void print_template(const Value& o, WallTime now, Cells& out) {
  (void)now;
  std::string names, images;
  containers(at_or_null(o, {"template", "spec"}), names, images);
  push(out, names, images, labels(o.at({"template", "metadata", "labels"})));
}
void print_autoscaler(const Value& o, WallTime now, Cells& out) {
  std::vector<std::string> targets;
  const json::Array& current = at_or_null(o, {"status", "currentMetrics"}).items();
  size_t i = 0;
  for (const Value& m : at_or_null(o, {"spec", "metrics"}).items()) {
    std::string have = "<unknown>", want = "<auto>";
    if (const Value* u = m.at({"resource", "target", "averageUtilization"})) want = json::dump(*u) + "%";
    else if (const std::string v = text(m, {"resource", "target", "averageValue"}, ""); !v.empty()) want = v;
    if (i < current.size()) {
      if (const Value* u = current[i].at({"resource", "current", "averageUtilization"})) have = json::dump(*u) + "%";
    }
    ++i;
    targets.push_back(text(m, {"resource", "name"}, "") + ": " + have + "/" + want);
  }
  const Value* least = o.at({"spec", "minReplicas"});
  push(out, text(o, {"spec", "scaleTargetRef", "kind"}, "") + "/" + text(o, {"spec", "scaleTargetRef", "name"}, ""), join_text(targets, ", "),
       least == nullptr ? std::string("<unset>") : json::dump(*least), number(o, {"spec", "maxReplicas"}), number(o, {"status", "currentReplicas"}), created(o, now));
}

const std::map<std::string, Printer, std::less<>>& printers() {
  static const std::map<std::string, Printer, std::less<>> table = {
      {"Pod", print_pod}, {"Node", print_node}, {"Service", print_service}, {"Deployment", print_deployment}, {"ReplicaSet", print_replica_set},
      {"ReplicationController", print_replica_set}, {"StatefulSet", print_stateful_set}, {"DaemonSet", print_daemon_set}, {"Job", print_job},
      {"CronJob", print_cron_job}, {"Event", print_event}, {"Endpoints", print_endpoints}, {"EndpointSlice", print_endpoint_slice},
      {"ConfigMap", print_config_map}, {"Secret", print_secret}, {"Namespace", print_namespace}, {"ServiceAccount", print_age},
      {"ClusterRoleBinding", print_role_binding}, {"RoleBinding", print_role_binding}, {"PersistentVolumeClaim", print_claim},
      {"PersistentVolume", print_volume}, {"StorageClass", print_storage_class}, {"Lease", print_lease}, {"PriorityClass", print_priority_class},
      {"PodDisruptionBudget", print_budget}, {"Ingress", print_ingress}, {"IngressClass", print_ingress_class}, {"RuntimeClass", print_runtime_class},
      {"ServiceCIDR", print_service_cidr}, {"MutatingWebhookConfiguration", print_webhooks}, {"ValidatingWebhookConfiguration", print_webhooks},
      {"FlowSchema", print_flow_schema}, {"ResourceQuota", print_quota}, {"PodTemplate", print_template}, {"HorizontalPodAutoscaler", print_autoscaler},
  };
  return table;
}

}  // namespace

std::string human_age(WallTime now, std::string_view created) { return age(now, created); }

Value table_columns(const ResourceDef& resource) {
  json::Array out;
  auto add = [&](std::string_view name, std::string_view type, std::string_view format, std::string_view description, int priority) {
    Value c = json::Object();
    c["name"] = name;
    c["type"] = type;
    c["format"] = format;
    c["description"] = description;
    c["priority"] = priority;
    out.push_back(std::move(c));
  };
  if (resource.custom != nullptr) {
    add("Name", "string", "name", "", 0);
    for (const CustomColumn& c : resource.custom->columns) add(c.name, c.type, c.format, c.description, c.priority);
  } else if (resource.facts == nullptr || resource.facts->columns.empty()) {
    add("Name", "string", "name", "", 0);
    add("Created At", "date", "", "", 0);
  } else {
    for (const catalog::PrinterColumn& c : resource.facts->columns) add(c.name, c.type, c.format, "", c.priority);
  }
  return out;
}

json::Array table_cells(const ResourceDef& resource, const Value& object, WallTime now) {
  json::Array out;
  if (resource.custom != nullptr) {
    out = custom_cells(*resource.custom, object, now);
    out.insert(out.begin(), Value(object.str_at({"metadata", "name"})));
    return out;
  }
  if (resource.facts == nullptr || resource.facts->columns.empty()) {
    out.push_back(object.str_at({"metadata", "name"}));
    out.push_back(object.str_at({"metadata", "creationTimestamp"}));
    return out;
  }
  auto printer = printers().find(resource.kind);
  if (printer != printers().end()) {
    if (resource.kind != "Event") out.push_back(object.str_at({"metadata", "name"}));
    Value core = object;
    if (resource.group == "events.k8s.io") (void)catalog::convert(core, "", "v1");
    printer->second(core, now, out);
    out.resize(resource.facts->columns.size());
    return out;
  }
  // Kinds without a printer of their own: what can be read off by the column's name.
  for (const catalog::PrinterColumn& c : resource.facts->columns) {
    if (c.name == "Name") out.push_back(object.str_at({"metadata", "name"}));
    else if (c.name == "Age") out.push_back(created(object, now));
    else out.push_back("<unknown>");
  }
  return out;
}

}  // namespace engenho::apiserver
