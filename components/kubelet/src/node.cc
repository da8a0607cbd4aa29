#include "node.h"

#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/catalog/coordination_v1.h"

namespace engenho::kubelet {

namespace core_v1 = k8s::core_v1;
namespace coordination_v1 = k8s::coordination_v1;

namespace {

constexpr int64_t kLeaseSeconds = 40;

int64_t memory_field(const char* name) {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(name)) continue;
    std::istringstream fields(line);
    std::string key;
    int64_t kib = 0;
    fields >> key >> kib;
    return kib * 1024;
  }
  return 0;
}

std::string first_line(const char* path) {
  auto text = read_file(path);
  return text ? std::string(trim(text->substr(0, text->find('\n')))) : std::string();
}

std::string os_image() {
  std::ifstream in("/etc/os-release");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("PRETTY_NAME=")) continue;
    std::string value = line.substr(12);
    if (value.size() >= 2 && value.front() == '"') value = value.substr(1, value.size() - 2);
    return value;
  }
  return "Linux";
}

const char* architecture() {
#if defined(__aarch64__)
  return "arm64";
#else
  return "amd64";
#endif
}

}  // namespace

NodeAgent::NodeAgent(const Options& options, client::Client& client, Cri& cri, client::EventRecorder& events)
    : options_(options), client_(client), cri_(cri), events_(events), pod_cidr_(options.pod_cidr),
      memory_(memory_field("MemTotal:")), milli_cpu_(sysconf(_SC_NPROCESSORS_ONLN) * 1000) {}

void NodeAgent::set_condition(core_v1::Node& node, const char* type, bool value, const std::string& reason, const std::string& message) {
  auto& list = node.status.conditions;
  auto it = std::find_if(list.begin(), list.end(), [&](const auto& c) { return c.type == type; });
  if (it == list.end()) {
    list.emplace_back();
    it = list.end() - 1;
    it->type = type;
  }
  const k8s::Time now(Clock::real().wall());
  const std::string text = value ? "True" : "False";
  if (it->status != text) it->last_transition_time = now;
  it->status = text;
  it->reason = reason;
  it->message = message;
  it->last_heartbeat_time = now;
}

void NodeAgent::fill(core_v1::Node& node) {
  auto& s = node.status;
  struct statvfs disk {};
  const bool have_disk = statvfs(options_.data_dir.c_str(), &disk) == 0;
  const int64_t disk_total = have_disk ? static_cast<int64_t>(disk.f_blocks * disk.f_frsize) : 0;
  // Only what is ours: device plugins and others keep their own resources in the same maps.
  for (auto* map : {&s.capacity, &s.allocatable}) {
    (*map)["cpu"] = std::to_string(milli_cpu_ / 1000);
    (*map)["memory"] = std::to_string(memory_ / 1024) + "Ki";
    (*map)["pods"] = std::to_string(options_.max_pods);
    (*map)["ephemeral-storage"] = std::to_string(disk_total / 1024) + "Ki";
    if (!map->contains("hugepages-2Mi")) (*map)["hugepages-2Mi"] = "0";
  }
  s.allocatable["ephemeral-storage"] = std::to_string(disk_total / 10 * 9);
  s.addresses.clear();
  for (const auto& [type, address] : {std::pair{"InternalIP", options_.node_address}, {"Hostname", options_.node_name}}) {
    s.addresses.emplace_back();
    s.addresses.back().type = type;
    s.addresses.back().address = address;
  }
  s.daemon_endpoints.kubelet_endpoint.port = options_.port;
  auto& info = s.node_info;
  info.machine_id = first_line("/etc/machine-id");
  info.system_uuid = first_line("/sys/class/dmi/id/product_uuid");
  if (info.system_uuid.empty()) info.system_uuid = info.machine_id;
  info.boot_id = first_line("/proc/sys/kernel/random/boot_id");
  utsname names{};
  uname(&names);
  info.kernel_version = names.release;
  info.os_image = os_image();
  info.kubelet_version = options_.version;
  info.kube_proxy_version = options_.version;
  info.operating_system = "linux";
  info.architecture = architecture();

  auto status = cri_.status();
  std::string why;
  if (!status) {
    why = "container runtime status check failed: " + status.error().message();
  } else {
    if (runtime_version_.empty()) {
      if (auto v = cri_.version()) runtime_version_ = v->runtime_name() + "://" + v->runtime_version();
    }
    for (const char* needed : {"RuntimeReady", "NetworkReady"}) {
      bool good = false;
      std::string message = "not reported";
      for (const auto& c : status->status().conditions()) {
        if (c.type() != needed) continue;
        good = c.status();
        message = c.reason() + ": " + c.message();
      }
      if (!good) why += (why.empty() ? "" : "; ") + std::string(needed) + " is false: " + message;
    }
  }
  info.container_runtime_version = runtime_version_;
  const int64_t available = memory_field("MemAvailable:");
  const bool memory_short = available > 0 && available < (100 << 20);
  const bool disk_short = have_disk && disk.f_blocks > 0 && disk.f_bavail * 100 / disk.f_blocks < 5;
  set_condition(node, "MemoryPressure", memory_short, memory_short ? "KubeletHasInsufficientMemory" : "KubeletHasSufficientMemory",
                memory_short ? "kubelet has insufficient memory available" : "kubelet has sufficient memory available");
  set_condition(node, "DiskPressure", disk_short, disk_short ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
                disk_short ? "kubelet has disk pressure" : "kubelet has no disk pressure");
  set_condition(node, "PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available");
  set_condition(node, "Ready", why.empty(), why.empty() ? "KubeletReady" : "KubeletNotReady", why.empty() ? "kubelet is posting ready status" : why);
  if (why.empty() != told_ready_) {
    told_ready_ = why.empty();
    client::ObjectReference about{"v1", "Node", "", options_.node_name, node.metadata.uid.empty() ? options_.node_name : node.metadata.uid, "", ""};
    events_.event(about, "Normal", told_ready_ ? "NodeReady" : "NodeNotReady", "Node " + options_.node_name + " status is now: " + (told_ready_ ? "NodeReady" : "NodeNotReady"));
  }
}

