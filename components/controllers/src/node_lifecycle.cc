// Nodes that stop renewing their lease become Unknown; taints follow the conditions; pods that do not tolerate NoExecute are evicted.
// And pods of nodes that no longer exist are removed.
#include "engenho/base/log.h"
#include "engenho/catalog/coordination_v1.h"
#include "engenho/client/work_queue.h"
#include "engenho/controllers/controllers.h"
#include "util.h"

namespace engenho::controllers {

namespace {

namespace coordination_v1 = k8s::coordination_v1;

constexpr auto kGrace = std::chrono::seconds(40);
constexpr char kNotReady[] = "node.kubernetes.io/not-ready";
constexpr char kUnreachable[] = "node.kubernetes.io/unreachable";

class NodeLifecycle final : public Controller {
 public:
  explicit NodeLifecycle(Environment& e) : e_(e), queue_(*e.options.clock), pods_(*e.options.clock) {}
  std::string_view name() const override { return "nodelifecycle"; }
  void prepare() override {
    e_.informers.get<core_v1::Node>().on_change([this](const core_v1::Node& n) {
      queue_.add(n.metadata.name);
      for (const auto& p : e_.informers.get<core_v1::Pod>().list()) {
        if (p->spec.node_name == n.metadata.name) pods_.add(client::key_of(p->metadata.namespace_, p->metadata.name));
      }
    });
    e_.informers.get<coordination_v1::Lease>().on_change([this](const coordination_v1::Lease& l) {
      if (l.metadata.namespace_ == "kube-node-lease") queue_.add_after(l.metadata.name, kGrace + std::chrono::seconds(1));
    });
    e_.informers.get<core_v1::Pod>().on_change([this](const core_v1::Pod& p) {
      if (!p.spec.node_name.empty()) pods_.add(client::key_of(p.metadata.namespace_, p.metadata.name));
    });
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "nodelifecycle", queue_, 1, [this](const std::string& key) { return reconcile(key); });
    client::run_workers(group, "taint-eviction", pods_, 1, [this](const std::string& key) { return check_pod(key); });
  }

 private:
  static const core_v1::NodeCondition* condition(const core_v1::Node& node, std::string_view type) {
    for (const auto& c : node.status.conditions) {
      if (c.type == type) return &c;
    }
    return nullptr;
  }

