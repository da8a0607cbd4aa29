// Endpoints and EndpointSlices of Services that select pods.
#include <set>

#include "engenho/base/log.h"
#include "engenho/base/random.h"
#include "engenho/catalog/discovery_v1.h"
#include "engenho/client/work_queue.h"
#include "engenho/controllers/controllers.h"
#include "util.h"

namespace engenho::controllers {

namespace {

namespace discovery_v1 = k8s::discovery_v1;
using client::key_of;

constexpr size_t kMaxEndpoints = 100;  // of a slice
constexpr char kServiceName[] = "kubernetes.io/service-name";
constexpr char kManagedBy[] = "endpointslice.kubernetes.io/managed-by";
constexpr char kManager[] = "endpointslice-controller.k8s.io";
constexpr char kHeadless[] = "service.kubernetes.io/headless";

struct Backend {
  std::shared_ptr<const core_v1::Pod> pod;
  bool ready = false, serving = false, terminating = false;
};

// The number a service port has on a pod; 0 when its name is unknown there.
int32_t port_on(const core_v1::ServicePort& port, const core_v1::Pod& pod) {
  if (!port.target_port.is_string()) return port.target_port.int_value() != 0 ? port.target_port.int_value() : port.port;
  for (const auto* list : {&pod.spec.containers, &pod.spec.init_containers}) {
    for (const core_v1::Container& c : *list) {
      for (const core_v1::ContainerPort& p : c.ports) {
        if (p.name == port.target_port.str() && (p.protocol.empty() ? "TCP" : p.protocol) == (port.protocol.empty() ? "TCP" : port.protocol)) {
          return p.container_port;
        }
      }
    }
  }
  return 0;
}

class EndpointsController final : public Controller {
 public:
  explicit EndpointsController(Environment& e) : e_(e), queue_(*e.options.clock) {}
  std::string_view name() const override { return "endpoints"; }

