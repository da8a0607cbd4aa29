#include "service_allocator.h"

#include "engenho/base/bytes.h"
#include "engenho/base/ipv4.h"
#include "engenho/base/random.h"
#include "engenho/schema/api_errors.h"

namespace engenho::apiserver {

namespace {

using json::Value;

class ServiceAllocator final : public WriteHook {
 public:
  ServiceAllocator(const Ipv4Range& range, int first_port, int last_port) : range_(range), first_port_(first_port), last_port_(last_port) {}

  void follow(Cacher& services) {
    services.on_change([this](const CacheEvent& e) {
      std::lock_guard lock(mutex_);
      if (e.previous != nullptr) {
        for (const std::string& k : claims(e.previous->value())) release(k, e.previous->uid());
      }
      if (e.type == EventType::kDeleted) {
        for (const std::string& k : claims(e.object->value())) release(k, e.object->uid());
      } else {
        for (const std::string& k : claims(e.object->value())) owners_[k] = e.object->uid();
      }
    });
  }

  Status before(const ResourceDef& resource, Value& object, const Value* old, bool dry_run) override {
    (void)dry_run;
    if (!resource.group.empty() || resource.plural != "services") return {};
    const std::string uid(object.str_at({"metadata", "uid"}));
    const std::string name(object.str_at({"metadata", "name"}));
    Value& spec = object["spec"];
    const std::string type(spec.str_at({"type"}));
    std::lock_guard lock(mutex_);
    schema::FieldErrors errors;
    if (type == "ExternalName") {
      if (old != nullptr) {
        // A service that becomes ExternalName gives its addresses back, unless the client still asks for them.
        for (const char* member : {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"}) {
          if (old->str_at({"spec", "type"}) != "ExternalName") spec.as_object().erase(member);
        }
      }
    } else {
      if (old != nullptr && spec.str_at({"clusterIP"}).empty() && old->str_at({"spec", "type"}) != "ExternalName") {
        // An update that says nothing keeps what the service has.
        for (const char* member : {"clusterIP", "clusterIPs"}) {
          if (const Value* v = old->at({"spec", member})) spec[member] = *v;
        }
      }
      std::string ip(spec.str_at({"clusterIP"}));
      if (ip.empty()) {
        if (const Value* list = spec.get("clusterIPs"); list != nullptr && !list->items().empty()) ip = list->items()[0].str();
      }
      if (ip.empty()) {
        ip = pick_ip(uid);
        if (ip.empty()) {
          return Status(500, reason::kInternalError,
                        "Internal error occurred: failed to allocate a serviceIP: range is full");
        }
      } else if (ip != "None") {
        const auto address = parse_ipv4(ip);
        const bool valid = address.has_value();
        auto owner = owners_.find("ip:" + ip);
        if (valid && !range_.contains(*address)) {
          errors.invalid("spec.clusterIPs", json::Array{ip},
                         "failed to allocate IP " + ip + ": the provided network does not match the current range");
        } else if (valid && owner != owners_.end() && owner->second != uid) {
          errors.invalid("spec.clusterIPs", json::Array{ip}, "failed to allocate IP " + ip + ": provided IP is already allocated");
        } else if (valid) {
          owners_["ip:" + ip] = uid;
        }
      }
      spec["clusterIP"] = ip;
      if (spec.get("clusterIPs") == nullptr || spec.get("clusterIPs")->items().empty()) spec["clusterIPs"] = json::Array{ip};
      if (spec.get("ipFamilies") == nullptr) spec["ipFamilies"] = json::Array{"IPv4"};
      if (spec.get("ipFamilyPolicy") == nullptr) spec["ipFamilyPolicy"] = "SingleStack";
    }
    const bool wants_ports = type == "NodePort" || type == "LoadBalancer";
    const Value* allocate = spec.get("allocateLoadBalancerNodePorts");
    const bool automatic = type == "NodePort" || allocate == nullptr || allocate->bool_or(true);
    Value* ports = spec.get("ports");
    if (ports != nullptr && ports->is_array()) {
      std::map<int64_t, int64_t> same_number;  // a node port serves both protocols of one port number
      size_t i = 0;
      for (Value& p : ports->as_array()) {
        const std::string at = schema::index("spec.ports", i++) + ".nodePort";
        if (!wants_ports) {
          // A service that stops being a NodePort gives them up, unless the client sent new ones, which validation refuses.
          if (old != nullptr && p.get("nodePort") != nullptr && old->str_at({"spec", "type"}) != "ClusterIP") p.as_object().erase("nodePort");
          continue;
        }
        int64_t port = p.get("nodePort") != nullptr ? p.get("nodePort")->int_or(0) : 0;
        const std::string protocol(p.str_at({"protocol"}, "TCP"));
        const int64_t number = p.get("port") != nullptr ? p.get("port")->int_or(0) : 0;
        if (port == 0 && old != nullptr) port = kept_port(*old, p);
        if (port == 0 && !automatic) continue;
        if (port == 0 && same_number.contains(number)) port = same_number[number];
        if (port == 0) port = pick_port(uid);
        if (port == 0) return Status(500, reason::kInternalError, "Internal error occurred: failed to allocate a nodePort: range is full");
        const std::string k = "port:" + std::to_string(port);
        auto owner = owners_.find(k);
        if (port < first_port_ || port > last_port_) {
          errors.invalid(at, port, "provided port is not in the valid range. The range of valid ports is " + std::to_string(first_port_) + "-" +
                                       std::to_string(last_port_));
        } else if (owner != owners_.end() && owner->second != uid) {
          errors.invalid(at, port, "provided port is already allocated");
        } else {
          owners_[k] = uid;
          same_number[number] = port;
          p["nodePort"] = port;
        }
      }
    }
    if (type == "LoadBalancer" && spec.str_at({"externalTrafficPolicy"}) == "Local" &&
        (spec.get("healthCheckNodePort") == nullptr || spec.get("healthCheckNodePort")->int_or(0) == 0)) {
      const int64_t kept = old != nullptr && old->at({"spec", "healthCheckNodePort"}) ? old->at({"spec", "healthCheckNodePort"})->int_or(0) : 0;
      spec["healthCheckNodePort"] = kept != 0 ? kept : pick_port(uid);
    }
    if (!errors.empty()) {
      undo_locked(object, old);
      return errors.to_status("", "Service", name);
    }
    return {};
  }

  void undo(const ResourceDef& resource, const Value& object, const Value* old) override {
    if (!resource.group.empty() || resource.plural != "services") return;
    std::lock_guard lock(mutex_);
    undo_locked(object, old);
  }

 private:
  static std::vector<std::string> claims(const Value& service) {
    std::vector<std::string> out;
    if (const std::string_view ip = service.str_at({"spec", "clusterIP"}); !ip.empty() && ip != "None") out.push_back("ip:" + std::string(ip));
    if (const Value* ports = service.at({"spec", "ports"})) {
      for (const Value& p : ports->items()) {
        if (const Value* n = p.get("nodePort"); n != nullptr && n->int_or(0) != 0) out.push_back("port:" + std::to_string(n->as_int()));
      }
    }
    if (const Value* n = service.at({"spec", "healthCheckNodePort"}); n != nullptr && n->int_or(0) != 0) {
      out.push_back("port:" + std::to_string(n->as_int()));
    }
    return out;
  }
  void release(const std::string& claim, const std::string& uid) {
    auto it = owners_.find(claim);
    if (it != owners_.end() && it->second == uid) owners_.erase(it);
  }
  void undo_locked(const Value& object, const Value* old) {
    const std::string uid(object.str_at({"metadata", "uid"}));
    std::set<std::string> keep;
    if (old != nullptr) {
      for (std::string& k : claims(*old)) keep.insert(std::move(k));
    }
    for (const std::string& k : claims(object)) {
      if (!keep.contains(k)) release(k, uid);
    }
  }
  static int64_t kept_port(const Value& old, const Value& port) {
    if (const Value* ports = old.at({"spec", "ports"})) {
      for (const Value& p : ports->items()) {
        const Value *a = p.get("port"), *b = port.get("port");
        if (a != nullptr && b != nullptr && *a == *b && p.str_at({"protocol"}) == port.str_at({"protocol"}) && p.get("nodePort") != nullptr) {
          return p.get("nodePort")->int_or(0);
        }
      }
    }
    return 0;
  }
  // The first addresses of the range are left for those who ask for one: .1 is the API server, .10 DNS.
  std::string pick_ip(const std::string& uid) {
    const uint64_t size = range_.size(), reserved = std::min<uint64_t>(std::max<uint64_t>(16, size / 16), 256);
    for (int pass = 0; pass < 2; ++pass) {
      const uint64_t from = pass == 0 && size > reserved ? reserved : 1;
      const uint64_t to = size - 1;  // broadcast
      if (to <= from) continue;
      const uint64_t start = random_u64() % (to - from);
      for (uint64_t i = 0; i < to - from; ++i) {
        const std::string text = ipv4_text(range_.first + static_cast<Ipv4>(from + (start + i) % (to - from)));
        const std::string k = "ip:" + text;
        if (owners_.contains(k)) continue;
        owners_[k] = uid;
        return text;
      }
    }
    return "";
  }
  int64_t pick_port(const std::string& uid) {
    const int count = last_port_ - first_port_ + 1;
    const int start = static_cast<int>(random_u64() % static_cast<uint64_t>(count));
    for (int i = 0; i < count; ++i) {
      const int port = first_port_ + (start + i) % count;
      const std::string k = "port:" + std::to_string(port);
      if (owners_.contains(k)) continue;
      owners_[k] = uid;
      return port;
    }
    return 0;
  }

  const Ipv4Range range_;
  const int first_port_, last_port_;
  std::mutex mutex_;
  std::map<std::string, std::string> owners_;  // "ip:10.43.0.1" or "port:30000" -> uid of the service
};

}  // namespace

Result<std::unique_ptr<WriteHook>> make_service_allocator(Hub& hub, ResourceTable& resources, const std::string& cidr, int first_port,
                                                          int last_port) {
  (void)hub;
  const auto range = parse_ipv4_range(cidr);
  if (!range || range->bits < 8 || range->bits > 30) {
    return err(bad_request("service-cidr: invalid value \"" + cidr + "\": expected an IPv4 range such as 10.43.0.0/16"));
  }
  auto out = std::make_unique<ServiceAllocator>(*range, first_port, last_port);
  out->follow(*resources.find("", "v1", "services")->cacher);
  return out;
}

}  // namespace engenho::apiserver