  Status reconcile(const std::string& name) {
    auto node = e_.informers.get<core_v1::Node>().get("", name);
    if (node == nullptr) return {};
    const WallTime now = e_.options.clock->wall();
    auto lease = e_.informers.get<coordination_v1::Lease>().get("kube-node-lease", name);
    WallTime seen = node->metadata.creation_timestamp.value_or(now);
    if (lease != nullptr) seen = std::max(seen, lease->spec.renew_time.value_or(seen));
    if (const auto* ready = condition(*node, "Ready")) seen = std::max(seen, ready->last_heartbeat_time.value_or(seen));
    const bool lost = now - seen > kGrace;
    core_v1::Node next = *node;
    if (lost) {
      bool changed = false;
      for (core_v1::NodeCondition& c : next.status.conditions) {
        if (c.status == "Unknown") continue;
        c.status = "Unknown";
        c.reason = "NodeStatusUnknown";
        c.message = "Kubelet stopped posting node status.";
        c.last_transition_time = now;
        changed = true;
      }
      if (changed) {
        e_.events.event(client::reference_to(*node), "Normal", "NodeNotReady", "Node " + name + " status is now: NodeNotReady");
        auto written = e_.client.update_status(next);
        if (!written) return written.error().not_found() ? Status() : written.error();
        next = std::move(*written);
      }
    } else {
      queue_.add_after(name, kGrace - (now - seen) + std::chrono::seconds(1));
    }
    // Taints as the conditions say; those of others stay.
    std::vector<std::pair<std::string, std::string>> wanted;  // key, effect
    const auto* ready = condition(next, "Ready");
    if (ready == nullptr || ready->status == "False") {
      wanted.emplace_back(kNotReady, "NoSchedule");
      if (ready != nullptr) wanted.emplace_back(kNotReady, "NoExecute");
    } else if (ready->status == "Unknown") {
      wanted.emplace_back(kUnreachable, "NoSchedule");
      wanted.emplace_back(kUnreachable, "NoExecute");
    }
    for (const auto& [type, key] : {std::pair("MemoryPressure", "node.kubernetes.io/memory-pressure"), std::pair("DiskPressure", "node.kubernetes.io/disk-pressure"),
                                    std::pair("PIDPressure", "node.kubernetes.io/pid-pressure"),
                                    std::pair("NetworkUnavailable", "node.kubernetes.io/network-unavailable")}) {
      if (const auto* c = condition(next, type); c != nullptr && c->status == "True") wanted.emplace_back(key, "NoSchedule");
    }
    if (next.spec.unschedulable) wanted.emplace_back("node.kubernetes.io/unschedulable", "NoSchedule");
    static const std::vector<std::string> ours = {kNotReady, kUnreachable, "node.kubernetes.io/memory-pressure", "node.kubernetes.io/disk-pressure",
                                                  "node.kubernetes.io/pid-pressure", "node.kubernetes.io/network-unavailable",
                                                  "node.kubernetes.io/unschedulable"};
    std::vector<core_v1::Taint> taints;
    for (const core_v1::Taint& t : next.spec.taints) {
      const bool mine = std::find(ours.begin(), ours.end(), t.key) != ours.end();
      const bool keep = std::find(wanted.begin(), wanted.end(), std::pair(t.key, t.effect)) != wanted.end();
      if (!mine || keep) taints.push_back(t);
    }
    for (const auto& [key, effect] : wanted) {
      const bool has = std::any_of(taints.begin(), taints.end(), [&](const auto& t) { return t.key == key && t.effect == effect; });
      if (has) continue;
      core_v1::Taint t;
      t.key = key;
      t.effect = effect;
      t.time_added = now;
      taints.push_back(std::move(t));
    }
    if (taints == next.spec.taints) return {};
    json::Value patch = json::Object();
    json::Array list;
    for (const core_v1::Taint& t : taints) list.push_back(k8s::to_json(t));
    patch["metadata"]["resourceVersion"] = next.metadata.resource_version;
    patch["spec"]["taints"] = list.empty() ? json::Value() : json::Value(std::move(list));
    auto patched = e_.client.patch<core_v1::Node>("", name, client::PatchType::kMerge, json::dump(patch));
    if (!patched && !patched.error().not_found()) return patched.error();
    return {};
  }