  void prepare() override {
    e_.informers.get<core_v1::Service>().on_change(
        [this](const core_v1::Service& s) { queue_.add(key_of(s.metadata.namespace_, s.metadata.name)); });
    using Ptr = client::Informer<core_v1::Pod>::Ptr;
    e_.informers.get<core_v1::Pod>().add_handler({[this](const Ptr& p) { pod_changed(*p); },
                                                  [this](const Ptr& before, const Ptr& now) {
                                                    if (before->metadata.labels != now->metadata.labels) pod_changed(*before);
                                                    pod_changed(*now);
                                                  },
                                                  [this](const Ptr& p) { pod_changed(*p); }});
    e_.informers.get<discovery_v1::EndpointSlice>().on_change([this](const discovery_v1::EndpointSlice& s) {
      auto owner = s.metadata.labels.find(kServiceName);
      auto by = s.metadata.labels.find(kManagedBy);
      if (owner != s.metadata.labels.end() && by != s.metadata.labels.end() && by->second == kManager) {
        queue_.add(key_of(s.metadata.namespace_, owner->second));
      }
    });
    e_.informers.get<core_v1::Endpoints>();
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "endpoints", queue_, 4, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  void pod_changed(const core_v1::Pod& pod) {
    for (const auto& s : e_.informers.get<core_v1::Service>().list(pod.metadata.namespace_)) {
      if (matches_map(s->spec.selector, pod.metadata.labels)) queue_.add(key_of(s->metadata.namespace_, s->metadata.name));
    }
  }

  Status reconcile(const std::string& key) {
    std::string ns, service_name;
    client::split_key(key, ns, service_name);
    auto service = e_.informers.get<core_v1::Service>().get(key);
    if (service == nullptr) {
      // The slices go with their owner; Endpoints have none.
      if (auto old = e_.informers.get<core_v1::Endpoints>().get(key); old != nullptr) {
        Status s = e_.client.remove<core_v1::Endpoints>(ns, service_name);
        if (!s.ok() && !s.not_found()) return s;
      }
      return {};
    }
    if (service->spec.selector.empty() || service->spec.type == "ExternalName" || !service->metadata.deletion_timestamp.is_zero()) return {};
    std::vector<Backend> backends;
    for (const auto& pod : e_.informers.get<core_v1::Pod>().list(ns)) {
      if (!matches_map(service->spec.selector, pod->metadata.labels)) continue;
      if (pod->status.pod_ip.empty() || is_finished(*pod)) continue;
      Backend b;
      b.pod = pod;
      b.terminating = !pod->metadata.deletion_timestamp.is_zero();
      b.serving = is_ready(*pod);
      b.ready = service->spec.publish_not_ready_addresses || (b.serving && !b.terminating);
      backends.push_back(std::move(b));
    }
    ENGENHO_RETURN_IF_ERROR(write_slices(*service, backends));
    return write_endpoints(*service, backends);
  }

  Status write_slices(const core_v1::Service& service, const std::vector<Backend>& backends) {
    // Backends whose ports have the same numbers share slices.
    std::map<std::vector<int32_t>, std::vector<discovery_v1::Endpoint>> groups;
    for (const Backend& b : backends) {
      std::vector<int32_t> numbers;
      for (const core_v1::ServicePort& p : service.spec.ports) numbers.push_back(port_on(p, *b.pod));
      discovery_v1::Endpoint e;
      e.addresses = {b.pod->status.pod_ip};
      e.conditions.ready = b.ready;
      e.conditions.serving = b.serving;
      e.conditions.terminating = b.terminating;
      if (!b.pod->spec.node_name.empty()) e.node_name = b.pod->spec.node_name;
      if (!b.pod->spec.hostname.empty() && b.pod->spec.subdomain == service.metadata.name) e.hostname = b.pod->spec.hostname;
      core_v1::ObjectReference& target = e.target_ref.ensure();
      target.kind = "Pod";
      target.name = b.pod->metadata.name;
      target.namespace_ = b.pod->metadata.namespace_;
      target.uid = b.pod->metadata.uid;
      groups[numbers].push_back(std::move(e));
    }
    if (groups.empty()) {
      std::vector<int32_t> none;
      groups[none];
    }
    std::vector<std::shared_ptr<const discovery_v1::EndpointSlice>> existing;
    for (const auto& s : e_.informers.get<discovery_v1::EndpointSlice>().list(service.metadata.namespace_)) {
      auto owner = s->metadata.labels.find(kServiceName);
      auto by = s->metadata.labels.find(kManagedBy);
      if (owner != s->metadata.labels.end() && owner->second == service.metadata.name && by != s->metadata.labels.end() && by->second == kManager) {
        existing.push_back(s);
      }
    }
    std::set<std::string> used;
    for (auto& [numbers, endpoints] : groups) {
      std::sort(endpoints.begin(), endpoints.end(), [](const auto& a, const auto& b) { return a.addresses < b.addresses; });
      std::vector<discovery_v1::EndpointPort> ports;
      for (size_t i = 0; i < service.spec.ports.size() && i < numbers.size(); ++i) {
        if (numbers[i] == 0) continue;
        discovery_v1::EndpointPort p;
        p.name = service.spec.ports[i].name;
        p.protocol = service.spec.ports[i].protocol;
        p.port = numbers[i];
        p.app_protocol = service.spec.ports[i].app_protocol;
        ports.push_back(std::move(p));
      }
      for (size_t from = 0; from == 0 || from < endpoints.size(); from += kMaxEndpoints) {
        std::vector<discovery_v1::Endpoint> part(endpoints.begin() + static_cast<long>(std::min(from, endpoints.size())),
                                                 endpoints.begin() + static_cast<long>(std::min(from + kMaxEndpoints, endpoints.size())));
        // A slice with these ports is kept, else any that is free.
        std::shared_ptr<const discovery_v1::EndpointSlice> slice;
        for (const auto& s : existing) {
          if (!used.contains(s->metadata.name) && s->ports == ports) {
            slice = s;
            break;
          }
        }
        for (const auto& s : existing) {
          if (slice == nullptr && !used.contains(s->metadata.name)) slice = s;
        }
        discovery_v1::EndpointSlice next;
        if (slice != nullptr) {
          next = *slice;
          used.insert(slice->metadata.name);
        } else {
          next.metadata.generate_name = service.metadata.name + "-";
          next.metadata.namespace_ = service.metadata.namespace_;
          next.metadata.owner_references.push_back(owner_reference(service));
          next.address_type = "IPv4";
        }
        for (const auto& [k, v] : service.metadata.labels) {
          if (k != kHeadless) next.metadata.labels[k] = v;
        }
        next.metadata.labels[kServiceName] = service.metadata.name;
        next.metadata.labels[kManagedBy] = kManager;
        if (service.spec.cluster_ip == "None") next.metadata.labels[kHeadless] = "";
        else next.metadata.labels.erase(kHeadless);
        next.ports = ports;
        next.endpoints = std::move(part);
        if (slice == nullptr) {
          auto created = e_.client.create(next);
          if (!created) {
            if (namespace_is_going(created.error())) return {};
            return created.error();
          }
          used.insert(created->metadata.name);
        } else if (!(next == *slice)) {
          auto updated = e_.client.update(next);
          if (!updated && !updated.error().not_found()) return updated.error();
        }
      }
    }
    for (const auto& s : existing) {
      if (used.contains(s->metadata.name)) continue;
      Status status = e_.client.remove<discovery_v1::EndpointSlice>(s->metadata.namespace_, s->metadata.name);
      if (!status.ok() && !status.not_found()) return status;
    }
    return {};
  }

  Status write_endpoints(const core_v1::Service& service, const std::vector<Backend>& backends) {
    std::map<std::vector<int32_t>, core_v1::EndpointSubset> groups;
    for (const Backend& b : backends) {
      if (b.terminating && !service.spec.publish_not_ready_addresses) continue;
      std::vector<int32_t> numbers;
      for (const core_v1::ServicePort& p : service.spec.ports) numbers.push_back(port_on(p, *b.pod));
      if (!service.spec.ports.empty() && std::all_of(numbers.begin(), numbers.end(), [](int32_t n) { return n == 0; })) continue;
      core_v1::EndpointSubset& subset = groups[numbers];
      if (subset.ports.empty()) {
        for (size_t i = 0; i < numbers.size(); ++i) {
          if (numbers[i] == 0) continue;
          core_v1::EndpointPort p;
          p.name = service.spec.ports[i].name;
          p.port = numbers[i];
          p.protocol = service.spec.ports[i].protocol;
          p.app_protocol = service.spec.ports[i].app_protocol;
          subset.ports.push_back(std::move(p));
        }
      }
      core_v1::EndpointAddress a;
      a.ip = b.pod->status.pod_ip;
      if (!b.pod->spec.node_name.empty()) a.node_name = b.pod->spec.node_name;
      if (!b.pod->spec.hostname.empty() && b.pod->spec.subdomain == service.metadata.name) a.hostname = b.pod->spec.hostname;
      core_v1::ObjectReference& target = a.target_ref.ensure();
      target.kind = "Pod";
      target.name = b.pod->metadata.name;
      target.namespace_ = b.pod->metadata.namespace_;
      target.uid = b.pod->metadata.uid;
      (b.ready ? subset.addresses : subset.not_ready_addresses).push_back(std::move(a));
    }
    core_v1::Endpoints wanted;
    for (auto& [numbers, subset] : groups) {
      auto by_ip = [](const core_v1::EndpointAddress& a, const core_v1::EndpointAddress& b) { return a.ip < b.ip; };
      std::sort(subset.addresses.begin(), subset.addresses.end(), by_ip);
      std::sort(subset.not_ready_addresses.begin(), subset.not_ready_addresses.end(), by_ip);
      wanted.subsets.push_back(std::move(subset));
    }
    Labels labels = service.metadata.labels;
    if (service.spec.cluster_ip == "None") labels[kHeadless] = "";
    labels["endpoints.kubernetes.io/managed-by"] = "endpoint-controller";
    auto existing = e_.informers.get<core_v1::Endpoints>().get(service.metadata.namespace_, service.metadata.name);
    if (existing == nullptr) {
      wanted.metadata.name = service.metadata.name;
      wanted.metadata.namespace_ = service.metadata.namespace_;
      wanted.metadata.labels = labels;
      auto created = e_.client.create(wanted);
      if (!created) {
        if (created.error().already_exists()) return created.error();
        if (namespace_is_going(created.error())) return {};
        return created.error();
      }
      return {};
    }
    core_v1::Endpoints next = *existing;
    next.subsets = std::move(wanted.subsets);
    next.metadata.labels = labels;
    if (next == *existing) return {};
    auto updated = e_.client.update(next);
    if (!updated && !updated.error().not_found()) return updated.error();
    return {};
  }

  Environment& e_;
  client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> endpoints_controller(Environment& e) { return std::make_unique<EndpointsController>(e); }

}  // namespace engenho::controllers