Status NodeAgent::register_node(const StopToken& stop) {
  const std::map<std::string, std::string> labels = {{"kubernetes.io/hostname", options_.node_name}, {"kubernetes.io/os", "linux"},
                                                     {"kubernetes.io/arch", architecture()}, {"beta.kubernetes.io/os", "linux"},
                                                     {"beta.kubernetes.io/arch", architecture()}};
  Duration delay = std::chrono::milliseconds(200);
  while (true) {
    Status problem;
    auto node = client_.get<core_v1::Node>("", options_.node_name);
    if (node) {
      json::Value patch = json::Object();
      for (const auto& [k, v] : labels) {
        auto it = node->metadata.labels.find(k);
        if (it == node->metadata.labels.end() || it->second != v) patch["metadata"]["labels"][k] = v;
      }
      if (node->spec.pod_cidr.empty()) {
        patch["spec"]["podCIDR"] = options_.pod_cidr;
        patch["spec"]["podCIDRs"] = json::Array{options_.pod_cidr};
      } else {
        pod_cidr_ = node->spec.pod_cidr;
      }
      if (patch.is_object()) {
        auto done = patch.members().empty() ? node : client_.patch<core_v1::Node>("", options_.node_name, client::PatchType::kStrategic, json::dump(patch));
        if (!done) problem = done.error();
      }
      if (problem.ok()) return update_status();
    } else if (node.error().not_found()) {
      core_v1::Node fresh;
      fresh.metadata.name = options_.node_name;
      fresh.metadata.labels = labels;
      fresh.spec.pod_cidr = options_.pod_cidr;
      fresh.spec.pod_cidrs = {options_.pod_cidr};
      fill(fresh);
      auto made = client_.create(fresh);
      if (made) {
        log::info("kubelet", "node {} is registered", options_.node_name);
        return {};
      }
      problem = made.error();
    } else {
      problem = node.error();
    }
    log::warn("kubelet", "cannot register node {}: {}", options_.node_name, problem.message());
    if (stop.wait_for(delay)) return unavailable("stopped");
    delay = std::min<Duration>(delay * 2, std::chrono::seconds(7));
  }
}

Status NodeAgent::update_status() {
  // Read, change what is ours, write with the version that was read: whatever another wrote in between stays.
  Status last;
  for (int i = 0; i < 5; ++i) {
    ENGENHO_ASSIGN_OR_RETURN(core_v1::Node node, client_.get<core_v1::Node>("", options_.node_name));
    fill(node);
    if (cri_.cancelled()) return {};   // we are stopping: the node is as ready as it was
    auto done = client_.update_status(node);
    if (done) return {};
    last = done.error();
    if (!last.conflict()) return last;
  }
  return last;
}

Status NodeAgent::renew_lease() {
  const k8s::MicroTime now(Clock::real().wall());
  auto lease = client_.get<coordination_v1::Lease>("kube-node-lease", options_.node_name);
  if (lease) {
    lease->spec.renew_time = now;
    lease->spec.holder_identity = options_.node_name;
    auto done = client_.update(*lease);
    return done ? Status() : done.error();
  }
  if (!lease.error().not_found()) return lease.error();
  coordination_v1::Lease fresh;
  fresh.metadata.name = options_.node_name;
  fresh.metadata.namespace_ = "kube-node-lease";
  if (auto node = client_.get<core_v1::Node>("", options_.node_name)) {
    fresh.metadata.owner_references.emplace_back();
    auto& owner = fresh.metadata.owner_references.back();
    owner.api_version = "v1";
    owner.kind = "Node";
    owner.name = options_.node_name;
    owner.uid = node->metadata.uid;
  }
  fresh.spec.holder_identity = options_.node_name;
  fresh.spec.lease_duration_seconds = kLeaseSeconds;
  fresh.spec.renew_time = now;
  auto made = client_.create(fresh);
  return made ? Status() : made.error();
}

}  // namespace engenho::kubelet
