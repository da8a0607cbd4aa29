#include "engenho/scheduler/scheduler.h"

#include <algorithm>
#include <set>

#include "engenho/base/bytes.h"
#include "engenho/base/log.h"
#include "filters.h"

namespace engenho::scheduler {

using client::key_of;

namespace {
bool finished(const core_v1::Pod& pod) { return pod.status.phase == "Succeeded" || pod.status.phase == "Failed"; }
}  // namespace

struct Scheduler::Impl {
  Impl(std::shared_ptr<client::Transport> transport, Options o)
      : options(std::move(o)),
        client(std::move(transport), "kube-scheduler"),
        informers(client),
        events(client, options.name),
        queue(*options.clock, {std::chrono::seconds(1), std::chrono::seconds(10)}) {}

  void prepare();
  Status schedule(const std::string& key);
  std::vector<NodeView> views(const std::string& except_uid);
  void wake_waiting();
  Status refuse(const core_v1::Pod& pod, const std::string& message);

  Options options;
  client::Client client;
  client::Informers informers;
  client::EventRecorder events;
  client::WorkQueue queue;
  std::mutex mutex;  // guards what follows
  std::map<std::string, std::pair<std::string, Resources>> assumed;  // pod uid -> node and what it takes, until the informer shows it
  std::map<std::string, std::vector<NodeView::HostPort>> assumed_ports;
  std::set<std::string> waiting;  // keys of pods that fitted nowhere
  TaskGroup group{"scheduler"};
};

Scheduler::Scheduler(std::shared_ptr<client::Transport> transport, Options options)
    : impl_(std::make_unique<Impl>(std::move(transport), std::move(options))) {
  impl_->prepare();
}
Scheduler::~Scheduler() { stop(); }

void Scheduler::start() {
  impl_->informers.start();
  impl_->group.spawn("start", [this](StopToken stop) {
    if (!impl_->informers.wait_synced(stop)) return;
    client::run_workers(impl_->group, "scheduler", impl_->queue, 1, [this](const std::string& key) { return impl_->schedule(key); });
  });
}

void Scheduler::stop() {
  impl_->group.stop();
  impl_->informers.stop();
}

void Scheduler::Impl::prepare() {
  using PodPtr = client::Informer<core_v1::Pod>::Ptr;
  auto seen = [this](const core_v1::Pod& pod) {
    const std::string key = key_of(pod.metadata.namespace_, pod.metadata.name);
    if (pod.spec.node_name.empty()) {
      if (pod.spec.scheduler_name == options.name && !finished(pod) && pod.metadata.deletion_timestamp.is_zero()) queue.add(key);
      return;
    }
    std::lock_guard lock(mutex);
    assumed.erase(pod.metadata.uid);
    assumed_ports.erase(pod.metadata.uid);
    waiting.erase(key);
  };
  informers.get<core_v1::Pod>().add_handler({[seen](const PodPtr& p) { seen(*p); },
                                             [this, seen](const PodPtr& before, const PodPtr& now) {
                                               seen(*now);
                                               if (!finished(*before) && finished(*now)) wake_waiting();
                                             },
                                             [this](const PodPtr& p) {
                                               {
                                                 std::lock_guard lock(mutex);
                                                 assumed.erase(p->metadata.uid);
                                                 assumed_ports.erase(p->metadata.uid);
                                                 waiting.erase(key_of(p->metadata.namespace_, p->metadata.name));
                                               }
                                               wake_waiting();
                                             }});
  using NodePtr = client::Informer<core_v1::Node>::Ptr;
  informers.get<core_v1::Node>().add_handler({[this](const NodePtr&) { wake_waiting(); },
                                              [this](const NodePtr& before, const NodePtr& now) {
                                                if (!(before->spec == now->spec) || before->metadata.labels != now->metadata.labels ||
                                                    !(before->status.allocatable == now->status.allocatable)) {
                                                  wake_waiting();
                                                }
                                              },
                                              nullptr});
}

void Scheduler::Impl::wake_waiting() {
  std::set<std::string> keys;
  {
    std::lock_guard lock(mutex);
    keys.swap(waiting);
  }
  for (const std::string& key : keys) {
    queue.forget(key);
    queue.add(key);
  }
}

std::vector<NodeView> Scheduler::Impl::views(const std::string& except_uid) {
  std::vector<NodeView> out;
  std::map<std::string, size_t> index;
  for (const auto& node : informers.get<core_v1::Node>().list()) {
    index[node->metadata.name] = out.size();
    NodeView v;
    v.node = node;
    v.allocatable = allocatable_of(*node);
    out.push_back(std::move(v));
  }
  auto take = [&](const std::string& node, const Resources& requests, const std::vector<NodeView::HostPort>& ports) {
    auto it = index.find(node);
    if (it == index.end()) return;
    NodeView& v = out[it->second];
    for (const auto& [name, n] : requests) v.requested[name] += n;
    v.ports.insert(v.ports.end(), ports.begin(), ports.end());
  };
  std::set<std::string> counted;
  for (const auto& pod : informers.get<core_v1::Pod>().list()) {
    if (pod->spec.node_name.empty() || finished(*pod)) continue;
    counted.insert(pod->metadata.uid);
    take(pod->spec.node_name, requests_of(*pod), host_ports(*pod));
  }
  std::lock_guard lock(mutex);
  for (const auto& [uid, what] : assumed) {
    if (uid == except_uid || counted.contains(uid)) continue;
    take(what.first, what.second, assumed_ports[uid]);
  }
  return out;
}

Status Scheduler::Impl::refuse(const core_v1::Pod& pod, const std::string& message) {
  events.event(client::reference_to(pod), "Warning", "FailedScheduling", message);
  for (const core_v1::PodCondition& c : pod.status.conditions) {
    if (c.type == "PodScheduled" && c.status == "False" && c.reason == "Unschedulable" && c.message == message) return {};
  }
  core_v1::Pod next = pod;
  std::erase_if(next.status.conditions, [](const auto& c) { return c.type == "PodScheduled"; });
  core_v1::PodCondition c;
  c.type = "PodScheduled";
  c.status = "False";
  c.reason = "Unschedulable";
  c.message = message;
  c.observed_generation = pod.metadata.generation;
  c.last_transition_time = options.clock->wall();
  next.status.conditions.push_back(std::move(c));
  auto written = client.update_status(next);
  if (!written && !written.error().not_found()) return written.error();
  return {};
}

Status Scheduler::Impl::schedule(const std::string& key) {
  auto pod = informers.get<core_v1::Pod>().get(key);
  if (pod == nullptr || !pod->spec.node_name.empty() || !pod->metadata.deletion_timestamp.is_zero() || finished(*pod)) return {};
  if (pod->spec.scheduler_name != options.name || !pod->spec.scheduling_gates.empty()) return {};
  {
    std::lock_guard lock(mutex);
    if (assumed.contains(pod->metadata.uid)) return {};
  }
  const Resources requests = requests_of(*pod);
  const std::vector<NodeView> nodes = views(pod->metadata.uid);
  const NodeView* best = nullptr;
  int64_t best_score = 0;
  std::map<std::string, int> against;
  for (const NodeView& view : nodes) {
    const std::vector<std::string> reasons = reasons_against(*pod, requests, view);
    for (const std::string& r : reasons) ++against[r];
    if (!reasons.empty()) continue;
    const int64_t points = score(*pod, requests, view);
    if (best == nullptr || points > best_score) {
      best = &view;
      best_score = points;
    }
  }
  if (best == nullptr) {
    std::string message;
    if (nodes.empty()) {
      message = "no nodes available to schedule pods";
    } else {
      message = "0/" + std::to_string(nodes.size()) + " nodes are available: ";
      bool first = true;
      for (const auto& [reason, n] : against) {
        message += (first ? "" : ", ") + std::to_string(n) + " " + reason;
        first = false;
      }
      message += ".";
    }
    {
      std::lock_guard lock(mutex);
      waiting.insert(key);
    }
    return refuse(*pod, message);
  }
  const std::string node = best->node->metadata.name;
  {
    std::lock_guard lock(mutex);
    assumed[pod->metadata.uid] = {node, requests};
    assumed_ports[pod->metadata.uid] = host_ports(*pod);
  }
  core_v1::Binding binding;
  binding.metadata.name = pod->metadata.name;
  binding.metadata.namespace_ = pod->metadata.namespace_;
  binding.metadata.uid = pod->metadata.uid;
  binding.target.kind = "Node";
  binding.target.name = node;
  auto bound = client.create_raw(client::resource_of<core_v1::Pod>(), pod->metadata.namespace_, k8s::to_json(binding), pod->metadata.name, "binding");
  if (!bound) {
    std::lock_guard lock(mutex);
    assumed.erase(pod->metadata.uid);
    assumed_ports.erase(pod->metadata.uid);
    return bound.error().not_found() ? Status() : bound.error();
  }
  events.event(client::reference_to(*pod), "Normal", "Scheduled", "Successfully assigned " + key + " to " + node);
  return {};
}

}  // namespace engenho::scheduler
