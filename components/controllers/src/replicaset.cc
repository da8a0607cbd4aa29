// Keeps as many pods as a ReplicaSet says.
#include <atomic>
#include <set>

#include "engenho/base/log.h"
#include "engenho/catalog/apps_v1.h"
#include "engenho/client/work_queue.h"
#include "engenho/controllers/controllers.h"
#include "util.h"

namespace engenho::controllers {

namespace {

namespace apps_v1 = k8s::apps_v1;
using client::key_of;

constexpr int kBurst = 500;
constexpr auto kExpectationTimeout = std::chrono::minutes(5);

class ReplicaSetController final : public Controller {
 public:
  explicit ReplicaSetController(Environment& e) : e_(e), queue_(*e.options.clock) {}
  std::string_view name() const override { return "replicaset"; }

  void prepare() override {
    e_.informers.get<apps_v1::ReplicaSet>().on_change(
        [this](const apps_v1::ReplicaSet& rs) { queue_.add(key_of(rs.metadata.namespace_, rs.metadata.name)); });
    auto pods = [this](const core_v1::Pod& pod, bool deleted) { pod_changed(pod, deleted); };
    using Ptr = client::Informer<core_v1::Pod>::Ptr;
    e_.informers.get<core_v1::Pod>().add_handler(
        {[pods](const Ptr& p) { pods(*p, false); }, [pods](const Ptr& before, const Ptr& now) {
           if (controller_of(before->metadata) != nullptr) pods(*before, false);
           pods(*now, false);
         },
         [pods](const Ptr& p) { pods(*p, true); }});
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "replicaset", queue_, 4, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  // Creations and deletions that the informer has not shown yet. Until it has, counting would be wrong.
  struct Expectation {
    std::set<std::string> creations;  // uids
    std::set<std::string> deletions;
    MonoTime since;
  };

  void pod_changed(const core_v1::Pod& pod, bool deleted) {
    const std::string& ns = pod.metadata.namespace_;
    if (const meta_v1::OwnerReference* owner = controller_of(pod.metadata)) {
      if (owner->kind != "ReplicaSet") return;
      const std::string key = key_of(ns, owner->name);
      {
        std::lock_guard lock(mutex_);
        auto it = expectations_.find(key);
        if (it != expectations_.end()) {
          it->second.creations.erase(pod.metadata.uid);
          if (deleted || !pod.metadata.deletion_timestamp.is_zero()) it->second.deletions.erase(pod.metadata.uid);
        }
        if (!deleted) seen_.insert(pod.metadata.uid);
        else seen_.erase(pod.metadata.uid);
      }
      queue_.add(key);
      return;
    }
    if (deleted) return;
    // An orphan: whoever selects it may adopt it.
    for (const auto& rs : e_.informers.get<apps_v1::ReplicaSet>().list(ns)) {
      if (matches(rs->spec.selector, pod.metadata.labels)) queue_.add(key_of(ns, rs->metadata.name));
    }
  }

  bool settled(const std::string& key) {
    std::lock_guard lock(mutex_);
    auto it = expectations_.find(key);
    if (it == expectations_.end()) return true;
    std::erase_if(it->second.creations, [&](const std::string& uid) { return seen_.contains(uid); });
    if (it->second.creations.empty() && it->second.deletions.empty()) {
      expectations_.erase(it);
      return true;
    }
    if (e_.options.clock->mono() - it->second.since > kExpectationTimeout) {
      expectations_.erase(it);
      return true;
    }
    return false;
  }

  // Pods of this set, after adopting orphans that match and releasing those that no longer do.
  Result<std::vector<std::shared_ptr<const core_v1::Pod>>> claim(const apps_v1::ReplicaSet& rs) {
    std::vector<std::shared_ptr<const core_v1::Pod>> out;
    for (const auto& pod : e_.informers.get<core_v1::Pod>().list(rs.metadata.namespace_)) {
      const meta_v1::OwnerReference* owner = controller_of(pod->metadata);
      const bool match = matches(rs.spec.selector, pod->metadata.labels);
      if (owner != nullptr) {
        if (owner->uid != rs.metadata.uid) continue;
        if (match) {
          out.push_back(pod);
        } else if (rs.metadata.deletion_timestamp.is_zero()) {
          core_v1::Pod next = *pod;
          std::erase_if(next.metadata.owner_references, [&](const auto& o) { return o.uid == rs.metadata.uid; });
          auto released = e_.client.update(next);
          if (!released && !released.error().not_found()) return err(released.error());
        }
        continue;
      }
      if (!match || !is_active(*pod) || !rs.metadata.deletion_timestamp.is_zero()) continue;
      core_v1::Pod next = *pod;
      next.metadata.owner_references.push_back(owner_reference(rs));
      auto adopted = e_.client.update(next);
      if (!adopted) {
        if (adopted.error().not_found()) continue;
        return err(adopted.error());
      }
      out.push_back(std::make_shared<const core_v1::Pod>(std::move(*adopted)));
    }
    return out;
  }

  Status reconcile(const std::string& key) {
    std::string ns, rs_name;
    client::split_key(key, ns, rs_name);
    auto rs = e_.informers.get<apps_v1::ReplicaSet>().get(key);
    if (rs == nullptr) {
      std::lock_guard lock(mutex_);
      expectations_.erase(key);
      return {};
    }
    const bool may_act = settled(key);
    ENGENHO_ASSIGN_OR_RETURN(auto owned, claim(*rs));
    std::vector<std::shared_ptr<const core_v1::Pod>> pods;
    for (const auto& p : owned) {
      if (is_active(*p)) pods.push_back(p);
    }
    Status failed;
    if (may_act && rs->metadata.deletion_timestamp.is_zero()) failed = scale(key, *rs, pods);
    if (Status s = write_status(key, *rs, pods, failed); !s.ok()) return s;
    return failed;
  }

  Status scale(const std::string& key, const apps_v1::ReplicaSet& rs, std::vector<std::shared_ptr<const core_v1::Pod>> pods) {
    const int wanted = rs.spec.replicas.value_or(1);
    const int difference = static_cast<int>(pods.size()) - wanted;
    if (difference < 0) {
      for (int i = 0; i < std::min(-difference, kBurst); ++i) {
        core_v1::Pod pod;
        pod.metadata = meta_v1::ObjectMeta();
        pod.metadata.generate_name = rs.metadata.name.substr(0, 57) + "-";
        pod.metadata.namespace_ = rs.metadata.namespace_;
        pod.metadata.labels = rs.spec.template_.metadata.labels;
        pod.metadata.annotations = rs.spec.template_.metadata.annotations;
        pod.metadata.finalizers = rs.spec.template_.metadata.finalizers;
        pod.metadata.owner_references.push_back(owner_reference(rs));
        pod.spec = rs.spec.template_.spec;
        auto created = e_.client.create(pod);
        if (!created) {
          if (namespace_is_going(created.error())) return {};
          e_.events.event(client::reference_to(rs), "Warning", "FailedCreate", "Error creating: " + created.error().message());
          return created.error();
        }
        expect(key, created->metadata.uid, true);
        e_.events.event(client::reference_to(rs), "Normal", "SuccessfulCreate", "Created pod: " + created->metadata.name);
      }
    } else if (difference > 0) {
      // Those that are worth least go first: not scheduled, not running, not ready, on crowded nodes, young.
      std::map<std::string, int> on_node;
      for (const auto& p : pods) ++on_node[p->spec.node_name];
      auto rank = [&](const core_v1::Pod& p) {
        const int phase = p.status.phase == "Pending" ? 0 : p.status.phase.empty() || p.status.phase == "Unknown" ? 1 : 2;
        int64_t cost = 0;
        if (auto it = p.metadata.annotations.find("controller.kubernetes.io/pod-deletion-cost"); it != p.metadata.annotations.end()) {
          cost = std::strtoll(it->second.c_str(), nullptr, 10);
        }
        const core_v1::PodCondition* ready = find_condition(p, "Ready");
        const WallTime since = ready != nullptr ? ready->last_transition_time.value_or(WallTime()) : WallTime();
        const WallTime born = p.metadata.creation_timestamp.value_or(WallTime());
        return std::tuple(!p.spec.node_name.empty(), phase, is_ready(p), cost, -on_node[p.spec.node_name], -since.time_since_epoch().count(),
                          -born.time_since_epoch().count());
      };
      std::stable_sort(pods.begin(), pods.end(), [&](const auto& a, const auto& b) { return rank(*a) < rank(*b); });
      for (int i = 0; i < std::min(difference, kBurst); ++i) {
        const core_v1::Pod& pod = *pods[static_cast<size_t>(i)];
        expect(key, pod.metadata.uid, false);
        client::DeleteOptions options;
        options.uid = pod.metadata.uid;
        Status s = e_.client.remove<core_v1::Pod>(pod.metadata.namespace_, pod.metadata.name, options);
        if (!s.ok()) {
          std::lock_guard lock(mutex_);
          if (auto it = expectations_.find(key); it != expectations_.end()) it->second.deletions.erase(pod.metadata.uid);
          if (!s.not_found()) return s;
          continue;
        }
        e_.events.event(client::reference_to(rs), "Normal", "SuccessfulDelete", "Deleted pod: " + pod.metadata.name);
      }
    }
    return {};
  }

  void expect(const std::string& key, const std::string& uid, bool creation) {
    std::lock_guard lock(mutex_);
    Expectation& x = expectations_[key];
    x.since = e_.options.clock->mono();
    (creation ? x.creations : x.deletions).insert(uid);
  }

  Status write_status(const std::string& key, const apps_v1::ReplicaSet& rs, const std::vector<std::shared_ptr<const core_v1::Pod>>& pods,
                      const Status& failed) {
    apps_v1::ReplicaSetStatus status = rs.status;
    status.replicas = static_cast<int32_t>(pods.size());
    status.fully_labeled_replicas = status.ready_replicas = status.available_replicas = 0;
    const WallTime now = e_.options.clock->wall();
    Duration wait(0);
    for (const auto& p : pods) {
      bool all = true;
      for (const auto& [k, v] : rs.spec.template_.metadata.labels) {
        auto it = p->metadata.labels.find(k);
        all = all && it != p->metadata.labels.end() && it->second == v;
      }
      status.fully_labeled_replicas += all;
      status.ready_replicas += is_ready(*p);
      status.available_replicas += is_available(*p, rs.spec.min_ready_seconds, now, &wait);
    }
    if (wait > Duration(0)) queue_.add_after(key, wait);
    auto condition = std::find_if(status.conditions.begin(), status.conditions.end(), [](const auto& c) { return c.type == "ReplicaFailure"; });
    if (!failed.ok() && condition == status.conditions.end()) {
      apps_v1::ReplicaSetCondition c;
      c.type = "ReplicaFailure";
      c.status = "True";
      c.reason = static_cast<int>(pods.size()) < rs.spec.replicas.value_or(1) ? "FailedCreate" : "FailedDelete";
      c.message = failed.message();
      c.last_transition_time = now;
      status.conditions.push_back(c);
    } else if (failed.ok() && condition != status.conditions.end()) {
      status.conditions.erase(condition);
    }
    status.observed_generation = rs.metadata.generation;
    if (status == rs.status) return {};
    apps_v1::ReplicaSet next = rs;
    next.status = std::move(status);
    auto written = e_.client.update_status(next);
    if (!written && !written.error().not_found()) return written.error();
    return {};
  }

  Environment& e_;
  client::WorkQueue queue_;
  std::mutex mutex_;  // guards what follows
  std::map<std::string, Expectation> expectations_;
  std::set<std::string> seen_;  // pods of ReplicaSets that the informer has shown and that still exist
};

}  // namespace

std::unique_ptr<Controller> replicaset_controller(Environment& e) { return std::make_unique<ReplicaSetController>(e); }

}  // namespace engenho::controllers
