// Keeps as many pods as a ReplicaSet says.
#include "engenho/base/log.h"
#include "engenho/catalog/apps_v1.h"
#include "engenho/client/work_queue.h"
#include "engenho/controllers/controllers.h"
#include "pod_control.h"
#include "util.h"

namespace engenho::controllers {

namespace {

namespace apps_v1 = k8s::apps_v1;
using client::key_of;

constexpr int kBurst = 500;

class ReplicaSetController final : public Controller {
 public:
  explicit ReplicaSetController(Environment& e) : e_(e), queue_(*e.options.clock), expectations_(*e.options.clock) {}
  std::string_view name() const override { return "replicaset"; }

  void prepare() override {
    e_.informers.get<apps_v1::ReplicaSet>().on_change([this](const apps_v1::ReplicaSet& rs) { queue_.add(key_of(rs.metadata.namespace_, rs.metadata.name)); });
    watch_pods(
        e_, "ReplicaSet",
        [this](const std::string& key, const core_v1::Pod& pod, bool deleted) {
          expectations_.observe(key, pod, deleted);
          queue_.add(key);
        },
        [this](const core_v1::Pod& pod) {  // whoever selects it may adopt it
          for (const auto& rs : e_.informers.get<apps_v1::ReplicaSet>().list(pod.metadata.namespace_)) {
            if (matches(rs->spec.selector, pod.metadata.labels)) queue_.add(key_of(rs->metadata.namespace_, rs->metadata.name));
          }
        });
  }
  void run(TaskGroup& group) override {
    client::run_workers(group, "replicaset", queue_, 4, [this](const std::string& key) { return reconcile(key); });
  }

 private:
  Status reconcile(const std::string& key) {
    std::string ns, rs_name;
    client::split_key(key, ns, rs_name);
    auto rs = e_.informers.get<apps_v1::ReplicaSet>().get(key);
    if (rs == nullptr) {
      expectations_.forget(key);
      return {};
    }
    const bool may_act = expectations_.settled(key);
    const PodOwner owner = pod_owner(e_, *rs);
    ENGENHO_ASSIGN_OR_RETURN(auto owned, claim_pods(e_, owner));
    std::vector<PodPtr> pods;
    for (const auto& p : owned) {
      if (is_active(*p)) pods.push_back(p);
    }
    Status failed;
    if (may_act && rs->metadata.deletion_timestamp.is_zero()) failed = scale(key, *rs, owner, pods);
    if (Status s = write_status(key, *rs, pods, failed); !s.ok()) return s;
    return failed;
  }

  // Creates until the first failure: a quota that is full is asked once, not once a pod.
  Status scale(const std::string& key, const apps_v1::ReplicaSet& rs, const PodOwner& owner, std::vector<PodPtr> pods) {
    const int wanted = rs.spec.replicas.value_or(1);
    const int difference = static_cast<int>(pods.size()) - wanted;
    for (int i = 0; i < std::min(-difference, kBurst); ++i) {
      core_v1::Pod pod = pod_of_template(rs.spec.template_, owner);
      pod.metadata.generate_name = rs.metadata.name.substr(0, 57) + "-";
      ENGENHO_ASSIGN_OR_RETURN(auto created, create_pod(e_, expectations_, key, owner, pod));
      if (!created) return {};
    }
    if (difference <= 0) return {};
    sort_for_deletion(pods);
    for (int i = 0; i < std::min(difference, kBurst); ++i) {
      ENGENHO_RETURN_IF_ERROR(delete_pod(e_, expectations_, key, owner, *pods[static_cast<size_t>(i)]));
    }
    return {};
  }

  Status write_status(const std::string& key, const apps_v1::ReplicaSet& rs, const std::vector<PodPtr>& pods, const Status& failed) {
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
  Expectations expectations_;
};

}  // namespace

std::unique_ptr<Controller> replicaset_controller(Environment& e) {
  return std::make_unique<ReplicaSetController>(e);
}

}  // namespace engenho::controllers