  // Evicts a pod from a node with NoExecute taints that it does not tolerate, at once or when its toleration runs out.
  Status check_pod(const std::string& key) {
    auto pod = e_.informers.get<core_v1::Pod>().get(key);
    if (pod == nullptr || pod->spec.node_name.empty() || !pod->metadata.deletion_timestamp.is_zero()) return {};
    auto node = e_.informers.get<core_v1::Node>().get("", pod->spec.node_name);
    if (node == nullptr) return {};
    const WallTime now = e_.options.clock->wall();
    Duration wait = Duration::max();
    for (const core_v1::Taint& taint : node->spec.taints) {
      if (taint.effect != "NoExecute") continue;
      bool tolerated = false;
      std::optional<int64_t> seconds;
      for (const core_v1::Toleration& t : pod->spec.tolerations) {
        if (!t.effect.empty() && t.effect != taint.effect) continue;
        if (!t.key.empty() && t.key != taint.key) continue;
        if (t.operator_ != "Exists" && t.value != taint.value) continue;
        if (t.key.empty() && t.operator_ != "Exists") continue;
        tolerated = true;
        if (!t.toleration_seconds) {
          seconds.reset();
          break;
        }
        seconds = seconds ? std::min(*seconds, *t.toleration_seconds) : *t.toleration_seconds;
      }
      if (!tolerated) wait = Duration(0);
      else if (seconds) wait = std::min<Duration>(wait, taint.time_added.value_or(now) + std::chrono::seconds(std::max<int64_t>(*seconds, 0)) - now);
    }
    if (wait == Duration::max()) return {};
    if (wait > Duration(0)) {
      pods_.add_after(key, wait);
      return {};
    }
    core_v1::Pod next = *pod;
    core_v1::PodCondition c;
    c.type = "DisruptionTarget";
    c.status = "True";
    c.reason = "DeletionByTaintManager";
    c.message = "Taint manager: deleting due to NoExecute taint";
    c.last_transition_time = now;
    std::erase_if(next.status.conditions, [](const auto& x) { return x.type == "DisruptionTarget"; });
    next.status.conditions.push_back(std::move(c));
    auto marked = e_.client.update_status(next);
    if (!marked) return marked.error().not_found() ? Status() : marked.error();
    e_.events.event(client::reference_to(*pod), "Normal", "TaintManagerEviction", "Marking for deletion Pod " + key);
    client::DeleteOptions options;
    options.uid = pod->metadata.uid;
    Status s = e_.client.remove<core_v1::Pod>(pod->metadata.namespace_, pod->metadata.name, options);
    return s.not_found() ? Status() : s;
  }

  Environment& e_;
  client::WorkQueue queue_, pods_;
};

class PodGc final : public Controller {
 public:
  explicit PodGc(Environment& e) : e_(e), queue_(*e.options.clock) {}
  std::string_view name() const override { return "podgc"; }
  void prepare() override {
    e_.informers.get<core_v1::Node>().add_handler({nullptr, nullptr, [this](const auto& node) {
      for (const auto& p : e_.informers.get<core_v1::Pod>().list()) {
        if (p->spec.node_name == node->metadata.name) queue_.add_after(client::key_of(p->metadata.namespace_, p->metadata.name), kQuarantine);
      }
    }});
    e_.informers.get<core_v1::Pod>().on_change([this](const core_v1::Pod& p) {
      const std::string key = client::key_of(p.metadata.namespace_, p.metadata.name);
      if (p.spec.node_name.empty() && !p.metadata.deletion_timestamp.is_zero()) queue_.add(key);
      if (!p.spec.node_name.empty() && e_.informers.get<core_v1::Node>().get("", p.spec.node_name) == nullptr) queue_.add_after(key, kQuarantine);
    });
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "podgc", queue_, 1, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  static constexpr auto kQuarantine = std::chrono::seconds(40);
  Status reconcile(const std::string& key) {
    auto pod = e_.informers.get<core_v1::Pod>().get(key);
    if (pod == nullptr) return {};
    const bool unscheduled = pod->spec.node_name.empty() && !pod->metadata.deletion_timestamp.is_zero();
    if (!unscheduled) {
      if (e_.informers.get<core_v1::Node>().get("", pod->spec.node_name) != nullptr) return {};
      // Nobody is left who could say so: the node is asked for once more, at the server.
      auto live = e_.client.get<core_v1::Node>("", pod->spec.node_name);
      if (live) return {};
      if (!live.error().not_found()) return live.error();
    }
    client::DeleteOptions options;
    options.grace_period_seconds = 0;
    options.uid = pod->metadata.uid;
    Status s = e_.client.remove<core_v1::Pod>(pod->metadata.namespace_, pod->metadata.name, options);
    return s.not_found() ? Status() : s;
  }
  Environment& e_;
  client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> node_lifecycle_controller(Environment& e) { return std::make_unique<NodeLifecycle>(e); }
std::unique_ptr<Controller> pod_gc_controller(Environment& e) { return std::make_unique<PodGc>(e); }

}  // namespace engenho::controllers
